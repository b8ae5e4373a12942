"""Commands that work on patients: `segment` and `measure`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apical.cli.console import Json, LeftOut, Overwrite, exit_partial, print_json, progress_bar, say
from apical.cli.options import (
    ModelName,
    Output,
    Patients,
    Runtime,
    SpacingOption,
    parse_patients,
    parse_sex,
    parse_spacing,
)
from apical.errors import InputError
from apical.models import DEFAULT

if TYPE_CHECKING:
    from apical.batch import OutputFolder
    from apical.measure import Measurements
    from apical.study import Segmentation, Study


def segment(
    inputs: Annotated[
        list[Path], typer.Argument(help="Patient folders, trees of patients, single images, clips or stores.")
    ],
    output: Output,
    model: ModelName = DEFAULT,
    file_format: Annotated[str, typer.Option("--format", help="mhd, nii.gz or png.")] = "mhd",
    runtime: Runtime = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads.")] = None,
    spacing: SpacingOption = None,
    overlay: Annotated[bool, typer.Option(help="Draw a picture per patient.")] = True,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Outline cavity, myocardium and atrium in every frame: one mask per image, values 0-3, on the native grid."""
    from apical.batch import OutputFolder
    from apical.report.masks import write_mask
    from apical.segment import Segmenter

    if file_format not in ("mhd", "nii.gz", "png"):
        raise InputError(f"no format '{file_format}': choose mhd, nii.gz or png")
    spacing_mm = parse_spacing(spacing)
    segmenter = Segmenter.load(model, runtime, threads)
    job = {
        "inputs": [str(path.resolve()) for path in inputs],
        "model": segmenter.model.config["sha256"],
        "format": file_format,
        "spacing_mm": spacing_mm,
        "overlay": overlay,
    }
    folder = OutputFolder(output, job, record="segmentation.json", table="summary.csv", overwrite=overwrite)
    left_out, records = LeftOut(), []
    for study in _studies(inputs, left_out, spacing_mm):
        patient = study.patient.id
        record = folder.finished(patient)
        if record is None:
            masks = segmenter.segment(study)
            place, ours = folder.begin(patient)
            for item in study.items:
                write_mask(place / f"{item.name}.{file_format}", masks[item.name], item.grid, overwrite=ours)
            if overlay:
                from apical.report.overlay import draw_overlay

                draw_overlay(study, masks, place / "overlay.png", overwrite=ours)
            record = {"patient": patient, "images": _image_records(study, masks), "notes": list(study.notes)}
            folder.record(patient, record)
        records.append(record)
    _refuse_nothing(records, left_out, folder)
    rows = [row for record in records for row in record["images"]]
    summary = {
        "model": segmenter.model.name,
        "model_sha256": segmenter.model.config["sha256"],
        "runtime": segmenter.runtime,
        "patients": records,
        "left_out": left_out.items,
    }
    folder.finish(rows, summary)
    if as_json:
        print_json(summary)
    say(f"{output}: {len(rows)} masks of {len(records)} patients, by {segmenter.model.name} on {segmenter.runtime}")
    exit_partial(left_out)


def measure(
    inputs: Annotated[list[Path], typer.Argument(help="Patient folders, trees of patients, or stores.")],
    output: Output,
    masks: Annotated[
        str | None,
        typer.Option(
            help="Folder of masks in CAMUS names, or 'reference': the expert's beside the images [default: predicted]."
        ),
    ] = None,
    model: ModelName = DEFAULT,
    runtime: Runtime = "auto",
    spacing: SpacingOption = None,
    sex: Annotated[str | None, typer.Option(help="F or M, for reference ranges.")] = None,
    height: Annotated[float | None, typer.Option(min=30, max=260, help="Height in cm, for indexed values.")] = None,
    weight: Annotated[float | None, typer.Option(min=1, max=400, help="Weight in kg, for indexed values.")] = None,
    patients: Patients = None,
    report: Annotated[bool, typer.Option(help="Write report.html, report.pdf and pictures per patient.")] = True,
    film: Annotated[
        bool, typer.Option("--film", help="Write clips with their outlines and curve as MP4 and GIF.")
    ] = False,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Write DICOM SEG, SR and PDF of what came from DICOM.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Measure EDV, ESV, EF and the rest under both definitions, each with its status or the reason for its absence.

    Of clips, every complete beat is measured; the report shows the beat of median EF.
    """
    from apical.batch import OutputFolder
    from apical.report.tables import measurement_rows

    for library in ("av",) * film + ("highdicom",) * dicom:
        if find_spec(library) is None:
            raise InputError(f"{library} is not installed, which --film or --dicom needs: `pip install apical[clinic]`")
    spacing_mm = parse_spacing(spacing)
    predict, source = _mask_source(masks, model, runtime)
    known = {k: v for k, v in (("sex", parse_sex(sex)), ("height_cm", height), ("weight_kg", weight)) if v is not None}
    extras = {"report": report, "film": film, "dicom": dicom}
    given = {"inputs": [str(path.resolve()) for path in inputs], "patients": patients, "from": masks}
    job = {**given, "masks": source, "spacing_mm": spacing_mm, "known": known, **extras}
    folder = OutputFolder(output, job, record="measurements.json", table="measurements.csv", overwrite=overwrite)
    left_out, records = LeftOut(), []
    for study in _studies(inputs, left_out, spacing_mm, parse_patients(patients)):
        study = replace(study, patient=replace(study.patient, **known))  # type: ignore[arg-type]  # noqa: PLW2901
        record = folder.finished(study.patient.id)
        if record is None:
            place, ours = folder.begin(study.patient.id)
            measured = _measure_study(study, predict(study), place, **extras, overwrite=ours)
            record = {"rows": measurement_rows(measured), **measured.as_dict()}
            folder.record(study.patient.id, record)
        records.append(record)
    _refuse_nothing(records, left_out, folder)
    rows = [row for record in records for row in record["rows"]]
    statuses = _statuses(records)
    summary = {"masks": source, "statuses": statuses, "left_out": left_out.items}
    folder.finish(rows, summary)
    if as_json:
        print_json(summary | {"patients": records})
    for definition, counts in statuses.items():
        say(f"{definition}: " + ", ".join(f"{n} {status}" for status, n in counts.items()))
    say(
        f"{output}: {len(records)} patients; see measurements.csv"
        + (" and each patient's report.html" if report else "")
    )
    exit_partial(left_out)


def _measure_study(
    study: Study, masks: Segmentation, folder: Path, *, report: bool, film: bool, dicom: bool, overwrite: bool
) -> Measurements:
    """Measure the frames of ED and ES, or without any the beats of the clips, and write the report."""
    if study.clips and not any(frame.phase for frame in study.frames):
        from apical.cycle import measure_clips

        beats = measure_clips(study, masks)
        if report:
            from apical.report.clip_report import write_clip_report

            write_clip_report(study, masks, beats, folder, film=film, dicom=dicom, overwrite=overwrite)
        return beats.measurements
    from apical.measure import measure as measure_frames

    measured = measure_frames(study, masks)
    if report:
        from apical.report import write_report

        write_report(study, masks, measured, folder, overwrite=overwrite)
    if dicom:
        from apical.report.dicom_objects import write_dicom_objects

        write_dicom_objects(study, masks, measured, folder, model=masks.model, overwrite=overwrite)
    return measured


def _studies(
    inputs: list[Path], left_out: LeftOut, spacing_mm: tuple[float, float] | None, patients: set[str] | None = None
) -> Iterator[Study]:
    """Go through all inputs with a bar; an input that cannot be used is left out with its reason."""
    from apical.inputs import count, open_studies

    seen: dict[str, Path] = {}
    with progress_bar("patients", None) as bar:
        total = 0
        for path in inputs:
            try:
                total += count(path, patients)
                bar.update(bar.task_ids[0], total=total)
                for study in open_studies(path, left_out, patients):
                    if (first := seen.setdefault(study.patient.id, path)) != path:
                        raise InputError(
                            f"{path}: patient {study.patient.id} was given before ({first}); run it into another folder"
                        )
                    yield _with_spacing(study, spacing_mm)
                    bar.advance(bar.task_ids[0])
            except InputError as error:
                left_out(path, error)


def _with_spacing(study: Study, spacing_mm: tuple[float, float] | None) -> Study:
    """Fill in the spacing where files do not tell it; what a file says is never replaced."""
    if spacing_mm is None:
        return study

    def known(item: Any) -> Any:
        return item if item.grid.spacing_mm else replace(item, grid=replace(item.grid, spacing_mm=spacing_mm))

    return replace(study, frames=tuple(map(known, study.frames)), clips=tuple(map(known, study.clips)))


def _mask_source(masks: str | None, model: str, runtime: str) -> tuple[Callable[[Study], Segmentation], str]:
    """Where masks come from, and its name."""
    from apical.study import Segmentation

    if masks is None:
        from apical.segment import Segmenter

        segmenter = Segmenter.load(model, runtime)
        return segmenter.segment, f"{segmenter.model.name}, {segmenter.runtime}"
    if masks == "reference":
        return (lambda study: Segmentation(study.references, "expert masks")), "expert masks"
    from apical.evaluate import masks_from_folder

    found, name = masks_from_folder(Path(masks)), f"masks in {Path(masks).name}"
    return (lambda study: Segmentation(found(study), name)), name


def _image_records(study: Study, masks: Any) -> list[dict[str, Any]]:
    from apical.anatomy import Label
    from apical.study import Frame

    rows = []
    for item in study.items:
        mask, (view, probability) = masks[item.name], masks.views[item.name]
        row = {
            "patient": study.patient.id,
            "name": item.name,
            "view": str(item.view or view),
            "view_source": "name or tag" if item.view else f"recognised in the image ({probability:.0%})",
            "phase": str((isinstance(item, Frame) and item.phase) or ""),
            "images": len(mask) if mask.ndim == 3 else 1,
            "rows": item.grid.shape[0],
            "columns": item.grid.shape[1],
            "spacing_mm": " x ".join(f"{s:.6g}" for s in item.grid.spacing_mm) if item.grid.spacing_mm else "unknown",
        }
        row |= {f"{label.name.lower()}_pixels": int((mask == label).sum()) for label in Label if label}
        rows.append(row)
    return rows


def _statuses(records: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for record in records:
        for definition, volumes in record["volumes"].items():
            of = counts.setdefault(definition, {})
            of[volumes["status"]] = of.get(volumes["status"], 0) + 1
    return counts


def _refuse_nothing(records: list[Any], left_out: LeftOut, folder: OutputFolder) -> None:
    """Nothing could be used: that is an error, with the reason where there is only one."""
    if records:
        return
    folder.abandon()
    if len(left_out.items) == 1:
        raise InputError(left_out.items[0]["reason"])
    raise InputError(f"none of the inputs could be used ({len(left_out.items)} left out, reasons above)")


COMMANDS = (segment, measure)
