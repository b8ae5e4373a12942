"""From the masks of one study to everything that is measured on it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Label, Phase, View
from apical.calibration import Calibration
from apical.errors import InputError
from apical.measure.interval import with_intervals
from apical.measure.quality import LIMITS, percent, picture_turned, view_recognised
from apical.measure.quantities import measure_quantities
from apical.measure.results import Finding, Measurements, Reason, Severity
from apical.measure.ventricle import VentricleView, measure_view
from apical.measure.volumes import ase_volumes, camus_definition_volumes, plan_views
from apical.study import Doubt, Frame, Mask, Segmentation, Spacing, Study

_INSTANT = {Phase.ED: "end-diastolic", Phase.ES: "end-systolic"}


def measure(study: Study, masks: Mapping[str, NDArray[np.uint8]]) -> Measurements:
    """Measure volumes in mL, EF in percent and all the rest from the masks of one study.

    Whatever cannot be measured is absent with its reason: empty, broken and missing masks are findings,
    not exceptions.

    Parameters
    ----------
    study
        Frames with view and phase; others are passed over. A view that is not known is what the model recognised
        (`Segmentation.views`), which a finding says. Where a view and phase has several frames, the first counts.
    masks
        Labels 0-3, (row, column) on the frame's native grid, by frame name. A `Segmentation` also brings what its
        model knows of its own error, for the intervals.

    Returns
    -------
    Measurements with both definitions, `ase` and `camus`.

    Raises
    ------
    InputError
        When a mask has another shape than its frame or values that are no label: it belongs to
        something else.

    Examples
    --------
    >>> from apical.study import Patient, Study
    >>> result = measure(Study(Patient("p1")), {})
    >>> result.ef_percent, result.status.value, result.default.findings[0].reason.value
    (None, 'refused', 'no_frame')
    """
    study = study.with_views(getattr(masks, "views", {}))
    given = {key: frame for key in _keys() if (frame := study.frame(*key)) is not None}
    spacings = {key: frame.grid.spacing_mm for key, frame in given.items() if frame.name in masks}
    common = _missing(given, masks)
    if any(all(spacings.get((view, phase)) for phase in Phase) for view in View):
        # A view that has its millimetres is not given up for one that has none.
        common += _without_spacing(spacings)
        spacings = {key: spacing for key, spacing in spacings.items() if spacing is not None}
        given = {key: frame for key, frame in given.items() if key in spacings}
    # Else one frame without spacing leaves no common unit: then all of them count in pixels.
    in_mm = None not in spacings.values()
    if not in_mm:
        common += (
            Finding(
                Reason.SPACING_UNKNOWN,
                "The pixel spacing is unknown: no lengths or volumes, and an ejection fraction that is approximate.",
                Severity.CAUTION,
            ),
        )
    common += _recognised(given) + _repaired(given, masks) + _turned(given, masks)
    doubts: Mapping[str, Doubt] = getattr(masks, "doubts", {})
    views: dict[tuple[View, Phase], VentricleView] = {}
    for (view, phase), spacing_mm in spacings.items():
        frame = given[view, phase]
        mask = _checked_mask(masks[frame.name], frame, study.patient.id)
        unit: Spacing = spacing_mm if in_mm and spacing_mm is not None else (1.0, 1.0)
        views[view, phase] = measure_view(frame, view, phase, mask, unit, in_mm=in_mm, doubt=doubts.get(frame.name))

    plan = plan_views(views, in_mm=in_mm)
    ase = ase_volumes(views, plan, common, study.patient.sex, in_mm=in_mm)
    # The published algorithm knows no such gate: it takes both views, and the reader is told.
    between_views = {Reason.VIEWS_DISAGREE, Reason.VIEWS_DIFFER_IN_EF}
    disagreement = tuple(f for f in plan.findings if f.reason in between_views)
    camus = camus_definition_volumes(views, common + disagreement, in_mm=in_mm)
    calibration: Calibration | None = getattr(masks, "calibration", None)
    heart_rates = [clip.heart_rate_bpm for clip in study.clips if clip.heart_rate_bpm]
    return Measurements(
        patient=study.patient,
        volumes={v.definition: with_intervals(v, calibration) for v in (ase, camus)},
        geometry={key: v.geometry for key, v in views.items() if v.geometry is not None},
        quantities=measure_quantities(views, plan, ase, study.patient, heart_rates, in_mm=in_mm),
        findings=tuple(dict.fromkeys((*ase.findings, *camus.findings, *_beside_volumes(views)))),
    )


def _keys() -> list[tuple[View, Phase]]:
    return [(view, phase) for view in View for phase in Phase]


def _missing(given: Mapping[tuple[View, Phase], Frame], masks: Mapping[str, NDArray[np.uint8]]) -> tuple[Finding, ...]:
    """Say which frames and masks are missing; only what leaves an instant without any is a refusal."""
    findings = []
    for phase in Phase:
        if not any((view, phase) in given for view in View):
            sentence = f"There is no {_INSTANT[phase]} frame in either view."
            findings.append(Finding(Reason.NO_FRAME, sentence, Severity.REFUSAL, None, phase))
    for view, phase in _keys():
        frame = given.get((view, phase))
        if frame is None and any((other, phase) in given for other in View):
            sentence = f"{view} {phase}: there is no such frame."
            findings.append(Finding(Reason.NO_FRAME, sentence, Severity.NOTE, view, phase))
        elif frame is not None and frame.name not in masks:
            sentence = f"{view} {phase}: no mask was given for this frame."
            findings.append(Finding(Reason.NO_MASK, sentence, Severity.REFUSAL, view, phase))
    return tuple(findings)


def _without_spacing(spacings: Mapping[tuple[View, Phase], Spacing | None]) -> tuple[Finding, ...]:
    """Say which frames are left out, having no spacing where others have one."""
    return tuple(
        Finding(
            Reason.SPACING_UNKNOWN,
            f"{view} {phase}: its pixel spacing is unknown, and it was left out; the other view has one.",
            Severity.CAUTION,
            view,
            phase,
        )
        for (view, phase), spacing in spacings.items()
        if spacing is None
    )


def _recognised(given: Mapping[tuple[View, Phase], Frame]) -> tuple[Finding, ...]:
    """Say which views were not known before."""
    return tuple(
        view_recognised(frame.view_probability, f"{view} {phase}, {frame.name}", view, phase)
        for (view, phase), frame in given.items()
        if frame.view_probability is not None
    )


def _repaired(given: Mapping[tuple[View, Phase], Frame], masks: Mapping[str, NDArray[np.uint8]]) -> tuple[Finding, ...]:
    """Say which predicted masks had to be repaired; a large repair calls for caution."""
    if not isinstance(masks, Segmentation):
        return ()
    findings = []
    for (view, phase), frame in given.items():
        if repairs := masks.repairs.get(frame.name):
            share = sum(r.pixels for r in repairs) / max(1, int(np.count_nonzero(masks[frame.name])))
            what = ", ".join(r.what for r in repairs)
            sentence = f"{view} {phase}: the predicted mask was repaired ({what}; {percent(share)} of the heart)."
            severity = Severity.CAUTION if share > LIMITS.repair_caution else Severity.NOTE
            findings.append(Finding(Reason.MASK_REPAIRED, sentence, severity, view, phase))
    return tuple(findings)


def _turned(given: Mapping[tuple[View, Phase], Frame], masks: Mapping[str, NDArray[np.uint8]]) -> tuple[Finding, ...]:
    """Say which pictures were turned before they were segmented."""
    if not isinstance(masks, Segmentation):
        return ()
    return tuple(
        picture_turned(orientation, f"{view} {phase}", view, phase)
        for (view, phase), frame in given.items()
        if (orientation := masks.orientations.get(frame.name)) and orientation.axes
    )


def _checked_mask(mask: NDArray[np.uint8], frame: Frame, patient: str) -> Mask:
    where = f"{patient}, {frame.name} ({frame.view} {frame.phase})"
    mask = np.asarray(mask)
    if mask.shape != frame.image.shape[:2]:
        raise InputError(
            f"{where}: the mask is {' x '.join(map(str, mask.shape))}, the frame "
            f"{' x '.join(map(str, frame.image.shape[:2]))} pixels; give masks on the frame's own grid"
        )
    if mask.size and (mask.min() < 0 or mask.max() > max(Label) or not np.array_equal(mask, mask.astype(np.uint8))):
        raise InputError(f"{where}: the mask has values other than the labels 0 to {max(Label)}; convert it to labels")
    return mask.astype(np.uint8)


def _beside_volumes(views: Mapping[tuple[View, Phase], VentricleView]) -> list[Finding]:
    """Return the findings that concern mass or atrium alone, and so no volume of the cavity."""
    findings = []
    for (view, phase), result in views.items():
        if phase is Phase.ED and result.wall_cut:
            sentence = f"{view} {phase}: the myocardium is cut by the edge of the image; this view gives no mass."
            findings.append(Finding(Reason.WALL_CUT, sentence, Severity.NOTE, view, phase))
        if phase is not Phase.ES or result.geometry is None:
            continue
        if result.geometry.atrium_mm is None:
            sentence = f"{view} {phase}: the mask has no left atrium."
            findings.append(Finding(Reason.NO_ATRIUM, sentence, Severity.NOTE, view, phase))
        elif result.atrium_cut:
            sentence = f"{view} {phase}: the left atrium is cut by the edge of the image; its volume is a lower bound."
            findings.append(Finding(Reason.ATRIUM_CUT, sentence, Severity.CAUTION, view, phase))
    return findings
