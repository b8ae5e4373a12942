"""An evaluation: the scores of one model on a set of patients, its tables, and the folder that it is kept in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from apical import __version__
from apical.calibration import Calibration
from apical.evaluate import document, tables
from apical.evaluate.agreement import PairedDifference, compare_models
from apical.evaluate.bootstrap import Bootstrap
from apical.evaluate.calibration import calibrate, interval_dict
from apical.evaluate.doubt import summarise_doubt, summarise_views
from apical.evaluate.folds import fold_dict, fold_rows, over_folds
from apical.evaluate.geometry import FrameScore
from apical.evaluate.plausibility import summarise_plausibility
from apical.evaluate.summary import Summary, summarise
from apical.evaluate.volumes import VolumeAgreement, VolumePair, volume_agreements
from apical.files import atomic_write, csv_text, make_folder, refuse_existing, write_text
from apical.study import Frame, Mask

FRAMES_CSV, PATIENTS_CSV, SUMMARY_JSON, REPORT = "frames.csv", "patients.csv", "summary.json", "report.md"
SINGLE_PLANE_CSV = "single_plane.csv"
FOLDS_CSV = "folds.csv"
DICE_PNG, BLAND_ALTMAN_PNG, WORST_PNG = "dice.png", "bland_altman.png", "worst.png"
TABLES = (FRAMES_CSV, PATIENTS_CSV, SINGLE_PLANE_CSV, FOLDS_CSV)
RESULT_FILES = (*TABLES, DICE_PNG, BLAND_ALTMAN_PNG, WORST_PNG, REPORT, SUMMARY_JSON)
"""Everything that `Evaluation.write` may leave in a folder."""


@dataclass(frozen=True, eq=False)
class WorstFrame:
    """A frame that went badly: its score, the frame with its reference, and the predicted mask or None."""

    score: FrameScore
    frame: Frame
    predicted: Mask | None


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model on a set of patients.

    Attributes
    ----------
    name
        Of the model or tool, for titles.
    frames
        One entry per frame with an expert mask.
    volumes
        One entry per patient and definition.
    notes
        What is to be known of it, in sentences.
    bootstrap
        How intervals are drawn.
    model_sha256
        Hash of the model's network; None for masks of a tool.
    precision
        In what that network computed, as `Segmenter` names it; None for masks of a tool.
    seen_in_training
        Whether patients that the model learned from or was chosen by are, or may be, among the scored.
    left_out
        Patients and files that were asked for and could not be scored, and why.
    folds
        The evaluations that this one pools (`pool`), one per fold of a cross-validation.
    single_plane
        As `volumes`, of each view of biplane patients by itself: for the intervals of single-plane studies.
    data
        Name of the data set.
    worst
        The worst frame of each of the worst patients, to be drawn; they are not read back from a folder.
    """

    name: str
    frames: tuple[FrameScore, ...]
    volumes: tuple[VolumePair, ...] = ()
    notes: tuple[str, ...] = ()
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    model_sha256: str | None = None
    precision: str | None = None
    seen_in_training: bool = False
    left_out: Mapping[str, str] = field(default_factory=dict)
    folds: tuple[Evaluation, ...] = ()
    single_plane: tuple[VolumePair, ...] = ()
    data: str = ""
    worst: tuple[WorstFrame, ...] = ()

    @cached_property
    def summaries(self) -> list[Summary]:
        """Geometry by view, phase and structure."""
        return summarise(self.frames, self.bootstrap)

    @cached_property
    def agreements(self) -> list[VolumeAgreement]:
        """EDV, ESV and EF by definition."""
        return volume_agreements(self.volumes, self.bootstrap)

    @cached_property
    def calibration(self) -> Calibration:
        """Bounds of the errors of EDV, ESV and EF; none where the model has seen patients, or may have."""
        # A gate that leaves one view of a biplane study is rare: the view by itself is what its error is learned on.
        pairs = () if self.seen_in_training else (*self.single_plane, *self.volumes)
        whose = "those that the network had never seen"
        if self.model_sha256 is None and not self.folds:
            whose = "whom the maker of the masks may have seen or not: nobody told"
        return calibrate(pairs, source=whose)

    @property
    def patients(self) -> list[str]:
        """Patients with at least one expert mask, sorted: who was scored."""
        return sorted({f.patient for f in self.frames})

    @property
    def n_patients(self) -> int:
        """Number of `patients`."""
        return len(self.patients)

    @property
    def n_missing(self) -> int:
        """Frames without a prediction; each scores 0."""
        return sum(f.missing for f in self.frames)

    def compare(self, other: Evaluation) -> list[PairedDifference]:
        """Compare the Dice of this model (first) with another's (second) on the frames both were scored on."""
        return compare_models(self.frames, other.frames, self.bootstrap)

    def as_dict(self) -> dict[str, Any]:
        """Return all tables as a JSON-ready dictionary."""
        return {
            "apical_version": __version__,
            "name": self.name,
            "model_sha256": self.model_sha256,
            "precision": self.precision,
            "seen_in_training": self.seen_in_training,
            "patients": self.patients,
            "left_out": [{"what": what, "reason": reason} for what, reason in self.left_out.items()],
            "n_patients": self.n_patients,
            "n_frames": len(self.frames),
            "n_missing": self.n_missing,
            "bootstrap": vars(self.bootstrap),
            "geometry": [s.as_dict() for s in self.summaries],
            "volumes": [a.as_dict() for a in self.agreements],
            "data": self.data,
            "ef_interval": interval_dict(self.calibration, (*self.single_plane, *self.volumes)),
            "anatomy": summarise_plausibility(self.frames),
            "view_recognition": summarise_views(self.frames),
            "doubt": [d.as_dict() for d in summarise_doubt(self.frames)],
            "notes": list(self.notes),
        } | ({"folds": [fold_dict(f) for f in self.folds], "over_folds": over_folds(self.folds)} if self.folds else {})

    def write(self, folder: Path, *, overwrite: bool = False) -> list[Path]:
        """Write tables (CSV), summary.json, report.md, dice.png, bland_altman.png and worst.png; return their paths.

        Tables are frames.csv, patients.csv, single_plane.csv and folds.csv. A file without content is not written.

        Raises
        ------
        OutputError
            If a file exists and `overwrite` is false, or the folder cannot be written to.
        """
        from apical.report.agreement_figures import write_bland_altman, write_dice_boxes
        from apical.report.worst_frames import write_worst_frames

        make_folder(folder)
        has_errors = any(p.error(quantity) is not None for p in self.volumes for quantity in p.predicted)
        figures = [DICE_PNG] + [BLAND_ALTMAN_PNG] * has_errors + [WORST_PNG] * bool(self.worst)
        texts = {
            FRAMES_CSV: csv_text(tables.frame_rows(self.frames)),
            PATIENTS_CSV: csv_text(tables.volume_rows(self.volumes)),
            SINGLE_PLANE_CSV: csv_text(tables.volume_rows(self.single_plane)),
            FOLDS_CSV: csv_text(fold_rows(self.folds)),
            REPORT: document.render(self, figures),
            SUMMARY_JSON: json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n",
        }
        texts = {name: text for name, text in texts.items() if text}
        # All are asked for first, so that a refusal leaves no half of a new evaluation beside an old one.
        for name in (*texts, *figures):
            refuse_existing(folder / name, overwrite=overwrite)
        # First the summary and what will not be written anew: nothing of an earlier evaluation stays beside this.
        for name in RESULT_FILES if overwrite else ():
            if name == SUMMARY_JSON or name not in (*texts, *figures):
                (folder / name).unlink(missing_ok=True)
        with atomic_write(folder / DICE_PNG, overwrite=overwrite) as temporary:
            write_dice_boxes(temporary, self.frames, self.name)
        if has_errors:
            with atomic_write(folder / BLAND_ALTMAN_PNG, overwrite=overwrite) as temporary:
                write_bland_altman(temporary, self.volumes, self.name)
        if self.worst:
            with atomic_write(folder / WORST_PNG, overwrite=overwrite) as temporary:
                write_worst_frames(temporary, self.worst, self.name)
        # The summary comes last: a folder that has it holds a whole evaluation.
        for name, text in texts.items():
            write_text(folder / name, text, overwrite=overwrite)
        return [folder / name for name in (*texts, *figures)]
