"""Commands for archives and other programs: `deidentify` and `nnunet`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apical.cli.console import Json, LeftOut, Overwrite, exit_partial, print_json, say


def deidentify(
    source: Annotated[Path, typer.Argument(help="DICOM file, or a folder with all its sub-folders.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the copies, outside of the source.")],
    key: Annotated[Path, typer.Option(help="File with the secret key, 16 bytes or more.")],
    region: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(help="Rows and columns to keep (top left bottom right), where neither tags nor picture say."),
    ] = None,
    keep_characteristics: Annotated[
        bool, typer.Option("--keep-characteristics", help="Keep sex, age, height and weight.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Copy ultrasound DICOM without identity: PS3.15 basic profile, only the sector's pixels, dates shifted."""
    from apical.deidentify import deidentify as run
    from apical.deidentify import read_key

    left_out = LeftOut()
    written = run(
        source,
        output,
        read_key(key),
        region=region,
        keep_characteristics=keep_characteristics,
        on_error=left_out,
        overwrite=overwrite,
    )
    say(f"{output}: {len(written)} copies, {len(left_out.items)} files left out")
    if as_json:
        print_json({"written": [str(p) for p in written], "left_out": left_out.items})
    exit_partial(left_out)


def nnunet(
    store: Annotated[Path, typer.Argument(help="Store (.h5) made by `apical prepare`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write, named DatasetNNN_Name.")],
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a store as an nnU-Net v2 dataset, with folds that never part a patient."""
    from apical.report.nnunet import export_nnunet

    counts = export_nnunet(store, output, overwrite=overwrite)
    say(f"{output}: {counts['cases']} cases of {counts['patients']} patients in {counts['folds']} folds")
    if as_json:
        print_json({"dataset": str(output), **counts})


COMMANDS = (deidentify, nnunet)
