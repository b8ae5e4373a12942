"""The report in words, as JSON and as a table: nothing absent without its reason, nothing without its definition."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator, ValidationError

from apical.anatomy import Phase, View
from apical.calibration import Calibration, ErrorBound
from apical.files import csv_text
from apical.measure import Status, VolumeDefinition, measure
from apical.measure.quantities import LABELS
from apical.phantom import as_study, make_patient
from apical.report.beat_table import BeatTable
from apical.report.content import mask_source, number, printable, report_content
from apical.report.html import html_report
from apical.report.json_report import json_report
from apical.report.tables import OF_ASE_VOLUMES, measurement_rows
from apical.study import Patient, Segmentation, Study


@pytest.fixture(scope="module")
def study() -> Study:
    found = as_study(make_patient(5, edv_ml=120.0, ef_percent=60.0), with_images=False)
    return replace(found, patient=replace(found.patient, sex="F", height_cm=170.0, weight_kg=65.0))


@pytest.fixture(scope="module")
def masks(study: Study) -> Segmentation:
    return Segmentation(study.references, "test-model", "Runtime 1.0, float32")


@pytest.fixture(scope="module")
def unspaced(study: Study) -> Study:
    frames = tuple(replace(f, grid=replace(f.grid, spacing_mm=None)) for f in study.frames)
    return replace(study, frames=frames)


@pytest.fixture(scope="module")
def valid() -> Callable[[str], None]:
    path = Path(__file__).parents[1] / "docs" / "report.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return lambda text: Draft202012Validator(schema).validate(json.loads(text))


def refused(study: Study) -> dict[str, np.ndarray]:
    """No cavity anywhere."""
    return {name: np.zeros_like(mask) for name, mask in study.references.items()}


def test_every_ejection_fraction_stands_beside_its_definition(study: Study, masks: Segmentation) -> None:
    content = report_content(study, masks, measure(study, masks))
    assert [v.definition for v in content.volumes] == ["ase", "camus"]
    assert "EF 60." in content.headline
    assert "(definition ase)" in content.headline
    assert content.volumes[0].reference == "54-74 %"
    assert content.volumes[0].grade == "normal"
    assert content.volumes[1].reference == "", "the ranges were not made for camus"


def calibrated(masks: Segmentation, method: str) -> Segmentation:
    bounds = (ErrorBound(method, "ef_percent", 50, 8.0), ErrorBound(method, "edv_ml", 50, 0.2))
    return replace(masks, calibration=Calibration(0.9, "CAMUS", (), bounds))


def test_the_interval_stands_beside_the_ef_or_its_absence_is_explained(study: Study, masks: Segmentation) -> None:
    method = measure(study, masks).default.method
    known = calibrated(masks, method)
    content = report_content(study, known, measure(study, known))
    ase, camus = content.volumes
    low, high = re.search(r"EF 60\.\d % \(90 % interval (\d+) to (\d+) %\) by biplane", content.headline).groups()
    ef = measure(study, masks).ef_percent
    assert (int(low), int(high)) == (math.floor(ef - 8), math.ceil(ef + 8)), "rounded to the outside"
    assert ase.interval.startswith(f"EF 90 % interval {low} to {high} %, EDV ")
    assert ase.interval.endswith(" mL: split conformal, 50 patients of CAMUS.")
    assert "ESV" not in ase.interval
    assert camus.interval.startswith("No interval of EF: No unseen patient was measured by the same method")
    html = html_report(report_content(study, known, measure(study, known)))
    assert ase.interval in html
    plain = report_content(study, masks, measure(study, masks))
    assert "interval" not in plain.headline
    assert "do not come from a model" in plain.volumes[0].interval
    gone = refused(study)
    assert report_content(study, gone, measure(study, gone)).volumes[0].interval == ""


def test_the_interval_of_the_headline_is_around_the_median_that_it_shows(study: Study, masks: Segmentation) -> None:
    known = calibrated(masks, measure(study, masks).default.method)
    result = measure(study, known)
    # An even number of beats: the measurements are those of the lower of the middle two.
    beats = BeatTable((), result.ef_percent + 10.0, "median of 2 beats", "")
    content = report_content(study, known, result, beats=beats)
    shown, low, high = re.search(r"EF (70\.\d) % \(90 % interval (\d+) to (\d+) %\)", content.headline).groups()
    assert float(shown) == pytest.approx(beats.ef_percent, abs=0.05)
    assert (int(low), int(high)) == (math.floor(beats.ef_percent - 8), math.ceil(beats.ef_percent + 8))
    own = f"interval {math.floor(result.ef_percent - 8)} to {math.ceil(result.ef_percent + 8)} %"
    assert own in content.volumes[0].interval, "the card is of the beat shown"
    unknown = report_content(study, study.references, result, beats=beats)
    assert "interval" not in unknown.headline, "without the calibration there is none around the median"


def test_intervals_are_in_json_and_table(study: Study, masks: Segmentation, valid: Callable[[str], None]) -> None:
    known = calibrated(masks, measure(study, masks).default.method)
    result = measure(study, known)
    text = json_report(study, known, result)
    valid(text)
    ef = json.loads(text)["measurements"]["volumes"]["ase"]["intervals"]["ef_percent"]
    assert ef["level"] == 0.9
    assert (ef["low"] + ef["high"]) / 2 == pytest.approx(result.ef_percent, abs=0.01)
    ase, camus = measurement_rows(result)
    assert (ase["ef_interval_low_percent"], ase["ef_interval_high_percent"]) == (ef["low"], ef["high"])
    assert (ase["esv_interval_low_ml"], ase["interval_method"]) == (None, "split conformal, 50 patients of CAMUS")
    assert camus["ef_interval_low_percent"] is None
    assert "same method" in camus["ef_interval_absent_because"]
    broken = text.replace('"level": 0.9', '"level": null', 1)
    with pytest.raises(ValidationError):
        valid(broken)


def test_camus_is_written_in_whole_numbers(study: Study, masks: Segmentation) -> None:
    ase, camus = report_content(study, masks, measure(study, masks)).volumes
    assert "." in ase.ef
    assert "." not in camus.ef + camus.edv + camus.esv + camus.sv


def test_every_quantity_is_in_the_report_once_with_value_or_reason(study: Study, masks: Segmentation) -> None:
    result = measure(study, masks)
    content = report_content(study, masks, result)
    absent = [name for names, _ in content.absent for name in names.split("; ")]
    assert sorted([row.label for row in content.rows] + absent) == sorted(label for label, _ in LABELS.values())
    assert ("Cardiac output", "The heart rate is unknown.") in content.absent
    indexed = next(row for row in content.rows if row.label == "EDV index")
    assert (indexed.reference, indexed.grade) == ("up to 61 mL/m²", "above normal")


def test_unknown_spacing_gives_an_approximate_ef_and_no_volume(unspaced: Study) -> None:
    content = report_content(unspaced, unspaced.references, measure(unspaced, unspaced.references))
    for volumes in content.volumes:
        assert volumes.ef.startswith("≈ ")
        assert (volumes.edv, volumes.esv, volumes.sv) == ("–", "–", "–")
        assert "spacing is unknown" in volumes.remark
    assert [row.label for row in content.rows] == ["Body surface area"]
    assert all("pixel aspect unknown" in picture.caption for picture in content.pictures)
    assert ("Pixel (row × column)", "size unknown") in content.facts


def test_a_refused_patient_has_reasons_and_no_number(study: Study) -> None:
    masks = refused(study)
    content = report_content(study, masks, measure(study, masks))
    assert content.status is Status.REFUSED
    assert content.headline == "Refused: no ejection fraction (definition ase)"
    for volumes in content.volumes:
        assert (volumes.ef, volumes.edv) == ("–", "–")
        assert "no left-ventricular cavity" in volumes.remark
    assert all(picture.caption.endswith("not measured") for picture in content.pictures)


def test_the_gravest_findings_come_first(unspaced: Study) -> None:
    frames = tuple(f for f in unspaced.frames if (f.view, f.phase) != (View.A2C, Phase.ED))
    emptied = unspaced.references | {frames[-1].name: np.zeros(frames[-1].grid.shape, np.uint8)}
    subject = replace(unspaced, frames=frames)
    severities = [severity for severity, _ in report_content(subject, emptied, measure(subject, emptied)).findings]
    assert set(severities) == {"refusal", "caution", "note"}
    assert severities == sorted(severities, key=["refusal", "caution", "note"].index)


def test_the_same_finding_is_said_once(study: Study, masks: Segmentation) -> None:
    result = measure(study, refused(study))
    doubled = replace(result, findings=result.findings * 2)
    content = report_content(study, masks, doubled)
    assert len(content.findings) == len(set(content.findings))


def test_the_date_is_only_what_is_given(study: Study, masks: Segmentation) -> None:
    result = measure(study, masks)
    assert "Date" not in dict(report_content(study, masks, result).facts)
    assert dict(report_content(study, masks, result, "2024-02-29").facts)["Date"] == "2024-02-29"


def test_masks_tell_who_made_them_or_that_nobody_said(masks: Segmentation) -> None:
    assert mask_source(masks) == "Masks by test-model (Runtime 1.0, float32)"
    assert mask_source(dict(masks)) == "Masks as given, maker not recorded"


def test_numbers_have_three_digits_and_absent_ones_a_dash() -> None:
    assert [number(v) for v in (0.39, 5.0, 63.249, 122.69, -25.5, None)] == [
        "0.390",
        "5.00",
        "63.2",
        "123",
        "−25.5",
        "–",
    ]


def test_text_for_pictures_is_one_line_of_known_letters() -> None:
    assert printable("Ж\t心\x07", 10) == "Ж□□□"
    assert printable("a" * 20, 5) == "aaaa…"


def test_json_follows_its_schema(
    study: Study, unspaced: Study, masks: Segmentation, valid: Callable[[str], None]
) -> None:
    one_view = replace(study, frames=tuple(f for f in study.frames if f.view == View.A4C))
    nobody = Study(Patient("nobody"))
    for subject, given in (
        (study, masks),
        (unspaced, unspaced.references),
        (study, refused(study)),
        (one_view, one_view.references),
        (nobody, {}),
    ):
        valid(json_report(subject, given, measure(subject, given)))


def test_schema_refuses_a_number_that_is_absent_without_a_reason(
    study: Study, masks: Segmentation, valid: Callable[[str], None]
) -> None:
    text = json_report(study, masks, measure(study, masks))
    for path, value in (
        (("volumes", "ase", "edv_ml"), None),
        (("volumes", "camus", "ef_percent"), None),
        (("quantities", "lv_mass_g", "value"), None),
        (("quantities", "cardiac_output_l_min", "reason"), None),
        (("volumes", "ase", "status"), "fine"),
    ):
        document = json.loads(text)
        target = document["measurements"]
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value
        with pytest.raises(ValidationError):
            valid(json.dumps(document))


def test_json_names_model_or_null(study: Study, masks: Segmentation) -> None:
    result = measure(study, masks)
    assert json.loads(json_report(study, masks, result))["model"] == "test-model"
    assert json.loads(json_report(study, dict(masks), result))["model"] is None


def test_table_has_a_row_per_definition_and_empty_cells(study: Study, unspaced: Study) -> None:
    results = [measure(s, m) for s, m in ((study, study.references), (unspaced, unspaced.references))]
    text = csv_text([row for result in results for row in measurement_rows(result)])
    rows = list(csv.DictReader(text.splitlines()))
    first = ["patient", "definition", "method", "edv_ml", "esv_ml", "ef_percent", "status", "findings"]
    assert list(rows[0])[: len(first)] == first
    assert [row["definition"] for row in rows] == ["ase", "camus"] * 2
    assert float(rows[0]["edv_ml"]) == pytest.approx(results[0].edv_ml, abs=5e-4)
    assert float(rows[0]["ef_percent"]) == pytest.approx(60.0, abs=0.5)
    assert float(rows[1]["ef_percent"]) == results[0].volumes[VolumeDefinition.CAMUS].ef_percent
    assert (rows[2]["edv_ml"], rows[2]["lv_mass_g"]) == ("", "")
    assert rows[2]["findings"] == "spacing_unknown"


def test_what_is_made_of_ase_volumes_is_not_in_the_row_of_camus(study: Study) -> None:
    assert set(OF_ASE_VOLUMES) <= set(LABELS)
    ase, camus = measurement_rows(measure(study, study.references))
    assert ase["edv_index_ml_m2"] is not None
    assert all(camus[name] is None for name in OF_ASE_VOLUMES)
    assert camus["lv_length_ed_mm"] == ase["lv_length_ed_mm"]


def test_findings_of_a_row_name_view_and_phase(study: Study) -> None:
    masks = study.references | {study.frame(View.A2C, Phase.ES).name: np.zeros(study.frames[0].grid.shape, np.uint8)}  # type: ignore[union-attr]
    ase, _ = measurement_rows(measure(study, masks))
    assert "no_lv (2CH ES)" in str(ase["findings"])
