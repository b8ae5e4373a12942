"""The report as a PDF of two A4 pages, three with clips, vectors but for the frames, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from apical.files import atomic_write, refuse_existing
from apical.measure.results import Status
from apical.report.beat_table import BeatTable
from apical.report.content import Content, VolumeSummary, printable
from apical.report.curve import ON_PAPER, draw_curve
from apical.report.figures import DARK, LIGHT_TEXT, draw_legend, draw_picture
from apical.report.numbers import ABSENT
from apical.report.pdf_page import (
    HEIGHT_MM,
    INK,
    INNER_MM,
    LEADING_MM,
    MARGIN_MM,
    SOFT,
    Page,
    wrapped,
    write_table,
)
from apical.report.pictures import CurveKind, FramePicture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STATUS_COLOURS = {Status.MEASURED: "#1b6e4a", Status.CAUTION: "#9a5b00", Status.REFUSED: "#a3231c"}
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
_CURVE_MM, _CURVE_HEAD_MM, _AXIS_MM = 55.0, 4.0, 12.0
"""Height of a curve, of what stands above it, and the room for the labels of an axis."""
_ABSENT_COLUMNS = (("Absent", 90.0), ("Value", 13.0), ("Reason", 77.0))


def write_pdf(content: Content, path: Path | str, *, overwrite: bool = False) -> None:
    """Write the report as a PDF: numbers and frames, then the table, then curves and beats of clips; a page each.

    Raises
    ------
    OutputError
        `path` exists and `overwrite` is false, or its folder cannot be written to.
    """
    from matplotlib.backends.backend_pdf import PdfPages

    refuse_existing(path, overwrite=overwrite)
    # No date of creation: the same input gives the same file.
    metadata = {"Title": f"{printable(content.patient, 80)}: apical report", "CreationDate": None, "Creator": "apical"}
    with atomic_write(path, overwrite=overwrite) as temporary, PdfPages(temporary, metadata=metadata) as document:
        for page in draw_pages(content):
            document.savefig(page)


def draw_pages(content: Content) -> list[Figure]:
    """Draw the two pages, three with clips, as matplotlib figures of A4 size."""
    pages = [_first_page(content), _second_page(content)]
    if content.curves or (content.beats is not None and content.beats.rows):
        pages.append(_clip_page(content))
    return [page.figure for page in pages]


def _first_page(content: Content) -> Page:
    page = Page(content.footer)
    page.paragraph(printable(content.patient, 50), 15, weight="bold")
    page.paragraph("Left ventricle in apical views: volumes and ejection fraction", 8.5, color=SOFT)
    page.line(page.y + 0.5, INK, 1.0)
    page.y += 2
    page.paragraph(";  ".join(f"{name}: {value}" for name, value in content.facts), 8, color=SOFT)
    page.y += 2
    colour = _STATUS_COLOURS[content.status]
    lines = wrapped(content.headline, 11, INNER_MM - 4, bold=True)
    height = len(lines) * LEADING_MM * 11 + 3
    page.box(MARGIN_MM, page.y, INNER_MM, height, "#f5f7f9")
    page.box(MARGIN_MM, page.y, 1.5, height, colour)
    page.y += 1.5
    page.paragraph(content.headline, 11, x=MARGIN_MM + 4, weight="bold", color=colour)
    page.y += 4
    top = page.y
    ends = []
    for index, volumes in enumerate(content.volumes):
        page.y = top
        _card(page, volumes, MARGIN_MM + index * (INNER_MM / 2 + 2), INNER_MM / 2 - 2)
        ends.append(page.y)
    page.y = max(ends, default=top) + 3
    _frames(page, content.pictures)
    _findings(page, content)
    return page


def _card(page: Page, volumes: VolumeSummary, x: float, width: float) -> None:
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
    page.paragraph(method, 7.5, x=x, width=width, color=SOFT)
    if volumes.interval:
        page.paragraph(volumes.interval, 7.5, x=x, width=width, color=SOFT)
    if volumes.remark:
        page.paragraph(volumes.remark, 7.5, x=x, width=width)


def _frames(page: Page, pictures: Sequence[FramePicture]) -> None:
    if not pictures:
        return
    gap, most = 2.0, 140.0
    width = (INNER_MM - gap) / 2
    rows = [pictures[i : i + 2] for i in range(0, len(pictures), 2)]
    heights = [width * max(p.size[0] / p.size[1] for p in row) for row in rows]
    shrink = min(1.0, (most - 5 * len(rows)) / sum(heights))
    for row, full in zip(rows, heights, strict=True):
        height = full * shrink
        for index, picture in enumerate(row):
            x = MARGIN_MM + index * (width + gap)
            page.box(x, page.y, width, height + 4.5, DARK)
            draw_picture(page.axes(x, page.y, width, height), picture)
            page.text(x + 1.5, page.y + height + 0.8, picture.title, 7.5, color=LIGHT_TEXT)
            page.text(x + width - 1.5, page.y + height + 0.8, picture.caption, 7.5, color=LIGHT_TEXT, ha="right")
        page.y += height + 4.5 + gap
    drawn = {curve.kind for picture in pictures for curve in picture.curves}
    if drawn:
        draw_legend(page.figure, [k for k in CurveKind if k in drawn], 1 - (page.y + 2.5) / HEIGHT_MM, fontsize=7)
        page.y += 5


def _findings(page: Page, content: Content) -> None:
    page.heading("Findings")
    lines = [f"{severity.capitalize()}. {sentence}" for severity, sentence in content.findings]
    lines = lines or ["Nothing was found that speaks against these measurements."]
    if content.notes:
        lines.append(f"Notes. {'; '.join(content.notes)}.")
    for index, line in enumerate(lines):
        # One line more, so that there is always room to say that something was left out.
        needed = (len(wrapped(line, 8, INNER_MM)) + 1) * LEADING_MM * 8
        if page.y + needed > page.bottom:
            page.paragraph(f"{len(lines) - index} more: see report.html or report.json.", 8, color=SOFT)
            return
        page.paragraph(line, 8)


def _second_page(content: Content) -> Page:
    page = Page(content.footer)
    page.y -= 3
    page.heading(f"{printable(content.patient, 50)}: measurements")
    rows = [
        (row.label, row.value, row.unit, row.method, ", ".join(filter(None, [row.reference, row.grade])), row.remark)
        for row in content.rows
    ]
    write_table(page, _COLUMNS, rows)
    page.y += 3
    write_table(page, _ABSENT_COLUMNS, [(names, ABSENT, reason) for names, reason in content.absent])
    page.heading("Definitions")
    for name, text in content.glossary:
        page.paragraph(f"{name}: {text}", 7.5)
        page.y += 1
    return page


def _clip_page(content: Content) -> Page:
    page = Page(content.footer)
    page.y -= 3
    page.heading(f"{printable(content.patient, 50)}: clips")
    for curve in content.curves:
        page.paragraph(printable(curve.title, 90), 8.5, weight="bold")
        page.y += _CURVE_HEAD_MM
        axes = page.axes(MARGIN_MM + _AXIS_MM, page.y, INNER_MM - _AXIS_MM, _CURVE_MM)
        draw_curve(axes, curve.seen, curve.volumes_ml, ON_PAPER)
        page.y += _CURVE_MM + _AXIS_MM
    if content.beats is not None and content.beats.rows:
        _beats(page, content.beats)
    return page


def _beats(page: Page, beats: BeatTable) -> None:
    """Write as many beats as there is room for, how many more there are, and the medians."""
    page.heading("Beats")
    rows = [
        (r.beat, r.ed, r.es, r.length, r.edv, r.esv, r.ef, r.remark or ("shown on page 1" if r.shown else ""))
        for r in beats.rows
    ]
    lines_below = 1 + len(wrapped(beats.medians, 7.5, INNER_MM))
    written = write_table(page, _BEAT_COLUMNS, rows, page.bottom - lines_below * LEADING_MM * 7.5)
    if written < len(rows):
        page.paragraph(f"{len(rows) - written} more: see report.html.", 7.5, color=SOFT)
    page.paragraph(beats.medians, 7.5, color=SOFT)
