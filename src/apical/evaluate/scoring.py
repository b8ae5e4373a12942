"""Score a model, or any tool's masks, on patients with expert masks, one patient in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from apical.anatomy import View
from apical.errors import InputError
from apical.evaluate.bootstrap import Bootstrap
from apical.evaluate.evaluation import Evaluation, WorstFrame
from apical.evaluate.geometry import FrameScore, score_frame
from apical.evaluate.masks import Predict
from apical.evaluate.volumes import VolumePair, pair_volumes
from apical.study import Doubt, Maker, Mask, Repair, Segmentation, Study

Progress = Callable[[str], None]
"""Called with the patient's id after each patient."""

N_DRAWN = 10
"""Patients whose worst frame is drawn."""


def evaluate(
    studies: Iterable[Study],
    predict: Predict,
    progress: Progress | None = None,
    *,
    name: str = "model",
    wanted: Iterable[str] = (),
    model_sha256: str | None = None,
    precision: str | None = None,
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
    model_sha256, precision, seen_in_training, data
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
            views: Mapping[str, tuple[View, float]] = getattr(masks, "views", {})
            scored_frames = []
            for frame in study.frames:
                if frame.name in references:
                    quality = study.patient.image_quality.get(frame.view, "") if frame.view else ""
                    mask, doubt = masks.get(frame.name), doubts.get(frame.name)
                    seen_view = views[frame.name][0] if frame.name in views else None
                    repaired = _repaired(masks, frame.name)
                    score = score_frame(frame, mask, patient, quality, doubt, repaired, seen_view)
                    scored_frames.append(WorstFrame(score, frame, mask))
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
        model_sha256=model_sha256,
        precision=precision,
        seen_in_training=seen_in_training,
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
    # Views that it recognised name none of the expert's frames, which would be measured in fewer planes then.
    return replace(masks, views={}, masks=kept, calibration=masks.calibration if judging else None)


def _repaired(masks: Mapping[str, Mask], frame: str) -> tuple[Repair, ...] | None:
    """Return what a model repaired of a mask; None where there is no mask, or no model of apical to tell."""
    if not isinstance(masks, Segmentation) or masks.maker is not Maker.MODEL or frame not in masks:
        return None
    return masks.repairs.get(frame, ())


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
