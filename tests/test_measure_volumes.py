"""EDV, ESV and EF of hearts in closed form: any spacing, any rotation, mirrored, on coarse grids and fine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from apical.anatomy import Label, Phase, View
from apical.measure import Measurements, Reason, Severity, Status, VolumeDefinition, measure
from apical.study import Patient
from measure_hearts import DIASTOLE, EF_PERCENT, SYSTOLE, Heart, draw, examination, heart_masks

SPACINGS = [(0.1, 0.1), (0.2, 0.2), (0.308, 0.308), (0.154, 0.308), (0.5, 0.5), (0.75, 0.75), (1.0, 1.0)]


def measured(spacing_mm: tuple[float, float] | None = (0.5, 0.5), **how: object) -> Measurements:
    masks = heart_masks(spacing_mm or (0.5, 0.5), **how)
    return measure(*examination(masks, spacing_mm))


def codes(result: Measurements) -> set[tuple[str, str]]:
    return {(f.reason.value, f.severity.value) for f in result.default.findings}


@pytest.mark.parametrize("spacing_mm", SPACINGS)
@pytest.mark.parametrize(("angle", "mirrored"), [(0, False), (17, True), (-40, False), (40, True)])
def test_volumes_within_one_percent_and_ef_within_half_a_point(
    spacing_mm: tuple[float, float], angle: int, mirrored: bool
) -> None:
    if spacing_mm == (0.1, 0.1) and angle not in (0, -40):
        pytest.skip("four megapixel masks: two orientations tell")
    shift = (0.37 * spacing_mm[0], 0.61 * spacing_mm[1])
    result = measured(spacing_mm, angle_degrees=angle, mirrored=mirrored, shift_mm=shift, size_mm=(150.0, 130.0))
    assert result.edv_ml == pytest.approx(DIASTOLE.volume_ml, rel=0.01)
    assert result.esv_ml == pytest.approx(SYSTOLE.volume_ml, rel=0.01)
    assert result.ef_percent == pytest.approx(EF_PERCENT, abs=0.5)
    assert result.status is Status.MEASURED
    assert result.default.method == "biplane method of disks, ASE 2015"
    assert result.default.findings == ()


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.7])
def test_volume_wherever_the_base_is_cut(cut: float) -> None:
    ed, es = Heart(60, 26, 22, cut=cut), Heart(50, 18, 16, cut=cut)
    result = measured(diastole=ed, systole=es)
    assert result.edv_ml == pytest.approx(ed.volume_ml, rel=0.01)
    assert result.ef_percent == pytest.approx(100 * (1 - es.volume_ml / ed.volume_ml), abs=0.5)


def test_same_mask_on_256_and_1024_pixels_gives_the_same_ef() -> None:
    coarse = heart_masks((0.6, 0.6), shape=(256, 256), angle_degrees=12)
    fine = {key: np.kron(mask, np.ones((4, 4), np.uint8)) for key, mask in coarse.items()}
    low, high = measure(*examination(coarse, (0.6, 0.6))), measure(*examination(fine, (0.15, 0.15)))
    assert high.ef_percent == pytest.approx(low.ef_percent, abs=0.2)
    assert high.edv_ml == pytest.approx(low.edv_ml, rel=0.01)
    drawn = measured((0.15, 0.15), shape=(1024, 1024), angle_degrees=12)
    assert drawn.ef_percent == pytest.approx(low.ef_percent, abs=0.2)


def test_both_definitions_side_by_side() -> None:
    result = measured((0.308, 0.308))
    ase, camus = result.volumes[VolumeDefinition.ASE], result.volumes[VolumeDefinition.CAMUS]
    assert camus.method == "biplane CAMUS algorithm, Leclerc 2019"
    assert camus.edv_ml == round(camus.edv_ml or 0)
    # The end-systolic disks are taken as high as the end-diastolic: ESV larger, EF smaller.
    assert ase.ef_percent - camus.ef_percent > 3
    assert ase.sv_ml == pytest.approx(ase.edv_ml - ase.esv_ml)


def test_one_view_alone_is_single_plane_and_flagged() -> None:
    masks = {key: mask for key, mask in heart_masks().items() if key[0] is View.A4C}
    result = measure(*examination(masks))
    assert result.default.method == "single plane (4CH) method of disks, ASE 2015"
    assert result.status is Status.CAUTION
    assert ("single_plane", "caution") in codes(result)
    round_heart = Heart(55.0, 21.0, 21.0)
    assert result.edv_ml == pytest.approx(round_heart.volume_ml, rel=0.01)
    assert result.volumes[VolumeDefinition.CAMUS].method == "single plane (4CH) CAMUS algorithm, Leclerc 2019"


def test_refused_view_leaves_the_other() -> None:
    masks = heart_masks()
    masks[View.A2C, Phase.ES] = np.zeros_like(masks[View.A2C, Phase.ES])
    result = measure(*examination(masks))
    assert result.default.method.startswith("single plane (4CH)")
    assert ("no_lv", "refusal") in codes(result)
    assert result.status is Status.CAUTION
    assert result.ef_percent is not None


def test_views_that_disagree_in_length() -> None:
    def with_4ch(scale: float) -> Measurements:
        masks = heart_masks()
        for phase, heart in ((Phase.ED, DIASTOLE), (Phase.ES, SYSTOLE)):
            masks[View.A4C, phase] = draw(replace(heart, half_length_mm=heart.half_length_mm * scale))
        return measure(*examination(masks))

    assert with_4ch(0.93).status is Status.MEASURED
    warned = with_4ch(0.85)
    assert warned.default.method.startswith("biplane")
    assert ("views_disagree", "caution") in codes(warned)
    alone = with_4ch(0.75)
    assert alone.default.method.startswith("single plane (2CH)")
    assert {("views_disagree", "caution"), ("single_plane", "caution")} <= codes(alone)
    camus = alone.volumes[VolumeDefinition.CAMUS]
    assert camus.method.startswith("biplane")
    assert camus.status is Status.CAUTION
    assert "foreshortened" in next(f.sentence for f in alone.findings if f.reason is Reason.VIEWS_DISAGREE)


@pytest.mark.parametrize(("spacing_mm", "coarse"), [(0.5, False), (2.0, True)])
def test_a_grid_too_coarse_for_the_camus_algorithm_is_told(spacing_mm: float, coarse: bool) -> None:
    grid = (spacing_mm, spacing_mm)
    result = measure(*examination(heart_masks(spacing_mm=grid), grid))
    ase, camus = (result.volumes[d] for d in VolumeDefinition)
    assert (Reason.GRID_TOO_COARSE in {f.reason for f in camus.findings}) == coarse
    assert (camus.status is Status.CAUTION) == coarse
    assert Reason.GRID_TOO_COARSE not in {f.reason for f in ase.findings}


def test_a_refused_ventricle_has_no_other_numbers_either() -> None:
    swapped = heart_masks(diastole=SYSTOLE, systole=DIASTOLE)
    result = measure(*examination(swapped, (0.5, 0.5), Patient("p", sex="F", height_cm=170.0, weight_kg=70.0)))
    known = {name for name, quantity in result.quantities.items() if quantity.value is not None}
    assert known == {"bsa_m2"}
    assert all("swapped" in q.reason for name, q in result.quantities.items() if name != "bsa_m2")


def test_swapped_instants_are_refused() -> None:
    result = measured(diastole=SYSTOLE, systole=DIASTOLE)
    for volumes in result.volumes.values():
        assert volumes.status is Status.REFUSED
        assert volumes.edv_ml is volumes.esv_ml is volumes.ef_percent is volumes.sv_ml is None
        assert "swapped" in (volumes.absent_because or "")


def test_one_instant_gives_its_volume_but_no_ef() -> None:
    masks = {key: mask for key, mask in heart_masks().items() if key[1] is Phase.ED}
    result = measure(*examination(masks))
    assert result.edv_ml == pytest.approx(DIASTOLE.volume_ml, rel=0.01)
    assert result.esv_ml is result.ef_percent is None
    assert result.status is Status.REFUSED
    assert "end-systolic" in (result.default.absent_because or "")


def test_instants_from_different_views_give_no_ef() -> None:
    masks = heart_masks()
    del masks[View.A2C, Phase.ES], masks[View.A4C, Phase.ED]
    result = measure(*examination(masks))
    assert result.ef_percent is result.default.sv_ml is None
    assert result.default.method.startswith("single plane (2CH) at ED, single plane (4CH) at ES")
    assert ("no_complete_view", "refusal") in codes(result)


def test_unknown_spacing_gives_an_approximate_ef_and_nothing_in_mm() -> None:
    result = measured(None)
    assert result.edv_ml is result.esv_ml is result.default.sv_ml is None
    assert result.ef_percent == pytest.approx(EF_PERCENT, abs=0.5)
    assert result.status is Status.CAUTION
    assert all(v.method.endswith("approximate, pixel aspect unknown") for v in result.volumes.values())
    assert "spacing is unknown" in (result.default.absent_because or "")
    assert all(q.value is None for q in result.quantities.values())
    assert not any(g.in_mm for g in result.geometry.values())


def test_implausible_volume_is_flagged_and_then_refused() -> None:
    masks = heart_masks()
    tiny = measure(*examination(masks, (0.28, 0.28)))
    assert ("implausible_volume", "caution") in codes(tiny)
    assert tiny.edv_ml is not None
    huge = measure(*examination(masks, (1.5, 1.5)))
    assert ("implausible_volume", "refusal") in codes(huge)
    assert huge.edv_ml is huge.ef_percent is None


def test_ef_is_graded_by_sex_for_ase_alone() -> None:
    result = measure(*examination(heart_masks(), patient=Patient("p", sex="F")))
    assert result.default.ef_reference is not None
    assert result.default.ef_reference.range == "54-74 %"
    assert result.volumes[VolumeDefinition.CAMUS].ef_reference is None
    assert measured().default.ef_reference is None


def test_refusals_name_view_and_instant() -> None:
    masks = heart_masks()
    masks[View.A4C, Phase.ES][masks[View.A4C, Phase.ES] == Label.LV_CAVITY] = 0
    finding = next(f for f in measure(*examination(masks)).findings if f.severity is Severity.REFUSAL)
    assert (finding.view, finding.phase) == (View.A4C, Phase.ES)
    assert finding.sentence == "4CH ES: the mask has no left-ventricular cavity."
