"""Commands that read data: `info` and `prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from apical.cli.console import Json, LeftOut, Overwrite, exit_partial, print_json, print_table, progress_bar, say
from apical.errors import InputError


def info(
    path: Annotated[
        Path, typer.Argument(help="Patient folder, tree of patients, single image or clip, or a store (.h5).")
    ],
    as_json: Json = False,
) -> None:
    """Say what is in a file or folder: patients, views, phases, sizes, spacing."""
    from apical.inputs import open_studies
    from apical.study import Frame

    left_out = LeftOut()
    rows: list[dict[str, Any]] = []
    notes: set[str] = set()
    for study in open_studies(path, left_out):
        notes.update(study.notes)
        for item in study.items:
            rows.append(
                {
                    "patient": study.patient.id,
                    "name": item.name,
                    "view": item.view,
                    "phase": item.phase if isinstance(item, Frame) else None,
                    "images": 1 if isinstance(item, Frame) else len(item.images),
                    "rows": item.grid.shape[0],
                    "columns": item.grid.shape[1],
                    "spacing_mm": item.grid.spacing_mm,
                    "expert_mask": item.reference is not None,
                }
            )
    if as_json:
        print_json({"images": rows, "notes": sorted(notes), "left_out": left_out.items})
    elif rows:
        _print_images(rows)
        for note in sorted(notes):
            say(note)
    if not rows:
        raise InputError(
            left_out.items[0]["reason"]
            if len(left_out.items) == 1
            else f"{path}: nothing in it can be used ({len(left_out.items)} left out, reasons above)"
        )
    exit_partial(left_out)


def _print_images(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("patient", "name", "view", "phase", "images", "size", "spacing (mm)", "expert mask")
    for row in rows:
        spacing = " x ".join(f"{s:.4g}" for s in row["spacing_mm"]) if row["spacing_mm"] else "unknown"
        size = f"{row['rows']} x {row['columns']}"
        expert = "yes" if row["expert_mask"] else "no"
        view, phase = row["view"] or "?", row["phase"] or ""
        table.add_row(row["patient"], row["name"], view, phase, str(row["images"]), size, spacing, expert)
    print_table(table)


def prepare(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder: CAMUS as PNG, NIfTI or MHD.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HDF5 store to write.")],
    folds: Annotated[
        Path | None, typer.Option(help="Folder of CAMUS's fold lists; found by itself as splits/ beside the data.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 6 when anything had to be left out.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Read a dataset into one HDF5 store. Interrupted, it goes on where it was."""
    from apical.readers import count_studies
    from apical.split import find_camus_folds, read_camus_folds
    from apical.store import prepare_store

    def on_start(n_earlier: int) -> None:
        if n_earlier:
            say(f"going on after {n_earlier} patients that an earlier run had finished")

    total, left_out = count_studies(dataset), LeftOut()
    fold_of = find_camus_folds(dataset) if folds is None else read_camus_folds(folds)
    with progress_bar("reading", total) as bar:
        patients = prepare_store(
            dataset,
            output,
            fold_of,
            left_out,
            on_start=on_start,
            on_patient=lambda: bar.advance(bar.task_ids[0]),
            overwrite=overwrite,
        )
    say(f"{output}: {patients} patients; {len(left_out.items)} files or frames left out")
    if as_json:
        print_json({"store": str(output), "patients": patients, "left_out": left_out.items})
    if strict:
        exit_partial(left_out)


COMMANDS = (info, prepare)
