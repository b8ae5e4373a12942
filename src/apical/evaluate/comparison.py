"""Several models on the same patients, side by side: one Markdown document, or the same numbers as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apical import __version__
from apical.anatomy import Phase, Structure, View
from apical.evaluate import tables
from apical.evaluate.agreement import PairedDifference
from apical.evaluate.evaluation import Evaluation
from apical.evaluate.saved import read_evaluation
from apical.evaluate.summary import FOREGROUND_MEAN, WHOLE_IMAGE, find


@dataclass(frozen=True)
class Comparison:
    """Evaluations side by side; the first is what the others are compared with.

    Attributes
    ----------
    evaluations
        As they were read.
    differences
        One list per evaluation after the first: the first's Dice against its, paired on the frames that both were
        scored on.
    """

    evaluations: tuple[Evaluation, ...]
    differences: tuple[list[PairedDifference], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers as a JSON-ready dictionary."""
        first, *others = self.evaluations
        return {
            "apical_version": __version__,
            "evaluations": [evaluation.as_dict() for evaluation in self.evaluations],
            "differences": [
                {"first": first.name, "second": other.name, "dice": [d.as_dict() for d in differences]}
                for other, differences in zip(others, self.differences, strict=True)
            ],
        }

    def document(self) -> str:
        """Return the tables as Markdown; each view's table holds only frames of that view."""
        first, *others = self.evaluations
        parts = [
            "# Models compared",
            "Mean Dice over frames, with 95 % bootstrap interval over patients where there is room; epicardium is "
            "labels 1 and 2, 'ring' label 2 alone, 'foreground' the mean of labels 1, 2 and 3.",
        ]
        for view in View:
            rows = [row for one in self.evaluations if (row := _row(one, view)) is not None]
            parts += [f"## {view}", tables.to_markdown(rows)]
        for other, differences in zip(others, self.differences, strict=True):
            parts += [f"## {first.name} against {other.name}"]
            if left := max((d.n_unpaired for d in differences), default=0):
                parts += [f"{left} frames were scored of one of the two alone and are left out here."]
            parts += [tables.to_markdown(tables.comparison_rows(differences))]
        return "\n\n".join(parts) + "\n"


def compare_evaluations(folders: Sequence[Path]) -> Comparison:
    """Read evaluations that `Evaluation.write` left in folders, and compare the first with each of the others.

    Raises
    ------
    InputError
        When a folder holds no evaluation, or two share no frame.
    """
    first, *others = (read_evaluation(folder) for folder in folders)
    return Comparison((first, *others), tuple(first.compare(other) for other in others))


def _row(one: Evaluation, view: View) -> tables.Row | None:
    foreground = find(one.summaries, FOREGROUND_MEAN, "dice", view)
    if foreground is None:
        return None
    row: dict[str, object] = {"model": one.name, "patients": foreground.n_patients}
    columns = {"endo": Structure.ENDOCARDIUM, "epi": Structure.EPICARDIUM, "atrium": Structure.LEFT_ATRIUM}
    for title, structure in columns.items():
        for phase in Phase:
            dice = find(one.summaries, structure, "dice", view, phase)
            row[f"{title} {phase}"] = tables.number(dice.mean if dice else None, 3)
    ring = find(one.summaries, Structure.MYOCARDIUM, "dice", view)
    row["ring"] = tables.number(ring.mean if ring else None, 3)
    row["foreground"] = tables.with_interval(foreground.mean, foreground.interval, 4)
    for title, metric in (("heart / background", "heart_accuracy"), ("four classes", "accuracy")):
        accuracy = find(one.summaries, WHOLE_IMAGE, metric, view)
        row[f"pixel accuracy, {title}"] = tables.number(accuracy.mean if accuracy else None, 4)
    return row
