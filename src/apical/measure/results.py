"""What a measurement is: numbers with their method, and a reason wherever there is no number.

Points are (row, column) in millimetres along the image axes, i.e. pixel index times spacing, with the
origin at the centre of the top-left pixel. Where the spacing is unknown the geometry stays in pixels
(unit spacing, ``in_mm`` False) and no millimetre or millilitre is ever reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Phase, View
from apical.calibration import EF, PredictionInterval
from apical.study import Patient, Spacing

Points = NDArray[np.float64]
"""(K, 2) points, (row, column), in mm."""


class Status(StrEnum):
    """How far a number can be believed."""

    MEASURED = "measured"
    CAUTION = "caution"
    REFUSED = "refused"


class Severity(StrEnum):
    """What a finding does to the measurement that it concerns."""

    NOTE = "note"
    CAUTION = "caution"
    REFUSAL = "refusal"


class Reason(StrEnum):
    """Code of a finding; stable, for programs."""

    NO_FRAME = "no_frame"
    NO_MASK = "no_mask"
    NO_LV = "no_lv"
    LV_TOO_SMALL = "lv_too_small"
    SEVERAL_COMPONENTS = "several_components"
    HOLES = "holes"
    NO_MYOCARDIUM = "no_myocardium"
    ANNULUS_NOT_FOUND = "annulus_not_found"
    ANNULUS_UNCERTAIN = "annulus_uncertain"
    IMPLAUSIBLE_SHAPE = "implausible_shape"
    CAVITY_CUT = "cavity_cut"
    WALL_CUT = "wall_cut"
    ATRIUM_CUT = "atrium_cut"
    NO_ATRIUM = "no_atrium"
    VIEWS_DISAGREE = "views_disagree"
    VIEWS_DIFFER_IN_EF = "views_differ_in_ef"
    SINGLE_PLANE = "single_plane"
    ED_ES_SWAPPED = "ed_es_swapped"
    IMPLAUSIBLE_VOLUME = "implausible_volume"
    SPACING_UNKNOWN = "spacing_unknown"
    NO_COMPLETE_VIEW = "no_complete_view"
    GRID_TOO_COARSE = "grid_too_coarse"
    MASK_REPAIRED = "mask_repaired"
    LOW_CONFIDENCE = "low_confidence"
    UNLIKE_TRAINING = "unlike_training"
    VIEW_RECOGNISED = "view_recognised"
    PICTURE_TURNED = "picture_turned"
    VIEW_UNKNOWN = "view_unknown"
    CLIP_NOT_USED = "clip_not_used"
    NO_BEATING = "no_beating"
    NO_COMPLETE_BEAT = "no_complete_beat"
    BEAT_REJECTED = "beat_rejected"
    BEATS_DIFFER = "beats_differ"
    BEATS_UNPAIRED = "beats_unpaired"
    NEIGHBOUR_FRAME = "neighbour_frame"
    FRAME_TIMES_UNKNOWN = "frame_times_unknown"
    HEART_RATES_DIFFER = "heart_rates_differ"
    MASKS_IMPLAUSIBLE = "masks_implausible"
    MASKS_UNSTABLE = "masks_unstable"


@dataclass(frozen=True)
class Finding:
    """One quality problem: a code for programs, one plain sentence for a person."""

    reason: Reason
    sentence: str
    severity: Severity
    view: View | None = None
    phase: Phase | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "reason": self.reason.value,
            "severity": self.severity.value,
            "view": self.view.value if self.view else None,
            "phase": self.phase.value if self.phase else None,
            "sentence": self.sentence,
        }


class VolumeDefinition(StrEnum):
    """Which definition of EDV, ESV and EF; the two differ by 8 EF points on the same contours."""

    ASE = "ase"
    CAMUS = "camus"


@dataclass(frozen=True, eq=False)
class DiskProfile:
    """Disks across the long axis, from the annulus (index 0) to the apex.

    Attributes
    ----------
    left_mm, right_mm
        (n_disks, 2) wall points of each disk, on the side of the first and of the second hinge point.
    diameters_mm
        (n_disks,) cavity width at mid-disk, perpendicular to the long axis.
    step_mm
        Height of one disk, long axis / n_disks.
    """

    left_mm: Points
    right_mm: Points
    diameters_mm: NDArray[np.float64]
    step_mm: float

    @property
    def n_disks(self) -> int:
        """Number of disks."""
        return len(self.diameters_mm)


@dataclass(frozen=True, eq=False)
class ViewGeometry:
    """Contours, landmarks and disks of the left ventricle in one view at one instant.

    Attributes
    ----------
    frame
        Name of the frame that was measured.
    spacing_mm
        (row, column) spacing that was used; (1, 1) where ``in_mm`` is False. ``point / spacing_mm`` is
        the pixel position to draw at.
    in_mm
        False where the spacing is unknown: every length of this object is then in pixels.
    endocardium_mm
        (K, 2) outline of the cavity from the first hinge point over the apex to the second; the straight
        line back, the annulus, closes it.
    epicardium_mm
        (K, 2) closed outline of cavity and myocardium together, or None without a myocardium.
    annulus_mm
        (2, 2) the hinge points, first the one with the smaller column.
    annulus_midpoint_mm, apex_mm
        (2,) the ends of the long axis.
    long_axis_mm
        Length of the long axis.
    disks
        The 20 disks.
    area_mm2
        Area of the cavity, closed by the annulus.
    endocardial_length_mm
        Length of the endocardium from hinge point over the apex to hinge point, base excluded.
    atrium_mm
        (K, 2) closed outline of the left atrium, or None.
    """

    view: View
    phase: Phase
    frame: str
    spacing_mm: Spacing
    in_mm: bool
    endocardium_mm: Points
    epicardium_mm: Points | None
    annulus_mm: Points
    annulus_midpoint_mm: NDArray[np.float64]
    apex_mm: NDArray[np.float64]
    long_axis_mm: float
    disks: DiskProfile
    area_mm2: float
    endocardial_length_mm: float
    atrium_mm: Points | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return landmarks and disks (no contours) as a JSON-ready dictionary, with their unit."""
        return {
            "frame": self.frame,
            "unit": "mm" if self.in_mm else "pixel",
            "annulus": _rounded(self.annulus_mm),
            "annulus_midpoint": _rounded(self.annulus_midpoint_mm),
            "apex": _rounded(self.apex_mm),
            "long_axis": _rounded(self.long_axis_mm),
            "area": _rounded(self.area_mm2),
            "endocardial_length": _rounded(self.endocardial_length_mm),
            "disk_diameters": _rounded(self.disks.diameters_mm),
        }


@dataclass(frozen=True)
class Reference:
    """Reference range of a number and the class it falls in (ASE/EACVI 2015).

    ``grade`` is one of normal, above normal, below normal, mild, moderate, severe.
    """

    range: str
    grade: str

    @property
    def is_normal(self) -> bool:
        """Whether the number lies inside its reference range."""
        return self.grade == "normal"


@dataclass(frozen=True)
class Quantity:
    """One number beside the volumes: its unit and method, or the reason why there is none.

    Exactly one of `value` and `reason` is given.
    """

    value: float | None
    unit: str
    label: str
    method: str
    reason: str | None = None
    reference: Reference | None = None
    caution: str | None = None

    def __post_init__(self) -> None:
        """Check that there is a finite number or a reason, never both and never neither."""
        if (self.value is None) != bool(self.reason) or (self.value is not None and not math.isfinite(self.value)):
            raise ValueError(f"{self.label}: a quantity is a finite number or the reason why there is none")

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "value": _rounded(self.value),
            "unit": self.unit,
            "label": self.label,
            "method": self.method,
            "reason": self.reason,
            "caution": self.caution,
            "reference_range": self.reference.range if self.reference else None,
            "grade": self.reference.grade if self.reference else None,
        }


@dataclass(frozen=True)
class Volumes:
    """EDV, ESV, EF and stroke volume under one definition; None where `findings` say why."""

    definition: VolumeDefinition
    method: str
    edv_ml: float | None
    esv_ml: float | None
    ef_percent: float | None
    sv_ml: float | None
    status: Status
    findings: tuple[Finding, ...]
    ef_reference: Reference | None = None
    """Only for `ase`: the reference ranges were not made for another definition."""
    intervals: Mapping[str, PredictionInterval] = field(default_factory=dict)
    """Of ef_percent, edv_ml and esv_ml, each an interval or the reason for its absence; empty before `measure` ends."""

    @property
    def ef_interval(self) -> PredictionInterval:
        """Interval of EF in percent, or the reason why there is none."""
        return self.intervals.get(EF) or PredictionInterval.absent("None was asked for.")

    @property
    def absent_because(self) -> str | None:
        """Sentences that say why a number is missing, or None when all are there."""
        if None not in (self.edv_ml, self.esv_ml, self.ef_percent):
            return None
        refusals = [f.sentence for f in self.findings if f.severity is Severity.REFUSAL]
        spacing = [f.sentence for f in self.findings if f.reason is Reason.SPACING_UNKNOWN]
        return " ".join(spacing or refusals) if self.ef_percent is not None else " ".join(refusals or spacing)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; absent numbers are None and `absent_because` says why."""
        return {
            "definition": self.definition.value,
            "method": self.method,
            "edv_ml": _rounded(self.edv_ml),
            "esv_ml": _rounded(self.esv_ml),
            "ef_percent": _rounded(self.ef_percent),
            "sv_ml": _rounded(self.sv_ml),
            "status": self.status.value,
            "absent_because": self.absent_because,
            "ef_reference_range": self.ef_reference.range if self.ef_reference else None,
            "ef_grade": self.ef_reference.grade if self.ef_reference else None,
            "intervals": {name: interval.as_dict() for name, interval in self.intervals.items()},
            "findings": [f.as_dict() for f in self.findings],
        }


@dataclass(frozen=True, eq=False)
class Measurements:
    """Everything that was measured on one study.

    Attributes
    ----------
    patient
        As in the study.
    volumes
        EDV, ESV and EF by definition, always both.
    geometry
        Contours, landmarks and disks by (view, phase), for those that could be found.
    quantities
        Everything else by name, the unit at the end of the name: `lv_mass_g`, `la_volume_disks_ml`,
        `contour_gls_percent` and so on. Every name is always there; a missing number has its reason.
    findings
        Every quality finding of the study.
    """

    patient: Patient
    volumes: Mapping[VolumeDefinition, Volumes]
    geometry: Mapping[tuple[View, Phase], ViewGeometry] = field(default_factory=dict)
    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def default(self) -> Volumes:
        """Volumes under the default definition, `ase`."""
        return self.volumes[VolumeDefinition.ASE]

    @property
    def edv_ml(self) -> float | None:
        """End-diastolic volume in mL (definition `ase`)."""
        return self.default.edv_ml

    @property
    def esv_ml(self) -> float | None:
        """End-systolic volume in mL (definition `ase`)."""
        return self.default.esv_ml

    @property
    def ef_percent(self) -> float | None:
        """Ejection fraction in percent (definition `ase`)."""
        return self.default.ef_percent

    @property
    def status(self) -> Status:
        """Status of the `ase` volumes."""
        return self.default.status

    def value(self, name: str) -> float | None:
        """Return the number called `name` in `quantities`, or None where there is a reason instead."""
        return self.quantities[name].value

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the contours as a JSON-ready dictionary."""
        return {
            "patient": self.patient.id,
            "default_definition": VolumeDefinition.ASE.value,
            "volumes": {d.value: v.as_dict() for d, v in self.volumes.items()},
            "quantities": {name: q.as_dict() for name, q in self.quantities.items()},
            "geometry": {f"{view}_{phase}": g.as_dict() for (view, phase), g in self.geometry.items()},
            "findings": [f.as_dict() for f in self.findings],
        }


def _rounded(value: Any) -> Any:
    """Return numbers and arrays as plain Python, to the micrometre: enough for any reader of a file."""
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        return np.round(value, 3).tolist()
    return round(float(value), 3)
