"""The report of a study made of clips: its median beat as any other study, and each clip's curve and film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Phase
from apical.cycle import frame_volumes_ml
from apical.cycle.measured import ClipMeasurements
from apical.files import csv_text, make_folder, write_text
from apical.report import PDF, write_report
from apical.report.beat_table import beat_table
from apical.report.clip import FILM_SUFFIXES, curve_alone, draw_clip, write_clip_film
from apical.report.curve import ClipCurve
from apical.report.dicom_objects import write_dicom_objects
from apical.study import Maker, Segmentation, Study

BEATS = "beats.csv"


def write_clip_report(
    study: Study,
    masks: Mapping[str, NDArray[np.uint8]],
    result: ClipMeasurements,
    folder: Path,
    *,
    report: bool = True,
    film: bool = True,
    dicom: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write the report of the median beat, beats.csv, a curve and films per clip, and DICOM objects; return paths.

    Parameters
    ----------
    masks
        Labels 0-3, (time, row, column), by clip name.
    report
        Whether to write the report, beats.csv and the curves; without it there is no PDF object either.
    film
        Whether to write `CLIP.mp4` and `CLIP.gif`, which take the longest.
    dicom
        Whether to write DICOM SEG, SR and the encapsulated PDF of clips that came from DICOM.

    Raises
    ------
    OutputError
        As `write_report`, `write_clip_film` and `write_dicom_objects`.
    """
    beat = result.representative
    paths: list[Path] = []
    curves: list[ClipCurve] = []
    instants: dict[str, Mapping[Phase, int]] = {}
    for view, seen in result.views.items():
        clip = seen.clip
        if beat is not None and view in beat.beats:
            instants[clip.name] = beat.frames[view]
        drawn = (report or film) and clip.grid.spacing_mm
        volumes_ml = frame_volumes_ml(clip, masks[clip.name], view) if drawn else None
        if report:
            paths.append(make_folder(folder) / f"{clip.name}_curve.png")
            shown = instants.get(clip.name)
            draw_clip(seen, masks[clip.name], paths[-1], volumes_ml=volumes_ml, instants=shown, overwrite=overwrite)
            curves.append(ClipCurve(f"{view}, {clip.name}", seen, volumes_ml, curve_alone(paths[-1])))
        for suffix in FILM_SUFFIXES if film else ():
            paths.append(folder / f"{clip.name}{suffix}")
            write_clip_film(seen, masks[clip.name], paths[-1], volumes_ml=volumes_ml, overwrite=overwrite)
    if report:
        paths = _write_tables(study, masks, result, folder, curves, overwrite) + paths
    if dicom:
        viewed = tuple(replace(seen.clip, view=view) for view, seen in result.views.items())
        paths += write_dicom_objects(
            replace(study, clips=viewed),
            masks,
            result.measurements,
            folder,
            model=masks.model if isinstance(masks, Segmentation) else "",
            maker=masks.maker if isinstance(masks, Segmentation) else Maker.UNKNOWN,
            instants=instants,
            beats=result,
            pdf=(folder / PDF).read_bytes() if report else None,
            overwrite=overwrite,
        )
    return paths


def _write_tables(
    study: Study,
    masks: Mapping[str, NDArray[np.uint8]],
    result: ClipMeasurements,
    folder: Path,
    curves: Sequence[ClipCurve],
    overwrite: bool,
) -> list[Path]:
    """Write the report of the median beat, and beats.csv."""
    beat = result.representative
    if beat is None:
        shown, shown_masks = study, masks
    else:
        # Stills only: the clips have pictures of their own.
        shown, shown_masks = replace(beat.study, clips=(), notes=study.notes), beat.masks
    if isinstance(masks, Segmentation):
        shown_masks = replace(masks, masks=shown_masks)
    table = beat_table(result)
    paths = write_report(
        shown, shown_masks, result.measurements, folder, beats=table, curves=curves, overwrite=overwrite
    )
    if result.beats:
        paths.append(folder / BEATS)
        write_text(paths[-1], csv_text([b.as_row() for b in result.beats]), overwrite=overwrite)
    return paths
