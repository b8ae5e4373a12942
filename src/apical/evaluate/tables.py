"""Evaluation tables as rows of plain values, and rows as CSV or Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apical.anatomy import Phase, Structure, View
from apical.evaluate.agreement import PairedDifference
from apical.evaluate.bootstrap import Interval
from apical.evaluate.geometry import FrameScore
from apical.evaluate.summary import ALL, DISTANCES, FOREGROUND_MEAN, WHOLE_IMAGE, Summary, find
from apical.evaluate.volumes import QUANTITIES, VolumeAgreement, VolumePair
from apical.study import Repair

Row = Mapping[str, Any]

STRUCTURE_NAMES = {
    Structure.ENDOCARDIUM.value: "LV endocardium (1)",
    Structure.EPICARDIUM.value: "LV epicardium (1+2)",
    Structure.LEFT_ATRIUM.value: "left atrium (3)",
    Structure.MYOCARDIUM.value: "myocardium ring (2)",
    FOREGROUND_MEAN: "mean foreground (1, 2, 3)",
}
QUANTITY_NAMES = {"edv_ml": "EDV (mL)", "esv_ml": "ESV (mL)", "ef_percent": "EF (%)"}

ABSENT = "–"
"""What a table for people shows where there is no number; a CSV has an empty cell."""


def frame_rows(frames: Iterable[FrameScore]) -> list[Row]:
    """Return one row per frame and structure; the pixel accuracies are those of the whole frame."""
    return [
        {
            "patient": f.patient,
            "frame": f.frame,
            "view": f.view.value if f.view else "",
            "phase": f.phase.value if f.phase else "",
            "quality": f.quality,
            "structure": s.structure.value,
            "dice": _rounded(s.dice),
            **{metric: _rounded(getattr(s, metric)) for metric in DISTANCES},
            "unit": s.unit,
            "expected_dice": _rounded(s.expected_dice),
            "unlike_training": _rounded(f.unlike),
            "impossible": repairs_text(f.impossible),
            "repaired": repairs_text(f.repaired),
            "view_recognised": f.recognised.value if f.recognised else None,
            "missing": int(f.missing),
            "accuracy": _rounded(f.accuracy),
            "heart_accuracy": _rounded(f.heart_accuracy),
            "n_pixels": f.n_pixels,
        }
        for f in frames
        for s in f.structures
    ]


def repairs_text(repairs: Sequence[Repair] | None) -> str | None:
    """Return repairs as a cell: 'none', or what and how many pixels; None where nobody can tell.

    Examples
    --------
    >>> repairs_text([Repair("second cavity removed", 12), Repair("hole in the cavity filled", 3)])
    'second cavity removed: 12; hole in the cavity filled: 3'
    """
    if repairs is None:
        return None
    return "; ".join(f"{r.what}: {r.pixels}" for r in repairs) or "none"


def volume_rows(pairs: Iterable[VolumePair]) -> list[Row]:
    """Return one row per patient and definition."""
    return [
        {
            "patient": p.patient,
            "definition": p.definition,
            **{
                f"{side}_{quantity}": _rounded(numbers[quantity])
                for quantity in QUANTITIES
                for side, numbers in (("predicted", p.predicted), ("reference", p.reference))
            },
            "predicted_method": p.predicted_method,
            "reference_method": p.reference_method,
            "predicted_status": p.predicted_status,
            "reference_status": p.reference_status,
            "findings": " ".join(p.reasons),
            "ef_interval_low_percent": _rounded(p.ef_interval[0]) if p.ef_interval else None,
            "ef_interval_high_percent": _rounded(p.ef_interval[1]) if p.ef_interval else None,
        }
        for p in pairs
    ]


def geometry_rows(table: Sequence[Summary], view: str) -> list[Row]:
    """Return the table of the CAMUS papers for one view (or "all"): phase x structure, means with intervals.

    Dice has its 95 % interval over patients, distances their SD over frames, as in the papers.
    """
    rows: list[Row] = []
    for phase in (*(p.value for p in Phase), ALL):
        for structure, name in STRUCTURE_NAMES.items():
            dice = find(table, structure, "dice", view, phase)
            if dice is None:
                continue
            units = [
                s.unit for s in table if (s.view, s.phase, s.structure, s.metric) == (view, phase, structure, "hd")
            ]
            for unit in units or [""]:
                distances = {m: find(table, structure, m, view, phase, unit=unit) for m in DISTANCES} if unit else {}
                rows.append(
                    {
                        "phase": phase,
                        "structure": name,
                        "frames": dice.n,
                        "missing": dice.n_missing,
                        "Dice": with_interval(dice.mean, dice.interval, 3),
                        "median": number(dice.median, 3),
                        "HD": _mean_sd(distances.get("hd")),
                        "HD95": _mean_sd(distances.get("hd95")),
                        "MASD": _mean_sd(distances.get("masd")),
                        "unit": unit,
                    }
                )
    return rows


def accuracy_rows(table: Sequence[Summary]) -> list[Row]:
    """Return pixel accuracies by view, four-class and heart against background."""
    rows: list[Row] = []
    for view in (*(v.value for v in View), ALL):
        four, heart = (find(table, WHOLE_IMAGE, metric, view) for metric in ("accuracy", "heart_accuracy"))
        if four and heart:
            rows.append(
                {
                    "view": view,
                    "frames": four.n,
                    "four classes": with_interval(four.mean, four.interval, 4),
                    "heart against background": with_interval(heart.mean, heart.interval, 4),
                }
            )
    return rows


def agreement_rows(agreements: Iterable[VolumeAgreement]) -> list[Row]:
    """Return bias, errors, correlation and limits of agreement, one row per definition, quantity and group."""
    rows: list[Row] = []
    for entry in agreements:
        a = entry.agreement
        rows.append(
            {
                "definition": entry.definition,
                "quantity": QUANTITY_NAMES[entry.quantity],
                "patients": entry.group,
                "n": a.n,
                "missing": a.n_missing,
                "no reference": a.n_unreferenced,
                "bias": with_interval(a.bias, a.intervals.get("bias"), 1),
                "SD": number(a.sd, 1),
                "MAE": with_interval(a.mae, a.intervals.get("mae"), 1),
                "RMSE": number(a.rmse, 1),
                "r": with_interval(a.r, a.intervals.get("r"), 3),
                "limits of agreement": f"{number(a.loa_low, 1)} to {number(a.loa_high, 1)}" if a.n > 1 else ABSENT,
            }
        )
    return rows


def comparison_rows(differences: Iterable[PairedDifference]) -> list[Row]:
    """Return the paired comparison of two models, one row per structure."""
    return [
        {
            "structure": STRUCTURE_NAMES[d.structure],
            "patients": d.n_patients,
            "first": number(d.first, 4),
            "second": number(d.second, 4),
            "first - second": with_interval(d.difference, d.interval, 4),
            "Wilcoxon p": f"{d.p_value:.2g}",
        }
        for d in differences
    ]


def to_markdown(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table; None is shown as a dash.

    Examples
    --------
    >>> print(to_markdown([{"structure": "endo", "dice": 0.95}, {"structure": "la", "dice": None}]))
    | structure | dice |
    |---|---|
    | endo | 0.95 |
    | la | – |
    """
    if not rows:
        return ""
    columns = list(rows[0])
    lines = [columns, *([ABSENT if row[c] is None else str(row[c]) for c in columns] for row in rows)]
    cells = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]
    return "\n".join([cells[0], "|" + "---|" * len(columns), *cells[1:]])


def number(value: float | None, digits: int) -> str:
    """Return a number for a person's eye, or a dash."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def with_interval(value: float | None, interval: Interval | None, digits: int) -> str:
    """Return a number with its interval in brackets, where there is one."""
    if value is None or interval is None:
        return number(value, digits)
    return f"{value:.{digits}f} ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})"


def _mean_sd(summary: Summary | None) -> str:
    if summary is None or summary.mean is None:
        return ABSENT
    text = f"{summary.mean:.2f}" + ("" if summary.sd is None else f" ± {summary.sd:.2f}")
    return text + (f" (n = {summary.n})" if summary.n_absent else "")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
