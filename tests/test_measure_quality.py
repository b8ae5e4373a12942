"""The quality gate, one fault at a time: each is named, and graded by how bad it is."""

from __future__ import annotations

import numpy as np
import pytest

from apical.anatomy import Label, Phase, Structure, View
from apical.measure.quality import LIMITS, graded, outside, percent, status_of, ultrasound_sector
from apical.measure.results import Finding, Reason, Severity, Status
from apical.measure.ventricle import VentricleView, measure_view
from apical.study import Doubt, Frame, Grid, Spacing
from measure_hearts import DIASTOLE, Mask, draw


def view_of(
    mask: Mask, image: Mask | None = None, spacing_mm: Spacing = (0.5, 0.5), doubt: Doubt | None = None
) -> VentricleView:
    frame = Frame("f", np.zeros_like(mask) if image is None else image, Grid(mask.shape, spacing_mm))
    return measure_view(frame, View.A4C, Phase.ED, mask, spacing_mm, in_mm=True, doubt=doubt)


def severities(view: VentricleView) -> dict[Reason, Severity]:
    return {f.reason: f.severity for f in view.findings}


def cavity_rows(mask: Mask) -> np.ndarray:
    return np.flatnonzero((mask == Label.LV_CAVITY).any(axis=1))


def test_clean_mask_has_no_findings() -> None:
    view = view_of(draw(DIASTOLE))
    assert view.findings == ()
    assert not view.atrium_cut
    assert not view.wall_cut


def test_empty_mask_has_no_lv() -> None:
    view = view_of(np.zeros((80, 80), np.uint8))
    assert severities(view) == {Reason.NO_LV: Severity.REFUSAL}
    assert view.geometry is view.camus is None


def test_speck_is_too_small() -> None:
    mask = np.zeros((80, 80), np.uint8)
    mask[40:44, 40:44] = Label.LV_CAVITY
    assert severities(view_of(mask)) == {Reason.LV_TOO_SMALL: Severity.REFUSAL}


@pytest.mark.parametrize(("side", "severity"), [(3, Severity.NOTE), (30, Severity.CAUTION), (60, Severity.REFUSAL)])
def test_several_components(side: int, severity: Severity) -> None:
    mask = draw(DIASTOLE)
    mask[:side, :side] = Label.LV_CAVITY
    assert severities(view_of(mask)).get(Reason.SEVERAL_COMPONENTS) is severity


@pytest.mark.parametrize(("side", "severity"), [(4, Severity.NOTE), (25, Severity.CAUTION), (62, Severity.REFUSAL)])
def test_holes(side: int, severity: Severity) -> None:
    mask = draw(DIASTOLE)
    row, column = int(cavity_rows(mask).mean()), mask.shape[1] // 2
    mask[row - side // 2 : row + side // 2, column - side // 2 : column + side // 2] = 0
    view = view_of(mask)
    assert severities(view).get(Reason.HOLES) is severity
    if severity is Severity.NOTE:
        whole = view_of(draw(DIASTOLE)).geometry
        assert view.geometry is not None
        assert whole is not None
        assert view.geometry.area_mm2 == whole.area_mm2


def test_ring_of_myocardium_has_no_annulus() -> None:
    mask = draw(DIASTOLE)
    row, column = np.indices(mask.shape)
    mask[:] = 0
    mask[((row - 190) / 130) ** 2 + ((column - 170) / 70) ** 2 <= 1] = Label.MYOCARDIUM
    mask[((row - 190) / 100) ** 2 + ((column - 170) / 45) ** 2 <= 1] = Label.LV_CAVITY
    assert severities(view_of(mask)) == {Reason.ANNULUS_NOT_FOUND: Severity.REFUSAL}


def test_missing_myocardium_is_a_caution() -> None:
    mask = draw(DIASTOLE)
    mask[mask == Label.MYOCARDIUM] = 0
    found = severities(view_of(mask))
    assert found[Reason.NO_MYOCARDIUM] is Severity.CAUTION
    assert found[Reason.ANNULUS_UNCERTAIN] is Severity.CAUTION


def test_cavity_cut_at_the_side() -> None:
    mask = draw(DIASTOLE)
    first = int(np.flatnonzero((mask == Label.LV_CAVITY).any(axis=0))[0])
    assert severities(view_of(np.ascontiguousarray(mask[:, first + 1 :])))[Reason.CAVITY_CUT] is Severity.CAUTION
    assert severities(view_of(np.ascontiguousarray(mask[:, first + 20 :])))[Reason.CAVITY_CUT] is Severity.REFUSAL


def test_cavity_cut_at_its_base_is_refused() -> None:
    mask = draw(DIASTOLE)
    view = view_of(mask[: cavity_rows(mask)[-1] - 20])
    assert severities(view)[Reason.CAVITY_CUT] is Severity.REFUSAL
    assert view.geometry is view.camus is None


def test_cavity_outside_the_sector() -> None:
    mask = draw(DIASTOLE)
    image = np.full_like(mask, 90)
    image[:, : mask.shape[1] // 2 - 10] = 0
    found = view_of(mask, image)
    assert severities(found)[Reason.CAVITY_CUT] is Severity.CAUTION
    assert found.geometry is not None


def test_atrium_cut_by_image_or_by_sector() -> None:
    mask = draw(DIASTOLE)
    bottom = cavity_rows(mask)[-1] + 30
    assert view_of(mask[:bottom]).atrium_cut
    image = np.full_like(mask, 90)
    image[bottom:] = 0
    assert view_of(mask, image).atrium_cut
    assert not view_of(mask, np.full_like(mask, 90)).atrium_cut


def test_wall_cut_by_the_image_leaves_the_cavity_alone() -> None:
    mask = draw(DIASTOLE)
    view = view_of(np.ascontiguousarray(mask[cavity_rows(mask)[0] - 6 :]))
    assert view.wall_cut
    assert view.findings == ()


def test_ribbon_is_not_the_shape_of_a_ventricle() -> None:
    mask = np.zeros((200, 100), np.uint8)
    mask[20:180, 35:65] = Label.MYOCARDIUM
    mask[25:181, 42:58] = Label.LV_CAVITY
    mask[181:200, 40:60] = Label.LEFT_ATRIUM
    assert severities(view_of(mask))[Reason.IMPLAUSIBLE_SHAPE] is Severity.REFUSAL


def test_sector_of_a_wedge_with_dark_cavities() -> None:
    row, column = np.indices((100, 101))
    wedge = np.abs(column - 50) <= row / 2
    image = np.where(wedge, 80, 0).astype(np.uint8)
    image[40:60, 45:55] = 0
    assert np.array_equal(ultrasound_sector(image), wedge)
    assert ultrasound_sector(np.zeros((5, 5), np.uint8)).all()


def test_grading() -> None:
    assert [graded(x, 0.1, 0.2) for x in (0.1, 0.15, 0.25)] == [None, Severity.CAUTION, Severity.REFUSAL]
    assert [outside(x, (2, 3), (1, 4)) for x in (2.5, 1.5, 5)] == [None, Severity.CAUTION, Severity.REFUSAL]
    caution = Finding(Reason.HOLES, "", Severity.CAUTION)
    note = Finding(Reason.HOLES, "", Severity.NOTE)
    assert status_of([note], measured=True) is Status.MEASURED
    assert status_of([note, caution], measured=True) is Status.CAUTION
    assert status_of([], measured=False) is Status.REFUSED
    assert percent(0.0004) == "0.04 %"
    assert percent(0.254) == "25 %"


@pytest.mark.parametrize(
    ("below", "unlike", "expected"),
    [
        (-0.01, 0.9, {}),
        (0.01, 0.9, {Reason.LOW_CONFIDENCE: Severity.CAUTION}),
        (-0.01, 1.1, {Reason.UNLIKE_TRAINING: Severity.CAUTION}),
        (0.01, 3.0, {Reason.UNLIKE_TRAINING: Severity.REFUSAL, Reason.LOW_CONFIDENCE: Severity.CAUTION}),
    ],
)
def test_the_networks_own_doubt_is_graded(below: float, unlike: float, expected: dict[Reason, Severity]) -> None:
    sure = dict.fromkeys(Structure, 1.0) | {Structure.ENDOCARDIUM: LIMITS.confidence_caution - below}
    view = view_of(draw(DIASTOLE), doubt=Doubt(sure, unlike))
    assert severities(view) == expected
    assert (view.geometry is None) is (Severity.REFUSAL in expected.values())
