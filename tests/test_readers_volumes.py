"""MetaImage and NIfTI: what is read, and one clear line for what is damaged or hostile."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from apical.errors import InputError
from apical.readers import read_study
from frame_files import image_of, nifti_header, refusal, speckle

# MetaImage


def write_mhd(path: Path, data_file: str = "a.raw", **changes: str | None) -> Path:
    fields: dict[str, str | None] = {
        "ObjectType": "Image",
        "NDims": "2",
        "DimSize": "32 24",
        "ElementSpacing": "0.308 0.154",
        "ElementType": "MET_UCHAR",
        **changes,
        "ElementDataFile": data_file,
    }
    path.write_text("".join(f"{key} = {value}\n" for key, value in fields.items() if value is not None))
    return path


@pytest.fixture
def mhd(tmp_path: Path) -> Path:
    (tmp_path / "a.raw").write_bytes(speckle().tobytes())
    return tmp_path / "a.mhd"


def test_mhd_is_row_column(mhd: Path) -> None:
    frame = read_study(write_mhd(mhd)).frames[0]
    np.testing.assert_array_equal(frame.image, speckle())
    assert frame.grid.spacing_mm == (0.154, 0.308)


def test_mhd_spacing_absent_or_suspicious(mhd: Path) -> None:
    assert read_study(write_mhd(mhd, ElementSpacing=None)).frames[0].grid.spacing_mm is None
    study = read_study(write_mhd(mhd, ElementSpacing="1 1"))
    assert study.frames[0].grid.spacing_mm == (1.0, 1.0)
    assert "1 x 1 mm" in study.notes[0]
    for wrong in ("0 1", "-1 1", "nan 1", "a b", "0.3", "0.3 0.3 1", ""):
        assert "ElementSpacing" in refusal(write_mhd(mhd, ElementSpacing=wrong))
    # SimpleITK passes over other spellings, and gives 1 mm.
    other_spelling = write_mhd(mhd, ElementSpacing=None, elementspacing="0.3 0.4")
    assert "must be spelled ElementSpacing" in refusal(other_spelling)


@pytest.mark.parametrize("sides", ["0.01 50", "30.8 0.308", "0.001 0.001", "0.2 2.1"])
def test_a_pixel_that_no_scanner_has_is_of_unknown_size(mhd: Path, sides: str) -> None:
    study = read_study(write_mhd(mhd, ElementSpacing=sides))
    assert study.frames[0].grid.spacing_mm is None
    assert "mm is not plausible, spacing unknown" in study.notes[0]


def test_mhd_pixel_file_elsewhere_is_never_opened(mhd: Path, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}_secret.raw"
    outside.write_bytes(speckle().tobytes())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.raw").write_bytes(speckle().tobytes())
    (tmp_path / "link.raw").symlink_to(outside)
    for name in (
        str(outside),
        f"../{outside.name}",
        "/etc/passwd",
        "sub/b.raw",
        "sub\\b.raw",
        "C:x.raw",
        "http://x/a.raw",
    ):
        assert "is refused" in refusal(write_mhd(mhd, name)), name
    assert "link that leads out" in refusal(write_mhd(mhd, "link.raw"))
    for name in ("LIST", "LIST 2", "a%03d.raw 1 2 1", ".hidden", "local"):
        assert "is refused" in refusal(write_mhd(mhd, name)), name


def test_mhd_data_missing_or_of_another_size(mhd: Path, tmp_path: Path) -> None:
    assert "gone.raw is missing" in refusal(write_mhd(mhd, "gone.raw"))
    (tmp_path / "a.raw").write_bytes(speckle().tobytes()[:-1])
    assert "too short" in refusal(write_mhd(mhd))
    (tmp_path / "a.raw").write_bytes(speckle().tobytes() + b"x")
    assert "longer" in refusal(write_mhd(mhd))


def test_mhd_compressed_data(mhd: Path, tmp_path: Path) -> None:
    whole = zlib.compress(speckle().tobytes())
    (tmp_path / "a.zraw").write_bytes(whole)
    np.testing.assert_array_equal(image_of(write_mhd(mhd, "a.zraw", CompressedData="True")), speckle())
    (tmp_path / "a.zraw").write_bytes(whole[: len(whole) // 2])
    assert "too short" in refusal(write_mhd(mhd, "a.zraw", CompressedData="True"))
    (tmp_path / "a.zraw").write_bytes(b"no zlib stream at all")
    assert "too short" in refusal(write_mhd(mhd, "a.zraw", CompressedData="True"))
    (tmp_path / "a.zraw").write_bytes(zlib.compress(bytes(2**24), 1))
    assert "longer" in refusal(write_mhd(mhd, "a.zraw", CompressedData="True"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"NDims": "3", "DimSize": "32 24 1000000000"}, "larger than is read"),
        ({"DimSize": "99999999999999999999 1"}, "larger than is read"),
        ({"DimSize": "0 24"}, "empty image"),
        ({"DimSize": "-32 -24"}, "empty image"),
        ({"DimSize": "32"}, "does not fit"),
        ({"NDims": "3"}, "does not fit"),
        ({"DimSize": "x y"}, "not a list of numbers"),
        ({"DimSize": None}, "lacks dimsize"),
        ({"ElementType": "MET_STRING"}, "is not read"),
        ({"ElementNumberOfChannels": "900"}, "beyond 4"),
        ({"ObjectType": "Scene"}, "not Image"),
        ({"HeaderSize": "100"}, "HeaderSize"),
        ({"elementdatafile": "/etc/passwd"}, "spelled ElementDataFile"),
        ({"dimsize": "9 9"}, "twice"),
    ],
)
def test_mhd_header_that_lies(mhd: Path, changes: dict[str, str | None], message: str) -> None:
    assert message in refusal(write_mhd(mhd, **changes))


def test_mha_holds_its_own_pixels(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(speckle())
    for compressed in (False, True):
        sitk.WriteImage(image, str(tmp_path / "a.mha"), useCompression=compressed)
        np.testing.assert_array_equal(image_of(tmp_path / "a.mha"), speckle())


def test_a_four_dimensional_volume(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(speckle((2, 3, 8, 8)), isVector=False), str(tmp_path / "a.mha"))
    assert "four axes" in refusal(tmp_path / "a.mha")
    sitk.WriteImage(sitk.GetImageFromArray(speckle((5, 1, 8, 9)), isVector=False), str(tmp_path / "b.mha"))
    assert read_study(tmp_path / "b.mha").clips[0].images.shape == (5, 8, 9)


# NIfTI


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_nifti_is_row_column(tmp_path: Path, suffix: str) -> None:
    content = nifti_header((32, 24)) + speckle().tobytes()
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    frame = read_study(path).frames[0]
    np.testing.assert_array_equal(frame.image, speckle())
    assert frame.grid.spacing_mm == pytest.approx((0.2, 0.3))


def test_nifti_of_one_millimetre_is_suspicious(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti_header((32, 24), spacing=(1.0, 1.0)) + speckle().tobytes())
    study = read_study(tmp_path / "a.nii")
    assert study.frames[0].grid.spacing_mm == (1.0, 1.0)
    assert "1 x 1 mm" in study.notes[0]


def test_a_normalised_image_is_not_taken_for_two_grey_levels(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(speckle() / np.float32(255)), str(tmp_path / "a.nii.gz"))
    assert "scale it to 0-255" in refusal(tmp_path / "a.nii.gz")


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "M\udcfcller_4CH_ED.nii"
    path.write_bytes(nifti_header((32, 24)) + speckle().tobytes())
    with pytest.raises(InputError, match=r"M\?ller_4CH_ED.nii: its name or a folder's is not UTF-8; rename it"):
        read_study(path)


def test_nifti_time_on_the_last_axis(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti_header((8, 6, 1, 5)) + speckle((5, 6, 8)).tobytes())
    np.testing.assert_array_equal(read_study(tmp_path / "a.nii").clips[0].images, speckle((5, 6, 8)))


@pytest.mark.parametrize(
    ("units", "spacing", "known"), [(0, (1.0, 1.0), False), (0, (0.3, 0.3), True), (2, (1.0, 1.0), True)]
)
def test_nifti_that_says_no_unit(tmp_path: Path, units: int, spacing: tuple[float, float], known: bool) -> None:
    (tmp_path / "a.nii").write_bytes(nifti_header((32, 24), units, spacing) + speckle().tobytes())
    assert (read_study(tmp_path / "a.nii").frames[0].grid.spacing_mm is not None) is known


def test_nifti_cut_short_inside_a_sound_gzip(tmp_path: Path) -> None:
    content = nifti_header((32, 24)) + speckle().tobytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content[:-1]))
    assert "cut short" in refusal(tmp_path / "a.nii.gz")


def test_a_gzip_bomb(tmp_path: Path) -> None:
    (tmp_path / "zeros.nii.gz").write_bytes(gzip.compress(bytes(2**25), 1))
    assert "not a NIfTI-1 file" in refusal(tmp_path / "zeros.nii.gz")
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(nifti_header((8192, 4096, 32767)), 1))
    assert "larger than is read" in refusal(tmp_path / "huge.nii.gz")
    # What lies behind the last pixel is never inflated.
    content = nifti_header((32, 24)) + speckle().tobytes() + bytes(2**25)
    (tmp_path / "tail.nii.gz").write_bytes(gzip.compress(content, 1))
    np.testing.assert_array_equal(image_of(tmp_path / "tail.nii.gz"), speckle())


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (40, struct.pack("<h", 9), "impossible size"),
        (42, struct.pack("<h", -5), "impossible size"),
        (70, struct.pack("<h", 128), "no grey image"),
        (108, struct.pack("<f", 1e9), "puts the pixels"),
        (344, b"ni1\x00", "not a NIfTI-1 file"),
    ],
)
def test_nifti_header_that_lies(tmp_path: Path, where: int, value: bytes, message: str) -> None:
    content = bytearray(nifti_header((32, 24)) + speckle().tobytes())
    content[where : where + len(value)] = value
    (tmp_path / "a.nii").write_bytes(content)
    assert message in refusal(tmp_path / "a.nii")
