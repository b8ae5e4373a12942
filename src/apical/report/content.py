"""What a report says, in words and formatted numbers, before it becomes HTML or PDF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import apical
from apical.anatomy import Phase, View
from apical.measure.results import Measurements, Quantity, Reason, Severity, Status, VolumeDefinition, Volumes
from apical.report.pictures import FramePicture, measured_picture
from apical.study import Patient, Study

DISCLAIMER = "Research only. Not a medical device."
ABSENT = "–"

GLOSSARY: Mapping[VolumeDefinition, str] = {
    VolumeDefinition.ASE: "method of disks of the American Society of Echocardiography (Lang et al. 2015, "
    "doi:10.1016/j.echo.2014.10.003): at each instant, 20 disks along the longer of the two long axes. "
    "Reference ranges (ASE/EACVI 2015) hold for this definition alone.",
    VolumeDefinition.CAMUS: "algorithm distributed with the CAMUS data set (Leclerc et al. 2019, "
    "doi:10.1109/TMI.2019.2900516), for comparing with figures published on it: ED and ES share one disk height, the "
    "largest, so that its ESV is larger and its EF about 8 points lower. Compare EF within one definition only.",
}

STATUS_WORDS: Mapping[Status, str] = {
    Status.MEASURED: "Measured",
    Status.CAUTION: "Measured with caution",
    Status.REFUSED: "Refused",
}
_SEVERITIES = (Severity.REFUSAL, Severity.CAUTION, Severity.NOTE)


@dataclass(frozen=True)
class VolumeSummary:
    """EDV, ESV, EF and stroke volume under one definition, with units; `remark` says why something is absent."""

    definition: str
    status: Status
    status_words: str
    ef: str
    edv: str
    esv: str
    sv: str
    method: str
    remark: str
    reference: str
    grade: str

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """(name, value) of the volumes."""
        return ("EDV", self.edv), ("ESV", self.esv), ("SV", self.sv)


@dataclass(frozen=True)
class Row:
    """One line of the table of measurements; `remark` is a caution, or empty."""

    label: str
    value: str
    unit: str
    method: str
    reference: str
    grade: str
    remark: str


@dataclass(frozen=True, eq=False)
class Content:
    """All that a report says; nothing here is escaped yet."""

    patient: str
    facts: tuple[tuple[str, str], ...]
    headline: str
    status: Status
    volumes: tuple[VolumeSummary, ...]
    pictures: tuple[FramePicture, ...]
    rows: tuple[Row, ...]
    absent: tuple[tuple[str, str], ...]
    """(names, reason) of the numbers that are missing for the same reason."""
    findings: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    glossary: tuple[tuple[str, str], ...]
    footer: str


def report_content(
    study: Study, masks: Mapping[str, NDArray[np.uint8]], measurements: Measurements, date: str | None = None
) -> Content:
    """Put a report together; the same input gives the same report, so that `date` is only what is given."""
    sentences = {(f.severity, f.sentence): None for f in measurements.findings}
    return Content(
        patient=study.patient.id,
        facts=_facts(study, masks, date),
        headline=_headline(measurements),
        status=measurements.status,
        volumes=tuple(_summary(v) for v in measurements.volumes.values()),
        pictures=_pictures(study, masks, measurements),
        rows=tuple(_row(q) for q in measurements.quantities.values() if q.value is not None),
        absent=_absent(measurements),
        findings=tuple((s.value, text) for s in _SEVERITIES for severity, text in sentences if severity is s),
        notes=study.notes,
        glossary=tuple((d.value, text) for d, text in GLOSSARY.items()),
        footer=f"{DISCLAIMER} apical {apical.__version__}. {mask_source(masks)}.",
    )


def mask_source(masks: Mapping[str, NDArray[np.uint8]]) -> str:
    """Say in a few words who made the masks; a plain mapping does not tell."""
    model, runtime = getattr(masks, "model", ""), getattr(masks, "runtime", "")
    if not model:
        return "Masks as given, maker not recorded"
    return f"Masks by {model}" + (f" ({runtime})" if runtime else "")


def number(value: float | None) -> str:
    """Return a number with three significant digits, whole from 100 on, or a dash where there is none.

    Examples
    --------
    >>> number(63.249), number(122.69), number(0.3904), number(None)
    ('63.2', '123', '0.390', '–')
    """
    if value is None:
        return ABSENT
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{decimals}f}".replace("-", "−")


def printable(text: str, limit: int | None = None) -> str:
    """Return text that matplotlib's own font can show on one line, a box for every other character.

    Examples
    --------
    >>> printable("Ä1\\n心")
    'Ä1□□'
    """
    shown = "".join(c if _in_font(c) else "□" for c in text)
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


def _in_font(character: str) -> bool:
    """Tell whether DejaVu Sans surely has it: Latin, Greek, Cyrillic, general punctuation and a few signs."""
    code = ord(character)
    return character.isprintable() and (code < 0x530 or 0x2010 <= code < 0x2060 or character in "≈≤≥−")


def _headline(measurements: Measurements) -> str:
    ase = measurements.default
    words = STATUS_WORDS[ase.status]
    if ase.ef_percent is None:
        return f"{words}: no ejection fraction (definition ase)"
    return f"{words}: EF {_ef(ase)} by {ase.method} (definition ase)"


def _summary(volumes: Volumes) -> VolumeSummary:
    return VolumeSummary(
        definition=volumes.definition.value,
        status=volumes.status,
        status_words=STATUS_WORDS[volumes.status],
        ef=_ef(volumes),
        edv=_ml(volumes.edv_ml, volumes),
        esv=_ml(volumes.esv_ml, volumes),
        sv=_ml(volumes.sv_ml, volumes),
        method=volumes.method,
        remark=volumes.absent_because or "",
        reference=volumes.ef_reference.range if volumes.ef_reference else "",
        grade=volumes.ef_reference.grade if volumes.ef_reference else "",
    )


def _ef(volumes: Volumes) -> str:
    if volumes.ef_percent is None:
        return ABSENT
    # Without spacing the pixels' shape is unknown too, and EF is only about right.
    about = "≈ " if any(f.reason is Reason.SPACING_UNKNOWN for f in volumes.findings) else ""
    decimals = 1 if volumes.definition is VolumeDefinition.ASE else 0
    return f"{about}{volumes.ef_percent:.{decimals}f} %"


def _ml(value: float | None, volumes: Volumes) -> str:
    if value is None:
        return ABSENT
    # The CAMUS algorithm gives whole numbers: digits after the point would pretend more.
    return f"{number(value) if volumes.definition is VolumeDefinition.ASE else f'{value:.0f}'} mL"


def _row(quantity: Quantity) -> Row:
    return Row(
        label=quantity.label,
        value=number(quantity.value),
        unit=quantity.unit,
        method=quantity.method,
        reference=quantity.reference.range if quantity.reference else "",
        grade=quantity.reference.grade if quantity.reference else "",
        remark=quantity.caution or "",
    )


def _absent(measurements: Measurements) -> tuple[tuple[str, str], ...]:
    labels: dict[str, list[str]] = {}
    for quantity in measurements.quantities.values():
        if quantity.reason:
            labels.setdefault(quantity.reason, []).append(quantity.label)
    return tuple(("; ".join(names), reason) for reason, names in labels.items())


def _pictures(
    study: Study, masks: Mapping[str, NDArray[np.uint8]], measurements: Measurements
) -> tuple[FramePicture, ...]:
    keys = [(view, phase) for view in View for phase in Phase]
    return tuple(
        measured_picture(frame, masks.get(frame.name), measurements.geometry.get(key))
        for key in keys
        if (frame := study.frame(*key))
    )


def _facts(study: Study, masks: Mapping[str, NDArray[np.uint8]], date: str | None) -> tuple[tuple[str, str], ...]:
    shown = [f"{view} {phase}" for view in View for phase in Phase if study.frame(view, phase)]
    facts = [("Frames", ", ".join(shown) or "none with a known view and phase")]
    spacings = dict.fromkeys(f.grid.spacing_mm for f in study.frames)
    pixels = "; ".join(f"{s[0]:.3f} × {s[1]:.3f} mm" if s else "size unknown" for s in spacings)
    facts.append(("Pixel (row × column)", pixels or ABSENT))
    facts += _person(study.patient)
    if study.patient.image_quality:
        facts.append(("Image quality", ", ".join(f"{view} {q}" for view, q in study.patient.image_quality.items())))
    facts.append(("Masks", mask_source(masks).removeprefix("Masks ")))
    return tuple(facts + ([("Date", date)] if date else []))


def _person(patient: Patient) -> list[tuple[str, str]]:
    known = [
        patient.sex,
        None if patient.age_years is None else f"{patient.age_years:.0f} years",
        None if patient.height_cm is None else f"{patient.height_cm:.0f} cm",
        None if patient.weight_kg is None else f"{patient.weight_kg:.0f} kg",
    ]
    text = ", ".join(filter(None, known))
    return [("Patient", text)] if text else []
