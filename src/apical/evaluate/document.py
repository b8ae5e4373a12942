"""The evaluation as a Markdown document for people: every number with its n, its unit and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from apical.anatomy import View
from apical.evaluate import tables
from apical.evaluate.calibration import interval_section
from apical.evaluate.doubt import doubt_section
from apical.evaluate.folds import fold_values, over_folds
from apical.evaluate.geometry import PIXEL
from apical.evaluate.plausibility import plausibility_section
from apical.evaluate.summary import ALL, FOREGROUND_MEAN, find, summarise
from apical.evaluate.volumes import SAME_METHOD

if TYPE_CHECKING:
    from apical.evaluate.evaluation import Evaluation

N_WORST = 10
"""Patients listed as the worst, by EF error and by Dice."""

N_NAMED = 5
"""Patients or files named in a sentence; the others are counted."""


def render(evaluation: Evaluation, figures: Sequence[str] = ()) -> str:
    """Return the report of an evaluation as Markdown; `figures` are file names beside it."""
    level = f"{100 * evaluation.bootstrap.level:g} %"
    foreground = find(evaluation.summaries, FOREGROUND_MEAN, "dice")
    parts = [
        f"# Evaluation of {evaluation.name}",
        f"{evaluation.n_patients} patients, {len(evaluation.frames)} frames with an expert mask, "
        f"{evaluation.n_missing} of them without a prediction (each scores 0).",
    ]
    if foreground:
        parts.append(f"Mean foreground Dice **{tables.with_interval(foreground.mean, foreground.interval, 4)}**.")
    parts += [
        f"In brackets: {level} interval by bootstrap over patients ({evaluation.bootstrap.n_resamples} samples, "
        f"seed {evaluation.bootstrap.seed}). HD: Hausdorff distance; HD95: its 95th percentile, the larger of both "
        "directions; MASD: mean absolute symmetric surface distance; distances are mean ± SD over frames.",
        *evaluation.notes,
        *_left_out(evaluation),
    ]
    if any(s.unit == PIXEL for f in evaluation.frames for s in f.structures):
        parts.append(
            "Some or all frames have no known spacing: their distances are in pixels, which are not comparable "
            "between grids, and nothing of them is in mm or mL."
        )
    views = [view for view in (*(v.value for v in View), ALL) if any(s.view == view for s in evaluation.summaries)]
    for view in views:
        title = "All views" if view == ALL else f"View {view}"
        parts += [f"## {title}", tables.to_markdown(tables.geometry_rows(evaluation.summaries, view))]
    parts += ["## Pixel accuracy", tables.to_markdown(tables.accuracy_rows(evaluation.summaries))]
    parts += [*_by_fold(evaluation), *_by_quality(evaluation), *_volumes(evaluation), *_interval(evaluation)]
    parts += [*plausibility_section(evaluation.frames), *doubt_section(evaluation.frames), *_worst(evaluation)]
    parts += [f"![{name.removesuffix('.png').replace('_', ' ')}]({name})" for name in figures]
    return "\n\n".join(part for part in parts if part) + "\n"


def _left_out(evaluation: Evaluation) -> list[str]:
    """Name who was asked for and could not be scored; the whole list stands in summary.json."""
    if not evaluation.left_out:
        return []
    named = "; ".join(f"{what} {reason}" for what, reason in list(evaluation.left_out.items())[:N_NAMED])
    more = " and others (summary.json)" if len(evaluation.left_out) > N_NAMED else ""
    return [f"**Asked for, but not scored: {len(evaluation.left_out)}.** {named}{more}."]


def _by_fold(evaluation: Evaluation) -> list[str]:
    """Return the figures of each fold of a cross-validation, and their mean and spread."""
    if not evaluation.folds:
        return []
    columns = {f"dice_{structure}": (name, 3) for structure, name in tables.STRUCTURE_NAMES.items()}
    columns |= {"hd_mm_endo": ("endocardial HD (mm)", 2)}
    columns |= {f"{d}_ef_percent_mae": (f"EF MAE (`{d}`)", 1) for d in ("ase", "camus")}
    rows: list[tables.Row] = [
        {"fold": fold.name, "patients": fold.n_patients}
        | {title: tables.number(values.get(key), digits) for key, (title, digits) in columns.items()}
        for fold in evaluation.folds
        for values in (fold_values(fold),)
    ]
    spread = over_folds(evaluation.folds)
    last: dict[str, object] = {"fold": "mean ± SD over folds", "patients": evaluation.n_patients}
    for key, (title, digits) in columns.items():
        over = spread.get(key, {"mean": None, "sd": None})
        last[title] = tables.number(over["mean"], digits)
        if over["sd"] is not None:
            last[title] = f"{last[title]} ± {tables.number(over['sd'], digits)}"
    return [
        "## By fold",
        "Each patient was scored once, by the network that had never seen it. The other tables are over all patients; "
        "here each fold counts once, and the SD is that between folds.",
        tables.to_markdown([*rows, last]),
    ]


def _by_quality(evaluation: Evaluation) -> list[str]:
    qualities = sorted({f.quality for f in evaluation.frames if f.quality})
    rows = []
    for quality in qualities:
        table = summarise([f for f in evaluation.frames if f.quality == quality], evaluation.bootstrap)
        row: dict[str, object] = {"image quality": quality}
        for structure, name in tables.STRUCTURE_NAMES.items():
            dice = find(table, structure, "dice")
            if dice:
                row.setdefault("frames", dice.n)
                row[name] = tables.with_interval(dice.mean, dice.interval, 3)
        rows.append(row)
    return ["## Dice by image quality", tables.to_markdown(rows)] if rows else []


def _volumes(evaluation: Evaluation) -> list[str]:
    if not evaluation.volumes:
        return []
    parts = [
        "## Volumes and ejection fraction",
        "Predicted - reference, both measured by this program on the respective masks. The definitions `ase` and "
        "`camus` differ by about 8 EF points on the same contours: compare only like with like.",
    ]
    different = {p.patient for p in evaluation.volumes if not p.same_method}
    if different:
        parts.append(
            f"{len(different)} patients were measured by another method than on the expert's masks (one plane or two)."
        )
    by_status = [a for a in evaluation.agreements if a.group not in (ALL, SAME_METHOD)]
    return [
        *parts,
        tables.to_markdown(tables.agreement_rows(a for a in evaluation.agreements if a not in by_status)),
        "By the status of the predicted measurement: whether caution was called for.",
        tables.to_markdown(tables.agreement_rows(by_status)),
    ]


def _interval(evaluation: Evaluation) -> list[str]:
    return interval_section(evaluation.calibration, (*evaluation.single_plane, *evaluation.volumes))


def _worst(evaluation: Evaluation) -> list[str]:
    """Return the patients to look at first."""
    parts = []
    by_patient: dict[str, list[float]] = {}
    for frame in evaluation.frames:
        by_patient.setdefault(frame.patient, []).append(frame.foreground_dice)
    means = sorted((sum(dice) / len(dice), patient) for patient, dice in by_patient.items())
    rows: list[tables.Row] = [
        {"patient": patient, "mean foreground Dice": tables.number(dice, 3)} for dice, patient in means[:N_WORST]
    ]
    parts += ["## Worst patients by Dice", tables.to_markdown(rows)]
    errors = [(error, p) for p in evaluation.volumes if (error := p.error("ef_percent")) is not None]
    for definition in dict.fromkeys(p.definition for _, p in errors):
        worst = sorted((e for e in errors if e[1].definition == definition), key=lambda e: -abs(e[0]))[:N_WORST]
        rows = [
            {
                "patient": p.patient,
                "predicted EF (%)": tables.number(p.predicted["ef_percent"], 1),
                "reference EF (%)": tables.number(p.reference["ef_percent"], 1),
                "error": f"{error:+.1f}",
                "status": p.predicted_status,
                "findings": " ".join(p.reasons),
            }
            for error, p in worst
        ]
        parts += [f"## Worst patients by EF (`{definition}`)", tables.to_markdown(rows)]
    return parts
