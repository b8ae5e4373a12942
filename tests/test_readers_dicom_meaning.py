"""What the tags of ultrasound DICOM are taken to say: region, time, view, person, and who belongs to whom."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from apical.anatomy import View
from apical.errors import InputError
from apical.readers import read_studies, read_study
from dicom_frames import COLUMNS, PERSON, ROWS, refusal, region, speckle, ultrasound


def test_regions(save_dicom: Callable[..., Path]) -> None:
    def read(*regions: Dataset) -> Any:
        return read_study(save_dicom(ultrasound(speckle(), SequenceOfUltrasoundRegions=Sequence(regions))))

    small = region(bottom=8, right=12, PhysicalDeltaX=0.5, PhysicalDeltaY=0.5)
    spectral = region(RegionSpatialFormat=3, RegionDataType=3, PhysicalDeltaX=0.7)
    assert read(small, spectral, region()).clips[0].grid.spacing_mm == pytest.approx((0.3, 0.2))
    outside = read(region(right=2 * COLUMNS))
    assert outside.clips[0].grid.spacing_mm is None
    assert outside.clips[0].region is None
    assert "does not fit" in outside.notes[0]
    assert read(region(bottom=ROWS, right=COLUMNS)).clips[0].region == (2, 4, ROWS, COLUMNS)
    seconds = read(region(PhysicalUnitsXDirection=4))
    assert seconds.clips[0].grid.spacing_mm is None
    assert "not cm" in seconds.notes[0]
    assert "not plausible" in read(region(PhysicalDeltaX=0.0)).notes[0]
    assert "no calibrated region" in read().notes[0]
    m_mode = ultrasound(speckle(), SequenceOfUltrasoundRegions=Sequence([region(RegionSpatialFormat=2)]))
    assert "M-mode" in refusal(save_dicom(m_mode))
    doppler = ultrasound(speckle(), SequenceOfUltrasoundRegions=Sequence([region(RegionDataType=2)]))
    assert "colour Doppler only" in refusal(save_dicom(doppler))


def test_frame_times(save_dicom: Callable[..., Path]) -> None:
    def times(**tags: Any) -> Any:
        return read_study(save_dicom(ultrasound(speckle(), **tags))).clips[0].frame_times_ms

    np.testing.assert_allclose(times(FrameTimeVector=[0, 20, 30]), [0, 20, 50])
    np.testing.assert_allclose(times(FrameTimeVector=[25, 20, 30]), [0, 20, 50])
    np.testing.assert_allclose(times(CineRate=50), [0, 20, 40])
    np.testing.assert_allclose(times(FrameTimeVector=[0, 20], FrameTime=10), [0, 10, 20])
    assert times() is None
    assert times(FrameTime=0) is None


def test_patient_without_a_name(save_dicom: Callable[..., Path]) -> None:
    tags = {"PatientSex": "F", "PatientAge": "056Y", "PatientSize": 1.7, "PatientWeight": 60, "HeartRate": 0}
    study = read_study(save_dicom(ultrasound(speckle(), **tags)))
    patient = study.patient
    assert (patient.id, patient.sex, patient.age_years, patient.height_cm, patient.weight_kg) == ("a", "F", 56, 170, 60)
    assert study.clips[0].heart_rate_bpm is None
    odd = read_study(save_dicom(ultrasound(speckle(), PatientSex="O", PatientSize=170, PatientWeight=0))).patient
    assert (odd.sex, odd.height_cm, odd.weight_kg) == (None, None, None)


def test_view_from_code_or_description(save_dicom: Callable[..., Path]) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399214001", "SCT", "Apical four chamber"
    assert read_study(save_dicom(ultrasound(speckle(), ViewCodeSequence=Sequence([code])))).clips[0].view == View.A4C
    assert read_study(save_dicom(ultrasound(speckle(), SeriesDescription="Rest AP2 / zoom"))).clips[0].view == View.A2C
    assert read_study(save_dicom(ultrasound(speckle(), SeriesDescription="Rest PLAX"))).clips[0].view is None


@pytest.mark.parametrize(
    ("meaning", "view"),
    [
        ("2D apical four chamber", View.A4C),
        ("Apical 4-chamber view, 2D", View.A4C),
        ("Apical two chamber, zoom x4", View.A2C),
        ("Apical 2 chamber", View.A2C),
        ("Apical two chamber or four chamber", None),
        ("Apical view 2D", None),
    ],
)
def test_the_chambers_of_a_view_are_not_any_number(
    save_dicom: Callable[..., Path], meaning: str, view: View | None
) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "X", "99LAB", meaning
    assert read_study(save_dicom(ultrasound(speckle(), ViewCodeSequence=Sequence([code])))).clips[0].view == view


def test_a_name_and_tags_of_two_views_are_neither_believed(save_dicom: Callable[..., Path]) -> None:
    study = read_study(save_dicom(ultrasound(speckle(), SeriesDescription="Apical 2CH"), "x_4CH.dcm"))
    assert study.clips[0].view is None
    assert any("its name says 4CH and its tags 2CH" in note for note in study.notes)


def test_two_pictures_side_by_side_are_said(save_dicom: Callable[..., Path]) -> None:
    study = read_study(save_dicom(ultrasound(speckle(), SequenceOfUltrasoundRegions=Sequence([region(), region()]))))
    assert any("2 two-dimensional regions, the largest is read" in note for note in study.notes)


@pytest.mark.filterwarnings("error")
def test_odd_values_are_not_told_to_the_world(save_dicom: Callable[..., Path]) -> None:
    dataset = ultrasound(speckle())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.PatientAge, dataset.PatientSex = f"{PERSON}, 45 years", f"Female, {PERSON}"
        path = save_dicom(dataset)
    patient = read_study(path).patient
    assert (patient.sex, patient.age_years) == (None, None)


@pytest.mark.parametrize("tag", [0x00186011, 0x00540220])
def test_a_text_in_place_of_a_sequence(save_dicom: Callable[..., Path], tag: int) -> None:
    dataset = ultrasound(speckle())
    dataset[tag] = DataElement(tag, "LO", "hello")
    assert "damaged" in refusal(save_dicom(dataset))


def test_clips_of_one_name_in_folders_of_one_name_keep_apart(save_dicom: Callable[..., Path], tmp_path: Path) -> None:
    for place in ("a/images/1.dcm", "b/images/1.dcm", "b/images/1", "c.dcm"):
        save_dicom(ultrasound(speckle()), place)
    (study,) = read_studies(tmp_path)
    assert sorted(clip.name for clip in study.clips) == ["1.dcm", "a_images_1", "b_images_1", "c"]


def test_people_without_a_study_uid_keep_apart(save_dicom: Callable[..., Path], tmp_path: Path) -> None:
    for person in ("A", "B"):
        save_dicom(ultrasound(speckle(), StudyInstanceUID="", PatientID=person), f"x/{person}.dcm")
    save_dicom(ultrasound(speckle(), StudyInstanceUID="", PatientID="A"), "x/A2.dcm")
    studies = list(read_studies(tmp_path))
    assert sorted(sorted(clip.name for clip in study.clips) for study in studies) == [["A", "A2"], ["B"]]


def test_studies_are_grouped_by_uid(save_dicom: Callable[..., Path], tmp_path: Path) -> None:
    for series in ("s1", "s2"):
        save_dicom(ultrasound(speckle()), f"visit1/{series}/IM_0001")
    save_dicom(ultrasound(speckle(), StudyInstanceUID="1.2.4"), "visit2/1.2.840.77.dcm")
    report = ultrasound(speckle(), StudyInstanceUID="1.2.4", Modality="SR")
    save_dicom(report, "visit2/report.dcm")
    (tmp_path / "visit2" / "broken.dcm").write_bytes(b"x" * 500)
    told: list[str] = []
    first, second = read_studies(tmp_path, on_error=lambda path, _error: told.append(path.name))
    assert (first.patient.id, [c.name for c in first.clips]) == ("visit1", ["s1_IM_0001", "s2_IM_0001"])
    assert (second.patient.id, len(second.clips)) == ("visit2", 1)
    assert any("report: set aside, modality SR" in note for note in second.notes)
    assert told == ["broken.dcm"]
    with pytest.raises(InputError, match="2 patients"):
        read_study(tmp_path)


def test_a_folder_of_reports_only(save_dicom: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        save_dicom(ultrasound(speckle(), Modality="SR"), f"visit/{name}")
    assert "modality SR" in refusal(tmp_path / "visit")
