"""Score a model, or any tool's masks, on patients with expert masks, one patient in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from apical import __version__
from apical.anatomy import View
from apical.calibration import Calibration
from apical.errors import InputError
from apical.evaluate import document, tables
from apical.evaluate.agreement import PairedDifference, compare_models
from apical.evaluate.bootstrap import Bootstrap
from apical.evaluate.calibration import calibrate, interval_dict
from apical.evaluate.doubt import summarise_doubt
from apical.evaluate.folds import fold_dict, fold_rows, over_folds
from apical.evaluate.geometry import FrameScore, score_frame
from apical.evaluate.masks import Predict
from apical.evaluate.summary import Summary, summarise
from apical.evaluate.volumes import VolumeAgreement, VolumePair, pair_volumes, volume_agreements
from apical.files import atomic_write, csv_text, make_folder, refuse_existing, write_text
from apical.study import Doubt, Frame, Mask, Segmentation, Study

Progress = Callable[[str], None]
"""Called with the patient's id after each patient."""

FRAMES_CSV, PATIENTS_CSV, SUMMARY_JSON, REPORT = "frames.csv", "patients.csv", "summary.json", "report.md"
SINGLE_PLANE_CSV = "single_plane.csv"
FOLDS_CSV = "folds.csv"
DICE_PNG, BLAND_ALTMAN_PNG, WORST_PNG = "dice.png", "bland_altman.png", "worst.png"
TABLES = (FRAMES_CSV, PATIENTS_CSV, SINGLE_PLANE_CSV, FOLDS_CSV)
RESULT_FILES = (*TABLES, DICE_PNG, BLAND_ALTMAN_PNG, WORST_PNG, REPORT, SUMMARY_JSON)
"""Everything that `Evaluation.write` may leave in a folder."""


N_DRAWN = 10
"""Patients whose worst frame is drawn."""


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
        return calibrate(pairs, source=self.data or "unnamed data")

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


def evaluate(
    studies: Iterable[Study],
    predict: Predict,
    progress: Progress | None = None,
    *,
    name: str = "model",
    wanted: Iterable[str] = (),
    model_sha256: str | None = None,
    seen_in_training: bool = False,
    data: str = "",
    bootstrap: Bootstrap = Bootstrap(),
) -> Evaluation:
    """Score predicted masks against the expert's, frame by frame, and the volumes measured on both.

    Parameters
    ----------
    studies
        Patients with expert masks; consumed one at a time. Frames without one are left out, and noted.
    predict
        Gives masks by frame name, on the frame's own grid: ``Segmenter.load().segment``, or
        `masks_from_folder`. A frame without a mask scores 0.
    progress
        Called after each patient.
    name
        Of the model or tool.
    wanted
        Patients that were asked for: who of them is not scored stands in the evaluation's `left_out`.
    model_sha256, seen_in_training, data
        As in `Evaluation`.

    Raises
    ------
    InputError
        If there is no expert mask or no prediction at all, a patient comes twice, or a mask does not fit its frame.
    """
    from apical.measure import measure

    frames: list[FrameScore] = []
    volumes: list[VolumePair] = []
    single_plane: list[VolumePair] = []
    worst: list[WorstFrame] = []
    seen: set[str] = set()
    unreferenced: list[str] = []
    for study in studies:
        patient = study.patient.id
        if patient in seen:
            raise InputError(f"{patient}: two studies have this id; give each patient once")
        seen.add(patient)
        references = study.references
        unreferenced += [f"{patient} {frame.name}" for frame in study.frames if frame.name not in references]
        if references:
            masks = predict(study)
            doubts: Mapping[str, Doubt] = getattr(masks, "doubts", {})
            scored_frames = []
            for frame in study.frames:
                if frame.name in references:
                    quality = study.patient.image_quality.get(frame.view, "") if frame.view else ""
                    score = score_frame(frame, masks.get(frame.name), patient, quality, doubts.get(frame.name))
                    scored_frames.append(WorstFrame(score, frame, masks.get(frame.name)))
            frames += [scored.score for scored in scored_frames]
            # Only the pictures that will be drawn are kept: one patient is in memory at a time.
            worst = sorted([*worst, min(scored_frames, key=_foreground)], key=_foreground)[:N_DRAWN]
            # Only frames with an expert mask: else the model might measure biplane what the expert could not.
            scored = _scored(patient, masks, references)
            volumes += pair_volumes(patient, measure(study, scored), measure(study, references))
            for one_view in _single_views(study, references):
                single_plane += pair_volumes(patient, measure(one_view, scored), measure(one_view, references))
        if progress:
            progress(patient)
    if not frames:
        raise InputError(f"no expert mask in {len(seen)} patients: give a dataset with masks (CAMUS names end in _gt)")
    if all(f.missing for f in frames):
        # A tool that failed on every single frame is less likely than a wrong folder or another numbering.
        raise InputError(
            f"{name}: no mask for any of the {len(frames)} frames; give masks of these patients, "
            f"named like {frames[0].frame}"
        )
    scored_patients = {f.patient for f in frames}
    return Evaluation(
        name,
        tuple(frames),
        tuple(volumes),
        _notes(unreferenced),
        bootstrap,
        model_sha256,
        seen_in_training,
        left_out={
            patient: "has no expert mask in the scored views" if patient in seen else "is not in the data"
            for patient in sorted(set(wanted) - scored_patients)
        },
        single_plane=tuple(single_plane),
        data=data,
        worst=tuple(worst),
    )


def _foreground(scored: WorstFrame) -> float:
    return scored.score.foreground_dice


def _scored(patient: str, masks: Mapping[str, Mask], references: Mapping[str, Mask]) -> Mapping[str, Mask]:
    """Return the predicted masks of frames that have an expert's, with what the model says beside them."""
    kept = {frame: masks[frame] for frame in references if frame in masks}
    if not isinstance(masks, Segmentation):
        return kept
    # An interval holds by construction the patients who calibrated it: of them it has nothing to say.
    judging = masks.calibration is None or patient not in masks.calibration.patients
    return replace(masks, masks=kept, calibration=masks.calibration if judging else None)


def _single_views(study: Study, references: Mapping[str, Mask]) -> list[Study]:
    """Return the study reduced to each of its views, where it has more than one."""
    frames = [frame for frame in study.frames if frame.name in references]
    views = [view for view in View if any(frame.view is view for frame in frames)]
    if len(views) < 2:
        return []
    return [replace(study, frames=tuple(frame for frame in frames if frame.view is view)) for view in views]


def _notes(unreferenced: list[str]) -> tuple[str, ...]:
    if not unreferenced:
        return ()
    named = ", ".join(unreferenced[:5]) + (" and others" if len(unreferenced) > 5 else "")
    return (f"Left out, {len(unreferenced)} frames without an expert mask: {named}.",)
