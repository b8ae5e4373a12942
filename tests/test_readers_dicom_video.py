"""MPEG-2, H.264 and HEVC inside DICOM, as bare streams and in the containers that the standard allows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from apical.readers import read_study
from dicom_checks import save, ultrasound_dataset
from frame_files import refusal

av = pytest.importorskip("av", reason="video in DICOM needs PyAV")

N, ROWS, COLUMNS = 12, 64, 96


def grey_clip(n: int = N) -> np.ndarray:
    """Return a picture that moves, smooth enough for lossy codecs, (time, row, column)."""
    t, y, x = np.mgrid[:n, :ROWS, :COLUMNS]
    return np.rint(127.5 + 120 * np.sin(x / 11 + t / 2) * np.cos(y / 13)).astype(np.uint8)


def encode(codec: str, container: str, pixels: str = "yuv420p", n: int = N, **options: str) -> bytes:
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no encoder {codec}")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as film:
        stream = film.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.options = ROWS, COLUMNS, pixels, options
        for image in grey_clip(n):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray").reformat(format=pixels)))
        film.mux(stream.encode())
    return buffer.getvalue()


def video_dataset(stream: bytes, syntax: str, n: int = N, fragments: int = 1) -> Dataset:
    made = ultrasound_dataset(np.zeros((n, ROWS, COLUMNS, 3), np.uint8))
    made["PixelData"].VR = "OB"
    made.PhotometricInterpretation = "YBR_PARTIAL_420"
    made.PixelData = encapsulate([stream], fragments_per_frame=fragments, has_bot=False)
    made.file_meta.TransferSyntaxUID = uid.UID(syntax)
    return made


MPEG2 = {"qscale": "2", "b": "8000000"}
X264 = {"crf": "8"}
X265 = {"crf": "8", "x265-params": "log-level=none"}
ROOT = "1.2.840.10008.1.2.4."
VIDEOS = {
    "MPEG-2, elementary": (f"{ROOT}100", 1, "mpeg2video", "mpeg2video", MPEG2),
    "MPEG-2, program stream": (f"{ROOT}101", 1, "mpeg2video", "vob", MPEG2),
    "MPEG-2, transport stream in pieces": (f"{ROOT}101.1", 3, "mpeg2video", "mpegts", MPEG2),
    "H.264, elementary": (f"{ROOT}102", 1, "libx264", "h264", X264),
    "H.264, MP4": (f"{ROOT}103", 1, "libx264", "mp4", X264),
    "H.264, transport stream in pieces": (f"{ROOT}104.1", 3, "libx264", "mpegts", X264),
    "HEVC, elementary": (f"{ROOT}107", 1, "libx265", "hevc", X265),
    "HEVC, MP4": (f"{ROOT}107", 1, "libx265", "mp4", X265),
}


@pytest.mark.parametrize(("syntax", "fragments", "codec", "container", "options"), VIDEOS.values(), ids=VIDEOS)
def test_video(
    tmp_path: Path,
    syntax: str,
    fragments: int,
    codec: str,
    container: str,
    options: dict[str, str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    stream = encode(codec, container, **options)
    path = save(video_dataset(stream, syntax, fragments=fragments), tmp_path / "a.dcm")
    capfd.readouterr()
    (clip,) = read_study(path).clips
    grey = grey_clip()
    assert clip.images.shape == grey.shape
    assert np.abs(clip.images.astype(int) - grey).mean() < 2
    np.testing.assert_allclose(clip.frame_times_ms, np.arange(N) * 20.5)  # of the tags, not 25 a second
    assert capfd.readouterr().err == ""


def test_hevc_main_10(tmp_path: Path) -> None:
    try:
        stream = encode("libx265", "hevc", "yuv420p10le", **X265)
    except av.error.FFmpegError:
        pytest.skip("this build of libx265 has no 10 bits")
    made = video_dataset(stream, f"{ROOT}108")
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 10, 9
    assert np.abs(read_study(save(made, tmp_path / "a.dcm")).clips[0].images.astype(int) - grey_clip()).mean() < 2


def test_video_that_its_header_does_not_fit(tmp_path: Path) -> None:
    stream = encode("libx264", "h264", **X264)
    for tags, message in (
        ({"Rows": 66}, "64 x 96, the header says 66 x 96"),
        ({"NumberOfFrames": 30}, "holds 12 frames, the header says 30"),
        ({"NumberOfFrames": 2}, "holds 12 frames, the header says 2"),
    ):
        made = video_dataset(stream, f"{ROOT}102")
        for keyword, value in tags.items():
            setattr(made, keyword, value)
        assert message in refusal(save(made, tmp_path / "a.dcm"))
    study = read_study(save(video_dataset(stream, f"{ROOT}102", n=13), tmp_path / "a.dcm"))
    assert len(study.clips[0].images) == len(study.clips[0].frame_times_ms) == 12
    assert any("the header says 13" in note for note in study.notes)


@pytest.mark.parametrize("syntax", [f"{ROOT}100", f"{ROOT}102", f"{ROOT}107"])
def test_a_damaged_stream(tmp_path: Path, syntax: str, capfd: pytest.CaptureFixture[str]) -> None:
    stream = encode("libx264", "h264", **X264)
    for content in (
        b"",
        bytes(64),
        np.random.default_rng(0).bytes(3000),
        stream[: len(stream) // 3],
        b"#EXTM3U\nhttp://x",
    ):
        refusal(save(video_dataset(content + b"\0" * (not content), syntax), tmp_path / "a.dcm"))
    assert capfd.readouterr().err == ""
