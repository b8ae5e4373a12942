"""An A4 page of the PDF report that is filled from the top: lines, paragraphs, tables; lengths in mm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from apical.report.content import printable
from apical.report.figures import write_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_MM, HEIGHT_MM, MARGIN_MM = 210.0, 297.0, 15.0
INNER_MM = WIDTH_MM - 2 * MARGIN_MM
_MM_PER_INCH = 25.4
INK, SOFT, _LINE = "#1c2733", "#5b6875", "#d8dee4"
_LETTER_MM = 0.19
"""Mean width of a letter in mm per point of font size, on the safe side."""
LEADING_MM = 0.46
"""Height of a line in mm per point of font size."""
_ASCENT_MM = 0.29
"""From the top of a line to its baseline in mm per point of font size."""
_BOLD = 1.13
"""How much wider bold letters are."""


class Page:
    """An A4 page that is filled from the top; lengths in mm, `y` counts down from the upper edge."""

    def __init__(self, footer: str) -> None:
        from matplotlib.figure import Figure  # not pyplot: no global state, no display

        self.figure: Figure = Figure(figsize=(WIDTH_MM / _MM_PER_INCH, HEIGHT_MM / _MM_PER_INCH))
        self.y = MARGIN_MM
        self.bottom = HEIGHT_MM - MARGIN_MM
        self.text(MARGIN_MM, self.bottom + 4, footer, 7, color=SOFT)

    def text(self, x: float, y: float, text: str, size: float, **style: Any) -> None:
        """Write one line whose upper left corner is at (x, y)."""
        baseline = 1 - (y + _ASCENT_MM * size) / HEIGHT_MM
        style = {"color": INK, "va": "baseline"} | style
        write_line(self.figure, x / WIDTH_MM, baseline, text, fontsize=size, **style)

    def line(self, y: float, colour: str, width: float = 0.5) -> None:
        """Rule a line across the page."""
        from matplotlib.lines import Line2D

        x = [MARGIN_MM / WIDTH_MM, 1 - MARGIN_MM / WIDTH_MM]
        self.figure.add_artist(Line2D(x, [1 - y / HEIGHT_MM] * 2, color=colour, linewidth=width))

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Fill a rectangle."""
        from matplotlib.patches import Rectangle

        corner = (x / WIDTH_MM, 1 - (y + height) / HEIGHT_MM)
        self.figure.add_artist(
            Rectangle(corner, width / WIDTH_MM, height / HEIGHT_MM, facecolor=colour, edgecolor="none", zorder=-1)
        )

    def paragraph(
        self, text: str, size: float, *, x: float = MARGIN_MM, width: float | None = None, **style: Any
    ) -> None:
        """Write wrapped text at `y` and move below it."""
        for part in wrapped(text, size, width or WIDTH_MM - MARGIN_MM - x, bold="weight" in style):
            self.text(x, self.y, part, size, **style)
            self.y += LEADING_MM * size

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Return axes whose upper left corner is at (x, y)."""
        place = x / WIDTH_MM, 1 - (y + height) / HEIGHT_MM, width / WIDTH_MM, height / HEIGHT_MM
        return self.figure.add_axes(place)

    def heading(self, text: str) -> None:
        """Write a heading at `y` and move below it."""
        self.y += 3
        self.paragraph(text, 10, weight="bold")
        self.y += 0.5


def wrapped(text: str, size: float, width: float, *, bold: bool = False) -> list[str]:
    """Break a text into lines of at most `width` mm at a font size; never into none."""
    letter = _LETTER_MM * size * (_BOLD if bold else 1.0)
    return wrap(printable(text), max(8, int(width / letter))) or [""]


def write_table(
    page: Page, columns: Sequence[tuple[str, float]], rows: Sequence[Sequence[str]], bottom: float = math.inf
) -> int:
    """Write a table whose columns are given by name and width; 'Value' is set bold, flush right.

    Returns the number of rows written: it ends before the first that would reach below `bottom`.
    """
    if not rows:
        return 0
    size, leading = 7.0, LEADING_MM * 7.0
    lefts = np.cumsum([MARGIN_MM] + [width for _, width in columns])
    for left, (name, width) in zip(lefts, columns, strict=False):
        place = {"x": left + width - 3, "ha": "right"} if name == "Value" else {"x": left}
        page.text(y=page.y, text=name, size=7.5, weight="bold", color=SOFT, **place)
    page.y += 5
    page.line(page.y - 0.7, INK)
    for written, cells in enumerate(rows):
        lines_of = [wrapped(cell, size, width - 2) for cell, (_, width) in zip(cells, columns, strict=True)]
        height = max(map(len, lines_of)) * leading + 1.2
        if page.y + height > bottom:
            return written
        for left, (name, width), lines in zip(lefts, columns, lines_of, strict=False):
            for k, line in enumerate(lines):
                if name == "Value":
                    page.text(left + width - 3, page.y + k * leading, line, size, ha="right", weight="bold")
                else:
                    page.text(left, page.y + k * leading, line, size, color=SOFT if name == "Method" else INK)
        page.y += height
        page.line(page.y - 0.7, _LINE)
    return len(rows)
