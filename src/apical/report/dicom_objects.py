"""All DICOM objects of one analysed study: a segmentation per image or clip, two SRs, and the report's PDF."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.misc import is_dicom

from apical.anatomy import Phase
from apical.cycle.measured import ClipMeasurements
from apical.measure.results import Measurements
from apical.report.dicom_document import MeasuredImage
from apical.report.dicom_echo import write_dicom_echo
from apical.report.dicom_object import read_header
from apical.report.dicom_pdf import write_dicom_pdf
from apical.report.dicom_seg import write_dicom_seg
from apical.report.dicom_sr import write_dicom_sr
from apical.study import Clip, Frame, Maker, Study

SR, ECHO_SR, PDF = "measurements_sr.dcm", "echo_report_sr.dcm", "report_pdf.dcm"


def write_dicom_objects(
    study: Study,
    masks: Mapping[str, NDArray[np.uint8]],
    measurements: Measurements,
    folder: Path | str,
    *,
    model: str = "",
    maker: Maker | None = None,
    instants: Mapping[str, Mapping[Phase, int]] | None = None,
    beats: ClipMeasurements | None = None,
    pdf: bytes | None = None,
    stacked: bool = False,
    created: datetime | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write `NAME_seg.dcm` for every DICOM image with a mask, the SRs and the PDF; return their paths.

    What did not come from DICOM has nothing to refer to, and is left out; without any DICOM source nothing
    is written.

    Parameters
    ----------
    masks
        Labels 0-3 by frame or clip name, on the source's grid; a clip's has every frame.
    model
        Name of the model that made the masks; empty for an expert's.
    maker
        Who made them; by default a model where there is a name, else an expert. Only a model of ours is named.
    instants
        Zero-based frame of ED and ES by clip name, as measured.
    beats
        All beats of the clips, for the SRs.
    pdf
        Bytes of the report; no PDF object without them.
    stacked
        Whether segmentations of known spacing also get the geometry that 3D Slicer asks for.
    created
        As for `write_dicom_seg`.

    Raises
    ------
    InputError
        A source cannot be referred to, or is not on the grid of its mask.
    OutputError
        A file exists already, the folder cannot be written to, the sources are of several studies, or
        highdicom, which writes the SR, is not installed.
    """
    study = study.with_views(getattr(masks, "views", {}))
    folder = Path(folder)
    maker = maker or (Maker.MODEL if model else Maker.EXPERT)
    model = model if maker is Maker.MODEL else ""
    written: list[Path] = []
    measured: list[MeasuredImage] = []
    sources: list[Path] = []
    items: list[Frame | Clip] = [*study.frames, *study.clips]
    for item in items:
        if item.source is None or not is_dicom(item.source):
            continue
        sources.append(item.source)
        if item.view is not None and (frames := _instants(item, instants or {})):
            measured.append(MeasuredImage(read_header(item.source), item.view, frames))
        mask = masks.get(item.name)
        if mask is None or not mask.any():
            continue
        written.append(folder / f"{item.name}_seg.dcm")
        write_dicom_seg(
            written[-1],
            mask,
            item.source,
            algorithm=model or None,
            maker=maker,
            stacked_spacing_mm=item.grid.spacing_mm if stacked else None,
            created=created,
            overwrite=overwrite,
        )
    if measured:
        for name, write in ((SR, write_dicom_sr), (ECHO_SR, write_dicom_echo)):
            written.append(folder / name)
            write(written[-1], measurements, measured, beats=beats, model=model, created=created, overwrite=overwrite)
    if pdf is not None and sources:
        written.append(folder / PDF)
        write_dicom_pdf(written[-1], pdf, sources, created=created, overwrite=overwrite)
    return written


def _instants(item: Frame | Clip, instants: Mapping[str, Mapping[Phase, int]]) -> Mapping[Phase, int]:
    if isinstance(item, Clip):
        return instants.get(item.name, {})
    return {item.phase: 0} if item.phase is not None else {}
