"""Commands that work on patients: `segment` and `measure`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apical.cli.console import Json, LeftOut, Overwrite, exit_partial, print_json, say
from apical.cli.options import (
    ModelName,
    Output,
    Patients,
    PrecisionOption,
    Runtime,
    SpacingOption,
    parse_patients,
    parse_sex,
    parse_spacing,
)
from apical.errors import InputError
from apical.models import DEFAULT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from apical.anatomy import View
    from apical.cli.mask_source import MaskSource
    from apical.cli.patients import Record
    from apical.cycle.measured import ClipMeasurements
    from apical.measure import Measurements
    from apical.study import Clip, Frame, Segmentation, Study


def segment(
    inputs: Annotated[
        list[Path], typer.Argument(help="Patient folders, trees of patients, single images, clips or stores.")
    ],
    output: Output,
    model: ModelName = DEFAULT,
    file_format: Annotated[str, typer.Option("--format", help="mhd, nii.gz or png.")] = "mhd",
    per_frame: Annotated[
        bool, typer.Option("--per-frame", help="A clip's masks as one file per frame, CLIP_f000, CLIP_f001, ...")
    ] = False,
    runtime: Runtime = "auto",
    precision: PrecisionOption = "float32",
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads.")] = None,
    spacing: SpacingOption = None,
    overlay: Annotated[bool, typer.Option(help="Draw a picture per patient.")] = True,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Outline cavity, myocardium and atrium in every frame: one mask per image, values 0-3, on the native grid."""
    from apical.batch import OutputFolder
    from apical.cli.mask_source import predicted
    from apical.cli.patients import each_study, keep_each
    from apical.files import refuse_inside
    from apical.segment import Segmenter

    if file_format not in ("mhd", "nii.gz", "png"):
        raise InputError(f"no format '{file_format}': choose mhd, nii.gz or png")
    spacing_mm = parse_spacing(spacing)
    for path in inputs:
        refuse_inside(output, path)
    source = predicted(Segmenter.load(model, runtime, threads, precision))
    job = {
        "inputs": [os.path.realpath(path) for path in inputs],
        **source.settings,
        "spacing_mm": spacing_mm,
        "format": file_format,
        "per_frame": per_frame,
        "overlay": overlay,
    }
    left_out = LeftOut()

    def make(study: Study, place: Path) -> Record:
        return _segment_study(study, source, place, file_format, per_frame=per_frame, overlay=overlay)

    with OutputFolder(output, job, record="segmentation.json", table="summary.csv", overwrite=overwrite) as folder:
        records = keep_each(each_study(inputs, left_out, spacing_mm), folder, left_out, make, source.made_of)
        rows = [row for record in records for row in record["images"]]
        summary = {**source.made_by, "patients": records, "left_out": left_out.items}
        folder.finish(rows, summary)
    if as_json:
        print_json(summary)
    say(f"{output}: {len(rows)} masks of {len(records)} patients, by {source.model} on {source.runtime}")
    exit_partial(left_out)


def _segment_study(
    study: Study, source: MaskSource, place: Path, file_format: str, *, per_frame: bool, overlay: bool
) -> Record:
    """Write one patient's masks, and return what is known of them."""
    if study.clips and file_format == "png" and not per_frame:
        clip = study.clips[0]
        raise InputError(
            f"{clip.source or clip.name}: a clip, and a PNG holds one frame; choose --format mhd or add --per-frame"
        )
    for item in study.items:
        if overlay and file_format == "png" and item.name.lower() == "overlay":
            raise InputError(
                f"{item.source or item.name}: its mask would be called as the overlay is; rename the image"
            )
    masks = source.predict(study)
    _write_masks(study, masks, place, file_format, per_frame=per_frame)
    if overlay:
        from apical.report.overlay import draw_overlay

        draw_overlay(study, masks, place / "overlay.png")
    return {
        "patient": study.patient.id,
        **source.made_by,
        "images": _image_records(study, masks),
        "notes": list(study.notes),
    }


def _write_masks(study: Study, masks: Segmentation, place: Path, file_format: str, *, per_frame: bool) -> None:
    from apical.report.masks import write_mask

    for item in study.items:
        if item.name not in masks:  # an expert's masks need not be of every image
            continue
        for name, mask in _files_of(item, masks[item.name], per_frame):
            write_mask(place / f"{name}.{file_format}", mask, item.grid)


def _files_of(item: Frame | Clip, mask: NDArray[np.uint8], per_frame: bool) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Names and masks of the files of one image; single frames are counted from 0, as in beats.csv."""
    if mask.ndim == 2 or not per_frame:
        yield item.name, mask
        return
    digits = max(3, len(str(len(mask) - 1)))
    for index, frame in enumerate(mask):
        yield f"{item.name}_f{index:0{digits}d}", frame


def _image_records(study: Study, masks: Any) -> list[dict[str, Any]]:
    from apical.anatomy import Label
    from apical.study import Frame

    rows = []
    for item in study.items:
        mask, (view, probability) = masks[item.name], masks.views.get(item.name, ("", None))
        row = {
            "patient": study.patient.id,
            "name": item.name,
            "view": str(item.view or view),
            "view_source": _view_source(item.view, probability),
            "phase": str((isinstance(item, Frame) and item.phase) or ""),
            "orientation": str(masks.orientations.get(item.name, "")),
            "images": len(mask) if mask.ndim == 3 else 1,
            "rows": item.grid.shape[0],
            "columns": item.grid.shape[1],
            "spacing_mm": " x ".join(f"{s:.6g}" for s in item.grid.spacing_mm) if item.grid.spacing_mm else "unknown",
        }
        row |= {f"{label.name.lower()}_pixels": int((mask == label).sum()) for label in Label if label}
        if doubt := masks.doubts.get(item.name):
            row |= {f"confidence_{structure}": round(c, 4) for structure, c in doubt.confidence.items()}
            row["unlike_training"] = round(doubt.unlike, 3)
        rows.append(row)
    return rows


def _view_source(view: View | None, probability: float | None) -> str:
    if view:
        return "name or tag"
    return "unknown" if probability is None else f"recognised in the image ({probability:.0%})"


def measure(
    inputs: Annotated[list[Path], typer.Argument(help="Patient folders, trees of patients, or stores.")],
    output: Output,
    masks: Annotated[
        str | None,
        typer.Option(
            help="Folder of masks in CAMUS names, or 'reference': the expert's beside the images (default: predicted)."
        ),
    ] = None,
    model: ModelName = DEFAULT,
    runtime: Runtime = "auto",
    precision: PrecisionOption = "float32",
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
        bool, typer.Option("--dicom", help="Write DICOM SEG, two SRs and PDF of what came from DICOM.")
    ] = False,
    save_masks: Annotated[
        bool, typer.Option("--save-masks", help="Write the masks that were measured, as `segment` does (mhd).")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Measure EDV, ESV, EF and the rest under both definitions, each with its status or the reason for its absence.

    Of clips, every complete beat is measured; the report shows the beat of median EF.
    """
    from apical.batch import OutputFolder
    from apical.cli.mask_source import mask_source
    from apical.cli.patients import each_study, keep_each, refuse_several, with_known
    from apical.cli.preload import READING_DICOM
    from apical.files import refuse_inside

    for library in ("av",) * film + ("highdicom",) * dicom:
        if find_spec(library) is None:
            raise InputError(f"{library} is not installed, which --film or --dicom needs: `pip install apical[clinic]`")
    spacing_mm, wanted = parse_spacing(spacing), parse_patients(patients)
    known = {k: v for k, v in (("sex", parse_sex(sex)), ("height_cm", height), ("weight_kg", weight)) if v is not None}
    refuse_several(inputs, wanted, known)
    for path in inputs:
        refuse_inside(output, path)
    source = mask_source(masks, model, runtime, precision, beside=READING_DICOM * dicom)
    job = {
        "inputs": [os.path.realpath(path) for path in inputs],
        "patients": patients,
        "from": masks if masks in (None, "reference") else os.path.realpath(masks),
        **source.settings,
        "spacing_mm": spacing_mm,
        "known": known,
        "report": report,
        "film": film,
        "dicom": dicom,
        "save_masks": save_masks,
    }
    left_out = LeftOut()

    def make(study: Study, place: Path) -> Record:
        study = with_known(study, known)
        return _measure_study(study, source, place, report=report, film=film, dicom=dicom, save_masks=save_masks)

    # DICOM objects take more than pixels from the files: whose they are, and which they refer to.
    made_of = partial(source.made_of, with_files=dicom)
    table = "measurements.csv"
    with OutputFolder(output, job, record="measurements.json", table=table, overwrite=overwrite) as folder:
        records = keep_each(each_study(inputs, left_out, spacing_mm, wanted), folder, left_out, make, made_of)
        rows = [row for record in records for row in record["rows"]]
        statuses = _statuses(records)
        summary = {**source.made_by, "statuses": statuses, "left_out": left_out.items}
        folder.finish(rows, summary)
    if as_json:
        print_json(summary | {"patients": records})
    for definition, counts in statuses.items():
        say(f"{definition}: " + ", ".join(f"{n} {status}" for status, n in counts.items()))
    say(f"{output}: {len(records)} patients; see {table}" + (" and each patient's report.html" if report else ""))
    exit_partial(left_out)


def _measure_study(
    study: Study, source: MaskSource, place: Path, *, report: bool, film: bool, dicom: bool, save_masks: bool
) -> Record:
    """Write one patient's report and objects, and return what was measured."""
    from apical.anatomy import Phase, View
    from apical.cli.preload import imported_beside, writing
    from apical.cycle.measured import summaries_dict
    from apical.report.tables import measurement_rows

    with imported_beside(writing(report=report, dicom=dicom)):
        masks = source.predict(study)
    study = study.with_views(masks.views)
    if save_masks:
        _write_masks(study, masks, place, "mhd", per_frame=False)
    stills_suffice = any(study.frame(view, Phase.ED) and study.frame(view, Phase.ES) for view in View)
    if study.clips and study.frames:
        measured_and_not = ("stills of ED and ES", "clips") if stills_suffice else ("clips", "stills")
        study = replace(study, notes=(*study.notes, "measured: the {}, not the {}".format(*measured_and_not)))
    if study.clips and not stills_suffice:
        of_beats = _measure_beats(study, masks, place, report=report, film=film, dicom=dicom)
        measured, beats = of_beats.measurements, of_beats.summaries
    else:
        measured, beats = _measure_frames(study, masks, place, report=report, dicom=dicom), None
    return {
        "rows": measurement_rows(measured, beats),
        **source.made_by,
        "notes": list(study.notes),
        **measured.as_dict(),
        "beats": None if beats is None else summaries_dict(beats),
    }


def _measure_beats(
    study: Study, masks: Segmentation, place: Path, *, report: bool, film: bool, dicom: bool
) -> ClipMeasurements:
    """Measure every beat of the clips."""
    from apical.cycle import measure_clips

    beats = measure_clips(study, masks)
    if report or film or dicom:
        from apical.report.clip_report import write_clip_report

        write_clip_report(study, masks, beats, place, report=report, film=film, dicom=dicom)
    return beats


def _measure_frames(study: Study, masks: Segmentation, place: Path, *, report: bool, dicom: bool) -> Measurements:
    """Measure the frames of ED and ES."""
    from apical.measure import measure as measure_frames

    measured = measure_frames(study, masks)
    if report:
        from apical.report import write_report

        write_report(study, masks, measured, place)
    if dicom:
        from apical.report import PDF
        from apical.report.dicom_objects import write_dicom_objects

        pdf = (place / PDF).read_bytes() if report else None
        write_dicom_objects(study, masks, measured, place, model=masks.model, maker=masks.maker, pdf=pdf)
    return measured


def _statuses(records: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for record in records:
        for definition, volumes in record["volumes"].items():
            of = counts.setdefault(definition, {})
            of[volumes["status"]] = of.get(volumes["status"], 0) + 1
    return counts


COMMANDS = (segment, measure)
