"""A clip for a person to judge: its curve with the beats that were found, and a film with the outlines.

Only the ultrasound sector and what the masks cover are shown, as in every picture of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Phase
from apical.cycle.measured import ViewClip
from apical.cycle.results import Beat
from apical.errors import OutputError
from apical.files import atomic_write, refuse_existing
from apical.report.clip_frames import COLOURS, ClipPainter
from apical.report.pictures import OUTLINES, clip_box, outlined_picture
from apical.report.video import gif_frames, write_gif, write_mp4

UNTIMED_RATE_HZ = 25.0
"""Pace of a film whose frame times are unknown; it says so."""

FILM_SUFFIXES = (".mp4", ".gif")
_MP4_HEIGHT_PX, _GIF_HEIGHT_PX = 480, 300
_DPI = 120
_CURVE_SHARE = 0.45
"""Of the picture's height, down to below the labels of the curve's axis."""


def draw_clip(
    seen: ViewClip,
    masks: NDArray[np.uint8],
    path: Path | str,
    *,
    volumes_ml: NDArray[np.float64] | None = None,
    instants: Mapping[Phase, int] | None = None,
    overwrite: bool = False,
) -> None:
    """Draw the curve over time with ED and ES of every beat, and both frames of one beat, as a PNG.

    Parameters
    ----------
    seen
        Clip with its cycle, as `measure_clips` found it.
    masks
        (time, row, column), labels 0-3, on the clip's grid.
    volumes_ml
        (time,) from `cycle.frame_volumes_ml`; without them the curve is the cavity's area.
    instants
        Frames of the beat to show, by default those of the clip's own median beat.

    Raises
    ------
    OutputError
        `path` exists and `overwrite` is false, or its folder cannot be written to.
    """
    from matplotlib.figure import Figure

    from apical.report.content import printable
    from apical.report.curve import ON_DARK, draw_curve
    from apical.report.figures import DARK, LIGHT_TEXT, draw_legend, draw_picture, write_line

    refuse_existing(path, overwrite=overwrite)
    figure = Figure(figsize=(8.0, 6.4), facecolor=DARK)
    title = f"{seen.view}, {seen.clip.name}"
    write_line(figure, 0.02, 0.985, printable(title, 90), fontsize=11, weight="bold", color=LIGHT_TEXT, va="top")
    draw_curve(figure.add_axes((0.085, 0.63, 0.895, 0.29)), seen, volumes_ml, ON_DARK)
    if instants is None:
        instants = _instants(seen.cycle.representative)
    box = clip_box(seen.clip, masks)
    for k, (name, index) in enumerate(instants.items()):
        left = 0.02 + 0.49 * k
        title = f"{name}, frame {index + 1}"
        picture = outlined_picture(seen.clip.images[index], seen.clip.grid, masks[index], title, box)
        draw_picture(figure.add_axes((left, 0.10, 0.47, 0.42)), picture)
        text = f"{picture.title}: {picture.caption}" if picture.caption else picture.title
        style: dict[str, Any] = {"fontsize": 8, "ha": "center", "va": "top", "color": LIGHT_TEXT}
        write_line(figure, left + 0.235, 0.085, printable(text, 60), **style)
    if not instants:
        write_line(figure, 0.5, 0.3, "No beat to show.", fontsize=10, ha="center", color=LIGHT_TEXT)
    draw_legend(figure, OUTLINES, 0.03, x=0.5)
    with atomic_write(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None}, pil_kwargs={"compress_level": 3})


def curve_alone(picture: Path) -> bytes:
    """Return the curve of what `draw_clip` wrote, as PNG: for a page that shows frames of its own."""
    from PIL import Image

    alone = BytesIO()
    with Image.open(picture) as whole:
        whole.crop((0, 0, whole.width, round(_CURVE_SHARE * whole.height))).save(alone, "PNG", compress_level=3)
    return alone.getvalue()


def write_clip_film(
    seen: ViewClip,
    masks: NDArray[np.uint8],
    path: Path | str,
    *,
    volumes_ml: NDArray[np.float64] | None = None,
    overwrite: bool = False,
) -> None:
    """Write the clip with outlines above its moving curve, as MP4 or GIF by the suffix of `path`.

    The film runs in true time; where frame times are unknown at 25 frames/s, which it says.

    Parameters
    ----------
    seen, masks, volumes_ml
        As for `draw_clip`.

    Raises
    ------
    OutputError
        The suffix is neither, `path` exists and `overwrite` is false, or its folder cannot be written to.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FILM_SUFFIXES:
        raise OutputError(f"{path}: films are written as {' and '.join(FILM_SUFFIXES)}; choose one of them")
    refuse_existing(path, overwrite=overwrite)
    rate = frame_rate_hz(seen)
    as_gif = suffix == ".gif"
    painter = ClipPainter(seen, masks, volumes_ml, _GIF_HEIGHT_PX if as_gif else _MP4_HEIGHT_PX)
    n = len(masks)
    if as_gif:
        chosen = gif_frames(n, rate)
        # Only what is shown is painted; the pace then is that of the painted frames.
        write_gif(
            path, [painter.paint(k) for k in chosen], rate * len(chosen) / n, colours=COLOURS, overwrite=overwrite
        )
    else:
        write_mp4(path, _painted(painter, n), rate, overwrite=overwrite)


def frame_rate_hz(seen: ViewClip) -> float:
    """Return the clip's frame rate, `UNTIMED_RATE_HZ` where its times are unknown."""
    times = seen.clip.frame_times_ms
    return UNTIMED_RATE_HZ if times is None or len(times) < 2 else 1000.0 / float(np.median(np.diff(times)))


def _painted(painter: ClipPainter, n: int) -> Iterator[NDArray[np.uint8]]:
    return (painter.paint(k) for k in range(n))


def _instants(beat: Beat | None) -> dict[Phase, int]:
    return {} if beat is None else {Phase.ED: beat.ed_index, Phase.ES: beat.es_index}
