"""Pictures: what is read, and one clear line for what is damaged or hostile."""

from __future__ import annotations

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
from frame_files import image_of, nifti_header, refusal, speckle


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
