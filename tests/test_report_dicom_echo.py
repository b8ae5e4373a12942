"""DICOM SR by TID 5200: valid, read back exactly by three programs, and no refused number in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sr import _concepts_dict

from apical import measure
from apical.anatomy import Phase, View
from apical.cycle import measure_clips
from apical.cycle.measured import ClipMeasurements
from apical.errors import OutputError
from apical.measure.results import Measurements, Status, VolumeDefinition
from apical.phantom import as_clip_study, make_beating
from apical.report.dicom_codes import PRIVATE_SCHEME, plane_of
from apical.report.dicom_document import MeasuredImage
from apical.report.dicom_echo import write_dicom_echo
from apical.report.dicom_sr import write_dicom_sr
from apical.study import Patient, Spacing
from dicom_checks import dciodvfy_errors, dsrdump_text, ultrasound_dataset
from measure_hearts import examination, heart_masks

hd = pytest.importorskip("highdicom", reason="DICOM SR needs the optional extra `clinic`")

REAL_CLIP = Path(str(get_testdata_file("examples_ybr_color.dcm")))
IMAGES = [MeasuredImage(REAL_CLIP, View.A4C, {Phase.ED: 0, Phase.ES: 11})]
ED, ES = "416190007", "416430001"
LV, LA = "87878005", "82471001"
TWO_CHAMBER, FOUR_CHAMBER = "399232001", "399214001"
MEDIAN = "373099004"
Key = tuple[str, str, str, str, str, str]
"""Codes of finding site, name, method, cardiac cycle point, view and derivation."""


def measured(views: tuple[View, ...] = tuple(View), spacing_mm: Spacing | None = (0.5, 0.5)) -> Measurements:
    masks = {key: mask for key, mask in heart_masks().items() if key[0] in views}
    study, named = examination(masks, spacing_mm, Patient("p", height_cm=170.0, weight_kg=70.0))
    return measure(study, named)


@pytest.fixture(scope="module")
def beats() -> ClipMeasurements:
    phantom = make_beating(4, heart_rate_bpm=80, frame_rate_hz=25, n_beats=3, rhythm="irregular", spacing_mm=(1.2, 1.2))
    study = as_clip_study(phantom, with_images=False)
    return measure_clips(study, {c.name: c.reference for c in study.clips if c.reference is not None})


def clip_images(beats: ClipMeasurements) -> list[MeasuredImage]:
    assert beats.representative is not None
    return [
        MeasuredImage(ultrasound_dataset(np.zeros((99, 8, 8), np.uint8), number=k), view, frames)
        for k, (view, frames) in enumerate(beats.representative.frames.items(), start=1)
    ]


def code_of(item: Dataset, keyword: str) -> str:
    return str(item[keyword].value[0].CodeValue)


def modifiers(item: Dataset) -> dict[str, str]:
    children = item.get("ContentSequence") or []
    return {
        code_of(c, "ConceptNameCodeSequence"): code_of(c, "ConceptCodeSequence")
        for c in children
        if c.ValueType == "CODE"
    }


def groups(path: Path) -> Iterator[tuple[str, Dataset]]:
    """Yield finding site and measurement group of every section, checking the structure of TID 5200 and 5202."""
    root = pydicom.dcmread(path)
    assert code_of(root, "ConceptNameCodeSequence") == "125200"
    template = root.ContentTemplateSequence[0]
    assert (template.MappingResource, template.TemplateIdentifier) == ("DCMR", "5200")
    for section in root.ContentSequence:
        if section.ValueType != "CONTAINER":
            continue
        assert code_of(section, "ConceptNameCodeSequence") == "59776-5"
        site, *inside = section.ContentSequence
        assert (site.RelationshipType, code_of(site, "ConceptNameCodeSequence")) == ("HAS CONCEPT MOD", "363698007")
        for group in inside:
            assert code_of(group, "ConceptNameCodeSequence") == "125007"
            assert modifiers(group) == {"399264008": "399064001"}
            yield code_of(site, "ConceptCodeSequence"), group


def numbers(path: Path) -> dict[Key, tuple[float, str]]:
    found: dict[Key, tuple[float, str]] = {}
    for site, group in groups(path):
        for item in (i for i in group.ContentSequence if i.ValueType == "NUM"):
            m = modifiers(item)
            view = next((c for c in item.get("ContentSequence", []) if c.RelationshipType == "HAS ACQ CONTEXT"), None)
            assert view is None or code_of(view, "ConceptNameCodeSequence") == "111031"
            key = (
                site,
                code_of(item, "ConceptNameCodeSequence"),
                m.get("370129005", ""),
                m.get("272518008", ""),
                m.get("111031", ""),
                m.get("121401", ""),
            )
            assert key not in found, "two numbers that nothing tells apart"
            value = item.MeasuredValueSequence[0]
            found[key] = float(value.NumericValue), code_of(value, "MeasurementUnitsCodeSequence")
    return found


def texts(path: Path) -> list[str]:
    children = pydicom.dcmread(path).ContentSequence
    return [c.TextValue for c in children if c.ValueType == "TEXT" and c.RelationshipType == "CONTAINS"]


def biplane_numbers(result: Measurements) -> dict[Key, tuple[float | None, str]]:
    disks, area_length = "125207", "125204"
    value = result.value
    return {
        (LV, "18026-5", disks, ED, "", ""): (result.edv_ml, "mL"),
        (LV, "18148-7", disks, ES, "", ""): (result.esv_ml, "mL"),
        (LV, "18043-0", disks, "", "", ""): (result.ef_percent, "%"),
        (LV, "90096001", disks, "", "", ""): (result.default.sv_ml, "mL"),
        (LV, "18026-5", area_length, ED, "", ""): (value("area_length_edv_ml"), "mL"),
        (LV, "18148-7", area_length, ES, "", ""): (value("area_length_esv_ml"), "mL"),
        (LV, "18043-0", area_length, "", "", ""): (value("area_length_ef_percent"), "%"),
        (LV, "18077-8", "", ED, "", ""): (value("lv_length_ed_mm"), "mm"),
        (LV, "18076-0", "", ES, "", ""): (value("lv_length_es_mm"), "mm"),
        (LV, "18087-7", "", ED, "", ""): (value("lv_mass_g"), "g"),
        (LA, "399235004", disks, ES, "", ""): (value("la_volume_disks_ml"), "mL"),
        (LA, "399235004", area_length, ES, "", ""): (value("la_volume_area_length_ml"), "mL"),
    }


def rounded(expected: dict[Key, tuple[float | None, str]]) -> dict[Key, tuple[float, str]]:
    return {key: (round(value, 3), unit) for key, (value, unit) in expected.items() if value is not None}


def test_biplane_numbers_come_back_exactly_and_nothing_else(tmp_path: Path) -> None:
    result, path = measured(), tmp_path / "sr.dcm"
    write_dicom_echo(path, result, IMAGES, model="unet")
    assert dciodvfy_errors(path) == []
    assert len(numbers(path)) == 12
    assert numbers(path) == rounded(biplane_numbers(result))
    assert any("masks by unet" in text for text in texts(path))


def test_highdicom_and_dcmtk_read_the_same(tmp_path: Path, beats: ClipMeasurements) -> None:
    path = tmp_path / "sr.dcm"
    write_dicom_echo(path, beats.measurements, clip_images(beats), beats=beats)
    found = numbers(path)
    by_highdicom = []

    def walk(items: Any) -> None:
        for item in items:
            if isinstance(item, hd.sr.NumContentItem):
                by_highdicom.append((item.name.value, item.value, item.unit.value))
            walk(item.get("ContentSequence", ()))

    walk(hd.sr.srread(path).content)
    expected = [(key[1], *value) for key, value in found.items()]
    assert by_highdicom == expected
    dumped = re.findall(r'NUM:\(([^,]+),(\w+),"[^"]*"\)="([\d.]+)" \(([^,]+),UCUM', dsrdump_text(path))
    assert [(code, float(value), unit) for code, _, value, unit in dumped] == expected


def test_one_view_is_named(tmp_path: Path) -> None:
    result, path = measured((View.A4C,)), tmp_path / "sr.dcm"
    write_dicom_echo(path, result, IMAGES)
    assert dciodvfy_errors(path) == []
    read = numbers(path)
    assert read[LV, "18043-0", "125208", "", FOUR_CHAMBER, ""] == (round(result.ef_percent or 0, 3), "%")
    assert read[LA, "399235004", "125205", ES, FOUR_CHAMBER, ""][1] == "mL"
    mass = read[LV, "18087-7", "", ED, FOUR_CHAMBER, ""]
    assert mass == (round(result.value("lv_mass_g") or 0, 3), "g")
    assert {key[2] for key in read} == {"125208", "125205", ""}
    assert any(t.startswith("Caution: Only 4CH could be used") for t in texts(path))
    assert any(t.startswith("LV mass at ED: single plane (4CH) apical estimate") for t in texts(path))
    assert 'has acq context CODE:(111031,DCM,"Image View")=(399214001,SCT' in dsrdump_text(path)


def test_medians_and_heart_rates_of_a_clip(tmp_path: Path, beats: ClipMeasurements) -> None:
    path = tmp_path / "sr.dcm"
    write_dicom_echo(path, beats.measurements, clip_images(beats), beats=beats)
    assert dciodvfy_errors(path) == []
    read, summary, shown = numbers(path), beats.summary, beats.representative
    assert summary.n_beats == 3
    assert shown is not None
    expected = biplane_numbers(beats.measurements)
    expected[LV, "82799009", "125207", "", "", ""] = beats.measurements.value("cardiac_output_l_min"), "L/min"
    expected[LV, "18026-5", "125207", ED, "", MEDIAN] = summary.edv_ml, "mL"
    expected[LV, "18148-7", "125207", ES, "", MEDIAN] = summary.esv_ml, "mL"
    expected[LV, "18043-0", "125207", "", "", MEDIAN] = summary.ef_percent, "%"
    for view, code in ((View.A2C, TWO_CHAMBER), (View.A4C, FOUR_CHAMBER)):
        expected[LV, "8867-4", "", "", code, ""] = 60_000 / (shown.beats[view].duration_ms or 1), "{H.B.}/min"
        expected[LV, "8867-4", "", "", code, MEDIAN] = beats.views[view].cycle.heart_rate_bpm, "{H.B.}/min"
    assert read == rounded(expected)


def test_every_number_refers_to_its_own_frames(tmp_path: Path, beats: ClipMeasurements) -> None:
    path = tmp_path / "sr.dcm"
    images = clip_images(beats)
    write_dicom_echo(path, beats.measurements, images, beats=beats)
    (_, ventricle), _ = groups(path)
    for item in (i for i in ventricle.ContentSequence if i.ValueType == "NUM"):
        m = modifiers(item)
        used = [c.ReferencedSOPSequence[0] for c in item.ContentSequence if c.ValueType == "IMAGE"]
        seen = [i for i in images if m.get("111031") in (None, {"2CH": TWO_CHAMBER, "4CH": FOUR_CHAMBER}[i.view])]
        assert [u.ReferencedSOPInstanceUID for u in used] == [i.header().SOPInstanceUID for i in seen]
        phases = {ED: (Phase.ED,), ES: (Phase.ES,)}.get(m.get("272518008", ""), tuple(Phase))
        for reference, image in zip(used, seen, strict=True):
            if "121401" in m or code_of(item, "ConceptNameCodeSequence") == "8867-4":
                assert "ReferencedFrameNumber" not in reference, "medians and rates are of the whole clip"
                continue
            frames = np.atleast_1d(reference.ReferencedFrameNumber).tolist()
            assert frames == sorted(image.frames[p] + 1 for p in phases)


def test_what_was_refused_is_no_number_by_any_way(tmp_path: Path) -> None:
    """Area-length, length and mass of a ventricle that was refused rest on the same outline."""
    result, path = measured(), tmp_path / "sr.dcm"
    refused = replace(
        result.default, edv_ml=None, esv_ml=None, ef_percent=None, sv_ml=None, status=Status.REFUSED, findings=()
    )
    quantities = dict(result.quantities)
    for name in ("cardiac_output_l_min", "la_volume_disks_ml", "la_volume_area_length_ml"):
        quantities[name] = replace(quantities[name], value=None, reason="There is no ventricle.")
    result = replace(result, volumes={**result.volumes, VolumeDefinition.ASE: refused}, quantities=quantities)
    assert result.value("area_length_ef_percent") is not None
    write_dicom_echo(path, result, IMAGES)
    assert dciodvfy_errors(path) == []
    assert numbers(path) == {}
    assert "LA volume at ES, disks: not measured. There is no ventricle." in texts(path)
    assert any(t.startswith("Volumes, definition ase: refused") for t in texts(path))


def test_a_study_without_any_number_says_why(tmp_path: Path) -> None:
    path = tmp_path / "sr.dcm"
    write_dicom_echo(path, measured(()), IMAGES)
    assert dciodvfy_errors(path) == []
    assert numbers(path) == {}
    assert any("refused" in t for t in texts(path))


def test_without_spacing_there_is_no_millilitre(tmp_path: Path) -> None:
    path = tmp_path / "sr.dcm"
    write_dicom_echo(path, measured(spacing_mm=None), IMAGES)
    assert {unit for _, unit in numbers(path).values()} == {"%"}
    assert any(t.startswith("LV mass at ED: not measured. The pixel spacing is unknown") for t in texts(path))


def test_instants_of_different_planes_are_coded_each_by_its_own(tmp_path: Path) -> None:
    masks = heart_masks()
    del masks[View.A2C, Phase.ES]
    masks.pop((View.A4C, Phase.ED))
    study, named = examination(masks, (0.5, 0.5), Patient("p"))
    result, path = measure(study, named), tmp_path / "sr.dcm"
    write_dicom_echo(path, result, IMAGES)
    read = numbers(path)
    assert read[LV, "18026-5", "125208", ED, TWO_CHAMBER, ""] == (round(result.edv_ml or 0, 3), "mL")
    assert read[LV, "18148-7", "125208", ES, FOUR_CHAMBER, ""] == (round(result.esv_ml or 0, 3), "mL")
    assert not any(key[1] == "18043-0" for key in read)
    method = "biplane at ED, single plane (4CH) at ES method of disks, ASE 2015"
    assert [plane_of(method, phase) for phase in (*Phase, None)] == [None, View.A4C, "mixed"]


def test_every_code_is_in_the_standards_dictionary(tmp_path: Path, beats: ClipMeasurements) -> None:
    """Values and schemes as pydicom took them from PS3.16; what it has no list of is named here."""
    path = tmp_path / "sr.dcm"
    write_dicom_echo(path, beats.measurements, clip_images(beats), beats=beats)
    known = {
        (scheme, value)
        for scheme, concepts in _concepts_dict.concepts.items()
        for values in concepts.values()
        for value in values
    }
    # UCUM is a grammar, RFC 5646 a registry of languages.
    outside = {("UCUM", "{H.B.}/min"), ("RFC5646", "en-US")}
    used = set()
    for element in pydicom.dcmread(path).iterall():
        if element.keyword == "CodeValue":
            continue
        if element.VR == "SQ" and element.keyword.endswith("CodeSequence"):
            used |= {(item.CodingSchemeDesignator, item.CodeValue) for item in element.value}
    assert len(used) > 20
    assert PRIVATE_SCHEME not in {scheme for scheme, _ in used}
    assert {code for code in used if code[0] != "UCUM"} - known <= outside


def test_patient_document_and_uid_are_those_of_the_study(tmp_path: Path, beats: ClipMeasurements) -> None:
    paths = [tmp_path / "a.dcm", tmp_path / "b.dcm", tmp_path / "1500.dcm"]
    for path, write in zip(paths, (write_dicom_echo, write_dicom_echo, write_dicom_sr), strict=True):
        write(path, beats.measurements, clip_images(beats), beats=beats)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    echo, other = pydicom.dcmread(paths[0]), pydicom.dcmread(paths[2])
    header = {e.tag for e in echo if e.VR != "SQ"}
    assert header <= {e.tag for e in other}, "nothing of the patient that the other report does not tell"
    assert echo.SOPInstanceUID != other.SOPInstanceUID
    assert echo.SeriesInstanceUID == other.SeriesInstanceUID
    assert (echo.InstanceNumber, other.InstanceNumber) == (2, 1)
    evidence = echo.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert [r.ReferencedSOPInstanceUID for r in evidence.ReferencedSOPSequence] == ["1.2.3.4.1", "1.2.3.4.2"]
    with pytest.raises(OutputError, match="exists already"):
        write_dicom_echo(paths[0], beats.measurements, clip_images(beats))
    with pytest.raises(OutputError, match="one study"):
        write_dicom_echo(tmp_path / "c.dcm", beats.measurements, [])
