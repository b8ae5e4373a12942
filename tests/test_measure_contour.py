"""Outlines: scikit-image's own order of points, and areas and lengths in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from apical.measure.contour import (
    first_contour,
    largest_component,
    polygon_area,
    polyline_length,
    resample,
    smooth_closed,
    smooth_open,
    trace_outline,
    without_holes,
)


def disc(radius_mm: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    reach = radius_mm + 3 * max(spacing_mm)
    row = np.arange(-reach, reach, spacing_mm[0])[:, None] + 0.13
    column = np.arange(-reach, reach, spacing_mm[1])[None, :] - 0.07
    return row**2 + column**2 <= radius_mm**2


@pytest.mark.parametrize("seed", range(300))
def test_first_contour_is_scikit_images_first_contour_point_for_point(seed: int) -> None:
    find_contours = pytest.importorskip("skimage.measure").find_contours
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(2, 25, size=2)) < rng.random()
    if seed % 2:
        mask = ndimage.median_filter(mask, 3)
    expected = find_contours(mask, 0.5)
    assert np.array_equal(first_contour(mask), expected[0] if expected else np.empty((0, 2)))


@pytest.mark.parametrize("mask", [np.zeros((5, 5), bool), np.ones((5, 5), bool), np.ones((1, 9), bool)])
def test_nothing_to_trace_is_an_empty_outline(mask: np.ndarray) -> None:
    assert first_contour(mask).shape == (0, 2)


@pytest.mark.parametrize("spacing_mm", [(0.1, 0.1), (0.5, 0.5), (0.154, 0.308), (1.0, 1.0)])
def test_disc_has_the_area_and_perimeter_of_a_circle(spacing_mm: tuple[float, float]) -> None:
    outline = trace_outline(disc(20.0, spacing_mm), spacing_mm, smoothing_mm=1.2)
    assert polygon_area(outline) == pytest.approx(math.pi * 400, rel=0.005)
    perimeter = polyline_length(np.concatenate([outline, outline[:1]]))
    assert perimeter == pytest.approx(2 * math.pi * 20, rel=0.01)


def test_outline_is_where_the_mask_is() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:50] = True
    outline = trace_outline(mask, (2.0, 1.0), smoothing_mm=0.0)
    # Half a pixel around the outermost pixel centres.
    assert outline.min(axis=0) == pytest.approx([19.0, 29.5])
    assert outline.max(axis=0) == pytest.approx([39.0, 49.5])


def test_mask_that_fills_its_array_has_a_closed_outline() -> None:
    assert polygon_area(trace_outline(np.ones((30, 30), bool), (1.0, 1.0), 0.0)) == pytest.approx(900, rel=0.01)


def test_smoothing_does_not_shrink_a_circle() -> None:
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = 10 * np.stack([np.cos(t), np.sin(t)], axis=1)
    smooth = smooth_closed(circle, sigma=20)
    # A plain Gaussian of this width would take 5 % off the radius.
    assert np.hypot(*smooth.T) == pytest.approx(10, rel=0.005)


def test_smoothing_an_open_curve_holds_its_ends_and_its_straight_parts() -> None:
    line = np.stack([np.linspace(0, 9, 50), np.linspace(0, 3, 50)], axis=1)
    assert smooth_open(line, sigma=5) == pytest.approx(line)


def test_resampling_keeps_the_length_and_the_ends() -> None:
    corner = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]])
    points = resample(corner, 0.5, closed=False)
    assert points[0] == pytest.approx(corner[0])
    assert points[-1] == pytest.approx(corner[-1])
    assert len(points) == 14


def test_largest_component_and_the_share_of_the_others() -> None:
    mask = np.zeros((10, 10), bool)
    mask[1:4, 1:4] = True
    mask[4, 4] = True  # touches by a corner alone: another component
    largest, others = largest_component(mask)
    assert largest.sum() == 9
    assert others == pytest.approx(0.1)


def test_holes_are_filled_and_bays_are_not() -> None:
    mask = np.ones((9, 9), bool)
    mask[3:5, 3:5] = False
    mask[6, 5:] = False
    filled = without_holes(mask)
    assert filled[3:5, 3:5].all()
    assert not filled[6, 5:].any()
    assert np.array_equal(filled, ndimage.binary_fill_holes(mask))
