"""Measurements as a DICOM Comprehensive SR, template TID 5200 (Echocardiography Procedure Report), by highdicom.

What echo reporting systems read: a section (TID 5202) each for left ventricle and left atrium, and in it one
measurement (TID 5203) per number: a general name (CID 12200, 12205), told apart by method, cardiac cycle point,
image view and derivation. Structure and codes are those of PS3.16 and of the example in PS3.2, N.10.2.

It says less than the SR of `dicom_sr`, on purpose:

- Only definition `ase`: no standard code names CAMUS's algorithm, and without one its EF would be taken for `ase`.
- No strain and no number per body surface: CID 12200 and 12205 have no names for them, and TID 5203 no index.
- No sphericity, no difference of the views' axes: no code is known for them.
- Of clips, the beat of median EF, and medians over the beats marked as such: TID 5203 has no place for a beat's number.

A number that was refused, or that rests on one, is absent; sentences at the end say why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from apical import __version__
from apical.anatomy import Phase, View
from apical.cycle.measured import ClipMeasurements
from apical.measure.results import Measurements
from apical.report import dicom_codes as codes
from apical.report.dicom_codes import Code
from apical.report.dicom_document import (
    MeasuredImage,
    coded,
    load_highdicom,
    new_document,
    observed_by_apical,
    source_image,
    volumes_sentence,
)
from apical.report.dicom_object import save

REPORT: Code = ("125200", "DCM", "Adult Echocardiography Procedure Report")
FINDINGS: Code = ("59776-5", "LN", "Findings")
MEASUREMENT_GROUP: Code = ("125007", "DCM", "Measurement Group")
IMAGE_MODE: Code = ("399264008", "SCT", "Image Mode")
TWO_D: Code = ("399064001", "SCT", "2D mode")
IMAGE_VIEW: Code = ("111031", "DCM", "Image View")
CYCLE_POINT: Code = ("272518008", "SCT", "Cardiac Cycle Point")
HEART_RATE: Code = ("8867-4", "LN", "Heart rate")
PHASES = {Phase.ED: ("416190007", "SCT", "End diastole"), Phase.ES: ("416430001", "SCT", "End Systole")}
"""CID 12233."""

_ATRIAL = ("la_volume_disks_ml", "la_volume_area_length_ml")
_EXPLAINED = ("lv_mass_g", *_ATRIAL)
"""Quantities of which a sentence says why they are absent, or what to mind."""


@dataclass(frozen=True)
class EchoMeasurement:
    """One number of the report; None where a modifier does not apply or, as biplane views, cannot be one code."""

    name: Code
    value: float
    unit: str
    method: Code | None = None
    phase: Phase | None = None
    view: View | None = None
    derivation: Code | None = None
    of_frames: bool = True
    """Whether it was taken from the frames of ED and ES that are reported, and not from the clip as a whole."""


def write_dicom_echo(
    path: Path | str,
    measurements: Measurements,
    images: Sequence[MeasuredImage],
    *,
    beats: ClipMeasurements | None = None,
    model: str = "",
    created: datetime | None = None,
    overwrite: bool = False,
) -> None:
    """Write the measurements of one study as a DICOM SR (TID 5200), unverified and preliminary.

    Parameters
    ----------
    path
        File to write, usually `.dcm`.
    measurements, images, beats, model, created
        As for `write_dicom_sr`; of beats, medians and heart rate are written.

    Raises
    ------
    InputError
        A source cannot be referred to.
    OutputError
        highdicom is not installed, no image was given or they are of several studies, a file exists already,
        or the folder cannot be written to.
    """
    hd = load_highdicom(path)
    sections = {
        codes.LEFT_VENTRICLE: list(ventricular(measurements, beats)),
        codes.LEFT_ATRIUM: list(atrial(measurements)),
    }
    texts = list(_texts(measurements, model))
    said = ["TID 5200", [[site, [vars(m) for m in found]] for site, found in sections.items()], texts]
    document, sources = new_document(path, images, said, 2, created)
    for element in _content(hd, sections, texts, sources):
        document[element.tag] = element
    save(path, document, overwrite=overwrite)


def ventricular(measurements: Measurements, beats: ClipMeasurements | None) -> Iterator[EchoMeasurement]:
    """Yield the numbers of the left ventricle, and the heart rate, which has no section of its own."""
    ase = measurements.default
    named = (
        (codes.EDV, ase.edv_ml, "mL", Phase.ED),
        (codes.ESV, ase.esv_ml, "mL", Phase.ES),
        (codes.EF, ase.ef_percent, "%", None),
        (codes.SV, ase.sv_ml, "mL", None),
        (codes.QUANTITIES["cardiac_output_l_min"].name, measurements.value("cardiac_output_l_min"), "L/min", None),
    )
    for name, value, unit, phase in named:
        if value is not None:
            yield EchoMeasurement(name, value, unit, _disks(ase.method, phase), phase, _view(ase.method, phase))
    if beats is not None and beats.summary.n_beats > 1:
        medians = (beats.summary.edv_ml, beats.summary.esv_ml, beats.summary.ef_percent)
        for (name, _, unit, phase), median in zip(named[:3], medians, strict=True):
            if median is not None:
                method, view = _disks(ase.method, phase), _view(ase.method, phase)
                yield EchoMeasurement(name, median, unit, method, phase, view, codes.MEDIAN, of_frames=False)
    # A second way to a number that was refused is no way around the refusal.
    for (key, (name, _)), (_, by_disks, unit, phase) in zip(codes.AREA_LENGTH.items(), named[:3], strict=True):
        quantity = measurements.quantities[key]
        if quantity.value is not None and by_disks is not None:
            view = _view(quantity.method, phase)
            yield EchoMeasurement(name, quantity.value, unit, _area_length(quantity.method, phase), phase, view)
    for key, phase, volume in (
        ("lv_length_ed_mm", Phase.ED, ase.edv_ml),
        ("lv_length_es_mm", Phase.ES, ase.esv_ml),
        ("lv_mass_g", Phase.ED, ase.edv_ml),
    ):
        quantity = measurements.quantities[key]
        if quantity.value is not None and volume is not None:
            # CID 12232 has no method of an apical mass by disks: a sentence tells it.
            view = _view(quantity.method, phase)
            yield EchoMeasurement(codes.QUANTITIES[key].name, quantity.value, quantity.unit, None, phase, view)
    yield from _heart_rates(beats)


def atrial(measurements: Measurements) -> Iterator[EchoMeasurement]:
    """Yield the volumes of the left atrium at end-systole."""
    for key, method_of in zip(_ATRIAL, (_disks, _area_length), strict=True):
        quantity = measurements.quantities[key]
        if quantity.value is not None:
            method, view = method_of(quantity.method, Phase.ES), _view(quantity.method, Phase.ES)
            yield EchoMeasurement(codes.LA_VOLUME, quantity.value, quantity.unit, method, Phase.ES, view)


def _disks(method: str, phase: Phase | None) -> Code | None:
    return _by_plane(method, phase, codes.DISKS_BIPLANE, codes.DISKS_SINGLE)


def _area_length(method: str, phase: Phase | None) -> Code | None:
    return _by_plane(method, phase, codes.AREA_LENGTH_BIPLANE, codes.AREA_LENGTH_SINGLE)


def _by_plane(method: str, phase: Phase | None, biplane: Code, single: Code) -> Code | None:
    """Return the code of the planes used; None of biplane at one instant and single plane at the other."""
    plane = codes.plane_of(method, phase)
    return biplane if plane is None else single if isinstance(plane, View) else None


def _view(method: str, phase: Phase | None) -> View | None:
    plane = codes.plane_of(method, phase)
    return plane if isinstance(plane, View) else None


def _heart_rates(beats: ClipMeasurements | None) -> Iterator[EchoMeasurement]:
    """Yield each clip's heart rate: of the beat that is reported, and the median of the beats that count."""
    shown = beats.representative if beats is not None else None
    for view, beat in shown.beats.items() if shown is not None else ():
        if beat.duration_ms:
            yield EchoMeasurement(HEART_RATE, 60_000 / beat.duration_ms, "beats/min", view=view, of_frames=False)
    for view, seen in beats.views.items() if beats is not None else ():
        durations = [b.duration_ms for b in seen.cycle.good_beats if b.duration_ms]
        if len(durations) > 1:
            median = 60_000 / float(np.median(durations))
            yield EchoMeasurement(HEART_RATE, median, "beats/min", view=view, derivation=codes.MEDIAN, of_frames=False)


def _texts(measurements: Measurements, model: str) -> Iterator[tuple[Code, str]]:
    """Yield who made the masks, how far the numbers can be believed, and why some are absent."""
    yield codes.COMMENT, f"apical {__version__}{f', masks by {model}' if model else ''}. Not a medical device."
    yield codes.COMMENT, volumes_sentence(measurements.default)
    for finding in measurements.findings:
        yield codes.FINDING, f"{finding.severity.capitalize()}: {finding.sentence}"
    for key in _EXPLAINED:
        quantity = measurements.quantities[key]
        if quantity.value is None:
            yield codes.COMMENT, f"{quantity.label}: not measured. {quantity.reason}"
        elif quantity.caution or key == "lv_mass_g":
            yield codes.COMMENT, f"{quantity.label}: {quantity.method}. {quantity.caution or ''}".strip()


def _content(
    hd: Any,
    sections: dict[Code, list[EchoMeasurement]],
    texts: Sequence[tuple[Code, str]],
    sources: Sequence[tuple[Dataset, MeasuredImage]],
) -> Dataset:
    """Return the root of the content tree; a section without a number is left out (TID 5202 asks for one)."""
    sr = hd.sr
    inside = sr.RelationshipTypeValues.CONTAINS
    english = coded(("en-US", "RFC5646", "English (United States)"))
    root = sr.ContainerContentItem(coded(REPORT), is_content_continuous=False, template_id="5200")
    root.ContentSequence = sr.ContentSequence(sr.LanguageOfContentItemAndDescendants(english))
    root.ContentSequence.extend(observed_by_apical(hd))
    for site, found in sections.items():
        if not found:
            continue
        group = sr.ContainerContentItem(coded(MEASUREMENT_GROUP), False, None, inside)
        group.ContentSequence = sr.ContentSequence([_modifier(sr, IMAGE_MODE, TWO_D)])
        for measurement in found:
            group.ContentSequence.extend(_measurement(sr, measurement, sources))
        section = sr.ContainerContentItem(coded(FINDINGS), False, "5202", inside)
        section.ContentSequence = sr.ContentSequence([sr.FindingSite(coded(site)), group])
        root.ContentSequence.append(section)
    root.ContentSequence.extend(sr.TextContentItem(coded(name), text, inside) for name, text in texts)
    return root  # type: ignore[no-any-return]


def _measurement(sr: Any, measurement: EchoMeasurement, sources: Sequence[tuple[Dataset, MeasuredImage]]) -> Any:
    """Return TID 5203: TID 300 with the instant and the view."""
    phases = tuple(Phase) if measurement.phase is None else (measurement.phase,)
    used = [
        source_image(sr.SourceImageForMeasurement, header, image, phases if measurement.of_frames else ())
        for header, image in sources
        if measurement.view in (None, image.view) and any(p in image.frames for p in phases)
    ]
    made = sr.Measurement(
        name=coded(measurement.name),
        value=round(measurement.value, 3),
        unit=coded(codes.UNITS[measurement.unit]),
        derivation=coded(measurement.derivation) if measurement.derivation else None,
        method=coded(measurement.method) if measurement.method else None,
        referenced_images=used or None,
    )
    modifiers = []
    if measurement.phase is not None:
        modifiers.append(_modifier(sr, CYCLE_POINT, PHASES[measurement.phase]))
    if measurement.view is not None:
        context = sr.RelationshipTypeValues.HAS_ACQ_CONTEXT
        modifiers.append(sr.CodeContentItem(coded(IMAGE_VIEW), coded(codes.VIEWS[measurement.view]), context))
    if modifiers:
        made[0].ContentSequence = sr.ContentSequence([*made[0].get("ContentSequence", ()), *modifiers])
    return made


def _modifier(sr: Any, name: Code, value: Code) -> Any:
    return sr.CodeContentItem(coded(name), coded(value), sr.RelationshipTypeValues.HAS_CONCEPT_MOD)
