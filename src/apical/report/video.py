"""Moving pictures: MP4 for players and browsers, GIF for mail and slides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.errors import OutputError
from apical.files import atomic_write, refuse_existing

Picture = NDArray[np.uint8]
"""RGB, (row, column, 3), or grey, (row, column)."""

_CODECS = ("libx264", "mpeg4")
"""H.264 plays everywhere; a build of FFmpeg without it has MPEG-4 part 2."""

_GIF_COLOURS = 96
_GIF_STEP_MS = 10
_GIF_LEAST_MS = 40
"""GIF counts time in 10 ms, and viewers slow down what is faster than 20 ms; 25 pictures/s are enough."""


def write_mp4(
    path: Path | str,
    pictures: Iterable[Picture],
    frame_rate_hz: float,
    *,
    quality: int = 20,
    overwrite: bool = False,
) -> None:
    """Write pictures of equal size as an MP4 film; odd sides gain a row or column, as the codec asks.

    Parameters
    ----------
    quality
        H.264's constant rate factor: 0 is lossless, 18 looks so, 23 is small.

    Raises
    ------
    OutputError
        `path` exists and `overwrite` is false, its folder cannot be written to, or there is no picture.
    """
    import av

    refuse_existing(path, overwrite=overwrite)
    rate = Fraction(frame_rate_hz).limit_denominator(1001)
    with (
        atomic_write(path, overwrite=overwrite) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as film,
    ):
        stream: Any = None
        for picture in pictures:
            padded = _even(picture)
            if stream is None:
                stream = _add_stream(film, rate, padded.shape, quality)
            frame = av.VideoFrame.from_ndarray(padded, format="gray" if padded.ndim == 2 else "rgb24")
            film.mux(stream.encode(frame.reformat(format="yuv420p")))
        if stream is None:
            raise OutputError(f"{path}: a film needs at least one picture")
        film.mux(stream.encode())


def write_gif(
    path: Path | str,
    pictures: Sequence[Picture],
    frame_rate_hz: float,
    *,
    colours: Sequence[tuple[int, int, int]] = (),
    overwrite: bool = False,
) -> None:
    """Write pictures as an endless GIF that runs in true time, at up to 25 pictures a second.

    `colours` are those that must come out as they are, however few pixels have them.

    Raises
    ------
    OutputError
        As `write_mp4`.
    """
    from PIL import Image

    refuse_existing(path, overwrite=overwrite)
    if not len(pictures):
        raise OutputError(f"{path}: a film needs at least one picture")
    chosen = gif_frames(len(pictures), frame_rate_hz)
    # One palette for all, made from a few of them: else colours flicker and the file grows.
    spread = [pictures[chosen[k]] for k in np.linspace(0, len(chosen) - 1, min(4, len(chosen))).astype(int)]
    palette = Image.fromarray(np.concatenate(spread)).convert("RGB").quantize(_GIF_COLOURS)
    found = (palette.getpalette() or [])[: 3 * _GIF_COLOURS]
    palette.putpalette([*found, *(value for colour in colours for value in colour)])
    stills = [
        Image.fromarray(pictures[k]).convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE) for k in chosen
    ]
    steps = np.diff([*chosen, len(pictures)]) * 1000.0 / frame_rate_hz
    # Rounded sums rather than rounded steps: the film keeps its length.
    ends = np.rint(np.cumsum(steps) / _GIF_STEP_MS) * _GIF_STEP_MS
    durations = np.maximum(np.diff(ends, prepend=0.0), 2 * _GIF_STEP_MS).astype(int).tolist()
    with atomic_write(path, overwrite=overwrite) as temporary:
        stills[0].save(
            temporary, format="GIF", save_all=True, append_images=stills[1:], duration=durations, loop=0, disposal=1
        )


def gif_frames(n: int, frame_rate_hz: float) -> list[int]:
    """Choose the frames that a GIF shows: every one up to 25 a second, else evenly spread.

    Examples
    --------
    >>> gif_frames(6, 50.0)
    [0, 2, 4]
    """
    step = max(1.0, frame_rate_hz * _GIF_LEAST_MS / 1000.0)
    return [int(k) for k in np.unique(np.floor(np.arange(0.0, n, step)))]


def _even(picture: Picture) -> Picture:
    odd = [(0, side % 2) for side in picture.shape[:2]]
    padding = odd + [(0, 0)] * (picture.ndim - 2)
    return np.ascontiguousarray(np.pad(picture, padding, mode="edge"))


def _add_stream(film: Any, rate: Fraction, shape: tuple[int, ...], quality: int) -> Any:
    import av

    codec = next((name for name in _CODECS if name in av.codecs_available), None)
    if codec is None:
        raise OutputError("PyAV has no MP4 codec here; install the `av` wheel from PyPI")
    stream = film.add_stream(codec, rate=rate)
    stream.height, stream.width, stream.pix_fmt = shape[0], shape[1], "yuv420p"
    stream.options = {"preset": "veryfast", "crf": str(quality)} if codec == "libx264" else {"qscale": "3"}
    return stream
