"""Codes by which an echo report names what apical measures.

Volumes and ejection fraction have a code for each plane (DICOM CID 12300, core echo measurements, as in
TID 5300). Numbers that no such code fits exactly, those of the CAMUS definition among them, take the
general code of CID 12201-12205 and tell their method beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from apical.anatomy import Phase, View
from apical.measure.results import Quantity, VolumeDefinition, Volumes

Code = tuple[str, str, str]
"""(value, coding scheme, meaning)."""

PRIVATE_SCHEME = "99APICAL"

LEFT_VENTRICLE: Code = ("87878005", "SCT", "Left ventricle")
LEFT_ATRIUM: Code = ("82471001", "SCT", "Left atrium")
VIEWS: Mapping[View, Code] = {
    View.A2C: ("399232001", "SCT", "Apical two chamber"),
    View.A4C: ("399214001", "SCT", "Apical four chamber"),
}
"""CID 12226."""
TRANSTHORACIC_ECHO: Code = ("433236007", "SCT", "Transthoracic echocardiography")
FINDING: Code = ("121071", "DCM", "Finding")
COMMENT: Code = ("121106", "DCM", "Comment")
QUALITATIVE_EVALUATIONS: Code = ("C0034375", "UMLS", "Qualitative Evaluations")

MEDIAN: Code = ("373099004", "SCT", "Median")
SPREAD: tuple[Code, ...] = (
    ("255605001", "SCT", "Minimum"),
    ("56851009", "SCT", "Maximum"),
    ("386136009", "SCT", "Standard Deviation"),
)
"""CID 7464: how a number was derived from several."""

_ENDOCARDIAL: Code = ("130683", "DCM", "Endocardial Method")
DISKS_BIPLANE: Code = ("125207", "DCM", "Method of Disks, Biplane")
DISKS_SINGLE: Code = ("125208", "DCM", "Method of Disks, Single Plane")
AREA_LENGTH_BIPLANE: Code = ("125204", "DCM", "Area-Length Biplane")
AREA_LENGTH_SINGLE: Code = ("125205", "DCM", "Area-Length Single Plane")
_CAMUS_BIPLANE: Code = ("camus-biplane", PRIVATE_SCHEME, "CAMUS method of disks, biplane")
_CAMUS_SINGLE: Code = ("camus-single-plane", PRIVATE_SCHEME, "CAMUS method of disks, single plane")

UNITS: Mapping[str, Code] = {
    "mL": ("mL", "UCUM", "milliliter"),
    "mm": ("mm", "UCUM", "millimeter"),
    "g": ("g", "UCUM", "gram"),
    "%": ("%", "UCUM", "percent"),
    "L/min": ("L/min", "UCUM", "liter per minute"),
    "m²": ("m2", "UCUM", "square meter"),
    "mL/m²": ("mL/m2", "UCUM", "milliliter per square meter"),
    "g/m²": ("g/m2", "UCUM", "gram per square meter"),
    "beats/min": ("{H.B.}/min", "UCUM", "BPM"),
}
"""UCUM code by the unit of a `Quantity`."""

Plane = View | None
"""The view of a single-plane volume; None is biplane."""

EDV: Code = ("18026-5", "LN", "Left Ventricular End Diastolic Volume")
ESV: Code = ("18148-7", "LN", "Left Ventricular End Systolic Volume")
EF: Code = ("18043-0", "LN", "Left Ventricular Ejection Fraction by US")
SV: Code = ("90096001", "SCT", "Stroke Volume")

_BY_PLANE: Mapping[Code, Mapping[Plane, Code]] = {
    EDV: {
        None: ("79996-5", "LN", "Left ventricular end diastolic volume biplane (MOD)"),
        View.A2C: ("79998-1", "LN", "Left ventricular end diastolic volume single plane 2C (MOD)"),
        View.A4C: ("79999-9", "LN", "Left ventricular end diastolic volume single plane 4C (MOD)"),
    },
    ESV: {
        None: ("80001-1", "LN", "Left ventricular end systolic volume biplane (MOD)"),
        View.A2C: ("80003-7", "LN", "Left ventricular end systolic volume single plane 2C (MOD)"),
        View.A4C: ("80004-5", "LN", "Left ventricular end systolic volume single plane 4C (MOD)"),
    },
    EF: {
        None: ("79991-6", "LN", "Left ventricular ejection fraction biplane (MOD)"),
        View.A2C: ("79992-4", "LN", "Left ventricular ejection fraction single plane 2C (MOD)"),
        View.A4C: ("79993-2", "LN", "Left ventricular ejection fraction single plane 4C (MOD)"),
    },
}
_LA_DISKS: Mapping[Plane, Code] = {
    None: ("79983-3", "LN", "Left atrial end systolic volume biplane (MOD)"),
    View.A2C: ("79985-8", "LN", "Left atrial end systolic volume single plane 2C (MOD)"),
    View.A4C: ("79986-6", "LN", "Left atrial end systolic volume single plane 4C (MOD)"),
}
LA_VOLUME: Code = ("399235004", "SCT", "Left Atrium Systolic Volume")
_LA_AREA_LENGTH: Code = ("79981-7", "LN", "Left atrial end systolic volume biplane (area-length)")


@dataclass(frozen=True)
class Coding:
    """How one number is coded: its name, method and site, and the instants and the view it was taken from."""

    name: Code
    method: Code | None = None
    site: Code | None = LEFT_VENTRICLE
    phases: tuple[Phase, ...] = tuple(Phase)
    view: View | None = None
    """None where it is of both views, or of whichever there are."""


QUANTITIES: Mapping[str, Coding] = {
    "lv_length_ed_mm": Coding(("18077-8", "LN", "Left Ventricle diastolic major axis"), phases=(Phase.ED,)),
    "lv_length_es_mm": Coding(("18076-0", "LN", "Left Ventricle systolic major axis"), phases=(Phase.ES,)),
    "lv_mass_g": Coding(("18087-7", "LN", "Left Ventricle Mass"), phases=(Phase.ED,)),
    "cardiac_output_l_min": Coding(("82799009", "SCT", "Cardiac Output")),
    "contour_gls_2ch_percent": Coding(
        ("130688", "DCM", "LV End-systolic GLS 2CH (Endocardial)"), _ENDOCARDIAL, view=View.A2C
    ),
    "contour_gls_4ch_percent": Coding(
        ("130687", "DCM", "LV End-systolic GLS 4CH (Endocardial)"), _ENDOCARDIAL, view=View.A4C
    ),
    "bsa_m2": Coding(("8277-6", "LN", "Body Surface Area"), site=None, phases=()),
}
_GLS_MEAN = Coding(("130686", "DCM", "LV End-systolic GLS Multiview Mean (Endocardial)"), _ENDOCARDIAL)
_INDEX_BIPLANE: Mapping[str, Coding] = {
    "edv_index_ml_m2": Coding(
        ("79997-3", "LN", "Left ventricular end diastolic volume biplane (MOD) / BSA"),
        DISKS_BIPLANE,
        phases=(Phase.ED,),
    ),
    "esv_index_ml_m2": Coding(
        ("80002-9", "LN", "Left ventricular end systolic volume biplane (MOD) / BSA"),
        DISKS_BIPLANE,
        phases=(Phase.ES,),
    ),
    "la_volume_index_ml_m2": Coding(
        ("79984-1", "LN", "Left atrial end systolic volume biplane (MOD) / BSA"),
        DISKS_BIPLANE,
        LEFT_ATRIUM,
        (Phase.ES,),
    ),
}
AREA_LENGTH: Mapping[str, tuple[Code, tuple[Phase, ...]]] = {
    "area_length_edv_ml": (EDV, (Phase.ED,)),
    "area_length_esv_ml": (ESV, (Phase.ES,)),
    "area_length_ef_percent": (EF, tuple(Phase)),
}


def plane_of(method: str, phase: Phase | None = None) -> Plane | str:
    """Return the plane that a measurement's method names: None for biplane, a view, or "mixed".

    Where the method names a plane for each instant, it is that of `phase`.

    >>> plane_of("single plane (4CH) method of disks, ASE 2015")
    <View.A4C: '4CH'>
    """
    at_ed, each, at_es = method.partition(" at ED, ")
    if each and phase is not None:
        method = f"{at_ed} " if phase is Phase.ED else at_es
    elif each:
        return "mixed"
    if method.startswith("biplane "):
        return None
    match = re.match(r"single plane \((\w+)\) ", method)
    return View(match[1]) if match else "mixed"


def _view(plane: Plane | str) -> View | None:
    return plane if isinstance(plane, View) else None


def volume_codings(volumes: Volumes) -> tuple[tuple[str, float | None, str, Coding], ...]:
    """Return label, value, unit and coding of EDV, ESV, EF and stroke volume."""
    camus = volumes.definition is VolumeDefinition.CAMUS
    methods = (_CAMUS_BIPLANE, _CAMUS_SINGLE) if camus else (DISKS_BIPLANE, DISKS_SINGLE)

    def coding(general: Code, phase: Phase | None = None) -> Coding:
        plane = plane_of(volumes.method, phase)
        exact = _BY_PLANE.get(general, {}) if not camus and plane != "mixed" else {}
        name = exact.get(plane, general)  # type: ignore[arg-type]
        return Coding(name, methods[plane is not None], phases=(phase,) if phase else tuple(Phase), view=_view(plane))

    return (
        ("EDV", volumes.edv_ml, "mL", coding(EDV, Phase.ED)),
        ("ESV", volumes.esv_ml, "mL", coding(ESV, Phase.ES)),
        ("EF", volumes.ef_percent, "%", coding(EF)),
        ("Stroke volume", volumes.sv_ml, "mL", coding(SV)),
    )


def quantity_coding(name: str, quantity: Quantity) -> Coding | None:
    """Return the coding of a quantity by its name in `Measurements.quantities`, or None where no code fits it."""
    area_length, phases = AREA_LENGTH.get(name, (None, ()))
    plane = plane_of(quantity.method, phases[0] if len(phases) == 1 else None)
    biplane, at_es, view = plane is None, (Phase.ES,), _view(plane)
    if name == "contour_gls_percent":
        # The code speaks of several views; one view's strain stands under that view already.
        return None if quantity.caution else _GLS_MEAN
    if name in QUANTITIES:
        return QUANTITIES[name]
    if plane == "mixed":
        return None
    if area_length is not None:
        return Coding(area_length, AREA_LENGTH_BIPLANE if biplane else AREA_LENGTH_SINGLE, phases=phases, view=view)
    if name == "la_volume_disks_ml":
        return Coding(_LA_DISKS[plane], DISKS_BIPLANE if biplane else DISKS_SINGLE, LEFT_ATRIUM, at_es, view)  # type: ignore[index]
    if name == "la_volume_area_length_ml":
        if biplane:
            return Coding(_LA_AREA_LENGTH, AREA_LENGTH_BIPLANE, LEFT_ATRIUM, at_es)
        return Coding(LA_VOLUME, AREA_LENGTH_SINGLE, LEFT_ATRIUM, at_es, view)
    return _INDEX_BIPLANE.get(name) if biplane else None
