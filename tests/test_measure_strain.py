"""Contour GLS of ellipses, whose arc lengths are known."""

from __future__ import annotations

import math

import pytest
from scipy.integrate import quad

from apical.anatomy import View
from apical.measure import measure
from measure_hearts import DIASTOLE, SYSTOLE, examination, heart_masks


def arc(half_length: float, half_width: float, cut: float) -> float:
    """Length of the ellipse from hinge point over the apex to hinge point."""

    def speed(t: float) -> float:
        return math.hypot(half_length * math.cos(t), half_width * math.sin(t))

    return 2 * quad(speed, -math.asin(cut), math.pi / 2)[0]


def expected(ed_width: float, es_width: float) -> float:
    ed, es = arc(DIASTOLE.half_length_mm, ed_width, 0.5), arc(SYSTOLE.half_length_mm, es_width, 0.5)
    return 100 * (es - ed) / ed


@pytest.mark.parametrize("spacing_mm", [(0.2, 0.2), (0.154, 0.308), (1.0, 1.0)])
@pytest.mark.parametrize("angle", [0, 22])
def test_strain_of_ellipses(spacing_mm: tuple[float, float], angle: int) -> None:
    result = measure(*examination(heart_masks(spacing_mm, angle_degrees=angle), spacing_mm))
    two = expected(DIASTOLE.half_width_2ch_mm, SYSTOLE.half_width_2ch_mm)
    four = expected(DIASTOLE.half_width_4ch_mm, SYSTOLE.half_width_4ch_mm)
    assert result.value("contour_gls_2ch_percent") == pytest.approx(two, abs=0.5)
    assert result.value("contour_gls_4ch_percent") == pytest.approx(four, abs=0.5)
    assert result.value("contour_gls_percent") == pytest.approx((two + four) / 2, abs=0.5)


def test_shortening_is_negative() -> None:
    assert expected(24, 17) < -10


def test_mean_of_one_view_says_so() -> None:
    masks = {key: mask for key, mask in heart_masks().items() if key[0] is View.A4C}
    result = measure(*examination(masks))
    assert result.value("contour_gls_2ch_percent") is None
    assert result.value("contour_gls_percent") == result.value("contour_gls_4ch_percent")
    assert result.quantities["contour_gls_percent"].caution == "Of one view alone."
