"""Hinge points, apex and long axis of hearts whose landmarks are known, however they are turned."""

from __future__ import annotations

import math

import numpy as np
import pytest

from apical.anatomy import Label, View
from apical.measure.landmarks import Beyond, Landmarks, find_landmarks
from measure_hearts import DIASTOLE, Heart, draw


def find(mask: np.ndarray, spacing_mm: tuple[float, float]) -> Landmarks | None:
    beyond = np.array([Beyond.REST, Beyond.REST, Beyond.WALL, Beyond.ATRIUM], dtype=np.uint8)[mask]
    return find_landmarks(mask == Label.LV_CAVITY, beyond, spacing_mm)


def expected(
    heart: Heart, half_width: float, shape: tuple[int, ...], spacing_mm: tuple[float, float], angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return hinge points (first the one with the smaller column) and apex in mm."""
    t = math.radians(angle)
    centre = (np.array(shape) - 1) / 2 * spacing_mm

    def place(down: float, across: float) -> np.ndarray:
        turned = (down * math.cos(t) - across * math.sin(t), down * math.sin(t) + across * math.cos(t))
        return centre + np.array(turned)

    base, hinge = heart.cut * heart.half_length_mm, half_width * math.sqrt(1 - heart.cut**2)
    return np.stack([place(base, -hinge), place(base, hinge)]), place(-heart.half_length_mm, 0)


@pytest.mark.parametrize("spacing_mm", [(0.2, 0.2), (0.308, 0.308), (0.154, 0.308), (1.0, 1.0)])
@pytest.mark.parametrize("angle", [0, 13, -40])
def test_landmarks_lie_where_they_were_drawn(spacing_mm: tuple[float, float], angle: int) -> None:
    mask = draw(DIASTOLE, View.A4C, spacing_mm, angle_degrees=angle)
    found = find(mask, spacing_mm)
    assert found is not None
    annulus, apex = expected(DIASTOLE, DIASTOLE.half_width_4ch_mm, mask.shape, spacing_mm, angle)
    pixel = max(spacing_mm)
    assert found.found_by == "junction"
    assert found.certain
    assert found.annulus_mm == pytest.approx(annulus, abs=0.3 + 0.6 * pixel)
    assert found.annulus_midpoint_mm == pytest.approx(annulus.mean(axis=0), abs=0.1 + 0.5 * pixel)
    # The tip is flat: the farthest point may lie to its side, but not short of it or beyond.
    assert found.long_axis_mm == pytest.approx(DIASTOLE.length_mm, rel=0.007)
    assert found.apex_mm == pytest.approx(apex, abs=3.0)


def test_offset_moves_everything() -> None:
    mask = draw(DIASTOLE)
    beyond = np.zeros_like(mask)
    beyond[mask == Label.MYOCARDIUM] = Beyond.WALL
    here = find_landmarks(mask == Label.LV_CAVITY, beyond, (0.5, 0.5))
    there = find_landmarks(mask == Label.LV_CAVITY, beyond, (0.5, 0.5), offset=(10, -4))
    assert here is not None
    assert there is not None
    assert there.apex_mm - here.apex_mm == pytest.approx([5.0, -2.0])


def test_apex_down_is_found_apex_down() -> None:
    found = find(draw(DIASTOLE, angle_degrees=180), (0.5, 0.5))
    assert found is not None
    assert found.apex_mm[0] > found.annulus_midpoint_mm[0]
    assert found.long_axis_mm == pytest.approx(DIASTOLE.length_mm, rel=0.005)


def test_without_an_atrium_the_gap_in_the_myocardium_is_the_annulus() -> None:
    mask = draw(DIASTOLE)
    mask[mask == Label.LEFT_ATRIUM] = 0
    found = find(mask, (0.5, 0.5))
    assert found is not None
    assert found.long_axis_mm == pytest.approx(DIASTOLE.length_mm, rel=0.005)


def test_gap_at_the_apex_is_not_taken_for_the_annulus() -> None:
    mask = draw(DIASTOLE)
    mask[:130][mask[:130] == Label.MYOCARDIUM] = 0  # a longer gap than the annulus
    found = find(mask, (0.5, 0.5))
    assert found is not None
    assert found.long_axis_mm == pytest.approx(DIASTOLE.length_mm, rel=0.005)
    assert found.annulus_midpoint_mm[0] > found.apex_mm[0]


def test_specks_of_myocardium_on_the_base_do_not_move_the_hinges() -> None:
    mask = draw(DIASTOLE)
    clean = find(mask, (0.5, 0.5))
    base = int(np.flatnonzero((mask == Label.LV_CAVITY).any(axis=1))[-1])
    middle = mask.shape[1] // 2
    mask[base + 1, middle - 2 : middle + 2] = Label.MYOCARDIUM
    found = find(mask, (0.5, 0.5))
    assert clean is not None
    assert found is not None
    assert found.annulus_mm == pytest.approx(clean.annulus_mm, abs=0.2)


def test_without_a_myocardium_the_contact_with_the_atrium_is_the_annulus() -> None:
    mask = draw(DIASTOLE)
    mask[mask == Label.MYOCARDIUM] = 0
    found = find(mask, (0.5, 0.5))
    assert found is not None
    assert found.found_by == "atrium"
    assert found.long_axis_mm == pytest.approx(DIASTOLE.length_mm, rel=0.01)


def test_bare_cavity_is_read_from_its_flat_end() -> None:
    mask = np.where(draw(DIASTOLE) == Label.LV_CAVITY, Label.LV_CAVITY, 0).astype(np.uint8)
    found = find(mask, (0.5, 0.5))
    assert found is not None
    assert found.found_by == "shape"
    assert not found.certain
    assert found.long_axis_mm == pytest.approx(DIASTOLE.length_mm, rel=0.05)


def test_bare_ellipse_has_no_annulus() -> None:
    row, column = np.indices((200, 200)) - 100
    mask = ((row / 80) ** 2 + (column / 40) ** 2 <= 1).astype(np.uint8)
    assert find(mask, (0.5, 0.5)) is None


def test_cavity_enclosed_by_myocardium_has_no_annulus() -> None:
    row, column = np.indices((200, 200)) - 100
    mask = np.where((row / 90) ** 2 + (column / 50) ** 2 <= 1, 2, 0).astype(np.uint8)
    mask[(row / 80) ** 2 + (column / 40) ** 2 <= 1] = 1
    assert find(mask, (0.5, 0.5)) is None
