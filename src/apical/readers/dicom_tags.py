"""What the tags of an ultrasound object say: region, spacing, time, view and patient."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import View
from apical.readers.dicom_pixels import UnsuitableError
from apical.readers.names import parse_name
from apical.study import Patient, Region, Spacing, is_plausible_spacing

_TWO_DIMENSIONAL = 1
_TISSUE, _COLOUR_FLOW = 1, 2
_CENTIMETRES = 3
_PLAUSIBLE_HEART_RATE = (15.0, 300.0)
_VIEW_CODES = {
    # DICOM CID 12226 in SNOMED CT and in the older SRT codes.
    "399232001": View.A2C,
    "G-A19B": View.A2C,
    "399214001": View.A4C,
    "G-A19C": View.A4C,
}
_OTHER_VIEW = re.compile(
    r"parasternal|subcostal|suprasternal|transesophageal|short axis|apical long axis|(three|five|3|5)[- ]chamber", re.I
)
# The number belongs to the chambers: '2D apical four chamber' has a 2 as well.
_CHAMBERS = {
    View.A2C: re.compile(r"\b(two|2)[- ]?chamber", re.I),
    View.A4C: re.compile(r"\b(four|4)[- ]?chamber", re.I),
}
_VIEW_TEXTS = ("ViewName", "StageName", "SeriesDescription", "ProtocolName", "AcquisitionProtocolName", "ImageComments")
_AGE = re.compile(r"^(\d{1,3})([YMWD])$")
_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


def find_region(dataset: Any, shape: tuple[int, int]) -> tuple[Region | None, Spacing | None, list[str]]:
    """Return the tissue region, its (row, column) spacing in mm, and why one of them is missing.

    Raises
    ------
    UnsuitableError
        The regions are all M-mode, spectral or colour Doppler.
    """
    regions = [_region(item) for item in dataset.get("SequenceOfUltrasoundRegions") or ()]
    # A converter that knows a spacing and no more, such as GDCM, leaves a region that says not what it shows.
    regions = [r for r in regions if r["format"] > 0]
    if not regions:
        return None, None, ["no calibrated region in the file, spacing unknown"]
    two_d = [r for r in regions if r["format"] == _TWO_DIMENSIONAL]
    if not two_d:
        raise UnsuitableError(_source(dataset), "M-mode or spectral Doppler only, no two-dimensional picture")
    tissue = [r for r in two_d if r["type"] != _COLOUR_FLOW]
    if not tissue:
        raise UnsuitableError(_source(dataset), "colour Doppler only, no grey tissue picture")
    tissue = [r for r in tissue if r["type"] == _TISSUE] or tissue
    notes = [f"{len(tissue)} two-dimensional regions, the largest is read"] if len(tissue) > 1 else []
    largest = max(tissue, key=lambda r: (r["bottom"] - r["top"]) * (r["right"] - r["left"]))
    top, left, bottom, right = (largest[k] for k in ("top", "left", "bottom", "right"))
    # Some scanners state the end of the region as one past its last pixel.
    if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
        notes.append("its calibrated region does not fit into the image, which was resized: spacing unknown")
        return None, None, notes
    region = (top, left, min(bottom + 1, shape[0]), min(right + 1, shape[1]))
    if largest["units"] != (_CENTIMETRES, _CENTIMETRES):
        return region, None, [*notes, "the unit of its region is not cm, spacing unknown"]
    spacing = (abs(largest["delta"][0]) * 10.0, abs(largest["delta"][1]) * 10.0)
    if not is_plausible_spacing(spacing):
        notes.append(f"a pixel of {spacing[0]:g} x {spacing[1]:g} mm is not plausible, spacing unknown")
        return region, None, notes
    return region, spacing, notes


def frame_times(dataset: Any, n_frames: int) -> tuple[NDArray[np.float64] | None, str | None]:
    """Return the time of each frame in ms, from FrameTimeVector, FrameTime or CineRate."""
    vector = _numbers(dataset, "FrameTimeVector")
    if len(vector) == n_frames and all(v > 0 for v in vector[1:]):
        # The first increment is that of a frame before the first: it counts as 0.
        return np.concatenate([[0.0], np.cumsum(vector[1:])]).astype(np.float64), None
    interval = _number(dataset, "FrameTime")
    if interval is None or interval <= 0:
        rate = _number(dataset, "CineRate")
        interval = 1000.0 / rate if rate is not None and rate > 0 else None
    if interval is None:
        return None, "no frame time in the file"
    return np.arange(n_frames, dtype=np.float64) * interval, None


def heart_rate(dataset: Any) -> float | None:
    """Return beats per minute, or None; scanners write 0 where there was no ECG."""
    rate = _number(dataset, "HeartRate")
    return rate if rate is not None and _PLAUSIBLE_HEART_RATE[0] <= rate <= _PLAUSIBLE_HEART_RATE[1] else None


def refuse_other_view(dataset: Any) -> None:
    """Set aside what a view code names as another view; free text is not believed so far.

    Raises
    ------
    UnsuitableError
        The code means a view that is neither apical two- nor four-chamber.
    """
    for item in dataset.get("ViewCodeSequence") or ():
        if named := _OTHER_VIEW.search(str(item.get("CodeMeaning", ""))):
            reason = f"another view ({named[0].lower()}), not apical two- or four-chamber"
            raise UnsuitableError(_source(dataset), reason)


def view_of(dataset: Any) -> View | None:
    """Return the view that a code or a description states, or None."""
    for item in dataset.get("ViewCodeSequence") or ():
        code = str(item.get("CodeValue", ""))
        if code in _VIEW_CODES:
            return _VIEW_CODES[code]
        meaning = str(item.get("CodeMeaning", ""))
        if "apical" in meaning.lower():
            views = [view for view, words in _CHAMBERS.items() if words.search(meaning)]
            if len(views) == 1:
                return views[0]
    for keyword in _VIEW_TEXTS:
        text = re.sub(r"[/\\\s]+", "_", str(dataset.get(keyword) or ""))
        if text and (view := parse_name(Path(f"{text}.dcm")).view):
            return view
    return None


def read_patient(dataset: Any, label: str) -> Patient:
    """Return sex, age, height and weight; never a name, number or date."""
    sex = str(dataset.get("PatientSex") or "").strip().upper()
    age = _AGE.match(str(dataset.get("PatientAge") or "").strip().upper())
    height_m = _number(dataset, "PatientSize")
    weight = _number(dataset, "PatientWeight")
    return Patient(
        id=label,
        sex=sex if sex in ("F", "M") else None,
        age_years=int(age[1]) / _PER_YEAR[age[2]] if age else None,
        height_cm=height_m * 100.0 if height_m is not None and 0.3 <= height_m <= 2.5 else None,
        weight_kg=weight if weight is not None and 1.0 <= weight <= 400.0 else None,
    )


def _region(item: Any) -> dict[str, Any]:
    def whole(keyword: str) -> int:
        value = _number(item, keyword)
        return -1 if value is None else int(value)

    return {
        "format": whole("RegionSpatialFormat"),
        "type": whole("RegionDataType"),
        "top": whole("RegionLocationMinY0"),
        "left": whole("RegionLocationMinX0"),
        "bottom": whole("RegionLocationMaxY1"),
        "right": whole("RegionLocationMaxX1"),
        "units": (whole("PhysicalUnitsYDirection"), whole("PhysicalUnitsXDirection")),
        "delta": (_number(item, "PhysicalDeltaY") or 0.0, _number(item, "PhysicalDeltaX") or 0.0),
    }


def _numbers(dataset: Any, keyword: str) -> list[float]:
    """Return the finite values of an element, or none when it is absent, empty or damaged."""
    try:
        value = dataset.get(keyword)
        values = [float(v) for v in (value if hasattr(value, "__iter__") else [value])]
    except (TypeError, ValueError):
        return []
    return values if all(math.isfinite(v) for v in values) else []


def _number(dataset: Any, keyword: str) -> float | None:
    values = _numbers(dataset, keyword)
    return values[0] if values else None


def _source(dataset: Any) -> Path:
    return Path(getattr(dataset, "filename", None) or "DICOM object")
