"""DICOM SR and PDF: valid, coded by plane and definition, absent numbers absent with their reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from apical import measure
from apical.anatomy import Phase, View
from apical.errors import OutputError
from apical.measure.results import Measurements, VolumeDefinition
from apical.report.dicom_codes import UNITS, plane_of
from apical.report.dicom_pdf import write_dicom_pdf
from apical.report.dicom_sr import MeasuredImage, write_dicom_sr
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


def test_every_measurement_refers_to_the_frames_it_was_taken_from(tmp_path: Path) -> None:
    path = tmp_path / "sr.dcm"
    write_dicom_sr(path, measured(), IMAGES)
    found = {}
    for group in hd.sr.srread(path).content.get_image_measurement_groups():
        for m in group.get_measurements():
            reference = m.referenced_images[0].ReferencedSOPSequence[0]
            found[m.name.value] = reference.ReferencedFrameNumber
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
