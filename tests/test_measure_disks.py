"""Method of disks and area-length on bodies with a volume in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from apical.measure.disks import (
    N_DISKS,
    area_length_volume_ml,
    biplane_volume_ml,
    disk_profile,
    single_plane_volume_ml,
)


def half_ellipse(
    length: float, half_width: float, tilt_degrees: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return outline, annulus midpoint and apex of a half-ellipse, apex up, turned about the annulus midpoint."""
    t = np.linspace(0, np.pi, 2000)
    points = np.stack([-length * np.sin(t), -half_width * np.cos(t)], axis=1)
    angle = math.radians(tilt_degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return points @ turn.T, np.zeros(2), turn @ np.array([-length, 0.0])


@pytest.mark.parametrize("tilt", [0, 30, -75, 180])
def test_half_ellipsoid_with_unequal_views(tilt: float) -> None:
    two, four = disk_profile(*half_ellipse(80, 20, tilt)), disk_profile(*half_ellipse(80, 25, -tilt))
    volume = 2 / 3 * math.pi * 80 * 20 * 25 / 1000
    assert biplane_volume_ml(two, four) == pytest.approx(volume, rel=1e-3)
    assert biplane_volume_ml(four, two) == biplane_volume_ml(two, four)


def test_longer_axis_gives_the_disk_height() -> None:
    two, four = disk_profile(*half_ellipse(60, 20)), disk_profile(*half_ellipse(80, 20))
    assert biplane_volume_ml(two, four) == pytest.approx(2 / 3 * math.pi * 80 * 20 * 20 / 1000, rel=1e-3)


def test_single_plane_is_a_body_of_revolution() -> None:
    assert single_plane_volume_ml(disk_profile(*half_ellipse(80, 20))) == pytest.approx(
        2 / 3 * math.pi * 80 * 400 / 1000, rel=1e-3
    )


def test_diameters_are_taken_at_mid_disk_from_the_annulus_on() -> None:
    profile = disk_profile(*half_ellipse(80, 20))
    depth = (np.arange(N_DISKS) + 0.5) / N_DISKS
    assert profile.n_disks == N_DISKS
    assert profile.step_mm == pytest.approx(4.0)
    assert profile.diameters_mm == pytest.approx(40 * np.sqrt(1 - depth**2), rel=1e-3)


def test_wall_points_are_drawn_left_and_right_of_an_upright_heart() -> None:
    profile = disk_profile(*half_ellipse(80, 20))
    assert (profile.left_mm[:, 1] < 0).all()
    assert (profile.right_mm[:, 1] > 0).all()
    assert np.hypot(*(profile.left_mm - profile.right_mm).T) == pytest.approx(profile.diameters_mm)
    assert profile.left_mm[:, 0] == pytest.approx(-4.0 * (np.arange(N_DISKS) + 0.5))


def test_trabeculae_count_as_cavity() -> None:
    bay = np.array(
        [[0, 0], [-80, 0], [-80, 40], [-30, 40], [-30, 30], [-50, 30], [-50, 20], [-20, 20], [-20, 40], [0, 40]]
    )
    across = disk_profile(bay.astype(float), np.array([0.0, 10.0]), np.array([-80.0, 10.0]))
    assert across.diameters_mm[10] == pytest.approx(40.0)  # from outermost wall to outermost wall


def test_area_length_of_an_ellipsoid() -> None:
    area = math.pi / 4 * 80 * 40
    assert area_length_volume_ml(area, 80) == pytest.approx(math.pi / 6 * 80 * 40 * 40 / 1000)


def test_biplane_area_length_uses_the_shorter_axis() -> None:
    assert area_length_volume_ml(2000, 80, 1800, 60) == pytest.approx(8 * 2000 * 1800 / (3 * math.pi * 60) / 1000)
