"""Decoding of compressed video, from a film file or from inside a DICOM object, to grey frames.

FFmpeg (through PyAV) is told which container to expect and may use listed codecs only. It reads the
open file and nothing else: whatever a container refers to, on disk or on a network, is not opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from apical.errors import InputError
from apical.readers.limits import MAX_FRAME_PIXELS, check_size
from apical.readers.pixels import is_colour_picture, luminance
from apical.study import Region

_CODECS = (
    *("h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "gif", "vp8", "vp9", "libdav1d", "av1"),
    *("msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "wmv3", "h263", "msvideo1", "msrle", "cinepak", "qtrle", "svq3"),
    *("rawvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo", "png", "prores", "dvvideo", "jpeg2000", "jpegls"),
)
"""Video codecs that scanners, screen recorders and editors write."""

_LOOK_EVERY = 40
"""Frames between two looks whether the film is coloured."""
_PLAUSIBLE_RATE_HZ = (1.0, 1000.0)


@dataclass(frozen=True, eq=False)
class Film:
    """Grey frames, uint8, (time, row, column), and the time of each, (time,) in ms, where it is known."""

    images: NDArray[np.uint8]
    frame_times_ms: NDArray[np.float64] | None
    notes: tuple[str, ...] = ()


def decode_film(
    path: Path, source: BinaryIO, demuxer: str, *, colour: InputError, region: Region | None = None
) -> Film:
    """Decode the picture stream of an open file; sound is ignored.

    Parameters
    ----------
    demuxer
        FFmpeg's name of the container, which is never left to a guess.
    colour
        What is raised when the film is not grey ultrasound.
    region
        Where to look for colour; everywhere when absent.

    Raises
    ------
    InputError
        Damaged, cut short, too large, of a codec that is not read, or PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError(f"{path}: films need PyAV; pip install 'apical[clinic]'") from error
    options = {
        # Of no use to the file that is open already, but to all that it may refer to.
        "protocol_whitelist": "none",
        "format_whitelist": demuxer,
        "codec_whitelist": ",".join(_CODECS),
        "max_pixels": str(MAX_FRAME_PIXELS),
        # A broken picture is an error, where players would patch it from its neighbours.
        "err_detect": "explode",
    }
    try:
        with av.open(source, format=demuxer, options=options) as container:
            stream: Any = container.streams.best("video")
            if stream is None:
                raise InputError(f"{path}: holds no picture stream")
            context = stream.codec_context
            if context.height and context.width:
                check_size(path, context.height, context.width, max(stream.frames, 1))
            # Whole frames decoded side by side (AUTO) could be handed out before their damage is marked.
            stream.thread_type = "SLICE"
            return _decode(path, container, stream, colour, region)
    except InputError:
        raise
    except av.error.DecoderNotFoundError as error:
        raise InputError(f"{path}: its video codec is not read; convert it to MP4 (H.264)") from error
    except MemoryError:
        raise
    except Exception as error:  # FFmpeg's errors are of many kinds, and PyAV adds Python's own
        raise InputError(f"{path}: the film is damaged or cut short; copy it again") from error


def _decode(path: Path, container: Any, stream: Any, colour: InputError, region: Region | None) -> Film:
    pixels = bytearray()  # grows in place: a list of frames would be held twice when they are joined
    stamps: list[float | None] = []
    size: tuple[int, int] = (0, 0)
    turns, interlaced = 0, False
    for frame in container.decode(stream):
        if not stamps:
            size, turns = (frame.height, frame.width), _quarter_turns(path, frame.rotation)
        if (frame.height, frame.width) != size:
            raise InputError(f"{path}: its frames change size; store frames of one size")
        if frame.is_corrupt:
            raise InputError(f"{path}: frame {len(stamps) + 1} is damaged; copy the file again")
        check_size(path, *size, len(stamps) + 1)
        if len(stamps) % _LOOK_EVERY == 0 and _is_colour(frame, region):
            raise colour
        pixels += np.rot90(_grey(frame), turns).tobytes()
        interlaced = interlaced or frame.interlaced_frame
        stamps.append(None if frame.pts is None else float(frame.pts * frame.time_base))
    if not stamps:
        raise InputError(f"{path}: holds no picture; copy it again")
    shape = size if turns % 2 == 0 else size[::-1]
    notes = []
    if stream.frames > len(stamps):
        notes.append(f"{len(stamps)} frames can be read, its header says {stream.frames}")
    aspect = stream.sample_aspect_ratio
    if aspect and aspect != 1:
        notes.append(f"the film is stretched when shown: a pixel is {float(aspect):.4g} times as wide as high")
    if interlaced:
        notes.append("the film is interlaced: odd and even rows are of two moments")
    times = _times_ms(stamps, stream)
    if times is None and len(stamps) > 1:
        notes.append("no frame times in the file")
    return Film(np.frombuffer(pixels, dtype=np.uint8).reshape(-1, *shape), times, tuple(notes))


def _quarter_turns(path: Path, degrees: float) -> int:
    """Return how often players turn the film by 90 degrees counter-clockwise, as its header asks."""
    if degrees % 90:
        raise InputError(f"{path}: shown turned by {degrees:g} degrees; store it upright")
    return int(degrees // 90) % 4


def _grey(frame: Any) -> NDArray[np.uint8]:
    """Return the luma, on the full range 0-255 whatever range the film stores."""
    if not (frame.format.is_rgb or frame.format.has_palette):
        return frame.to_ndarray(format="gray")  # type: ignore[no-any-return]
    rgb = frame.to_ndarray(format="rgb24")
    if np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2]):
        return rgb[..., 0]  # type: ignore[no-any-return]
    return luminance(rgb)


def _is_colour(frame: Any, region: Region | None) -> bool:
    if frame.format.name.startswith("gray"):
        return False
    rgb = frame.to_ndarray(format="rgb24")
    if region is not None:
        rgb = rgb[region[0] : region[2], region[1] : region[3]]
    return is_colour_picture(rgb)


def _times_ms(stamps: list[float | None], stream: Any) -> NDArray[np.float64] | None:
    """Return frame times from the time stamps, else from the stated rate; None where neither is sound."""
    known = [s for s in stamps if s is not None]
    if len(known) == len(stamps):
        times = (np.array(known, dtype=np.float64) - known[0]) * 1000.0
        if np.all(np.diff(times) > 0):
            return times
    rate = float(stream.average_rate or 0)
    if not _PLAUSIBLE_RATE_HZ[0] <= rate <= _PLAUSIBLE_RATE_HZ[1]:
        return None
    return np.arange(len(stamps), dtype=np.float64) * (1000.0 / rate)
