"""Ultrasound DICOM: written here, the files that pydicom carries, and a real cine where it lies beside the project."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from apical.anatomy import View
from apical.errors import InputError
from apical.readers import read_study
from dicom_frames import COLUMNS, PERSON, ROWS, refusal, speckle, ultrasound


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_grey_clip(save_dicom: Callable[..., Path], syntax: str) -> None:
    path = save_dicom(ultrasound(speckle(), syntax=syntax, FrameTime=20.0, HeartRate=61))
    study = read_study(path)
    (clip,) = study.clips
    np.testing.assert_array_equal(clip.images, speckle())
    assert clip.grid.spacing_mm == pytest.approx((0.3, 0.2))
    assert clip.region == (2, 4, ROWS, COLUMNS)
    np.testing.assert_allclose(clip.frame_times_ms, [0, 20, 40])
    assert clip.heart_rate_bpm == 61
    assert (study.patient.id, clip.name) == ("a", "a")
    assert PERSON not in repr((study.patient, study.notes, clip.notes))


def test_single_frame(save_dicom: Callable[..., Path]) -> None:
    study = read_study(save_dicom(ultrasound(speckle(1), NumberOfFrames=None), "x_A2C_ES.dcm"))
    (frame,) = study.frames
    np.testing.assert_array_equal(frame.image, speckle(1)[0])
    assert (frame.view, str(frame.phase)) == (View.A2C, "ES")


def test_rle(save_dicom: Callable[..., Path]) -> None:
    dataset = ultrasound(speckle())
    dataset.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read_study(save_dicom(dataset)).clips[0].images, speckle())


def test_kinds_of_colour(save_dicom: Callable[..., Path]) -> None:
    grey = speckle()
    as_rgb = np.stack([grey] * 3, axis=-1)
    np.testing.assert_array_equal(read_study(save_dicom(ultrasound(as_rgb, "RGB"))).clips[0].images, grey)
    ybr = np.stack([grey, np.full_like(grey, 128), np.full_like(grey, 128)], axis=-1)
    np.testing.assert_array_equal(read_study(save_dicom(ultrasound(ybr, "YBR_FULL"))).clips[0].images, grey)
    np.testing.assert_array_equal(read_study(save_dicom(ultrasound(grey, "MONOCHROME1"))).clips[0].images, 255 - grey)
    ramp = np.arange(256, dtype=np.uint16) * 256
    palette = {"RedPaletteColorLookupTableDescriptor": [256, 0, 16], "RedPaletteColorLookupTableData": ramp.tobytes()}
    palette |= {k.replace("Red", c): v for k, v in palette.items() for c in ("Green", "Blue")}
    np.testing.assert_array_equal(
        read_study(save_dicom(ultrasound(grey, "PALETTE COLOR", **palette))).clips[0].images, grey
    )
    assert "photometric interpretation" in refusal(save_dicom(ultrasound(ybr, "YBR_PARTIAL_420")))


def test_colour_doppler_is_refused_and_annotations_are_not(save_dicom: Callable[..., Path]) -> None:
    rgb = np.stack([speckle()] * 3, axis=-1)
    rgb[:, 20] = (255, 255, 0)
    rgb[:, :, :4] = (0, 0, 255)  # a colour bar outside the region
    assert read_study(save_dicom(ultrasound(rgb, "RGB"))).clips[0].images.shape == (3, ROWS, COLUMNS)
    rgb[:, 6:16, 10:24] = (230, 30, 0)
    assert "colour Doppler" in refusal(save_dicom(ultrasound(rgb, "RGB")))


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Modality": "CT"}, "modality CT"),
        ({"PixelData": None}, "no image"),
        ({"Rows": None}, "Rows, Columns or NumberOfFrames"),
        ({"Rows": 20000, "Columns": 20000}, "larger than is read"),
        ({"NumberOfFrames": 2**30}, "larger than is read"),
        ({"Rows": 0}, "empty image"),
        ({"NumberOfFrames": 900}, "decode"),
        ({"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}, "16 bits"),
        ({"SamplesPerPixel": 4}, "4 samples"),
    ],
)
def test_headers_that_lie(save_dicom: Callable[..., Path], tags: dict[str, Any], message: str) -> None:
    assert message in refusal(save_dicom(ultrasound(speckle(), **tags)))


def test_cut_short_anywhere(save_dicom: Callable[..., Path], tmp_path: Path) -> None:
    content = save_dicom(ultrasound(speckle())).read_bytes()
    for length in (0, 50, 131, 132, 140, 200, 400, 600, len(content) - ROWS * COLUMNS, len(content) - 1):
        (tmp_path / "cut.dcm").write_bytes(content[:length])
        refusal(tmp_path / "cut.dcm")


def test_one_wrong_byte_is_a_study_or_our_error(save_dicom: Callable[..., Path], tmp_path: Path) -> None:
    content = save_dicom(ultrasound(speckle(1))).read_bytes()
    generator = np.random.default_rng(1)
    for _ in range(100):
        wrong = bytearray(content)
        wrong[generator.integers(128, len(content) - ROWS * COLUMNS)] = generator.integers(0, 256)
        (tmp_path / "wrong.dcm").write_bytes(wrong)
        with contextlib.suppress(InputError):  # any other exception fails the test
            read_study(tmp_path / "wrong.dcm")


def nested(depth: int, *, explicit_length: bool) -> Dataset:
    innermost = Dataset()
    for _ in range(depth):
        outer = Dataset()
        outer.RequestAttributesSequence = Sequence([innermost])
        outer["RequestAttributesSequence"].is_undefined_length = not explicit_length
        innermost.is_undefined_length_sequence_item = not explicit_length
        innermost = outer
    return innermost


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("explicit_length", [True, False])
def test_nested_sequences(save_dicom: Callable[..., Path], explicit_length: bool, syntax: str) -> None:
    for depth, refused in ((10, False), (60, True)):
        inner = nested(depth, explicit_length=explicit_length)
        dataset = ultrasound(speckle(), syntax=syntax, RequestAttributesSequence=inner.RequestAttributesSequence)
        path = save_dicom(dataset)
        if refused:
            assert "nested more than" in refusal(path)
        else:
            assert len(read_study(path).clips) == 1


def test_a_deflate_bomb(save_dicom: Callable[..., Path]) -> None:
    path = save_dicom(ultrasound(speckle(), syntax=DeflatedExplicitVRLittleEndian))
    content = path.read_bytes()
    meta_length = struct.unpack("<I", content[140:144])[0]
    compress = zlib.compressobj(1, zlib.DEFLATED, -15)
    bomb = b"".join(compress.compress(bytes(2**24)) for _ in range(9)) + compress.flush()
    path.write_bytes(content[: 144 + meta_length] + bomb)
    assert "inflates to more" in refusal(path)


def test_an_rle_bomb(save_dicom: Callable[..., Path]) -> None:
    dataset = ultrasound(speckle(1))
    segment = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 2**18
    dataset.PixelData = encapsulate([segment])
    dataset.file_meta.TransferSyntaxUID = RLELossless
    assert "larger than its picture" in refusal(save_dicom(dataset))


def test_a_jpeg_larger_than_its_header(save_dicom: Callable[..., Path]) -> None:
    dataset = ultrasound(speckle(1))
    frame = b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 20000, 20000, 1) + b"\x01\x11\x00\xff\xd9"
    dataset.PixelData = encapsulate([frame])
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    assert "20000 x 20000" in refusal(save_dicom(dataset))


def test_pydicom_cine_has_no_millimetres() -> None:
    study = read_study(get_testdata_file("examples_ybr_color.dcm", download=False))
    (clip,) = study.clips
    assert clip.images.shape == (30, 240, 320)
    assert clip.grid.spacing_mm is None
    assert "resized" in study.notes[0]
    assert clip.frame_times_ms[1] == pytest.approx(33.333)
    rgb = pydicom.dcmread(clip.source).pixel_array
    assert rgb.shape == (30, 240, 320, 3)
    # Luminance of ultrasound that is grey but for its annotations: between the extremes of the three channels.
    assert np.abs(clip.images[0].astype(int) - np.median(rgb[0], axis=-1)).mean() < 2


def test_every_file_that_pydicom_carries(capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(pydicom.__file__).parent / "data"
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    assert len(files) > 50
    read = {}
    for path in files:
        with contextlib.suppress(InputError):  # any other exception fails the test
            read[path.name] = read_study(path)
    assert {"examples_ybr_color.dcm", "examples_palette.dcm"} <= set(read)
    # The last two are colour and power Doppler.
    assert not {"CT_small.dcm", "MR_small.dcm", "no_meta.dcm", "examples_rgb_color.dcm", "examples_jpeg2k.dcm"} & set(
        read
    )
    assert capfd.readouterr().err == ""


def test_real_cine(shared: Path) -> None:
    clip = read_study(shared / "dicom" / "a4c_cine.dcm").clips[0]
    assert clip.images.shape == (120, 480, 640)
    assert clip.grid.spacing_mm == pytest.approx((0.51050, 0.51050), abs=1e-5)
    assert clip.region == (31, 84, 415, 596)
    assert clip.frame_times_ms[-1] == pytest.approx(119 * 33.333)
    assert clip.heart_rate_bpm is None
