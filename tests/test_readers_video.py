"""Films as clips: grey values, times, what is refused, and that nothing else is opened."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from apical.anatomy import View
from apical.errors import InputError
from apical.readers import limits, read_study
from apical.readers.film import decode_film
from apical.study import Clip
from frame_files import refusal

av = pytest.importorskip("av", reason="films need PyAV")

N, ROWS, COLUMNS = 12, 64, 96


def beating(n: int = N, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Return a picture that moves and reaches black and white, (time, row, column)."""
    t, y, x = np.mgrid[:n, :rows, :columns]
    wave = 127.5 + 160 * np.sin(x / 17 + t / 3) * np.cos(y / 23)
    return np.clip(np.rint(wave), 0, 255).astype(np.uint8)


def write_film(path: Path | io.BytesIO, frames: np.ndarray, codec: str, pixels: str, **options: str) -> Any:
    """Encode at 40 frames/s; the test is skipped where this build of PyAV lacks the encoder."""
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no encoder {codec}")
    container = options.pop("container", None)
    with av.open(path if isinstance(path, io.BytesIO) else str(path), "w", format=container) as film:
        stream = film.add_stream(codec, rate=40)
        stream.height, stream.width, stream.pix_fmt, stream.options = *frames.shape[1:3], pixels, options
        for frame in frames:
            shown = av.VideoFrame.from_ndarray(frame, format="gray" if frame.ndim == 2 else "rgb24")
            film.mux(stream.encode(shown.reformat(format=pixels)))
        film.mux(stream.encode())
    return path


def clip_of(path: Path) -> Clip:
    (clip,) = read_study(path).clips
    return clip


def distance(images: np.ndarray, frames: np.ndarray) -> float:
    assert images.shape == frames.shape
    return float(np.abs(images.astype(float) - frames).mean())


# name, codec, pixel format, mean error allowed, options
FILMS = [
    ("limited_range.mp4", "libx264", "yuv420p", 0.3, {"crf": "0"}),
    ("full_range.mov", "libx264", "yuvj420p", 0.0, {"crf": "0"}),
    ("b_frames.m4v", "libx264", "yuv420p", 1.5, {"crf": "18", "bf": "3"}),
    ("hevc.mp4", "libx265", "yuv420p", 1.5, {"crf": "12", "x265-params": "log-level=none"}),
    ("ten_bits.mkv", "libx264", "yuv420p10le", 0.6, {"crf": "0"}),
    ("lossless.mkv", "ffv1", "gray", 0.0, {}),
    ("motion_jpeg.avi", "mjpeg", "yuvj420p", 2.0, {"qscale": "2"}),
    ("raw_colour.avi", "rawvideo", "bgr24", 0.0, {}),
    ("raw_grey.AVI", "rawvideo", "gray", 0.0, {"container": "avi"}),
    ("mpeg4.avi", "mpeg4", "yuv420p", 3.0, {"qscale": "2"}),
]


@pytest.mark.parametrize(("name", "codec", "pixels", "allowed", "options"), FILMS, ids=[f[0] for f in FILMS])
def test_grey_and_times(
    tmp_path: Path,
    name: str,
    codec: str,
    pixels: str,
    allowed: float,
    options: dict[str, str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = write_film(tmp_path / name, beating(), codec, pixels, **options)
    capfd.readouterr()
    clip = clip_of(path)
    assert distance(clip.images, beating()) <= allowed
    assert clip.images.max() >= 250
    assert clip.images.min() <= 5
    np.testing.assert_allclose(clip.frame_times_ms, np.arange(N) * 25.0, atol=0.01)
    assert clip.grid.spacing_mm is None
    assert clip.name == name.split(".", maxsplit=1)[0]
    assert capfd.readouterr().err == ""


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_film(tmp_path / "a.avi", beating(), "rawvideo", "gray")
    monkeypatch.setitem(sys.modules, "av", None)
    assert "films need PyAV; pip install" in refusal(path)


def test_gif(tmp_path: Path) -> None:
    stills = [Picture.fromarray(frame) for frame in beating()]
    for name, duration in (("steady.gif", 30), ("uneven.gif", [20 + 10 * (i % 3) for i in range(N)])):
        stills[0].save(tmp_path / name, save_all=True, append_images=stills[1:], duration=duration)
        clip = clip_of(tmp_path / name)
        np.testing.assert_array_equal(clip.images, beating())
        steps = np.full(N, duration) if isinstance(duration, int) else np.array(duration)
        np.testing.assert_allclose(clip.frame_times_ms, np.cumsum(steps) - steps)
        assert clip.notes == ()
    content = (tmp_path / "steady.gif").read_bytes()
    assert content.count(b"\x21\xf9\x04\x00\x03\x00") == N
    (tmp_path / "timeless.gif").write_bytes(content.replace(b"\x21\xf9\x04\x00\x03", b"\x21\xf9\x04\x00\x00"))
    clip = clip_of(tmp_path / "timeless.gif")
    assert clip.frame_times_ms is None
    assert "no frame times" in clip.notes[0]
    stills[0].save(tmp_path / "tiles.gif", save_all=True, append_images=stills[1:])
    assert "12 pictures, of which 1" in refusal(tmp_path / "tiles.gif")
    stills[0].save(tmp_path / "still_A4C_ED.gif")
    (frame,) = read_study(tmp_path / "still_A4C_ED.gif").frames
    np.testing.assert_array_equal(frame.image, beating()[0])
    assert (frame.view, str(frame.phase)) == (View.A4C, "ED")


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    ticks = np.cumsum([0, 10, 25, 10, 40, 15])
    with av.open(str(tmp_path / "uneven.mkv"), "w") as film:
        stream = film.add_stream("ffv1", rate=100)
        stream.height, stream.width, stream.pix_fmt = ROWS, COLUMNS, "gray"
        for tick, image in zip(ticks, beating(6), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="gray")
            frame.pts = int(tick)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    np.testing.assert_allclose(clip_of(tmp_path / "uneven.mkv").frame_times_ms, ticks * 10.0)


def test_sound_is_ignored(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "loud.mkv"), "w") as film:
        picture, sound = film.add_stream("ffv1", rate=40), film.add_stream("pcm_s16le", rate=8000, layout="mono")
        picture.height, picture.width, picture.pix_fmt = ROWS, COLUMNS, "gray"
        for i, image in enumerate(beating(4)):
            film.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="gray")))
            noise = av.AudioFrame.from_ndarray(np.full((1, 200), 99, dtype=np.int16), format="s16", layout="mono")
            noise.sample_rate, noise.pts = 8000, 200 * i
            film.mux(sound.encode(noise))
        film.mux(picture.encode())
    np.testing.assert_array_equal(clip_of(tmp_path / "loud.mkv").images, beating(4))
    with av.open(str(tmp_path / "blind.mkv"), "w") as film:
        sound = film.add_stream("pcm_s16le", rate=8000, layout="mono")
        film.mux(sound.encode(noise))
    assert "no picture stream" in refusal(tmp_path / "blind.mkv")


def test_a_film_that_players_turn(tmp_path: Path) -> None:
    path = write_film(tmp_path / "phone.mp4", beating(), "libx264", "yuvj420p", crf="0")
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    np.testing.assert_array_equal(clip_of(path).images, np.rot90(beating(), -1, axes=(1, 2)))


def test_tinted_and_annotated_is_grey_but_colour_is_not(tmp_path: Path) -> None:
    rgb = np.stack([beating(), beating() * 0.9, beating() * 0.75], axis=-1).astype(np.uint8)
    rgb[:, 2:6, 2:30] = (255, 255, 0)
    assert clip_of(write_film(tmp_path / "sepia.avi", rgb, "rawvideo", "bgr24")).images.shape == (N, ROWS, COLUMNS)
    rgb[:, 20:50, 20:70] = (230, 30, 0)
    assert "a colour film" in refusal(write_film(tmp_path / "doppler.avi", rgb, "rawvideo", "bgr24"))
    assert "a colour film" in refusal(write_film(tmp_path / "doppler.mp4", rgb, "libx264", "yuv420p"))


CUT = [
    ("a.mp4", "libx264", "yuv420p"),
    ("a.avi", "mjpeg", "yuvj420p"),
    ("a.mkv", "ffv1", "gray"),
    ("a.gif", "gif", "gray"),
]


@pytest.mark.parametrize(("name", "codec", "pixels"), CUT)
def test_cut_short_anywhere(
    tmp_path: Path, name: str, codec: str, pixels: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content = write_film(tmp_path / name, beating(), codec, pixels).read_bytes()
    capfd.readouterr()
    for length in (0, 3, 11, 12, 40, len(content) // 3, len(content) // 2, len(content) - 40, len(content) - 12):
        (tmp_path / name).write_bytes(content[:length])
        refusal(tmp_path / name)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("name", "codec", "pixels"), CUT)
def test_wrong_bytes_are_a_clip_or_our_error(
    tmp_path: Path, name: str, codec: str, pixels: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content = write_film(tmp_path / name, beating(), codec, pixels).read_bytes()
    capfd.readouterr()
    generator = np.random.default_rng(3)
    for _ in range(25):
        wrong = bytearray(content)
        for where in generator.integers(0, len(content), 3):
            wrong[where] = generator.integers(0, 256)
        (tmp_path / name).write_bytes(wrong)
        with contextlib.suppress(InputError):  # any other exception fails the test
            read_study(tmp_path / name)
    assert capfd.readouterr().err == ""


def test_a_patched_up_picture_is_refused(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", beating(), "libx264", "yuv420p", crf="5")
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as film:
        first = next(film.demux(video=0))  # it begins with a note of the encoder's, about half of it
    start = first.pos + 3 * first.size // 4
    content[start : start + 60] = bytes(60)
    path.write_bytes(content)
    assert "damaged" in refusal(path)


FOREIGN = {
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "wave": b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(28),
    "zeros": bytes(500),
    "noise": np.random.default_rng(0).bytes(500),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("suffix", ["avi", "mp4", "mov", "mkv", "gif"])
def test_other_formats(tmp_path: Path, content: bytes, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(content)
    assert "not an AVI, MP4, MOV" in refusal(tmp_path / f"a.{suffix}")
    assert capfd.readouterr().err == ""


def test_nothing_else_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if FFmpeg were led to read a playlist, the file it names would stay closed."""
    inner = write_film(tmp_path / "inner.mkv", beating(), "ffv1", "gray")
    playlist = io.BytesIO(f"ffconcat version 1.0\nfile {inner.name}\n".encode())
    monkeypatch.chdir(tmp_path)
    with av.open(playlist, format="concat", options={"safe": "0"}) as followed:
        assert followed.streams.video  # this is what would happen
    playlist.seek(0)
    with pytest.raises(InputError, match="damaged"):
        decode_film(Path("x"), playlist, "concat", colour=InputError("colour"))


def test_limits_hold_whatever_the_header_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_film(tmp_path / "long.avi", beating(), "mjpeg", "yuvj420p")
    content = bytearray(path.read_bytes())
    for place in (content.index(b"avih") + 8 + 16, content.index(b"strh") + 8 + 32):
        content[place : place + 4] = struct.pack("<I", 1)
    path.write_bytes(content)
    for limit, value in (("MAX_CLIP_FRAMES", N - 1), ("MAX_CLIP_PIXELS", ROWS * COLUMNS * (N - 1)), ("MAX_SIDE", 90)):
        with monkeypatch.context() as patch:
            patch.setattr(limits, limit, value)
            assert "larger than is read" in refusal(path)
    assert len(clip_of(path).images) == N


def test_size_is_checked_before_a_frame_is_decoded(tmp_path: Path) -> None:
    header = b"GIF89a" + struct.pack("<HHBBB", 60000, 60000, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 60000, 60000, 0) + b"\x02\x02\x4c\x01\x00"
    (tmp_path / "huge.gif").write_bytes(header + frame + b";")
    refusal(tmp_path / "huge.gif")
