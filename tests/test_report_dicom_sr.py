"""DICOM SR and PDF: valid, coded by plane and definition, absent numbers absent with their reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from apical import measure
from apical.anatomy import Phase, View
from apical.calibration import Calibration, ErrorBound
from apical.cycle import measure_clips
from apical.errors import OutputError
from apical.measure.interval import with_intervals
from apical.measure.results import Measurements, VolumeDefinition
from apical.phantom import as_clip_study, make_beating
from apical.report.dicom_codes import UNITS, plane_of
from apical.report.dicom_document import MeasuredImage
from apical.report.dicom_pdf import write_dicom_pdf
from apical.report.dicom_sr import write_dicom_sr
from apical.study import Patient
from dicom_checks import dciodvfy_errors, save, ultrasound_dataset
from measure_hearts import examination, heart_masks

hd = pytest.importorskip("highdicom", reason="DICOM SR needs the optional extra `clinic`")

REAL_CLIP = Path(str(get_testdata_file("examples_ybr_color.dcm")))
IMAGES = [MeasuredImage(REAL_CLIP, View.A4C, {Phase.ED: 0, Phase.ES: 11})]


def measured(
    views: tuple[View, ...] = tuple(View), spacing_mm: tuple[float, float] | None = (0.5, 0.5), **patient: Any
) -> Measurements:
    masks = {key: mask for key, mask in heart_masks().items() if key[0] in views}
    study, named = examination(masks, spacing_mm, Patient("p", **patient))
    return measure(study, named)


def numbers(path: Path) -> dict[tuple[str, str], tuple[float, str]]:
    """Return value and unit by (code, method code), as highdicom reads them back."""
    groups = hd.sr.srread(path).content.get_image_measurement_groups()
    return {
        (m.name.value, m.method.value if m.method else ""): (m.value, m.unit.value)
        for group in groups
        for m in group.get_measurements()
    }


def texts(path: Path) -> list[str]:
    return [item.TextValue for item in pydicom.dcmread(path).ContentSequence[-1].ContentSequence]


def test_the_interval_of_ef_is_told_in_words(tmp_path: Path) -> None:
    result = measured()
    write_dicom_sr(tmp_path / "plain.dcm", result, IMAGES)
    assert any("No interval of EF: The masks do not come from a model" in t for t in texts(tmp_path / "plain.dcm"))
    model = Calibration(0.9, "CAMUS", (), (ErrorBound(result.default.method, "ef_percent", 50, 8.0),))
    known = with_intervals(result.default, model)
    write_dicom_sr(
        tmp_path / "sr.dcm", replace(result, volumes={**result.volumes, VolumeDefinition.ASE: known}), IMAGES
    )
    assert dciodvfy_errors(tmp_path / "sr.dcm") == []
    assert any(": split conformal, 50 patients of CAMUS." in t for t in texts(tmp_path / "sr.dcm"))


def test_biplane_numbers_come_back_under_their_codes(tmp_path: Path) -> None:
    result = measured(height_cm=170.0, weight_kg=70.0, sex="F")
    path = tmp_path / "sr.dcm"
    write_dicom_sr(path, result, IMAGES, model="unet")
    assert dciodvfy_errors(path) == []
    read = numbers(path)
    assert result.edv_ml is not None
    assert read["79996-5", "125207"] == (pytest.approx(result.edv_ml, abs=1e-3), "mL")
    assert read["80001-1", "125207"] == (pytest.approx(result.esv_ml, abs=1e-3), "mL")
    assert read["79991-6", "125207"] == (pytest.approx(result.ef_percent, abs=1e-3), "%")
    camus = result.volumes[VolumeDefinition.CAMUS]
    assert read["18043-0", "camus-biplane"] == (camus.ef_percent, "%")
    assert read["18077-8", ""] == (pytest.approx(result.value("lv_length_ed_mm"), abs=1e-3), "mm")
    assert read["18087-7", ""] == (pytest.approx(result.value("lv_mass_g"), abs=1e-3), "g")
    assert read["79983-3", "125207"] == (pytest.approx(result.value("la_volume_disks_ml"), abs=1e-3), "mL")
    assert read["130686", "130683"] == (pytest.approx(result.value("contour_gls_percent"), abs=1e-3), "%")
    assert read["79997-3", "125207"] == (pytest.approx(result.value("edv_index_ml_m2"), abs=1e-3), "mL/m2")
    assert "Cardiac output: not measured. The heart rate is unknown." in texts(path)


def test_every_beat_and_the_median_come_back_exactly(tmp_path: Path) -> None:
    phantom = make_beating(4, heart_rate_bpm=80, frame_rate_hz=25, n_beats=3, rhythm="irregular", spacing_mm=(1.2, 1.2))
    study = as_clip_study(phantom, with_images=False)
    study = replace(study, clips=tuple(c for c in study.clips if c.view is View.A4C))
    result = measure_clips(study, {c.name: c.reference for c in study.clips if c.reference is not None})
    header = ultrasound_dataset(np.zeros((len(study.clips[0].images), 8, 8), np.uint8))
    assert result.representative is not None
    images = [MeasuredImage(header, View.A4C, result.representative.frames[View.A4C])]
    path = tmp_path / "sr.dcm"
    write_dicom_sr(path, result.measurements, images, beats=result)
    assert dciodvfy_errors(path) == []
    groups = {g.tracking_identifier: g for g in hd.sr.srread(path).content.get_image_measurement_groups()}
    assert len(result.beats) == 3
    for number, beat in enumerate(result.beats, start=1):
        for definition, volumes in beat.measurements.volumes.items():
            read = groups[f"apical beat {number}, {definition}"].get_measurements()
            expected = [volumes.edv_ml, volumes.esv_ml, volumes.ef_percent, volumes.sv_ml]
            assert [m.value for m in read] == [round(v, 3) for v in expected if v is not None]
            used = read[2].referenced_images[0].ReferencedSOPSequence[0].ReferencedFrameNumber
            assert list(used) == sorted(k + 1 for k in beat.frames[View.A4C].values())
    summary = result.summary
    median = groups["apical median, ase"].get_measurements()
    found = {(m.name.value, m.derivation.value): m.value for m in median}
    assert found["79993-2", "373099004"] == round(summary.ef_percent or 0.0, 3)
    assert found["79999-9", "373099004"] == round(summary.edv_ml or 0.0, 3)
    assert (found["79993-2", "255605001"], found["79993-2", "56851009"]) == tuple(
        round(v, 3) for v in summary.ef_range_percent or ()
    )
    assert found["79993-2", "386136009"] == round(summary.ef_sd_points or 0.0, 3)


def test_every_measurement_refers_to_the_frames_it_was_taken_from(tmp_path: Path) -> None:
    path = tmp_path / "sr.dcm"
    write_dicom_sr(path, measured(), IMAGES)
    found = {}
    for group in hd.sr.srread(path).content.get_image_measurement_groups():
        for m in group.get_measurements():
            if m.referenced_images:
                reference = m.referenced_images[0].ReferencedSOPSequence[0]
                found[m.name.value] = reference.ReferencedFrameNumber
    assert list(found["130687"]) == [1, 12], "GLS of 4CH"
    assert "130688" not in found, "GLS of 2CH has no image of 4CH as its source"
    assert found["79996-5"] == 1
    assert found["80001-1"] == 12
    assert list(found["79991-6"]) == [1, 12]


def test_one_view_is_coded_as_single_plane(tmp_path: Path) -> None:
    result, path = measured((View.A4C,)), tmp_path / "sr.dcm"
    write_dicom_sr(path, result, IMAGES)
    read = numbers(path)
    assert read["79993-2", "125208"] == (pytest.approx(result.ef_percent, abs=1e-3), "%")
    assert ("79991-6", "125207") not in read
    assert ("18043-0", "camus-single-plane") in read
    assert ("130686", "130683") not in read, "the mean of several views"
    assert any(t.startswith("Caution: Only 4CH could be used") for t in texts(path))
    assert dciodvfy_errors(path) == []


def test_without_spacing_there_is_no_millilitre(tmp_path: Path) -> None:
    path = tmp_path / "sr.dcm"
    write_dicom_sr(path, measured(spacing_mm=None), IMAGES)
    assert {unit for _, unit in numbers(path).values()} == {"%"}
    assert any(t.startswith("LV mass at ED: not measured. The pixel spacing is unknown") for t in texts(path))


def test_a_study_without_any_number_is_still_a_report(tmp_path: Path) -> None:
    path = tmp_path / "sr.dcm"
    write_dicom_sr(path, measured(()), IMAGES)
    assert numbers(path) == {}
    assert any("refused" in t for t in texts(path))
    assert dciodvfy_errors(path) == []


def test_the_same_input_gives_the_same_file(tmp_path: Path) -> None:
    result = measured()
    for name in ("a", "b"):
        write_dicom_sr(tmp_path / f"{name}.dcm", result, IMAGES)
        write_dicom_pdf(tmp_path / f"{name}_pdf.dcm", b"%PDF-1.7 ...", [REAL_CLIP])
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    assert (tmp_path / "a_pdf.dcm").read_bytes() == (tmp_path / "b_pdf.dcm").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        write_dicom_sr(tmp_path / "a.dcm", result, IMAGES)


def test_patient_is_the_sources_and_the_document_is_unverified(tmp_path: Path) -> None:
    source = save(ultrasound_dataset(np.zeros((2, 8, 8), np.uint8)), tmp_path / "s.dcm")
    write_dicom_sr(tmp_path / "sr.dcm", measured(), [MeasuredImage(source, View.A2C, {Phase.ED: 0, Phase.ES: 1})])
    document = pydicom.dcmread(tmp_path / "sr.dcm")
    assert (document.PatientID, document.PatientName, document.AccessionNumber) == ("12345", "Doe^Jane", "A77")
    assert (document.VerificationFlag, document.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    evidence = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.1"


def test_images_of_two_studies_are_refused(tmp_path: Path) -> None:
    other = ultrasound_dataset(np.zeros((2, 8, 8), np.uint8))
    images = [*IMAGES, MeasuredImage(other, View.A2C, {Phase.ED: 0})]
    for wrong in ([], images):
        with pytest.raises(OutputError, match="one study"):
            write_dicom_sr(tmp_path / "sr.dcm", measured(), wrong)


def test_the_plane_is_read_from_every_method_that_measure_names() -> None:
    for views, plane in (((View.A2C,), View.A2C), ((View.A4C,), View.A4C), (tuple(View), None)):
        result = measured(views)
        assert {plane_of(v.method) for v in result.volumes.values()} == {plane}
    assert plane_of("single plane (4CH) at ED, single plane (2CH) at ES method of disks, ASE 2015") == "mixed"
    assert plane_of("method of disks, ASE 2015") == "mixed"


def test_every_unit_that_is_coded_is_known(tmp_path: Path) -> None:
    units = {q.unit for q in measured(height_cm=170.0, weight_kg=70.0).quantities.values()} - {""}
    assert units <= set(UNITS)


def test_pdf_is_valid_and_comes_out_as_it_went_in(tmp_path: Path) -> None:
    pdf, path = b"%PDF-1.7 odd", tmp_path / "report.dcm"
    assert len(pdf) % 2 == 0
    pdf += b"!"
    write_dicom_pdf(path, pdf, [REAL_CLIP])
    assert dciodvfy_errors(path) == []
    made = pydicom.dcmread(path)
    assert made.EncapsulatedDocument[: made.EncapsulatedDocumentLength] == pdf
    assert made.BurnedInAnnotation == "YES"
    assert made.StudyInstanceUID == pydicom.dcmread(REAL_CLIP, stop_before_pixels=True).StudyInstanceUID
    with pytest.raises(OutputError, match="no PDF"):
        write_dicom_pdf(tmp_path / "b.dcm", b"<html>", [REAL_CLIP])
