"""What a report says, in words and formatted numbers, before it becomes HTML or PDF."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import apical
from apical.anatomy import Phase, View
from apical.calibration import Calibration, PredictionInterval
from apical.measure.interval import with_intervals
from apical.measure.results import Measurements, Quantity, Reason, Severity, Status, VolumeDefinition, Volumes
from apical.report.beat_table import BeatTable
from apical.report.numbers import ABSENT, number
from apical.report.pictures import FramePicture, measured_picture, shown_box
from apical.study import Patient, Study

if TYPE_CHECKING:
    from apical.report.curve import ClipCurve

DISCLAIMER = "Research only. Not a medical device."

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
    """EDV, ESV, EF and stroke volume under one definition, with units; `remark` says why something is absent.

    `interval` gives the intervals with their method, or the reason why there is none for EF; empty without an EF.
    """

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
    interval: str

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
    beats: BeatTable | None = None
    """Of clips."""
    curves: tuple[ClipCurve, ...] = ()
    """Of clips."""


def report_content(
    study: Study,
    masks: Mapping[str, NDArray[np.uint8]],
    measurements: Measurements,
    date: str | None = None,
    beats: BeatTable | None = None,
    curves: Sequence[ClipCurve] = (),
) -> Content:
    """Put a report together; the same input gives the same report, so that `date` is only what is given.

    With `beats` the measurements are those of the beat of median EF.
    """
    sentences = {(f.severity, f.sentence): None for f in measurements.findings}
    return Content(
        patient=study.patient.id,
        facts=_facts(study, masks, date),
        headline=_headline(measurements, beats, getattr(masks, "calibration", None)),
        status=measurements.status,
        volumes=tuple(_summary(v) for v in measurements.volumes.values()),
        pictures=_pictures(study, masks, measurements),
        rows=tuple(_row(q) for q in measurements.quantities.values() if q.value is not None),
        absent=_absent(measurements),
        findings=tuple((s.value, text) for s in _SEVERITIES for severity, text in sentences if severity is s),
        notes=study.notes,
        glossary=tuple((d.value, text) for d, text in GLOSSARY.items()),
        footer=f"{DISCLAIMER} apical {apical.__version__}. {mask_source(masks)}.",
        beats=beats,
        curves=tuple(curves),
    )


def mask_source(masks: Mapping[str, NDArray[np.uint8]]) -> str:
    """Say in a few words who made the masks; a plain mapping does not tell."""
    model, runtime = getattr(masks, "model", ""), getattr(masks, "runtime", "")
    if not model:
        return "Masks as given, maker not recorded"
    return f"Masks by {model}" + (f" ({runtime})" if runtime else "")


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


def _headline(measurements: Measurements, beats: BeatTable | None, calibration: Calibration | None) -> str:
    ase = measurements.default
    words = STATUS_WORDS[ase.status]
    if ase.ef_percent is None:
        return f"{words}: no ejection fraction (definition ase)"
    summary = ""
    if beats is not None and beats.summary and beats.ef_percent is not None:
        summary = f", {beats.summary}"
        # The median of an even number of beats is the EF of none of them: it has an interval of its own.
        ase = with_intervals(replace(ase, ef_percent=beats.ef_percent), calibration)
    interval = f" ({ends})" if (ends := _ends(ase.ef_interval, "%")) else ""
    return f"{words}: EF {_ef(ase)}{interval} by {ase.method} (definition ase){summary}"


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
        interval=interval_text(volumes),
    )


def interval_text(volumes: Volumes) -> str:
    """Say where an expert's numbers lie, and how that is known, or why it is not; empty without an EF."""
    ef = volumes.ef_interval
    if volumes.ef_percent is None:
        return ""
    if ef.reason:
        return f"No interval of EF: {ef.reason}"
    known = [f"EF {_ends(ef, '%')}"]
    for name, label in (("edv_ml", "EDV"), ("esv_ml", "ESV")):
        if name in volumes.intervals and (ends := _range(volumes.intervals[name], "mL")):
            known.append(f"{label} {ends}")
    return f"{', '.join(known)}: {ef.method}."


def _ends(interval: PredictionInterval, unit: str) -> str:
    """Return '90 % interval 44 to 65 %', or nothing."""
    return f"{100 * (interval.level or 0):g} % interval {ends}" if (ends := _range(interval, unit)) else ""


def _range(interval: PredictionInterval, unit: str) -> str:
    """Return '44 to 65 %', rounded to the outside so that it holds no less, or nothing."""
    if interval.ends is None:
        return ""
    low, high = (round(end, 3) for end in interval.ends)  # whole numbers of `camus` stay what they are
    return f"{math.floor(low)} to {math.ceil(high)} {unit}"


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
    pictures = []
    for view in View:
        frames = [(phase, frame) for phase in Phase if (frame := study.frame(view, phase))]
        # Both instants at one scale: what shrinks must be seen to shrink.
        alike = len({frame.image.shape for _, frame in frames}) == 1
        shown = ((frame.image, masks.get(frame.name)) for _, frame in frames)
        region = next((frame.region for _, frame in frames), None)
        alike &= all(frame.region == region for _, frame in frames)
        box = shown_box(*shown, region=region) if alike else None
        for phase, frame in frames:
            geometry = measurements.geometry.get((view, phase))
            pictures.append(measured_picture(frame, masks.get(frame.name), geometry, box))
    return tuple(pictures)


def _facts(study: Study, masks: Mapping[str, NDArray[np.uint8]], date: str | None) -> tuple[tuple[str, str], ...]:
    shown = [f"{view} {phase}" for view in View for phase in Phase if study.frame(view, phase)]
    facts = [("Frames", ", ".join(shown) or "none with a known view and phase")]
    spacings = dict.fromkeys(item.grid.spacing_mm for item in study.items)
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
