"""The report as a PDF of two A4 pages, vectors but for the frames, drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apical.files import atomic_write, refuse_existing
from apical.measure.results import Measurements, Status
from apical.report.beat_table import BeatTable
from apical.report.content import Content, VolumeSummary, printable, report_content
from apical.report.figures import DARK, LIGHT_TEXT, draw_legend, draw_picture, write_line
from apical.report.numbers import ABSENT
from apical.report.pictures import CurveKind, FramePicture
from apical.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH_MM, _HEIGHT_MM, _MARGIN_MM = 210.0, 297.0, 15.0
_INNER_MM = _WIDTH_MM - 2 * _MARGIN_MM
_MM_PER_INCH = 25.4
_INK, _SOFT, _LINE = "#1c2733", "#5b6875", "#d8dee4"
_STATUS_COLOURS = {Status.MEASURED: "#1b6e4a", Status.CAUTION: "#9a5b00", Status.REFUSED: "#a3231c"}
_LETTER_MM = 0.19
"""Mean width of a letter in mm per point of font size, on the safe side."""
_LEADING_MM = 0.46
"""Height of a line in mm per point of font size."""
_ASCENT_MM = 0.29
"""From the top of a line to its baseline in mm per point of font size."""
_BOLD = 1.13
"""How much wider bold letters are."""
_COLUMNS = (
    ("Measurement", 38.0),
    ("Value", 13.0),
    ("Unit", 12.0),
    ("Method", 54.0),
    ("Reference", 24.0),
    ("Remark", 39.0),
)
_BEAT_COLUMNS = (
    ("Beat", 40.0),
    ("ED frame", 21.0),
    ("ES frame", 21.0),
    ("Length", 16.0),
    ("EDV, mL", 16.0),
    ("ESV, mL", 16.0),
    ("EF, %", 14.0),
    ("Remark", 36.0),
)
_ABSENT_COLUMNS = (("Absent", 90.0), ("Value", 13.0), ("Reason", 77.0))


def write_pdf(
    study: Study,
    masks: Mapping[str, NDArray[np.uint8]],
    measurements: Measurements,
    path: Path | str,
    *,
    date: str | None = None,
    beats: BeatTable | None = None,
    overwrite: bool = False,
) -> None:
    """Write the report as a PDF: numbers and frames on the first page, the table on the second.

    Raises
    ------
    OutputError
        `path` exists and `overwrite` is false, or its folder cannot be written to.
    """
    from matplotlib.backends.backend_pdf import PdfPages

    refuse_existing(path, overwrite=overwrite)
    content = report_content(study, masks, measurements, date, beats)
    # No date of creation: the same input gives the same file.
    metadata = {"Title": f"{printable(content.patient, 80)}: apical report", "CreationDate": None, "Creator": "apical"}
    with atomic_write(path, overwrite=overwrite) as temporary, PdfPages(temporary, metadata=metadata) as document:
        for page in draw_pages(content):
            document.savefig(page)


def draw_pages(content: Content) -> list[Figure]:
    """Draw the two pages as matplotlib figures of A4 size."""
    return [_first_page(content).figure, _second_page(content).figure]


class _Page:
    """An A4 page that is filled from the top; lengths in mm, `y` counts down from the upper edge."""

    def __init__(self, footer: str) -> None:
        from matplotlib.figure import Figure  # not pyplot: no global state, no display

        self.figure: Figure = Figure(figsize=(_WIDTH_MM / _MM_PER_INCH, _HEIGHT_MM / _MM_PER_INCH))
        self.y = _MARGIN_MM
        self.bottom = _HEIGHT_MM - _MARGIN_MM
        self.text(_MARGIN_MM, self.bottom + 4, footer, 7, color=_SOFT)

    def text(self, x: float, y: float, text: str, size: float, **style: Any) -> None:
        """Write one line whose upper left corner is at (x, y)."""
        baseline = 1 - (y + _ASCENT_MM * size) / _HEIGHT_MM
        style = {"color": _INK, "va": "baseline"} | style
        write_line(self.figure, x / _WIDTH_MM, baseline, text, fontsize=size, **style)

    def line(self, y: float, colour: str, width: float = 0.5) -> None:
        """Rule a line across the page."""
        from matplotlib.lines import Line2D

        x = [_MARGIN_MM / _WIDTH_MM, 1 - _MARGIN_MM / _WIDTH_MM]
        self.figure.add_artist(Line2D(x, [1 - y / _HEIGHT_MM] * 2, color=colour, linewidth=width))

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Fill a rectangle."""
        from matplotlib.patches import Rectangle

        corner = (x / _WIDTH_MM, 1 - (y + height) / _HEIGHT_MM)
        self.figure.add_artist(
            Rectangle(corner, width / _WIDTH_MM, height / _HEIGHT_MM, facecolor=colour, edgecolor="none", zorder=-1)
        )

    def paragraph(
        self, text: str, size: float, *, x: float = _MARGIN_MM, width: float | None = None, **style: Any
    ) -> None:
        """Write wrapped text at `y` and move below it."""
        for part in _wrapped(text, size, width or _WIDTH_MM - _MARGIN_MM - x, bold="weight" in style):
            self.text(x, self.y, part, size, **style)
            self.y += _LEADING_MM * size

    def heading(self, text: str) -> None:
        """Write a heading at `y` and move below it."""
        self.y += 3
        self.paragraph(text, 10, weight="bold")
        self.y += 0.5


def _wrapped(text: str, size: float, width: float, *, bold: bool = False) -> list[str]:
    letter = _LETTER_MM * size * (_BOLD if bold else 1.0)
    return wrap(printable(text), max(8, int(width / letter))) or [""]


def _first_page(content: Content) -> _Page:
    page = _Page(content.footer)
    page.paragraph(printable(content.patient, 50), 15, weight="bold")
    page.paragraph("Left ventricle in apical views: volumes and ejection fraction", 8.5, color=_SOFT)
    page.line(page.y + 0.5, _INK, 1.0)
    page.y += 2
    page.paragraph(";  ".join(f"{name}: {value}" for name, value in content.facts), 8, color=_SOFT)
    page.y += 2
    colour = _STATUS_COLOURS[content.status]
    lines = _wrapped(content.headline, 11, _INNER_MM - 4, bold=True)
    height = len(lines) * _LEADING_MM * 11 + 3
    page.box(_MARGIN_MM, page.y, _INNER_MM, height, "#f5f7f9")
    page.box(_MARGIN_MM, page.y, 1.5, height, colour)
    page.y += 1.5
    page.paragraph(content.headline, 11, x=_MARGIN_MM + 4, weight="bold", color=colour)
    page.y += 4
    top = page.y
    ends = []
    for index, volumes in enumerate(content.volumes):
        page.y = top
        _card(page, volumes, _MARGIN_MM + index * (_INNER_MM / 2 + 2), _INNER_MM / 2 - 2)
        ends.append(page.y)
    page.y = max(ends, default=top) + 3
    _frames(page, content.pictures)
    _findings(page, content)
    return page


def _card(page: _Page, volumes: VolumeSummary, x: float, width: float) -> None:
    colour = _STATUS_COLOURS[volumes.status]
    page.text(x, page.y, f"Definition {volumes.definition}", 10, weight="bold")
    page.text(x + width, page.y, volumes.status_words, 9, ha="right", weight="bold", color=colour)
    page.y += 5.5
    page.text(x, page.y, f"EF {volumes.ef}", 14, weight="bold")
    page.y += 7
    page.text(x, page.y, "    ".join(f"{name} {value}" for name, value in volumes.lines), 9.5)
    page.y += 5
    method = volumes.method
    if volumes.reference:
        method += f"; reference EF {volumes.reference}: {volumes.grade}"
    page.paragraph(method, 7.5, x=x, width=width, color=_SOFT)
    if volumes.interval:
        page.paragraph(volumes.interval, 7.5, x=x, width=width, color=_SOFT)
    if volumes.remark:
        page.paragraph(volumes.remark, 7.5, x=x, width=width)


def _frames(page: _Page, pictures: Sequence[FramePicture]) -> None:
    if not pictures:
        return
    gap, most = 2.0, 140.0
    width = (_INNER_MM - gap) / 2
    rows = [pictures[i : i + 2] for i in range(0, len(pictures), 2)]
    heights = [width * max(p.size[0] / p.size[1] for p in row) for row in rows]
    shrink = min(1.0, (most - 5 * len(rows)) / sum(heights))
    for row, full in zip(rows, heights, strict=True):
        height = full * shrink
        for index, picture in enumerate(row):
            x = _MARGIN_MM + index * (width + gap)
            page.box(x, page.y, width, height + 4.5, DARK)
            place = (x / _WIDTH_MM, 1 - (page.y + height) / _HEIGHT_MM, width / _WIDTH_MM, height / _HEIGHT_MM)
            draw_picture(page.figure.add_axes(place), picture)
            page.text(x + 1.5, page.y + height + 0.8, picture.title, 7.5, color=LIGHT_TEXT)
            page.text(x + width - 1.5, page.y + height + 0.8, picture.caption, 7.5, color=LIGHT_TEXT, ha="right")
        page.y += height + 4.5 + gap
    drawn = {curve.kind for picture in pictures for curve in picture.curves}
    if drawn:
        draw_legend(page.figure, [k for k in CurveKind if k in drawn], 1 - (page.y + 2.5) / _HEIGHT_MM, fontsize=7)
        page.y += 5


def _findings(page: _Page, content: Content) -> None:
    page.heading("Findings")
    lines = [f"{severity.capitalize()}. {sentence}" for severity, sentence in content.findings]
    lines = lines or ["Nothing was found that speaks against these measurements."]
    if content.notes:
        lines.append(f"Notes. {'; '.join(content.notes)}.")
    for index, line in enumerate(lines):
        # One line more, so that there is always room to say that something was left out.
        needed = (len(_wrapped(line, 8, _INNER_MM)) + 1) * _LEADING_MM * 8
        if page.y + needed > page.bottom:
            page.paragraph(f"{len(lines) - index} more: see report.html or report.json.", 8, color=_SOFT)
            return
        page.paragraph(line, 8)


def _second_page(content: Content) -> _Page:
    page = _Page(content.footer)
    page.y -= 3
    if content.beats is not None and content.beats.rows:
        # Set once beside the page: only then is it known how much room the beats of a long clip may take.
        below = _Page("")
        top = below.y
        _measurements(below, content)
        _beats(page, content.beats, page.bottom - (below.y - top))
    _measurements(page, content)
    return page


def _measurements(page: _Page, content: Content) -> None:
    page.heading(f"{printable(content.patient, 50)}: measurements")
    rows = [
        (row.label, row.value, row.unit, row.method, ", ".join(filter(None, [row.reference, row.grade])), row.remark)
        for row in content.rows
    ]
    _table(page, _COLUMNS, rows)
    page.y += 3
    _table(page, _ABSENT_COLUMNS, [(names, ABSENT, reason) for names, reason in content.absent])
    page.heading("Definitions")
    for name, text in content.glossary:
        page.paragraph(f"{name}: {text}", 7.5)
        page.y += 1


def _beats(page: _Page, beats: BeatTable, bottom: float) -> None:
    """Write as many beats as there is room for above `bottom`, how many more there are, and the medians."""
    page.heading("Beats")
    rows = [
        (r.beat, r.ed, r.es, r.length, r.edv, r.esv, r.ef, r.remark or ("shown on page 1" if r.shown else ""))
        for r in beats.rows
    ]
    lines_below = 1 + len(_wrapped(beats.medians, 7.5, _INNER_MM))
    written = _table(page, _BEAT_COLUMNS, rows, bottom - lines_below * _LEADING_MM * 7.5)
    if written < len(rows):
        page.paragraph(f"{len(rows) - written} more: see report.html.", 7.5, color=_SOFT)
    page.paragraph(beats.medians, 7.5, color=_SOFT)


def _table(
    page: _Page, columns: Sequence[tuple[str, float]], rows: Sequence[Sequence[str]], bottom: float = math.inf
) -> int:
    """Write a table whose columns are given by name and width; 'Value' is set bold, flush right.

    Returns the number of rows written: it ends before the first that would reach below `bottom`.
    """
    if not rows:
        return 0
    size, leading = 7.0, _LEADING_MM * 7.0
    lefts = np.cumsum([_MARGIN_MM] + [width for _, width in columns])
    for left, (name, width) in zip(lefts, columns, strict=False):
        place = {"x": left + width - 3, "ha": "right"} if name == "Value" else {"x": left}
        page.text(y=page.y, text=name, size=7.5, weight="bold", color=_SOFT, **place)
    page.y += 5
    page.line(page.y - 0.7, _INK)
    for written, cells in enumerate(rows):
        wrapped = [_wrapped(cell, size, width - 2) for cell, (_, width) in zip(cells, columns, strict=True)]
        height = max(map(len, wrapped)) * leading + 1.2
        if page.y + height > bottom:
            return written
        for left, (name, width), lines in zip(lefts, columns, wrapped, strict=False):
            for k, line in enumerate(lines):
                if name == "Value":
                    page.text(left + width - 3, page.y + k * leading, line, size, ha="right", weight="bold")
                else:
                    page.text(left, page.y + k * leading, line, size, color=_SOFT if name == "Method" else _INK)
        page.y += height
        page.line(page.y - 0.7, _LINE)
    return len(rows)
