"""Does the model know where it is wrong? The Dice that it expected of itself against the one it got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from apical.anatomy import Structure
from apical.evaluate.geometry import FrameScore
from apical.evaluate.tables import ABSENT, STRUCTURE_NAMES, number, to_markdown
from apical.measure.quality import LIMITS

_FEWEST = 5
"""Frames below which a rank correlation says nothing."""


@dataclass(frozen=True)
class DoubtSummary:
    """Expected and measured Dice of one structure over the frames of which the model told what it expected.

    `rank_correlation` is Spearman's, None where there are too few frames or nothing varies.
    """

    structure: Structure
    n: int
    mean_expected: float
    mean_dice: float
    rank_correlation: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self) | {"structure": self.structure.value}


def summarise_doubt(frames: Sequence[FrameScore]) -> list[DoubtSummary]:
    """Return one entry per structure; none where the masks came without doubts."""
    found = []
    for structure in Structure:
        scores = [f[structure] for f in frames]
        told = [(s.expected_dice, s.dice) for s in scores if s.expected_dice is not None]
        if told:
            expected, dice = np.array(told).T
            found.append(
                DoubtSummary(
                    structure, len(told), float(expected.mean()), float(dice.mean()), _spearman(expected, dice)
                )
            )
    return found


def summarise_views(frames: Sequence[FrameScore]) -> dict[str, int] | None:
    """Return of how many frames the model named the view from the pixels alone, and of how many rightly, or None."""
    named = [f for f in frames if f.recognised and f.view]
    return {"n": len(named), "right": sum(f.recognised is f.view for f in named)} if named else None


def doubt_section(frames: Sequence[FrameScore]) -> list[str]:
    """Return the section of report.md."""
    summaries = summarise_doubt(frames)
    if not summaries:
        return []
    unlike = [f.unlike for f in frames if f.unlike is not None]
    share = float(np.mean(np.array(unlike) > LIMITS.unlike_caution))
    rows = [
        {
            "structure": STRUCTURE_NAMES[s.structure],
            "frames": s.n,
            "expected Dice": number(s.mean_expected, 3),
            "Dice": number(s.mean_dice, 3),
            "rank correlation": ABSENT if s.rank_correlation is None else number(s.rank_correlation, 2),
        }
        for s in summaries
    ]
    views = summarise_views(frames)
    recognised = ""
    if views:
        recognised = f" From the picture alone it names the view of {views['right']} of {views['n']} frames rightly."
    return [
        "## What the model knows of its own doubt",
        "The Dice that it expects of itself, from its probabilities, against the one measured. "
        f"{share:.1%} of the frames count as unlike the pictures it learned from." + recognised,
        to_markdown(rows),
    ]


def _spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    from scipy.stats import spearmanr  # slow to import

    if len(a) < _FEWEST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a, b).statistic)
