"""Measurements as a DICOM Comprehensive SR, template TID 1500 (Measurement Report), by highdicom.

One measurement group per definition of the volumes, `ase` and `camus`, since the two give different
ejection fractions on the same contours; one more for everything else. Of clips these are of the beat of
median EF; every beat has groups of its own, and the medians over them with their spread have one more.
What could not be measured is no measurement: it stands among the qualitative evaluations, as text with
its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from apical import __version__
from apical.anatomy import Phase
from apical.cycle.measured import BeatSummary, ClipMeasurements, MeasuredBeat
from apical.measure.results import Measurements, Volumes
from apical.report import dicom_codes as codes
from apical.report.dicom_codes import Code, Coding
from apical.report.dicom_document import (
    MeasuredImage,
    coded,
    load_highdicom,
    new_document,
    observed_by_apical,
    source_image,
    volumes_sentence,
)
from apical.report.dicom_object import MANUFACTURER, derived_uid, save


def write_dicom_sr(
    path: Path | str,
    measurements: Measurements,
    images: Sequence[MeasuredImage],
    *,
    beats: ClipMeasurements | None = None,
    model: str = "",
    created: datetime | None = None,
    overwrite: bool = False,
) -> None:
    """Write the measurements of one study as a DICOM SR (TID 1500), unverified and preliminary.

    Parameters
    ----------
    path
        File to write, usually `.dcm`.
    measurements
        What was measured; absent numbers are written as text with their reason.
    images
        The images that it was measured on, of one study; at least one.
    beats
        All beats of the clips: each gets a group of its own volumes for each definition, and the medians and the
        spread over them one more.
    model
        Name of the model that made the masks.
    created
        Date and time of the content; by default the source's, so that the same input gives the same file.

    Raises
    ------
    InputError
        A source cannot be referred to.
    OutputError
        highdicom is not installed, no image was given or they are of several studies, a file exists already,
        or the folder cannot be written to.
    """
    hd = load_highdicom(path)
    of_beats = beats.as_dict() if beats else None
    document, sources = new_document(path, images, [measurements.as_dict(), of_beats, model], 1, created)
    document.CodingSchemeIdentificationSequence = [_private_scheme()]
    for element in _Report(hd, document.SOPInstanceUID, sources, model).content(measurements, beats)[0]:
        document[element.tag] = element
    save(path, document, overwrite=overwrite)


class _Report:
    """Builds the content tree; knows the images and how highdicom wants things said."""

    def __init__(self, hd: Any, uid: str, images: Sequence[tuple[Dataset, MeasuredImage]], model: str) -> None:
        self._hd, self._uid, self._images, self._model = hd, uid, images, model

    def content(self, measurements: Measurements, beats: ClipMeasurements | None) -> Any:
        """Return the root of the content tree."""
        sr = self._hd.sr
        groups = [self._volumes(volumes) for volumes in measurements.volumes.values()]
        groups.append(self._others(measurements))
        if beats is not None:
            groups += [self._medians(summary, beats) for summary in beats.summaries.values()]
            for number, beat in enumerate(beats.beats, start=1):
                groups += self._of_beat(number, beat)
        report = sr.MeasurementReport(
            observation_context=observed_by_apical(self._hd),
            procedure_reported=coded(codes.TRANSTHORACIC_ECHO),
            imaging_measurements=[g for g in groups if g is not None] or [self._group("none", "nothing", [])],
        )
        evaluations = sr.ContainerContentItem(
            name=coded(codes.QUALITATIVE_EVALUATIONS), relationship_type=sr.RelationshipTypeValues.CONTAINS
        )
        evaluations.ContentSequence = sr.ContentSequence(
            [
                sr.TextContentItem(coded(name), text, relationship_type=sr.RelationshipTypeValues.CONTAINS)
                for name, text in _texts(measurements)
            ]
        )
        report[0].ContentSequence.append(evaluations)
        return report

    def _volumes(self, volumes: Volumes, of: str = "") -> Any:
        measured = [
            self._measurement(value, unit, coding, volumes.method)
            for _, value, unit, coding in codes.volume_codings(volumes)
            if value is not None
        ]
        name = f"{of}{volumes.definition}"
        return self._group(name, f"{of}definition {volumes.definition}: {volumes.method}", measured)

    def _of_beat(self, number: int, beat: MeasuredBeat) -> list[Any]:
        """Return the groups of one beat's volumes, which refer to its own frames."""
        images = [
            (header, replace(image, frames=beat.frames[image.view]))
            for header, image in self._images
            if image.view in beat.frames
        ]
        of_beat = _Report(self._hd, self._uid, images, self._model)
        return [of_beat._volumes(volumes, f"beat {number}, ") for volumes in beat.measurements.volumes.values()]

    def _medians(self, summary: BeatSummary, beats: ClipMeasurements) -> Any:
        """Return the group of medians over the beats, with the spread of EF; None below two beats."""
        if summary.n_beats < 2:
            return None
        like = beats.measurements.volumes[summary.definition]
        medians = replace(like, edv_ml=summary.edv_ml, esv_ml=summary.esv_ml, ef_percent=summary.ef_percent, sv_ml=None)
        method = f"{like.method}; over {summary.n_beats} beats"
        measured = []
        for label, value, unit, coding in codes.volume_codings(medians):
            spread = zip(codes.SPREAD, (*(summary.ef_range_percent or ()), summary.ef_sd_points), strict=False)
            derived = [(codes.MEDIAN, value), *(spread if label == "EF" else ())]
            # Of all beats, so of the clip and no frames of it.
            whole = replace(coding, phases=())
            measured += [
                self._measurement(v, unit, whole, method, derivation) for derivation, v in derived if v is not None
            ]
        return self._group(f"median, {summary.definition}", method, measured)

    def _others(self, measurements: Measurements) -> Any:
        measured = []
        for name, quantity in measurements.quantities.items():
            coding = codes.quantity_coding(name, quantity)
            if quantity.value is not None and coding is not None:
                measured.append(self._measurement(quantity.value, quantity.unit, coding, quantity.method))
        return self._group("other", "geometry of the contours", measured)

    def _group(self, name: str, parameters: str, measured: list[Any]) -> Any:
        sr = self._hd.sr
        if not measured and name != "none":
            return None
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(uid=derived_uid(self._uid, name), identifier=f"apical {name}"),
            finding_sites=[sr.FindingSite(coded(codes.LEFT_VENTRICLE))],
            algorithm_id=self._algorithm(parameters),
            measurements=measured,
            source_images=[source_image(sr.SourceImageForMeasurementGroup, h, i, Phase) for h, i in self._images],
        )

    def _measurement(self, value: float, unit: str, coding: Coding, method: str, derivation: Code | None = None) -> Any:
        sr = self._hd.sr
        used = [
            (h, i)
            for h, i in self._images
            if coding.view in (None, i.view) and (derivation or any(p in i.frames for p in coding.phases))
        ]
        return sr.Measurement(
            name=coded(coding.name),
            value=round(value, 3),
            unit=coded(codes.UNITS[unit]),
            algorithm_id=self._algorithm(method) if method else None,
            derivation=coded(derivation) if derivation else None,
            finding_sites=[sr.FindingSite(coded(coding.site))] if coding.site else None,
            method=coded(coding.method) if coding.method else None,
            referenced_images=[source_image(sr.SourceImageForMeasurement, h, i, coding.phases) for h, i in used]
            or None,
        )

    def _algorithm(self, parameters: str) -> Any:
        name = f"apical, {self._model}" if self._model else "apical"
        return self._hd.sr.AlgorithmIdentification(name=name, version=__version__, parameters=[parameters])


def _texts(measurements: Measurements) -> list[tuple[Code, str]]:
    """Return status, findings and the reason of every absent number, as plain sentences."""
    texts = []
    for volumes in measurements.volumes.values():
        texts.append((codes.COMMENT, volumes_sentence(volumes)))
    for finding in measurements.findings:
        texts.append((codes.FINDING, f"{finding.severity.capitalize()}: {finding.sentence}"))
    for name, quantity in measurements.quantities.items():
        if quantity.value is None:
            texts.append((codes.COMMENT, f"{quantity.label}: not measured. {quantity.reason}"))
        elif codes.quantity_coding(name, quantity) is None:
            # No standard code fits it, and an invented one would tell a reader less than words.
            number = f"{quantity.value:.4g} {quantity.unit}".strip()
            texts.append((codes.COMMENT, f"{quantity.label}: {number}. {quantity.method}"))
        if quantity.caution:
            texts.append((codes.COMMENT, f"{quantity.label}, caution: {quantity.caution}"))
    return texts


def _private_scheme() -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = codes.PRIVATE_SCHEME
    item.CodingSchemeName = "Measurement methods of apical"
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
