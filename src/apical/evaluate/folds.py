"""Cross-validation: the evaluations of all folds as one, and how much they differ.

Each patient is scored once, by the network that never saw it. The pooled figures are over patients; the mean and
the sample SD over folds, each fold counting once, say how far another draw of training patients moves a figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from apical.anatomy import Structure
from apical.errors import InputError
from apical.evaluate.geometry import MM
from apical.evaluate.summary import ALL, FOREGROUND_MEAN, find
from apical.evaluate.volumes import QUANTITIES

if TYPE_CHECKING:
    from apical.evaluate.evaluation import Evaluation


def pool(folds: Sequence[Evaluation], name: str) -> Evaluation:
    """Join the evaluations of the folds of a cross-validation into one over all their patients.

    Raises
    ------
    InputError
        When there is no fold, a patient was scored in two of them, or a network was scored on patients it has seen.
    """
    from apical.evaluate.evaluation import Evaluation

    if not folds:
        raise InputError(f"{name}: no fold to pool")
    fold_of: dict[str, str] = {}
    for fold in folds:
        if fold.seen_in_training:
            raise InputError(f"{fold.name}: was scored on patients seen in training; that is no cross-validation")
        for patient in fold.patients:
            if patient in fold_of:
                raise InputError(f"{patient}: scored in {fold_of[patient]} and in {fold.name}; it must count once")
            fold_of[patient] = fold.name
    precisions = {fold.precision for fold in folds}
    return Evaluation(
        name,
        tuple(sorted((frame for fold in folds for frame in fold.frames), key=lambda frame: frame.patient)),
        tuple(sorted((pair for fold in folds for pair in fold.volumes), key=lambda pair: pair.patient)),
        tuple(f"{fold.name}: {note}" for fold in folds for note in fold.notes),
        folds[0].bootstrap,
        precision=precisions.pop() if len(precisions) == 1 else None,
        left_out={what: reason for fold in folds for what, reason in fold.left_out.items()},
        folds=tuple(folds),
        single_plane=tuple(sorted((pair for fold in folds for pair in fold.single_plane), key=lambda p: p.patient)),
        data=", ".join(dict.fromkeys(fold.data for fold in folds if fold.data)),
    )


def fold_values(fold: Evaluation) -> dict[str, float | None]:
    """Return the figures of one fold by name: mean Dice and distances (mm) over frames, volume errors over patients.

    Names are `dice_STRUCTURE`, `hd_mm_STRUCTURE`, `masd_mm_STRUCTURE`, `DEFINITION_QUANTITY_mae` and
    `DEFINITION_QUANTITY_bias`; None where nothing could be measured.
    """
    values: dict[str, float | None] = {}
    for structure in (FOREGROUND_MEAN, *(s.value for s in Structure)):
        dice = find(fold.summaries, structure, "dice")
        values[f"dice_{structure}"] = dice.mean if dice else None
    for metric in ("hd", "masd"):
        for structure in Structure:
            distance = find(fold.summaries, structure.value, metric, unit=MM)
            values[f"{metric}_mm_{structure.value}"] = distance.mean if distance else None
    for entry in fold.agreements:
        if entry.group == ALL and entry.quantity in QUANTITIES:
            values[f"{entry.definition}_{entry.quantity}_mae"] = entry.agreement.mae
            values[f"{entry.definition}_{entry.quantity}_bias"] = entry.agreement.bias
    return values


def fold_dict(fold: Evaluation) -> dict[str, Any]:
    """Return one fold as a JSON-ready dictionary."""
    return {
        "name": fold.name,
        "model_sha256": fold.model_sha256,
        "patients": fold.patients,
        "n_frames": len(fold.frames),
        "n_missing": fold.n_missing,
        "values": fold_values(fold),
    }


def fold_rows(folds: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Return one row of figures per fold."""
    return [
        {"fold": fold.name, "patients": fold.n_patients, "frames": len(fold.frames)}
        | {name: None if value is None else round(value, 6) for name, value in fold_values(fold).items()}
        for fold in folds
    ]


def over_folds(folds: Sequence[Evaluation]) -> dict[str, dict[str, Any]]:
    """Return the mean and spread over folds of each figure: n, mean, sample SD (needs two), least and largest."""
    by_fold = [fold_values(fold) for fold in folds]
    spread: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for values in by_fold for name in values):
        known = np.array([value for values in by_fold if (value := values.get(name)) is not None])
        spread[name] = {
            "n": len(known),
            "mean": float(known.mean()) if len(known) else None,
            "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
            "min": float(known.min()) if len(known) else None,
            "max": float(known.max()) if len(known) else None,
        }
    return spread
