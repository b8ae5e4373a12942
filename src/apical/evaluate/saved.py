"""Evaluations read back from the folder that `Evaluation.write` made, to be compared or pooled."""

from __future__ import annotations

import json
from pathlib import Path

from apical.anatomy import Phase, Structure, View
from apical.errors import InputError
from apical.evaluate.bootstrap import Bootstrap
from apical.evaluate.evaluation import FRAMES_CSV, PATIENTS_CSV, SINGLE_PLANE_CSV, SUMMARY_JSON, Evaluation
from apical.evaluate.geometry import FrameScore, StructureScore
from apical.evaluate.volumes import QUANTITIES, VolumePair
from apical.files import read_csv
from apical.study import Repair


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation back; numbers are as its CSV files hold them, to six decimals.

    Raises
    ------
    InputError
        When the folder holds no evaluation, or one that is damaged.
    """
    try:
        summary = json.loads((folder / SUMMARY_JSON).read_text(encoding="utf-8"))
        volumes, single_plane = folder / PATIENTS_CSV, folder / SINGLE_PLANE_CSV
        evaluation = Evaluation(
            summary["name"],
            tuple(read_frames(folder / FRAMES_CSV)),
            tuple(read_volumes(volumes)) if volumes.is_file() else (),
            tuple(summary["notes"]),
            Bootstrap(**summary["bootstrap"]),
            model_sha256=summary["model_sha256"],
            precision=summary.get("precision"),  # not told by earlier versions
            seen_in_training=summary["seen_in_training"],
            left_out={entry["what"]: entry["reason"] for entry in summary["left_out"]},
            single_plane=tuple(read_volumes(single_plane)) if single_plane.is_file() else (),
            data=summary["data"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: no whole evaluation; make one with `apical evaluate` ({error!r})") from error
    if evaluation.patients != summary["patients"]:
        raise InputError(f"{folder}: {FRAMES_CSV} and {SUMMARY_JSON} name different patients; evaluate again")
    return evaluation


def read_frames(path: Path) -> list[FrameScore]:
    """Read the frame scores of `frames.csv`.

    Raises
    ------
    InputError
        If the file is not such a table.
    """
    grouped: dict[tuple[str, str], list[dict[str, str]]] = {}
    try:
        for row in read_csv(path):
            grouped.setdefault((row["patient"], row["frame"]), []).append(row)
        return [_frame_score(rows) for rows in grouped.values()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a frames.csv of `apical evaluate` ({error})") from error


def read_volumes(path: Path) -> list[VolumePair]:
    """Read the volumes of `patients.csv`, one entry per patient and definition.

    Raises
    ------
    InputError
        If the file is not such a table.
    """
    try:
        return [_volume_pair(row) for row in read_csv(path)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a patients.csv of `apical evaluate` ({error})") from error


def _optional(text: str) -> float | None:
    return float(text) if text else None


def _repairs(text: str | None) -> tuple[Repair, ...] | None:
    """Read what `tables.repairs_text` wrote; earlier versions wrote no such column."""
    if not text:
        return None
    parts = [] if text == "none" else [part.rsplit(": ", 1) for part in text.split("; ")]
    return tuple(Repair(what, int(pixels)) for what, pixels in parts)


def _volume_pair(row: dict[str, str]) -> VolumePair:
    low, high = (_optional(row[f"ef_interval_{end}_percent"]) for end in ("low", "high"))
    return VolumePair(
        patient=row["patient"],
        definition=row["definition"],
        predicted={quantity: _optional(row[f"predicted_{quantity}"]) for quantity in QUANTITIES},
        reference={quantity: _optional(row[f"reference_{quantity}"]) for quantity in QUANTITIES},
        predicted_method=row["predicted_method"],
        reference_method=row["reference_method"],
        predicted_status=row["predicted_status"],
        reference_status=row["reference_status"],
        reasons=tuple(row["findings"].split()),
        ef_interval=None if low is None or high is None else (low, high),
    )


def _frame_score(rows: list[dict[str, str]]) -> FrameScore:
    head = rows[0]
    structures = tuple(
        StructureScore(
            structure=Structure(row["structure"]),
            dice=float(row["dice"]),
            hd=_optional(row["hd"]),
            hd95=_optional(row["hd95"]),
            masd=_optional(row["masd"]),
            unit=row["unit"],
            expected_dice=_optional(row["expected_dice"]),
        )
        for row in rows
    )
    if [s.structure for s in structures] != list(Structure):
        raise ValueError(f"{head['frame']} has not exactly one row per structure")
    return FrameScore(
        patient=head["patient"],
        frame=head["frame"],
        view=View(head["view"]) if head["view"] else None,
        phase=Phase(head["phase"]) if head["phase"] else None,
        quality=head["quality"],
        missing=bool(int(head["missing"])),
        n_pixels=int(head["n_pixels"]),
        accuracy=float(head["accuracy"]),
        heart_accuracy=float(head["heart_accuracy"]),
        structures=structures,
        unlike=_optional(head["unlike_training"]),
        impossible=_repairs(head.get("impossible")),
        repaired=_repairs(head.get("repaired")),
        recognised=View(head["view_recognised"]) if head.get("view_recognised") else None,
    )
