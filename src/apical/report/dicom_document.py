"""What both SR documents share: the images they report on, patient and study, observer, and how codes are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from apical import __version__
from apical.anatomy import Phase, View
from apical.errors import OutputError
from apical.measure.results import Volumes
from apical.report.content import interval_text
from apical.report.dicom_codes import Code
from apical.report.dicom_object import (
    MANUFACTURER,
    ObjectKind,
    derived_uid,
    new_object,
    read_header,
    reference_item,
)

_KIND = ObjectKind("1.2.840.10008.5.1.4.1.1.88.33", "SR", 9002, "apical: measurements")
_INSTALL = "DICOM SR needs highdicom: install it with `pip install 'apical[clinic]'`"


@dataclass(frozen=True)
class MeasuredImage:
    """A DICOM image that was measured: its file or header, its view, and the zero-based frame of each instant.

    A single-frame image has the one instant that it shows, at frame 0.
    """

    source: Path | str | Dataset
    view: View
    frames: Mapping[Phase, int]

    def header(self) -> Dataset:
        """Return the tags of the image."""
        return self.source if isinstance(self.source, Dataset) else read_header(self.source)


def load_highdicom(path: Path | str) -> Any:
    """Return highdicom, which builds the content of an SR.

    Raises
    ------
    OutputError
        It is not installed.
    """
    try:
        import highdicom
    except ImportError as error:
        raise OutputError(f"{path}: {_INSTALL}") from error
    return highdicom


def new_document(
    path: Path | str, images: Sequence[MeasuredImage], said: Any, number: int, created: datetime | None
) -> tuple[Dataset, list[tuple[Dataset, MeasuredImage]]]:
    """Return an SR document without its content tree (PS3.3, C.17.2), and the header of every image beside it.

    highdicom's own document class would load its tables of the whole standard, and date everything by the clock.

    Parameters
    ----------
    said
        What the document will say, JSON-ready: with the images it decides the UIDs.
    number
        Number of the document in the series.

    Raises
    ------
    InputError
        A source cannot be referred to.
    OutputError
        No image was given, or they are of several studies.
    """
    headers = [image.header() for image in images]
    if len({h.StudyInstanceUID for h in headers}) != 1:
        raise OutputError(f"{path}: an SR reports on the images of one study; give one or more images of one")
    instants = [(h.SOPInstanceUID, i.view, sorted(i.frames.items())) for h, i in zip(headers, images, strict=True)]
    made = new_object(headers[0], _KIND, json.dumps([said, instants], sort_keys=True).encode(), created)
    made.InstanceCreationDate, made.InstanceCreationTime = made.ContentDate, made.ContentTime
    made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "PRELIMINARY"
    made.InstanceNumber = str(number)
    made.ReferencedPerformedProcedureStepSequence = []
    made.PerformedProcedureCodeSequence = []
    study = Dataset()
    study.StudyInstanceUID = made.StudyInstanceUID
    study.ReferencedSeriesSequence = []
    for series_uid in dict.fromkeys(h.SeriesInstanceUID for h in headers):
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        of_series = {h.SOPInstanceUID: h for h in headers if h.SeriesInstanceUID == series_uid}
        series.ReferencedSOPSequence = [reference_item(header) for header in of_series.values()]
        study.ReferencedSeriesSequence.append(series)
    made.CurrentRequestedProcedureEvidenceSequence = [study]
    return made, list(zip(headers, images, strict=True))


def observed_by_apical(hd: Any) -> Any:
    """Return the observation context (TID 1001): a device, this program."""
    sr = hd.sr
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("apical", __version__),
        name="apical",
        manufacturer_name=MANUFACTURER,
        model_name=f"apical {__version__}",
    )
    observer = sr.ObserverContext(coded(("121007", "DCM", "Device")), device)
    return sr.ObservationContext(observer_device_context=observer)


def volumes_sentence(volumes: Volumes) -> str:
    """Say how far volumes can be believed, by which method, and why what is missing is missing."""
    line = f"Volumes, definition {volumes.definition}: {volumes.status}; {volumes.method}."
    if volumes.ef_reference is not None:
        line += f" EF {volumes.ef_reference.grade}, reference range {volumes.ef_reference.range}."
    if interval := interval_text(volumes):
        line += f" {interval}"
    return f"{line} Absent: {volumes.absent_because}" if volumes.absent_because else line


def source_image(kind: Any, header: Dataset, image: MeasuredImage, phases: Iterable[Phase]) -> Any:
    """Return highdicom's item of `kind` that refers to an image, and in a clip to its frames of these instants."""
    frames = sorted({image.frames[p] + 1 for p in phases if p in image.frames})
    return kind(header.SOPClassUID, header.SOPInstanceUID, frames if "NumberOfFrames" in header and frames else None)


def coded(code: Code) -> Any:
    """Return a code as highdicom takes it."""
    from highdicom.sr import CodedConcept

    value, scheme, meaning = code
    return CodedConcept(value, scheme, meaning)
