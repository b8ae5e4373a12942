"""Every transfer syntax and kind of colour gives the same grey picture, within its codec's loss."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image as Picture
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

import frame_files
from apical.readers import read_study
from dicom_checks import save, ultrasound_dataset

N, ROWS, COLUMNS = 3, 48, 64


def grey_clip(n: int = N, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Return a picture that moves, smooth enough for lossy codecs, (time, row, column)."""
    t, y, x = np.mgrid[:n, :rows, :columns]
    return np.rint(127.5 + 120 * np.sin(x / 11 + t / 2) * np.cos(y / 13)).astype(np.uint8)


def tinted(grey: np.ndarray) -> np.ndarray:
    """Return the sepia that scanners offer: red, green and blue differ, so that none can stand in for another."""
    return np.rint(np.stack([grey * 1.0, grey * 0.92, grey * 0.8], axis=-1)).astype(np.uint8)


def luma(rgb: np.ndarray) -> np.ndarray:
    return rgb @ np.array([0.299, 0.587, 0.114])


def ybr(rgb: np.ndarray) -> np.ndarray:
    return np.asarray([np.asarray(Picture.fromarray(frame).convert("YCbCr")) for frame in rgb])


def clip_dataset(pixels: np.ndarray, **tags: Any) -> Dataset:
    made = ultrasound_dataset(pixels)
    made["PixelData"].VR = "OB"
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def as_frames(made: Dataset, frames: list[bytes], syntax: str, kind: str | None = None) -> Dataset:
    """Replace the pixels by encoded ones."""
    made.PixelData = encapsulate(frames)
    made["PixelData"].VR = "OB"
    made.file_meta.TransferSyntaxUID = uid.UID(syntax)
    if kind:
        made.PhotometricInterpretation = kind
    return made


def with_pillow(pixels: np.ndarray, image_format: str, **options: Any) -> list[bytes]:
    frames = []
    for frame in pixels:
        buffer = io.BytesIO()
        Picture.fromarray(frame).save(buffer, image_format, **options)
        frames.append(buffer.getvalue())
    return frames


def images_of(path: Path) -> np.ndarray:
    (clip,) = read_study(path).clips
    return clip.images


def refusal(path: Path) -> str:
    message = frame_files.refusal(path)
    assert "Doe" not in message
    return message


# Transfer syntaxes


def raw(syntax: str) -> Callable[[np.ndarray], Dataset]:
    def make(pixels: np.ndarray) -> Dataset:
        made = clip_dataset(pixels)
        made.file_meta.TransferSyntaxUID = uid.UID(syntax)
        return made

    return make


def by_pydicom(syntax: str, **options: Any) -> Callable[[np.ndarray], Dataset]:
    def make(pixels: np.ndarray) -> Dataset:
        made = clip_dataset(pixels)
        made.compress(uid.UID(syntax), generate_instance_uid=False, **options)
        return made

    return make


def jpeg(pixels: np.ndarray) -> Dataset:
    return as_frames(clip_dataset(pixels), with_pillow(pixels, "JPEG", quality=97), uid.JPEGBaseline8Bit)


def jpeg_extended(pixels: np.ndarray) -> Dataset:
    """Eight bits: baseline with the marker of the extended process."""
    frames = [frame.replace(b"\xff\xc0", b"\xff\xc1", 1) for frame in with_pillow(pixels, "JPEG", quality=97)]
    return as_frames(clip_dataset(pixels), frames, uid.JPEGExtended12Bit)


def jpeg_2000(syntax: str, **options: Any) -> Callable[[np.ndarray], Dataset]:
    def make(pixels: np.ndarray) -> Dataset:
        return as_frames(clip_dataset(pixels), with_pillow(pixels, "JPEG2000", no_jp2=True, **options), syntax)

    return make


def by_gdcm(kind: str) -> Callable[[np.ndarray], Dataset]:
    def make(pixels: np.ndarray) -> Dataset:
        gdcm = pytest.importorskip("gdcm", reason="lossless JPEG is encoded by python-gdcm")
        with TemporaryDirectory() as folder:
            target = Path(folder) / "made.dcm"
            reader = gdcm.ImageReader()
            reader.SetFileName(str(save(clip_dataset(pixels), Path(folder) / "raw.dcm")))
            assert reader.Read()
            change = gdcm.ImageChangeTransferSyntax()
            change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kind)))
            change.SetInput(reader.GetImage())
            assert change.Change()
            writer = gdcm.ImageWriter()
            writer.SetFileName(str(target))
            writer.SetFile(reader.GetFile())
            writer.SetImage(change.GetOutput())
            assert writer.Write()
            return pydicom.dcmread(io.BytesIO(target.read_bytes()))

    return make


SYNTAXES = {
    "implicit little endian": (raw(uid.ImplicitVRLittleEndian), 0),
    "explicit little endian": (raw(uid.ExplicitVRLittleEndian), 0),
    "explicit big endian": (raw(uid.ExplicitVRBigEndian), 0),
    "deflated": (raw(uid.DeflatedExplicitVRLittleEndian), 0),
    "RLE": (by_pydicom(uid.RLELossless), 0),
    "JPEG baseline": (jpeg, 4),
    "JPEG extended": (jpeg_extended, 4),
    "JPEG lossless, process 14": (by_gdcm("JPEGLosslessProcess14"), 0),
    "JPEG lossless, first order": (by_gdcm("JPEGLosslessProcess14_1"), 0),
    "JPEG-LS lossless": (by_pydicom(uid.JPEGLSLossless), 0),
    "JPEG-LS near-lossless": (by_pydicom(uid.JPEGLSNearLossless, jls_error=2), 2),
    "JPEG 2000 lossless": (jpeg_2000(uid.JPEG2000Lossless, irreversible=False), 0),
    "JPEG 2000": (jpeg_2000(uid.JPEG2000, irreversible=True, quality_layers=[60], quality_mode="dB"), 8),
}


@pytest.mark.parametrize(("make", "loss"), SYNTAXES.values(), ids=SYNTAXES)
@pytest.mark.parametrize("n_frames", [1, N])
def test_grey(tmp_path: Path, make: Callable[[np.ndarray], Dataset], loss: int, n_frames: int) -> None:
    grey = grey_clip(n_frames)
    path = save(make(grey), tmp_path / "a.dcm")
    study = read_study(path)
    images = study.clips[0].images if n_frames == N else study.frames[0].image[None]
    assert images.shape == grey.shape
    assert np.abs(images.astype(int) - grey).max() <= loss
    # What is said to be lossy is: else a lossless file would be tested twice.
    assert bool(loss) != np.array_equal(images, grey)


HTJ2K_RAMP = (
    "|4;u>04YEK0000G0000G00000000000000G0000G0000000000009R90sl|{2mk^A00092QUDA90ssL31q1{@0smY8"
    "6Cg-XP*6}%P*6}%P*6}vNJ#%=02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000UH}3AlfWhG0Ect{0KgK!5`Yi^"
    "hjak&0LOFyz!N|c00_hZ0(1a~6H@@d6%YiVf*=U0aDsIJ;>YZ?0Kh9C6M)Rj%*^M&r>CdFcmM$XgRZ)k0RPz"
)
"""A ramp of 16 x 16 pixels, 15 * column + row, in high-throughput JPEG 2000 by OpenJPH, as base 85."""


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K])
def test_high_throughput_jpeg_2000(tmp_path: Path, syntax: str) -> None:
    y, x = np.mgrid[:16, :16]
    ramp = (15 * x + y).astype(np.uint8)
    made = as_frames(clip_dataset(np.stack([ramp] * 2)), [base64.b85decode(HTJ2K_RAMP)] * 2, syntax)
    np.testing.assert_array_equal(images_of(save(made, tmp_path / "a.dcm")), np.stack([ramp] * 2))


# Kinds of colour


def palette(grey: np.ndarray, order: str = "<") -> Dataset:
    """A sepia palette, whose indices run backwards."""
    made = clip_dataset(255 - grey, PhotometricInterpretation="PALETTE COLOR")
    table = tinted(np.arange(255, -1, -1))
    for c, name in enumerate(("Red", "Green", "Blue")):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(
            made,
            f"{name}PaletteColorLookupTableData",
            (table[:, c].astype(np.uint16) << 8).astype(f"{order}u2").tobytes(),
        )
    return made


def palette_big_endian(grey: np.ndarray) -> Dataset:
    made = palette(grey, ">")
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    return made


def planes(grey: np.ndarray) -> Dataset:
    rgb = tinted(grey)
    made = clip_dataset(rgb, PlanarConfiguration=1)
    made.PixelData = np.moveaxis(rgb, -1, 1).tobytes()
    return made


def half_chroma(grey: np.ndarray) -> Dataset:
    """YBR_FULL_422, not compressed: for two pixels both Y, then one Cb and one Cr."""
    channels = ybr(tinted(grey))
    pairs = channels.reshape(len(grey), ROWS, COLUMNS // 2, 2, 3)
    packed = np.stack([pairs[..., 0, 0], pairs[..., 1, 0], pairs[..., 0, 1], pairs[..., 0, 2]], axis=-1)
    made = clip_dataset(channels, PhotometricInterpretation="YBR_FULL_422")
    made.PixelData = packed.tobytes()
    return made


def jpeg_colour(kind: str, **options: Any) -> Callable[[np.ndarray], Dataset]:
    def make(grey: np.ndarray) -> Dataset:
        frames = with_pillow(tinted(grey), "JPEG", quality=97, **options)
        return as_frames(clip_dataset(tinted(grey)), frames, uid.JPEGBaseline8Bit, kind)

    return make


def jpeg_2000_colour(kind: str, syntax: str, **options: Any) -> Callable[[np.ndarray], Dataset]:
    def make(grey: np.ndarray) -> Dataset:
        frames = with_pillow(tinted(grey), "JPEG2000", no_jp2=True, mct=kind != "RGB", **options)
        return as_frames(clip_dataset(tinted(grey)), frames, syntax, kind)

    return make


def run_length_colour(grey: np.ndarray) -> Dataset:
    made = clip_dataset(tinted(grey))
    made.compress(uid.RLELossless, generate_instance_uid=False)
    return made


COLOURS = {
    "RGB by pixel": (lambda grey: clip_dataset(tinted(grey)), 0.5),
    "RGB by plane": (planes, 0.5),
    "RGB, RLE": (run_length_colour, 0.5),
    "RGB, JPEG": (jpeg_colour("RGB", keep_rgb=True), 5),
    "RGB, JPEG-LS": (lambda grey: by_pydicom(uid.JPEGLSLossless)(tinted(grey)), 0.5),
    "RGB, JPEG lossless": (lambda grey: by_gdcm("JPEGLosslessProcess14_1")(tinted(grey)), 0.5),
    "PALETTE COLOR": (palette, 0.5),
    "PALETTE COLOR, big endian": (palette_big_endian, 0.5),
    "YBR_FULL": (lambda grey: clip_dataset(ybr(tinted(grey)), PhotometricInterpretation="YBR_FULL"), 1),
    "YBR_FULL_422": (half_chroma, 1),
    "YBR_FULL, JPEG": (jpeg_colour("YBR_FULL", subsampling="4:4:4"), 4),
    "YBR_FULL_422, JPEG": (jpeg_colour("YBR_FULL_422", subsampling="4:2:2"), 4),
    "YBR_RCT": (jpeg_2000_colour("YBR_RCT", uid.JPEG2000Lossless, irreversible=False), 0.5),
    "YBR_ICT": (
        jpeg_2000_colour("YBR_ICT", uid.JPEG2000, irreversible=True, quality_layers=[60], quality_mode="dB"),
        8,
    ),
    "RGB, JPEG 2000": (jpeg_2000_colour("RGB", uid.JPEG2000Lossless, irreversible=False), 0.5),
}


@pytest.mark.parametrize(("make", "loss"), COLOURS.values(), ids=COLOURS)
def test_colour_becomes_its_luminance(tmp_path: Path, make: Callable[[np.ndarray], Dataset], loss: float) -> None:
    images = images_of(save(make(grey_clip()), tmp_path / "a.dcm"))
    assert images.shape == (N, ROWS, COLUMNS)
    assert np.abs(images - luma(tinted(grey_clip()))).max() <= loss + 0.01


def test_monochrome_of_both_kinds(tmp_path: Path) -> None:
    inverted = clip_dataset(255 - grey_clip(), PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(images_of(save(inverted, tmp_path / "a.dcm")), grey_clip())


def test_a_syntax_that_is_not_read_is_named(tmp_path: Path) -> None:
    made = as_frames(clip_dataset(grey_clip()), [bytes(64)] * N, "1.2.840.10008.1.2.4.94")
    assert "JPIP Referenced is not read" in refusal(save(made, tmp_path / "a.dcm"))


def test_compressed_frames_cut_short(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("JPEG baseline", "RLE", "JPEG-LS lossless", "JPEG 2000 lossless", "JPEG lossless, first order"):
        content = save(SYNTAXES[name][0](grey_clip()), tmp_path / "a.dcm").read_bytes()
        for length in (len(content) // 2, len(content) - 200, len(content) - 60):
            (tmp_path / "cut.dcm").write_bytes(content[:length])
            refusal(tmp_path / "cut.dcm")
    assert capfd.readouterr().err == ""
