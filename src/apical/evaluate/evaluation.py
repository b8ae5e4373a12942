"""Score a model, or any tool's masks, on patients with expert masks, one patient in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from apical.errors import InputError
from apical.evaluate import document, tables
from apical.evaluate.agreement import PairedDifference, compare_models
from apical.evaluate.bootstrap import Bootstrap
from apical.evaluate.geometry import FrameScore, score_frame
from apical.evaluate.masks import Predict
from apical.evaluate.summary import Summary, summarise
from apical.evaluate.volumes import VolumeAgreement, VolumePair, pair_volumes, volume_agreements
from apical.files import atomic_write, csv_text, make_folder, refuse_existing
from apical.study import Study

Progress = Callable[[str], None]
"""Called with the patient's id after each patient."""

FRAMES_CSV, PATIENTS_CSV, SUMMARY_JSON, REPORT = "frames.csv", "patients.csv", "summary.json", "report.md"
DICE_PNG, BLAND_ALTMAN_PNG = "dice.png", "bland_altman.png"


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
        What was left out, in sentences.
    bootstrap
        How intervals are drawn.
    """

    name: str
    frames: tuple[FrameScore, ...]
    volumes: tuple[VolumePair, ...] = ()
    notes: tuple[str, ...] = ()
    bootstrap: Bootstrap = field(default_factory=Bootstrap)

    @cached_property
    def summaries(self) -> list[Summary]:
        """Geometry by view, phase and structure."""
        return summarise(self.frames, self.bootstrap)

    @cached_property
    def agreements(self) -> list[VolumeAgreement]:
        """EDV, ESV and EF by definition."""
        return volume_agreements(self.volumes, self.bootstrap)

    @property
    def n_patients(self) -> int:
        """Patients with at least one expert mask."""
        return len({f.patient for f in self.frames})

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
            "name": self.name,
            "n_patients": self.n_patients,
            "n_frames": len(self.frames),
            "n_missing": self.n_missing,
            "bootstrap": vars(self.bootstrap),
            "geometry": [s.as_dict() for s in self.summaries],
            "volumes": [a.as_dict() for a in self.agreements],
            "notes": list(self.notes),
        }

    def write(self, folder: Path, *, overwrite: bool = False) -> list[Path]:
        """Write frames.csv, patients.csv, summary.json, report.md, dice.png and bland_altman.png; return their paths.

        A file without content (no volumes at all) is not written.

        Raises
        ------
        OutputError
            If a file exists and `overwrite` is false, or the folder cannot be written to.
        """
        from apical.report.agreement_figures import write_bland_altman, write_dice_boxes

        make_folder(folder)
        has_errors = any(p.error(quantity) is not None for p in self.volumes for quantity in p.predicted)
        figures = [DICE_PNG] + [BLAND_ALTMAN_PNG] * has_errors
        texts = {
            FRAMES_CSV: csv_text(tables.frame_rows(self.frames)),
            PATIENTS_CSV: csv_text(tables.volume_rows(self.volumes)),
            SUMMARY_JSON: json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n",
            REPORT: document.render(self, figures),
        }
        texts = {name: text for name, text in texts.items() if text}
        # All are asked for first, so that a refusal leaves no half of a new evaluation beside an old one.
        for name in (*texts, *figures):
            refuse_existing(folder / name, overwrite=overwrite)
        for name, text in texts.items():
            with atomic_write(folder / name, overwrite=overwrite) as temporary:
                temporary.write_text(text, encoding="utf-8")
        with atomic_write(folder / DICE_PNG, overwrite=overwrite) as temporary:
            write_dice_boxes(temporary, self.frames, self.name)
        if has_errors:
            with atomic_write(folder / BLAND_ALTMAN_PNG, overwrite=overwrite) as temporary:
                write_bland_altman(temporary, self.volumes, self.name)
        return [folder / name for name in (*texts, *figures)]


def evaluate(
    studies: Iterable[Study],
    predict: Predict,
    progress: Progress | None = None,
    *,
    name: str = "model",
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

    Raises
    ------
    InputError
        If there is no expert mask or no prediction at all, a patient comes twice, or a mask does not fit its frame.
    """
    from apical.measure import measure

    frames: list[FrameScore] = []
    volumes: list[VolumePair] = []
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
            for frame in study.frames:
                if frame.name in references:
                    quality = study.patient.image_quality.get(frame.view, "") if frame.view else ""
                    frames.append(score_frame(frame, masks.get(frame.name), patient, quality))
            # Only frames with an expert mask: else the model might measure biplane what the expert could not.
            scored = {frame: masks[frame] for frame in references if frame in masks}
            volumes += pair_volumes(patient, measure(study, scored), measure(study, references))
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
    return Evaluation(name, tuple(frames), tuple(volumes), _notes(unreferenced), bootstrap)


def _notes(unreferenced: list[str]) -> tuple[str, ...]:
    if not unreferenced:
        return ()
    named = ", ".join(unreferenced[:5]) + (" and others" if len(unreferenced) > 5 else "")
    return (f"Left out, {len(unreferenced)} frames without an expert mask: {named}.",)
