"""The overlay: one picture per patient that shows at a glance what was outlined where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Phase, View
from apical.files import atomic_write, refuse_existing
from apical.report.content import mask_source, printable
from apical.report.pictures import OUTLINES, FramePicture, clip_box, clip_instants, outlined_picture, shown_box
from apical.study import Clip, Frame, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LARGEST_WIDTH_IN = 10.0
_WIDEST_PANEL_IN = 4.2
_DPI = 120
_TEXT_IN, _HEADER_IN, _FOOTER_IN, _GAP_IN = 0.22, 0.45, 0.5, 0.08
_PER_ROW = 4
_MOST_ROWS = 12

Row = list[FramePicture | None]


def draw_overlay(
    study: Study, masks: Mapping[str, NDArray[np.uint8]], path: Path | str, *, overwrite: bool = False
) -> None:
    """Draw views as rows and phases as columns, with the outlines of the masks, as a PNG.

    A clip is a row of six instants. Frames without view or phase follow, four in a row.

    Parameters
    ----------
    study
        Its frames are shown in true proportions where the spacing is known, else with square pixels.
    masks
        Labels 0-3 by frame name (row, column) or clip name (time, row, column); what has none is shown bare.
    path
        PNG file to write.

    Raises
    ------
    OutputError
        `path` exists and `overwrite` is false, or its folder cannot be written to.
    """
    refuse_existing(path, overwrite=overwrite)
    rows = _rows(study, masks)
    left_out = sum(len(row) for row in rows[_MOST_ROWS:])
    figure = _draw(study, masks, rows[:_MOST_ROWS], left_out)
    with atomic_write(path, overwrite=overwrite) as temporary:
        # Fast compression: a fifth larger and three times sooner done.
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None}, pil_kwargs={"compress_level": 3})


def _rows(study: Study, masks: Mapping[str, NDArray[np.uint8]]) -> list[Row]:
    rows: list[Row] = []
    placed = set()
    phases = [p for p in Phase if any(f.view and f.phase == p for f in study.frames)]
    for view in View:
        row = [study.frame(view, phase) for phase in phases]
        if any(row):
            placed |= {f.name for f in row if f}
            rows.append([_frame_picture(f, masks) if f else None for f in row])
    others = [_frame_picture(f, masks) for f in study.frames if f.name not in placed]
    rows += [list(others[i : i + _PER_ROW]) for i in range(0, len(others), _PER_ROW)]
    return rows + [_clip_row(clip, masks.get(clip.name)) for clip in study.clips]


def _frame_picture(frame: Frame, masks: Mapping[str, NDArray[np.uint8]]) -> FramePicture:
    mask = masks.get(frame.name)
    return outlined_picture(
        frame.image, frame.grid, mask, frame.name, shown_box((frame.image, mask), region=frame.region)
    )


def _clip_row(clip: Clip, masks: NDArray[np.uint8] | None) -> Row:
    instants, box = clip_instants(clip, masks), clip_box(clip, masks)
    row: Row = []
    for k, what in instants.items():
        # The name last: where it is too long for its panel, the end is what is cut.
        title = f"frame {k + 1}" + (f" ({what})" if what else "") + f", {clip.name}"
        row.append(outlined_picture(clip.images[k], clip.grid, None if masks is None else masks[k], title, box))
    return row


def _draw(study: Study, masks: Mapping[str, NDArray[np.uint8]], rows: list[Row], left_out: int) -> Figure:
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    from apical.report.figures import DARK, LIGHT_TEXT, draw_legend, draw_picture, write_line

    columns = max((len(row) for row in rows), default=1)
    panel = min(_WIDEST_PANEL_IN, _LARGEST_WIDTH_IN / columns)
    width = max(columns * (panel + _GAP_IN) + _GAP_IN, 5.0)
    heights = [panel * max((p.size[0] / p.size[1] for p in row if p), default=1.0) for row in rows]
    height = _HEADER_IN + sum(h + _TEXT_IN + _GAP_IN for h in heights) + _FOOTER_IN
    figure = Figure(figsize=(width, height), facecolor=DARK)
    style: dict[str, Any] = {"color": LIGHT_TEXT, "va": "top"}
    name = printable(study.patient.id, 60)
    write_line(figure, _GAP_IN / width, 1 - 0.12 / height, name, fontsize=11, weight="bold", **style)
    top = height - _HEADER_IN
    for row, row_height in zip(rows, heights, strict=True):
        for index, picture in enumerate(row):
            if picture is None:
                continue
            left = _GAP_IN + index * (panel + _GAP_IN)
            place = (left / width, (top - row_height) / height, panel / width, row_height / height)
            draw_picture(figure.add_axes(place), picture)
            below = (top - row_height - 0.05) / height
            write_line(figure, left / width, below, _line(picture, panel), fontsize=7.5, **style)
        top -= row_height + _TEXT_IN + _GAP_IN
    draw_legend(figure, OUTLINES, 0.37 / height)
    foot = f"{mask_source(masks)}. Research only, not a medical device."
    if left_out:
        foot = f"{left_out} further images are not drawn. {foot}"
    write_line(figure, 0.5, 0.18 / height, printable(foot, int(width * 16)), fontsize=7, ha="center", **style)
    return figure


def _line(picture: FramePicture, panel: float) -> str:
    return printable(f"{picture.title}: {picture.caption}" if picture.caption else picture.title, int(panel * 15))
