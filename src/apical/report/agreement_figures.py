"""Figures of an evaluation: Dice as boxes, volumes and EF as Bland-Altman plots.

Bland and Altman, Lancet 327:307-310, 1986, doi:10.1016/S0140-6736(86)90837-8: difference against mean of
the two measurements, with bias and limits of agreement.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from apical.anatomy import Phase, Structure, View
from apical.evaluate.agreement import agreement
from apical.evaluate.bootstrap import Bootstrap
from apical.evaluate.geometry import FrameScore
from apical.evaluate.volumes import QUANTITIES, VolumePair
from apical.report.content import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STATUS_COLOURS = {"measured": "#1b6ca8", "caution": "#e08e0b", "refused": "#b3261e"}
_PHASE_COLOURS = {Phase.ED: "#1b6ca8", Phase.ES: "#c05299"}
_SHORT_NAMES = {"edv_ml": "EDV", "esv_ml": "ESV", "ef_percent": "EF"}


def write_bland_altman(path: Path, pairs: Sequence[VolumePair], title: str = "") -> None:
    """Write a PNG with one Bland-Altman plot per definition (rows) and EDV, ESV, EF (columns)."""
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    definitions = list(dict.fromkeys(p.definition for p in pairs))
    figure = Figure(figsize=(4.2 * len(QUANTITIES), 3.6 * len(definitions) + 0.4), layout="constrained")
    grid = figure.subplots(len(definitions), len(QUANTITIES), squeeze=False)
    for row, definition in zip(grid, definitions, strict=True):
        members = [p for p in pairs if p.definition == definition]
        for axes, (quantity, unit) in zip(row, QUANTITIES.items(), strict=True):
            _bland_altman(axes, members, quantity, unit, f"{_SHORT_NAMES[quantity]} ({definition})")
    _legend_below(figure)
    figure.suptitle(printable(title), parse_math=False)
    figure.savefig(path, dpi=150, format="png")


def write_dice_boxes(path: Path, frames: Sequence[FrameScore], title: str = "") -> None:
    """Write a PNG with the Dice of every structure as boxes, one panel per view, ED beside ES.

    Whiskers reach to the 5th and 95th percentile; every frame beyond them is a dot. The axis starts below the worst
    frame, so that a failure is never cut off.
    """
    from matplotlib.figure import Figure

    views = [view for view in (*View, None) if any(f.view is view for f in frames)]
    figure = Figure(figsize=(5.2 * len(views), 4.2), layout="constrained")
    for axes, view in zip(figure.subplots(1, len(views), squeeze=False, sharey=True)[0], views, strict=True):
        counts = []
        for offset, phase in ((-0.2, Phase.ED), (0.2, Phase.ES)):
            members = [f for f in frames if f.view is view and f.phase is phase]
            if not members:
                continue
            boxes = axes.boxplot(
                [[f[structure].dice for f in members] for structure in Structure],
                positions=[i + offset for i in range(len(Structure))],
                widths=0.34,
                whis=(5, 95),
                patch_artist=True,
                flierprops={"marker": ".", "markersize": 4, "markeredgecolor": _PHASE_COLOURS[phase]},
                medianprops={"color": "black"},
                manage_ticks=False,
            )
            for box in boxes["boxes"]:
                box.set_facecolor(_PHASE_COLOURS[phase])
                box.set_alpha(0.6)
            boxes["boxes"][0].set_label(phase.value)
            counts.append(f"{len(members)} {phase.value}")
        axes.set_xticks(range(len(Structure)), ["LV endo", "LV epi", "atrium", "myocardium"])
        axes.set_title(f"{view.value if view else 'unknown view'} ({', '.join(counts)})")
        axes.grid(axis="y", alpha=0.3)
    _legend_below(figure)
    figure.axes[0].set_ylabel("Dice")
    figure.axes[0].set_ylim(top=1.0)
    figure.suptitle(printable(title), parse_math=False)
    figure.savefig(path, dpi=150, format="png")


def _legend_below(figure: Figure) -> None:
    """Put one legend for all plots below them, where it hides no patient."""
    handles = {text: handle for a in figure.axes for handle, text in zip(*a.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3, frameon=False)


def _bland_altman(axes: Axes, pairs: Sequence[VolumePair], quantity: str, unit: str, title: str) -> None:
    """Draw one plot; patients are coloured by the status of the predicted measurement."""
    for status, colour in _STATUS_COLOURS.items():
        points = [
            ((p.predicted[quantity] + p.reference[quantity]) / 2, error)  # type: ignore[operator]
            for p in pairs
            if p.predicted_status == status and (error := p.error(quantity)) is not None
        ]
        if points:
            means, errors = zip(*points, strict=True)
            axes.scatter(means, errors, s=14, alpha=0.7, color=colour, linewidths=0, label=status)
    result = agreement(
        [p.predicted[quantity] for p in pairs], [p.reference[quantity] for p in pairs], Bootstrap(n_resamples=1)
    )
    for value, style in ((result.bias, "-"), (result.loa_low, "--"), (result.loa_high, "--")):
        if value is not None:
            axes.axhline(value, color="black", linestyle=style, linewidth=1)
            axes.annotate(
                f"{value:+.1f}", (1.0, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
            )
    axes.axhline(0, color="grey", linewidth=0.5)
    absent = f", {result.n_missing} not measured" if result.n_missing else ""
    axes.set_title(f"{title}, n = {result.n}{absent}", fontsize=10)
    axes.set_xlabel(f"mean of predicted and reference ({unit})")
    axes.set_ylabel(f"predicted - reference ({unit})")
