"""Left-atrial volume of half an ellipsoid under the annulus."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from apical.anatomy import Label, Phase, View
from apical.measure import measure
from apical.measure.atrium import measure_atrium
from measure_hearts import SYSTOLE, examination, heart_masks


@pytest.mark.parametrize("spacing_mm", [(0.308, 0.308), (0.154, 0.308), (1.0, 1.0)])
@pytest.mark.parametrize("angle", [0, -25])
def test_volume_of_a_half_ellipsoid(spacing_mm: tuple[float, float], angle: int) -> None:
    heart = dataclasses.replace(SYSTOLE, half_width_2ch_mm=24.0, half_width_4ch_mm=22.0, atrium_mm=45.0)
    result = measure(*examination(heart_masks(spacing_mm, systole=heart, angle_degrees=angle), spacing_mm))
    assert result.value("la_volume_disks_ml") == pytest.approx(heart.atrium_volume_ml, rel=0.02)
    # Area-length is exact for a half-ellipsoid: 8/(3 pi) (pi/2 a L)(pi/2 b L) / L = 2/3 pi a b L.
    assert result.value("la_volume_area_length_ml") == pytest.approx(heart.atrium_volume_ml, rel=0.02)
    assert result.quantities["la_volume_disks_ml"].method == "biplane method of disks, ASE 2015"
    assert result.quantities["la_volume_disks_ml"].caution is None


def test_shorter_axis_for_area_length_and_longer_for_disks() -> None:
    masks = heart_masks()
    masks[View.A2C, Phase.ES][270:][masks[View.A2C, Phase.ES][270:] == Label.LEFT_ATRIUM] = 0
    result = measure(*examination(masks))
    atria = [measure_atrium(result.geometry[v, Phase.ES]) for v in View]
    (two, four) = (a for a in atria if a is not None)
    assert two.long_axis_mm < four.long_axis_mm
    assert result.value("la_volume_area_length_ml") == pytest.approx(
        8 * two.area_mm2 * four.area_mm2 / (3 * np.pi * two.long_axis_mm) / 1000
    )
    assert result.value("la_volume_disks_ml") == pytest.approx(
        np.pi / 4 * (two.disks.diameters_mm @ four.disks.diameters_mm) * four.long_axis_mm / 20 / 1000
    )


def test_cut_atrium_is_a_lower_bound_and_says_so() -> None:
    masks = {key: mask[:295] for key, mask in heart_masks().items()}
    result = measure(*examination(masks))
    assert "at least" in (result.quantities["la_volume_disks_ml"].caution or "")
    assert {(f.view, f.phase) for f in result.findings} == {(v, Phase.ES) for v in View}
    assert result.status.value == "measured"  # nothing is wrong with the ventricle


def test_stump_of_an_atrium_is_not_measured() -> None:
    base = 190 + int(SYSTOLE.half_length_mm)  # row of the annulus at end-systole
    result = measure(*examination({key: mask[: base + 35] for key, mask in heart_masks().items()}))
    for name in ("la_volume_disks_ml", "la_volume_area_length_ml"):
        assert result.value(name) is None
        assert result.quantities[name].reason == "The edge of the image leaves too little of the atrium in 2CH and 4CH."
    # A whole one that is as short is measured.
    heart = dataclasses.replace(SYSTOLE, atrium_mm=17.0)
    assert measure(*examination(heart_masks(systole=heart))).value("la_volume_disks_ml") is not None


def test_no_atrium_is_a_reason_not_a_zero() -> None:
    masks = heart_masks()
    for mask in masks.values():
        mask[mask == Label.LEFT_ATRIUM] = 0
    result = measure(*examination(masks))
    assert result.value("la_volume_disks_ml") is None
    assert "atrium" in (result.quantities["la_volume_disks_ml"].reason or "")
    assert result.ef_percent is not None
