"""Several models on the same patients, side by side in one Markdown document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apical.anatomy import Phase, Structure, View
from apical.errors import InputError
from apical.evaluate import tables
from apical.evaluate.agreement import compare_models
from apical.evaluate.evaluation import FRAMES_CSV, SUMMARY_JSON
from apical.evaluate.geometry import FrameScore
from apical.evaluate.summary import FOREGROUND_MEAN, WHOLE_IMAGE, Summary, find, summarise


@dataclass(frozen=True)
class _Scored:
    name: str
    frames: list[FrameScore]
    table: list[Summary]


def comparison_document(folders: Sequence[Path]) -> str:
    """Return the tables that set evaluations side by side; the first is what the others are compared with.

    Parameters
    ----------
    folders
        Written by `Evaluation.write`. Each view's table holds only frames of that view; differences are
        paired, on the frames that both were scored on.

    Raises
    ------
    InputError
        When a folder holds no evaluation.
    """
    scored = [_read(folder) for folder in folders]
    parts = [
        "# Models compared",
        "Mean Dice over frames of unseen patients, with 95 % bootstrap interval over patients where there is room; "
        "epicardium is labels 1 and 2, 'ring' label 2 alone, 'foreground' the mean of labels 1, 2 and 3.",
    ]
    for view in View:
        rows = [row for one in scored if (row := _row(one, view)) is not None]
        parts += [f"## {view}", tables.to_markdown(rows)]
    for other in scored[1:]:
        parts.append(f"## {scored[0].name} against {other.name}")
        differences = compare_models(scored[0].frames, other.frames)
        parts.append(tables.to_markdown(tables.comparison_rows(differences)))
    return "\n\n".join(parts) + "\n"


def _read(folder: Path) -> _Scored:
    try:
        name = json.loads((folder / SUMMARY_JSON).read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: no evaluation; make one with `apical evaluate`") from error
    frames = tables.read_frames(folder / FRAMES_CSV)
    return _Scored(name, frames, summarise(frames))


def _row(one: _Scored, view: View) -> tables.Row | None:
    foreground = find(one.table, FOREGROUND_MEAN, "dice", view)
    if foreground is None:
        return None
    row: dict[str, object] = {"model": one.name, "patients": foreground.n_patients}
    columns = {"endo": Structure.ENDOCARDIUM, "epi": Structure.EPICARDIUM, "atrium": Structure.LEFT_ATRIUM}
    for title, structure in columns.items():
        for phase in Phase:
            dice = find(one.table, structure, "dice", view, phase)
            row[f"{title} {phase}"] = tables.number(dice.mean if dice else None, 3)
    ring = find(one.table, Structure.MYOCARDIUM, "dice", view)
    row["ring"] = tables.number(ring.mean if ring else None, 3)
    row["foreground"] = tables.with_interval(foreground.mean, foreground.interval, 4)
    for title, metric in (("heart / background", "heart_accuracy"), ("four classes", "accuracy")):
        accuracy = find(one.table, WHOLE_IMAGE, metric, view)
        row[f"pixel accuracy, {title}"] = tables.number(accuracy.mean if accuracy else None, 4)
    return row
