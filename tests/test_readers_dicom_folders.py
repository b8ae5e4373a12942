"""Studies as they leave an archive: nested folders, a DICOMDIR, objects that are no echo, and real files."""

from __future__ import annotations

import importlib.util
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from apical.errors import InputError
from apical.readers import count_studies, read_studies, read_study
from dicom_checks import region, save, ultrasound_dataset

PERSON = "Doe^Jane"


def clip(number: int = 1, study: str = "1.2.3.1", **tags: object) -> Dataset:
    frames = np.random.default_rng(number).integers(0, 256, (3, 24, 32)).astype(np.uint8)
    made = ultrasound_dataset(frames, number=number)
    made.StudyInstanceUID, made.SeriesInstanceUID = study, f"{study}.{number}"
    made.SequenceOfUltrasoundRegions = Sequence([region(2, 4, 23, 31)])
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_study(path)
    message = str(caught.value)
    assert "\n" not in message
    assert PERSON not in message
    return message


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """Two studies of two clips each, written as the standard lays out a disc."""
    table = Dataset()
    table.file_meta = FileMetaDataset()
    table.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    table.file_meta.MediaStorageSOPClassUID, table.file_meta.MediaStorageSOPInstanceUID = (
        MediaStorageDirectoryStorage,
        "1.2.9",
    )
    patient = Dataset()
    patient.DirectoryRecordType, patient.PatientName, patient.PatientID = "PATIENT", PERSON, "12345"
    records = [patient]
    for number, study in ((1, "1.2.3.1"), (2, "1.2.3.1"), (3, "1.2.9.1"), (4, "1.2.9.1")):
        image = Dataset()
        image.DirectoryRecordType, image.ReferencedFileID = "IMAGE", [f"ST{study[4]}", f"IM{number}"]
        records.append(image)
        path = tmp_path.joinpath("disc", *image.ReferencedFileID)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(clip(number, study), path)
    table.DirectoryRecordSequence = Sequence(records)
    save(table, tmp_path / "disc" / "DICOMDIR")
    return tmp_path / "disc"


# DICOMDIR and folders


def images(path: Path) -> list[list[bytes]]:
    return [sorted(c.images.tobytes() for c in study.clips) for study in read_studies(path)]


def test_dicomdir_and_its_folder_are_the_same(disc: Path) -> None:
    expected = [[clip(n).PixelData for n in pair] for pair in ((1, 2), (3, 4))]
    assert sorted(images(disc / "DICOMDIR")) == sorted(sorted(pair) for pair in expected)
    assert images(disc / "DICOMDIR") == images(disc)
    assert count_studies(disc / "DICOMDIR") == count_studies(disc) == 2
    ids = [study.patient.id for study in read_studies(disc / "DICOMDIR")]
    assert len(set(ids)) == 2
    with pytest.raises(InputError, match="2 patients"):
        read_study(disc / "DICOMDIR")


def test_a_disc_copied_in_small_letters(disc: Path) -> None:
    for path in sorted(disc.rglob("*"), reverse=True):
        if path.name != "DICOMDIR":
            path.rename(path.with_name(path.name.lower()))
    assert len(images(disc / "DICOMDIR")) == 2


def test_a_file_that_is_missing_is_named(disc: Path) -> None:
    lost = next(p for p in sorted(disc.rglob("*")) if p.is_file() and p.name != "DICOMDIR")
    lost.unlink()
    told: list[str] = []
    studies = list(read_studies(disc / "DICOMDIR", on_error=lambda path, error: told.append(f"{path.name} {error}")))
    assert sum(len(study.clips) for study in studies) == 3
    (message,) = told
    assert message.startswith(lost.name)
    assert "cannot be read" in message


def rewrite(dicomdir: Path, file_id: list[str]) -> None:
    table = pydicom.dcmread(dicomdir)
    record = next(r for r in table.DirectoryRecordSequence if "ReferencedFileID" in r)
    with warnings.catch_warnings():  # that no sound DICOMDIR says so is the point
        warnings.simplefilter("ignore")
        record.ReferencedFileID = file_id
    table.save_as(dicomdir)


@pytest.mark.parametrize("file_id", [["..", "SECRET"], ["A", "..", "..", "SECRET"], ["/etc/passwd"], ["..\\SECRET"]])
def test_a_dicomdir_that_leads_elsewhere(disc: Path, file_id: list[str]) -> None:
    save(clip(9), disc.parent / "SECRET")
    rewrite(disc / "DICOMDIR", file_id)
    assert "outside its folder" in refusal(disc / "DICOMDIR")


def test_a_link_that_leads_elsewhere(disc: Path) -> None:
    save(clip(9), disc.parent / "SECRET")
    (disc / "LINK").symlink_to(disc.parent / "SECRET")
    rewrite(disc / "DICOMDIR", ["LINK"])
    assert "outside its folder" in refusal(disc / "DICOMDIR")
    assert clip(9).PixelData not in [i for study in images(disc) for i in study]


def test_a_dicomdir_that_is_damaged_or_empty(disc: Path) -> None:
    content = (disc / "DICOMDIR").read_bytes()
    for length in range(0, len(content), 3):
        (disc / "DICOMDIR").write_bytes(content[:length])
        assert "DICOMDIR" in refusal(disc / "DICOMDIR")
    (disc / "DICOMDIR").write_bytes(content)
    rewrite(disc / "DICOMDIR", ["ST3", "IM\0001"])
    assert "DICOMDIR" in refusal(disc / "DICOMDIR")
    table = pydicom.dcmread(get_testdata_file("DICOMDIR", download=False))
    table.DirectoryRecordSequence = Sequence()
    table.save_as(disc / "DICOMDIR")
    assert "names no file" in refusal(disc / "DICOMDIR")


def test_pydicoms_disc_holds_no_echo() -> None:
    told: list[str] = []
    table = Path(get_testdata_file("DICOMDIR", download=False))
    assert list(read_studies(table, on_error=lambda _path, error: told.append(str(error)))) == []
    assert len(told) > 5
    assert all("not ultrasound" in message for message in told)


def test_nested_folders_without_suffixes(tmp_path: Path) -> None:
    for number, place in enumerate(("a/b/c/I0000001", "a/b/1.2.840.113", "a/d/IM"), start=1):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        save(clip(number), tmp_path / place)
    (tmp_path / "a" / "README").write_text("not DICOM")
    study = read_study(tmp_path)
    assert sorted(c.name for c in study.clips) == ["1.2.840.113", "I0000001", "IM"]


# What is set aside


def other_objects() -> Iterator[tuple[str, Dataset, str]]:
    yield "pdf", clip(2, SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", Modality="DOC"), "DOC (Encapsulated PDF)"
    yield "sr", clip(3, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", Modality="SR"), "SR (Comprehensive SR)"
    yield "ct", clip(4, Modality="CT"), "modality CT"
    yield "m_mode", clip(5, SequenceOfUltrasoundRegions=[region(2, 4, 23, 31)]), "M-mode or spectral Doppler only"
    yield "flow", clip(6, SequenceOfUltrasoundRegions=[region(2, 4, 23, 31, data_type=2)]), "colour Doppler only"
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "399139001", "SCT", "Parasternal long axis view"
    yield "parasternal", clip(7, ViewCodeSequence=[view]), "another view (parasternal)"
    no_image = clip(8, SOPClassUID="1.2.840.10008.5.1.4.1.1.66")
    del no_image.PixelData
    yield "raw_data", no_image, "it holds no image (Raw Data)"


def test_other_objects_are_set_aside_with_the_reason(tmp_path: Path) -> None:
    save(clip(1), tmp_path / "echo")
    reasons = {}
    for name, made, reason in other_objects():
        if name == "m_mode":
            made.SequenceOfUltrasoundRegions[0].RegionSpatialFormat = 2
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
        save(made, tmp_path / name)
        reasons[name] = reason
    study = read_study(tmp_path)
    assert [c.name for c in study.clips] == ["echo"]
    aside = {note.split(":")[0]: note for note in study.notes if "set aside" in note}
    assert set(aside) == set(reasons)
    for name, reason in reasons.items():
        assert reason in aside[name]
        assert reason in refusal(tmp_path / name)


def test_a_region_that_says_not_what_it_shows(tmp_path: Path) -> None:
    """As GDCM leaves it: a pixel size of 1 in no unit is no reason to call a clip M-mode."""
    made = clip()
    item = Dataset()
    item.PhysicalDeltaX = item.PhysicalDeltaY = 1.0
    made.SequenceOfUltrasoundRegions = Sequence([item])
    (found,) = read_study(save(made, tmp_path / "a.dcm")).clips
    assert found.grid.spacing_mm is None


# Real files


@pytest.fixture(scope="module")
def pydicom_data() -> Path:
    found = importlib.util.find_spec("data_store")
    if found is None or not found.submodule_search_locations:
        pytest.skip("pydicom-data is not installed: pip install pydicom-data")
    return Path(found.submodule_search_locations[0]) / "data"


REAL = {
    "JPGLosslessP14SV1_1s_1f_8b.dcm": (768, 1024),
    "OBXXXX1A_rle_2frame.dcm": (2, 600, 800),
    "OBXXXX1A_expb.dcm": (600, 800),
    "color3d_jpeg_baseline.dcm": (120, 480, 640),
    "US1_J2KR.dcm": "colour Doppler",
    "color-pl.dcm": "colour Doppler",
    "gdcm-US-ALOKA-16_big.dcm": "16 bits per pixel",
    "liver.dcm": "modality SEG",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "modality",
    "OT-PAL-8-face.dcm": "not a DICOM file",
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(pydicom_data: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    expected = REAL[name]
    if isinstance(expected, str):
        assert expected in refusal(pydicom_data / name)
    else:
        (item,) = read_study(pydicom_data / name).items
        assert (item.images if len(expected) == 3 else item.image).shape == expected
    assert capfd.readouterr().err == ""


def test_one_picture_in_three_codings(pydicom_data: Path) -> None:
    raw, big_endian, run_length = (
        read_study(pydicom_data / f"OBXXXX1A{kind}_2frame.dcm").clips[0].images for kind in ("", "_expb", "_rle")
    )
    np.testing.assert_array_equal(raw, big_endian)
    np.testing.assert_array_equal(raw, run_length)


def assert_study_or_our_error(path: Path) -> None:
    message = ""
    try:
        assert read_study(path).items
    except InputError as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.slow
def test_every_file_is_a_study_or_our_error(
    pydicom_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = sorted(pydicom_data.glob("*.dcm"))
    assert len(paths) > 60
    for path in paths:
        assert_study_or_our_error(path)
        content = path.read_bytes()
        cut = tmp_path / path.name
        for length in (len(content) // 3, len(content) - 100):
            cut.write_bytes(content[:length])
            assert_study_or_our_error(cut)
    assert capfd.readouterr().err == ""
    tree = tmp_path / "tree"
    shutil.copytree(pydicom_data, tree)
    told: list[Path] = []
    studies = list(read_studies(tree, on_error=lambda path, _error: told.append(path)))
    assert sum(len(study.items) for study in studies) >= 8
    assert told
