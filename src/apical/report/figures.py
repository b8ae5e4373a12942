"""Frame pictures drawn with matplotlib, for the overlay and the PDF.

Text from a file is never read as mathematics, and characters that the font lacks become boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from apical.report.content import printable
from apical.report.pictures import STYLES, CurveKind, FramePicture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DARK, LIGHT_TEXT = "#14171a", "#e8eaed"


def draw_picture(axes: Axes, picture: FramePicture) -> None:
    """Draw image and curves so that they fill `axes` in true proportions, without ticks or text."""
    from matplotlib.collections import LineCollection

    rows, columns = picture.image.shape
    height, width = picture.pixel_size
    axes.imshow(picture.image, cmap="gray", vmin=0, vmax=255, aspect=height / width, interpolation="bilinear")
    for curve in picture.curves:
        style = STYLES[curve.kind]
        if curve.kind is CurveKind.APEX:
            points = np.concatenate(curve.lines)
            axes.plot(points[:, 1], points[:, 0], "o", markersize=3.5, color=style.colour)
            continue
        lines = [np.concatenate([line, line[:1]]) if curve.closed else line for line in curve.lines]
        axes.add_collection(
            LineCollection(
                [line[:, ::-1] for line in lines],
                colors=style.colour,
                linewidths=style.width,
                alpha=style.opacity,
                capstyle="round",
                joinstyle="round",
            ),
            autolim=False,
        )
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.axis("off")


def write_line(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    """Write one line of text at (x, y) in fractions of the figure."""
    figure.text(x, y, printable(text), parse_math=False, **style)


def draw_legend(figure: Figure, kinds: Sequence[CurveKind], y: float, *, x: float = 0.5, fontsize: float = 8) -> None:
    """Draw the legend of these kinds in one row, its middle at (x, y) in fractions of the figure."""
    from matplotlib.lines import Line2D

    handles = []
    for kind in kinds:
        style = STYLES[kind]
        handle = Line2D([], [], color=style.colour, linewidth=1.5 * style.width, alpha=style.opacity, label=kind.value)
        if kind is CurveKind.APEX:
            handle.set(linewidth=0, marker="o", markersize=3.5)
        handles.append(handle)
    figure.legend(
        handles=handles,
        loc="center",
        bbox_to_anchor=(x, y),
        ncols=len(handles),
        frameon=True,
        facecolor=DARK,
        edgecolor=DARK,
        framealpha=1.0,
        labelcolor=LIGHT_TEXT,
        fontsize=fontsize,
        handlelength=1.6,
        columnspacing=1.4,
    )
