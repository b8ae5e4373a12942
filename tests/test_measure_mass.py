"""Mass of the shell between two ellipsoids."""

from __future__ import annotations

import numpy as np
import pytest

from apical.anatomy import Label, Phase, View
from apical.measure import Reason, measure
from measure_hearts import DIASTOLE, examination, heart_masks

MASS_G = 1.05 * (DIASTOLE.epicardial_volume_ml - DIASTOLE.volume_ml)


@pytest.mark.parametrize("spacing_mm", [(0.308, 0.308), (0.154, 0.308), (1.0, 1.0)])
@pytest.mark.parametrize("angle", [0, 35])
def test_mass_of_the_shell(spacing_mm: tuple[float, float], angle: int) -> None:
    result = measure(*examination(heart_masks(spacing_mm, angle_degrees=angle), spacing_mm))
    assert result.value("lv_mass_g") == pytest.approx(MASS_G, rel=0.02)
    assert result.quantities["lv_mass_g"].method.startswith("biplane apical estimate")


def test_wall_cut_by_the_image_in_one_view_leaves_the_other() -> None:
    masks = heart_masks()
    top = int(np.flatnonzero((masks[View.A2C, Phase.ED] == Label.MYOCARDIUM).any(axis=1))[0])
    masks[View.A2C, Phase.ED] = masks[View.A2C, Phase.ED][top + 5 :]
    masks[View.A2C, Phase.ES] = masks[View.A2C, Phase.ES][top + 5 :]
    result = measure(*examination(masks))
    quantity = result.quantities["lv_mass_g"]
    assert quantity.method.startswith("single plane (4CH) apical estimate")
    assert quantity.caution
    assert [(f.reason, f.view) for f in result.findings] == [(Reason.WALL_CUT, View.A2C)]
    masks = {key: mask[top + 5 :] for key, mask in heart_masks().items()}
    quantity = measure(*examination(masks)).quantities["lv_mass_g"]
    assert quantity.value is None
    assert quantity.reason == "The myocardium is cut by the edge of the image."


def test_no_myocardium_no_mass() -> None:
    masks = heart_masks()
    for mask in masks.values():
        mask[mask == Label.MYOCARDIUM] = 0
    quantity = measure(*examination(masks)).quantities["lv_mass_g"]
    assert quantity.value is None
    assert "myocardium" in (quantity.reason or "")
