"""DICOM Segmentation: valid, read back exactly by other programs, tied to its source frames."""

from __future__ import annotations

import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

from apical.anatomy import Label
from apical.errors import InputError, OutputError
from apical.report.dicom_seg import write_dicom_seg
from dicom_checks import dciodvfy_errors, dcmdump_text, save, ultrasound_dataset

REAL_CLIP = Path(str(get_testdata_file("examples_ybr_color.dcm")))


def moving_mask(n: int, rows: int, columns: int) -> NDArray[np.uint8]:
    """Cavity in myocardium, both moving; the atrium is missing in every third frame."""
    mask = np.zeros((n, rows, columns), np.uint8)
    for t in range(n):
        mask[t, 3 : 16 + t % 4, 5:20] = Label.MYOCARDIUM
        mask[t, 6 : 12 + t % 4, 8:17] = Label.LV_CAVITY
        if t % 3:
            mask[t, 22:29, 9:18] = Label.LEFT_ATRIUM
    return mask


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.uint8]]:
    """Segmentation of pydicom's ultrasound clip, 30 frames of 240 x 320, JPEG."""
    path = tmp_path_factory.mktemp("seg") / "seg.dcm"
    mask = moving_mask(30, 240, 320)
    write_dicom_seg(path, mask, REAL_CLIP, algorithm="unet")
    return path, mask


def test_it_passes_dciodvfy(real: tuple[Path, NDArray[np.uint8]]) -> None:
    assert dciodvfy_errors(real[0]) == []


def test_pydicom_reads_the_bits_back(real: tuple[Path, NDArray[np.uint8]]) -> None:
    path, mask = real
    seg = pydicom.dcmread(path)
    frames = seg.pixel_array.reshape(3, 30, 240, 320)
    for number, label in enumerate((Label.LV_CAVITY, Label.MYOCARDIUM, Label.LEFT_ATRIUM)):
        assert np.array_equal(frames[number], mask == label)
    codes = [s.SegmentedPropertyTypeCodeSequence[0] for s in seg.SegmentSequence]
    assert [(c.CodeValue, c.CodingSchemeDesignator) for c in codes] == [
        ("87878005", "SCT"),
        ("49848007", "SCT"),
        ("82471001", "SCT"),
    ]
    assert codes[1].CodeMeaning == "Left Ventricle Myocardium"


def test_highdicom_finds_each_mask_by_its_source_frame(real: tuple[Path, NDArray[np.uint8]]) -> None:
    hd = pytest.importorskip("highdicom")
    path, mask = real
    source = pydicom.dcmread(REAL_CLIP, stop_before_pixels=True)
    wanted = [30, 1, 8]
    read = hd.seg.segread(path).get_pixels_by_source_frame(
        source.SOPInstanceUID, source_frame_numbers=wanted, combine_segments=True
    )
    assert np.array_equal(read, mask[[n - 1 for n in wanted]])


def test_dcmtk_reads_it(real: tuple[Path, NDArray[np.uint8]]) -> None:
    text = dcmdump_text(real[0])
    assert text.count("ReferencedFrameNumber") == 90
    assert "[Left atrium]" in text


def test_patient_and_study_are_the_sources_and_nothing_else_is(tmp_path: Path) -> None:
    source = ultrasound_dataset(np.zeros((2, 40, 60), np.uint8))
    source.OperatorsName = "Nobody^Else"
    write_dicom_seg(tmp_path / "seg.dcm", moving_mask(2, 40, 60), save(source, tmp_path / "s.dcm"), algorithm=None)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "StudyDate", "AccessionNumber"):
        assert seg[keyword].value == source[keyword].value
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert seg.SOPInstanceUID != source.SOPInstanceUID
    assert "OperatorsName" not in seg
    assert {s.SegmentAlgorithmType for s in seg.SegmentSequence} == {"MANUAL"}
    assert seg.preamble == bytes(128)


def test_the_same_input_gives_the_same_file_and_another_mask_another_uid(tmp_path: Path) -> None:
    source = save(ultrasound_dataset(np.zeros((3, 40, 60), np.uint8)), tmp_path / "s.dcm")
    mask = moving_mask(3, 40, 60)
    for name in ("a", "b"):
        write_dicom_seg(tmp_path / f"{name}.dcm", mask, source, algorithm="unet")
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    mask[0, 0, 0] = 1
    write_dicom_seg(tmp_path / "c.dcm", mask, source, algorithm="unet")
    uids = {pydicom.dcmread(tmp_path / f"{n}.dcm").SOPInstanceUID for n in "ac"}
    assert len(uids) == 2


def test_a_still_and_a_structure_that_is_not_there(tmp_path: Path) -> None:
    source = save(ultrasound_dataset(np.zeros((40, 60), np.uint8)), tmp_path / "s.dcm")
    mask = moving_mask(1, 40, 60)[0]
    path = tmp_path / "seg.dcm"
    write_dicom_seg(path, mask, source, algorithm="unet", created=datetime(2024, 5, 6, 7, 8, 9))
    seg = pydicom.dcmread(path)
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["LV cavity", "Myocardium"]
    image = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert "ReferencedFrameNumber" not in image
    assert (seg.ContentDate, seg.ContentTime) == ("20240506", "070809")
    assert np.array_equal(seg.pixel_array[1], mask == Label.MYOCARDIUM)
    assert dciodvfy_errors(path) == []


def test_pixels_that_do_not_fill_whole_bytes_survive(tmp_path: Path) -> None:
    source = save(ultrasound_dataset(np.zeros((3, 31, 33), np.uint8)), tmp_path / "s.dcm")
    mask = moving_mask(3, 31, 33)
    write_dicom_seg(tmp_path / "seg.dcm", mask, source, algorithm="unet")
    frames = pydicom.dcmread(tmp_path / "seg.dcm").pixel_array.reshape(3, 3, 31, 33)
    assert np.array_equal(frames[2], mask == Label.LEFT_ATRIUM)


def test_chosen_frames_of_a_real_cine_as_a_pile(shared: Path, tmp_path: Path) -> None:
    """3D Slicer reads by dcmqi, which wants planes; the pile gives it some."""
    frames = [0, 5, 119]
    mask, path = moving_mask(3, 480, 640), tmp_path / "seg.dcm"
    write_dicom_seg(
        path, mask, shared / "dicom" / "a4c_cine.dcm", algorithm="u", frames=frames, stacked_spacing_mm=(0.5, 0.25)
    )
    assert dciodvfy_errors(path) == []
    seg = pydicom.dcmread(path)
    groups = seg.PerFrameFunctionalGroupsSequence
    numbers = [g.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber for g in groups]
    assert numbers == [1, 6, 120] * 3
    assert [g.PlanePositionSequence[0].ImagePositionPatient[2] for g in groups] == [0, 1, 2] * 3
    assert list(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing) == [0.5, 0.25]


def test_dcmqi_reads_the_pile(tmp_path: Path) -> None:
    program = shutil.which("segimage2itkimage")
    if program is None:
        pytest.skip("dcmqi is not installed: pip install dcmqi")
    sitk = pytest.importorskip("SimpleITK")
    source = save(ultrasound_dataset(np.zeros((4, 40, 60), np.uint8)), tmp_path / "s.dcm")
    mask = moving_mask(4, 40, 60)
    write_dicom_seg(tmp_path / "seg.dcm", mask, source, algorithm="unet", stacked_spacing_mm=(0.5, 0.25))
    command = [program, "--inputDICOM", str(tmp_path / "seg.dcm"), "--outputDirectory", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    image = sitk.ReadImage(str(tmp_path / "1.nrrd"))
    assert image.GetSpacing() == (0.25, 0.5, 1.0)
    assert np.array_equal(sitk.GetArrayFromImage(image) > 0, mask == Label.LV_CAVITY)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    source = save(ultrasound_dataset(np.zeros((3, 40, 60), np.uint8)), tmp_path / "s.dcm")
    mask, path = moving_mask(3, 40, 60), tmp_path / "seg.dcm"
    with pytest.raises(OutputError, match="no structure occurs"):
        write_dicom_seg(path, np.zeros_like(mask), source, algorithm="unet")
    with pytest.raises(InputError, match="own grid"):
        write_dicom_seg(path, mask[:, :, :-1], source, algorithm="unet")
    with pytest.raises(InputError, match="which frames were segmented"):
        write_dicom_seg(path, mask[:2], source, algorithm="unet")
    with pytest.raises(InputError, match="which frames were segmented"):
        write_dicom_seg(path, mask[:2], source, algorithm="unet", frames=[1, 3])
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(InputError, match=r"text\.dcm: not a DICOM file"):
        write_dicom_seg(path, mask, tmp_path / "text.dcm", algorithm="unet")
    nameless = ultrasound_dataset(np.zeros((3, 40, 60), np.uint8))
    del nameless.StudyInstanceUID
    with pytest.raises(InputError, match="no StudyInstanceUID"):
        write_dicom_seg(path, mask, save(nameless, tmp_path / "n.dcm"), algorithm="unet")
    assert not path.exists()
    write_dicom_seg(path, mask, source, algorithm="unet")
    with pytest.raises(OutputError, match="exists already"):
        write_dicom_seg(path, mask, source, algorithm="unet")
