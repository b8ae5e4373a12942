"""Pictures, MetaImage and NIfTI: what is read, and one clear line for what is damaged or hostile."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Picture

from apical.errors import InputError
from apical.readers import read_mask, read_study
from apical.readers.limits import MAX_CLIP_PIXELS, MAX_SIDE
from apical.readers.pixels import is_colour_picture


def speckle(shape: tuple[int, ...] = (24, 32), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def refusal(path: Path) -> str:
    """Read what must be refused and return the message, one line that names the file."""
    with pytest.raises(InputError) as caught:
        read_study(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def image_of(path: Path) -> np.ndarray:
    return read_study(path).frames[0].image


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def png_of_zeros(columns: int, rows: int) -> bytes:
    data = zlib.compress(bytes(rows * (columns + 1)) if rows * columns < 2**28 else b"", 9)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


# Pictures


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "PNG"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_grey_in_every_mode(tmp_path: Path, suffix: str, mode: str) -> None:
    if (suffix, mode) in {("bmp", "LA"), ("bmp", "RGBA")} or (suffix.startswith("tif") and mode in ("LA", "P")):
        pytest.skip("the format has no such mode")
    path = tmp_path / f"lab_A4C_ED.{suffix}"
    grey = speckle()
    picture = Picture.fromarray(grey).convert(mode)
    if mode in ("LA", "RGBA"):
        picture.putalpha(Picture.fromarray(grey // 2))
    picture.save(path)
    np.testing.assert_array_equal(image_of(path), grey)
    assert read_study(path).frames[0].grid.spacing_mm is None


def test_jpeg(tmp_path: Path) -> None:
    smooth = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (32, 1))
    Picture.fromarray(smooth).convert("RGB").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(image_of(tmp_path / "a.jpg").astype(int) - smooth).max() <= 3


def test_a_picture_of_another_format_than_its_suffix(tmp_path: Path) -> None:
    Picture.fromarray(speckle()).save(tmp_path / "a.bmp")
    (tmp_path / "a.bmp").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(image_of(tmp_path / "a.jpg"), speckle())


def test_sixteen_bit_pixels(tmp_path: Path) -> None:
    Picture.fromarray(speckle().astype(np.uint16)).save(tmp_path / "low.png")
    np.testing.assert_array_equal(image_of(tmp_path / "low.png"), speckle())
    Picture.fromarray(speckle().astype(np.uint16) * 257).save(tmp_path / "high.png")
    assert "8-bit grey" in refusal(tmp_path / "high.png")


def test_annotated_and_tinted_ultrasound_is_grey_but_photographs_are_not(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:200, 0:200]
    tissue = (speckle((200, 200)) * (columns > 40) * 0.7).astype(np.uint8)
    annotated = np.dstack([tissue] * 3)
    annotated[5:12, 5:80] = (255, 220, 0)
    annotated[190:193] = (0, 255, 60)
    assert not is_colour_picture(annotated)
    Picture.fromarray(annotated).save(tmp_path / "annotated.png")
    np.testing.assert_array_equal(image_of(tmp_path / "annotated.png")[50:150], tissue[50:150])
    tinted = (tissue[..., None] * np.array([1.0, 0.85, 0.65])).astype(np.uint8)
    assert not is_colour_picture(tinted)
    gradients = np.dstack([rows, columns, 255 - rows]).astype(np.uint8)
    doppler = annotated.copy()
    doppler[60:140, 80:160] = np.where(speckle((80, 80))[..., None] > 127, (220, 30, 0), (0, 40, 230))
    plain = np.full((200, 200, 3), (200, 60, 30), np.uint8)
    for name, photograph in {"gradients": gradients, "doppler": doppler, "plain": plain}.items():
        Picture.fromarray(photograph).save(tmp_path / f"{name}.png")
        assert "colour picture" in refusal(tmp_path / f"{name}.png"), name


def test_a_real_photograph(tmp_path: Path) -> None:
    import matplotlib

    photograph = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    if not photograph.is_file():
        pytest.skip("this matplotlib carries no photograph")
    assert "colour picture" in refusal(photograph)


def test_a_coloured_mask(tmp_path: Path) -> None:
    Picture.fromarray(speckle((9, 9, 3)) % 4).save(tmp_path / "a_gt.png")
    with pytest.raises(InputError, match="a coloured mask"):
        read_mask(tmp_path / "a_gt.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "mhd", "mha", "nii", "nii.gz", "dcm"])
def test_an_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.touch()
    assert "empty" in refusal(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "mhd", "mha", "nii", "nii.gz", "dcm"])
def test_random_bytes(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    for seed in range(5):
        path = tmp_path / f"{seed}.{suffix}"
        path.write_bytes(speckle((4000,), seed).tobytes())
        refusal(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "nii", "nii.gz", "mha"])
def test_cut_short_anywhere(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    whole, path = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(speckle((64, 64))), str(whole))
    content = whole.read_bytes()
    # The last bytes of a JPEG are its end marker alone; every pixel is there without them.
    for share in (0.01, 0.1, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        refusal(path)
    assert capfd.readouterr().err == ""


def test_a_png_with_a_flipped_bit(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Picture.fromarray(speckle((64, 64))).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / "a.png").write_bytes(content)
    assert "damaged" in refusal(tmp_path / "a.png")
    assert capfd.readouterr().err == ""


def test_20000_x_20000(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_of_zeros(20000, 20000))
    (tmp_path / "b.mhd").write_text(
        "ObjectType = Image\nNDims = 2\nDimSize = 20000 20000\nElementType = MET_UCHAR\nElementDataFile = b.raw\n"
    )
    with (tmp_path / "b.raw").open("wb") as handle:
        handle.truncate(20000 * 20000)  # sparse
    (tmp_path / "c.nii").write_bytes(nifti_header((20000, 20000)))
    bmp = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, 20000, 20000, 1, 24, 0, 0, 0, 0, 0, 0)
    (tmp_path / "d.bmp").write_bytes(bmp)
    start_of_frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 20000, 20000, 1) + b"\x01\x11\x00"
    (tmp_path / "e.jpg").write_bytes(b"\xff\xd8" + start_of_frame + b"\xff\xda" + bytes(20))
    entries = [(256, 4, 20000), (257, 4, 20000), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (279, 4, 9)]
    tags = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    (tmp_path / "f.tif").write_bytes(b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(entries)) + tags + bytes(4))
    for name in ("a.png", "b.mhd", "c.nii", "d.bmp", "e.jpg", "f.tif"):
        assert "larger than is read" in refusal(tmp_path / name), name


def test_a_png_bomb(tmp_path: Path) -> None:
    content = png_of_zeros(8000, 8000)
    assert len(content) < 2**17
    (tmp_path / "bomb.png").write_bytes(content)
    assert "larger than is read" in refusal(tmp_path / "bomb.png")


def test_the_limits_themselves_are_read() -> None:
    from apical.readers.limits import check_size

    check_size(Path("a"), MAX_SIDE, 4096)
    check_size(Path("a"), 512, 1024, MAX_CLIP_PIXELS // (512 * 1024))
    for size in ((MAX_SIDE + 1, 1), (MAX_SIDE, MAX_SIDE), (512, 1024, MAX_CLIP_PIXELS // (512 * 1024) + 1), (0, 5)):
        with pytest.raises(InputError):
            check_size(Path("a"), *size)


def test_a_tiff_of_several_pages(tmp_path: Path) -> None:
    pages = [Picture.fromarray(speckle(seed=s)) for s in (1, 2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert "several pages" in refusal(tmp_path / "a.tif")


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


def nifti_header(size: tuple[int, ...], units: int = 2, spacing: tuple[float, float] = (0.3, 0.2)) -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into(f"<{len(size) + 1}h", header, 40, len(size), *size)
    struct.pack_into("<hh", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, *spacing, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[123] = units
    header[344:348] = b"n+1\x00"
    return bytes(header)


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
