"""Where a model went wrong: the worst frames of an evaluation with both outlines, the expert's and the model's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from apical.anatomy import Structure
from apical.report.content import printable
from apical.report.pictures import shown_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from apical.evaluate.evaluation import WorstFrame
    from apical.study import Mask

_PER_ROW = 5
_COLOURS = {Structure.ENDOCARDIUM: "#ff5a5f", Structure.EPICARDIUM: "#3fd07a", Structure.LEFT_ATRIUM: "#4aa8ff"}


def write_worst_frames(path: Path, worst: Sequence[WorstFrame], title: str = "") -> None:
    """Write a PNG with one panel per frame: the model's outlines in colour, the expert's dashed in white."""
    from matplotlib.figure import Figure

    n_rows = -(-len(worst) // _PER_ROW)
    figure = Figure(figsize=(3.2 * _PER_ROW, 2.9 * n_rows + 0.5), layout="constrained")
    for axes in figure.subplots(n_rows, _PER_ROW, squeeze=False).ravel():
        axes.set_axis_off()
    for axes, item in zip(figure.axes, worst, strict=False):
        spacing = item.frame.grid.spacing_mm or (1.0, 1.0)
        image, expert, predicted = item.frame.image, item.frame.reference, item.predicted
        shown = shown_box((image, expert), (image, predicted), region=item.frame.region).slices
        axes.imshow(image[shown], cmap="gray", vmin=0, vmax=255, aspect=spacing[0] / spacing[1])
        if expert is not None:
            _outline(axes, expert[shown], dict.fromkeys(_COLOURS, "white"), "dashed")
        if predicted is not None:
            _outline(axes, predicted[shown], _COLOURS, "solid")
        score = item.score
        dice = " ".join(f"{score[s].dice:.2f}" for s in (*_COLOURS, Structure.MYOCARDIUM))
        axes.set_title(
            printable(f"{score.patient} {score.view or ''} {score.phase or ''}") + f"\n{dice}",
            fontsize=8,
            parse_math=False,
        )
    figure.suptitle(
        printable(f"Worst frames of {title}") + ": Dice of endo, epi, atrium, myocardium; dashed: expert",
        fontsize=10,
        parse_math=False,
    )
    figure.savefig(path, dpi=110, format="png")


def _outline(axes: Axes, mask: Mask, colours: dict[Structure, str], style: str) -> None:
    for structure, colour in colours.items():
        region = np.isin(mask, structure.labels)
        if region.any() and not region.all():
            axes.contour(region, levels=[0.5], colors=[colour], linewidths=0.9, linestyles=style)
