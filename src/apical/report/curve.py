"""A clip's curve over time with ED and ES of every beat, drawn with matplotlib on a dark picture or on paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apical.cycle.measured import ViewClip
from apical.cycle.results import Beat
from apical.report.figures import DARK, LIGHT_TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class ClipCurve:
    """The curve of one clip: what it is drawn from, and the picture of it that a web page shows.

    `volumes_ml` is (time,) from `cycle.frame_volumes_ml`; without them the curve is the cavity's area.
    """

    title: str
    seen: ViewClip
    volumes_ml: NDArray[np.float64] | None
    png: bytes


@dataclass(frozen=True)
class CurveColours:
    """Colours of a curve, told apart by the colour-blind, each strong enough for its ground."""

    ground: str
    text: str
    frame: str
    point: str
    line: str
    ed: str
    es: str
    left_out: str


_SHADE = 0.18
"""Opacity of the ground of a beat that was left out."""
ON_DARK = CurveColours(DARK, LIGHT_TEXT, "#5f6368", "#9aa0a6", "#56b4e9", "#f0e442", "#cc79a7", "#d55e00")
ON_PAPER = CurveColours("white", "#1c2733", "#9aa5b0", "#9aa5b0", "#0072b2", "#e69f00", "#a8447f", "#d55e00")


def draw_curve(axes: Axes, seen: ViewClip, volumes_ml: NDArray[np.float64] | None, colours: CurveColours) -> None:
    """Draw the volume or area of every frame, the line through them, and the beats: rejected ones shaded."""
    cycle = seen.cycle
    timed = cycle.frame_times_ms is not None
    times = np.arange(cycle.area.size) + 1.0 if cycle.frame_times_ms is None else cycle.frame_times_ms / 1000.0
    values = cycle.area if volumes_ml is None else volumes_ml
    known = cycle.plausible & np.isfinite(values)
    axes.plot(times[known], values[known], "o", markersize=2.0, color=colours.point, label="each frame")
    line = cycle.smoothed if volumes_ml is None else np.where(known, values, np.nan)
    label = "smoothed" if volumes_ml is None else "volume"
    axes.plot(times, line, "-", linewidth=1.3, color=colours.line, label=label)
    for beat in cycle.beats:
        _draw_beat(axes, beat, times, line, colours)
    # Once and at full strength, whatever the first beat is.
    for name, marker, colour in (("ED", "v", colours.ed), ("ES", "^", colours.es)):
        if cycle.beats:
            axes.plot([], [], marker, markersize=7, color=colour, label=name)
    if any(beat.rejected for beat in cycle.beats):
        axes.fill([], [], color=colours.left_out, alpha=_SHADE, linewidth=0, label="beat left out")
    style: dict[str, Any] = {"color": colours.text, "fontsize": 8}
    axes.set_xlabel("time in s" if timed else "frame (times unknown)", **style)
    axes.set_ylabel("volume in mL, single plane" if volumes_ml is not None else f"cavity area in {cycle.unit}", **style)
    axes.set_facecolor(colours.ground)
    axes.tick_params(colors=colours.text, labelsize=7)
    axes.margins(x=0.01, y=0.12)
    for side in axes.spines.values():
        side.set_color(colours.frame)
    rate = "" if cycle.heart_rate_bpm is None else f", {cycle.heart_rate_bpm:.0f} beats/min"
    counted = f"{len(cycle.good_beats)} of {len(cycle.beats)} beats count{rate}" if cycle.beats else "no beat found"
    axes.set_title(counted, loc="right", **style)
    # Above the curve, where it hides no mark.
    style = {"facecolor": colours.ground, "edgecolor": colours.ground, "labelcolor": colours.text}
    style |= {"borderaxespad": 0.2, "borderpad": 0.2}
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=6.5, ncols=5, **style)


def _draw_beat(axes: Axes, beat: Beat, times: NDArray[Any], height: NDArray[Any], colours: CurveColours) -> None:
    # Where the height is unknown (NaN) there is no mark.
    strength = 0.4 if beat.rejected else 1.0
    for index, marker, colour in ((beat.ed_index, "v", colours.ed), (beat.es_index, "^", colours.es)):
        axes.plot(times[index], height[index], marker, markersize=7, color=colour, alpha=strength, zorder=3)
    if beat.next_ed_index is None:
        return
    # Drawn once more by the next beat, if there is one.
    axes.plot(times[beat.next_ed_index], height[beat.next_ed_index], "v", markersize=4, color=colours.ed, alpha=0.6)
    if beat.rejected:
        begin, end = times[beat.ed_index], times[beat.next_ed_index]
        axes.axvspan(begin, end, color=colours.left_out, alpha=_SHADE, linewidth=0)
