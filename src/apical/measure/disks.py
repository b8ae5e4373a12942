"""The `ase` definition: method of disks and area-length, as the guidelines define them.

Biplane method of disks, unrounded, with a_i and b_i the orthogonal diameters of the two views at the same
of 20 levels, taken at mid-disk, and L the longer of the two long axes at that instant:

    V = pi/4 * sum(a_i * b_i) * L / 20

Single plane: V = pi/4 * sum(d_i^2) * L / 20. Area-length: V = 8 A^2 / (3 pi L), biplane
V = 8 A_2ch A_4ch / (3 pi min(L_2ch, L_4ch)).

Lang et al., J Am Soc Echocardiogr 28(1):1-39, 2015, doi:10.1016/j.echo.2014.10.003.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apical.measure.contour import Points
from apical.measure.results import DiskProfile

N_DISKS = 20
MM3_PER_ML = 1000.0


def disk_profile(outline_mm: Points, start_mm: NDArray[np.float64], end_mm: NDArray[np.float64]) -> DiskProfile:
    """Cut a closed outline into 20 disks, in mm, across the axis from `start_mm` to `end_mm`.

    A diameter reaches from the outermost wall on one side to the outermost on the other, so that
    trabeculae count as cavity. A level that misses the outline has diameter 0.

    Parameters
    ----------
    outline_mm
        (K, 2) closed polygon, (row, column), first point not repeated.
    start_mm, end_mm
        (2,) ends of the axis, annulus first.
    """
    axis = end_mm - start_mm
    length = float(np.hypot(*axis))
    axis = axis / length
    # For an upright heart (annulus below, apex above) the normal points to smaller columns.
    normal = np.array([-axis[1], axis[0]])
    levels = (np.arange(N_DISKS) + 0.5) / N_DISKS * length
    along, across = (outline_mm - start_mm) @ axis, (outline_mm - start_mm) @ normal
    next_along, next_across = np.roll(along, -1), np.roll(across, -1)
    above, next_above = along > levels[:, None], next_along > levels[:, None]
    disk, segment = np.nonzero(above != next_above)
    fraction = (levels[disk] - along[segment]) / (next_along[segment] - along[segment])
    crossing = across[segment] + fraction * (next_across[segment] - across[segment])
    left, right = np.full(N_DISKS, -np.inf), np.full(N_DISKS, np.inf)
    np.maximum.at(left, disk, crossing)
    np.minimum.at(right, disk, crossing)
    missed = ~np.isfinite(left)
    left[missed] = right[missed] = 0.0
    centres = start_mm + levels[:, None] * axis
    return DiskProfile(
        left_mm=centres + left[:, None] * normal,
        right_mm=centres + right[:, None] * normal,
        diameters_mm=left - right,
        step_mm=length / N_DISKS,
    )


def biplane_volume_ml(first: DiskProfile, second: DiskProfile) -> float:
    """Return the biplane volume in mL of two views; the disk height is the longer axis / 20.

    Examples
    --------
    >>> import numpy as np
    >>> square = np.array([[0.0, 0.0], [0.0, 40.0], [80.0, 40.0], [80.0, 0.0]])
    >>> cylinder = disk_profile(square, np.array([80.0, 20.0]), np.array([0.0, 20.0]))
    >>> round(biplane_volume_ml(cylinder, cylinder), 3)  # pi / 4 * 4 cm * 4 cm * 8 cm
    100.531
    """
    step_mm = max(first.step_mm, second.step_mm)
    return float(np.pi / 4 * np.dot(first.diameters_mm, second.diameters_mm) * step_mm / MM3_PER_ML)


def single_plane_volume_ml(profile: DiskProfile) -> float:
    """Return the volume in mL of one view, taken as a body of revolution."""
    return biplane_volume_ml(profile, profile)


def area_length_volume_ml(
    area_mm2: float, long_axis_mm: float, other_area_mm2: float | None = None, other_long_axis_mm: float | None = None
) -> float:
    """Return the area-length volume in mL, biplane when a second view is given.

    Examples
    --------
    >>> import math
    >>> round(area_length_volume_ml(math.pi / 4 * 40 * 80, 80), 3)  # an ellipsoid: pi / 6 * 4 * 4 * 8
    67.021
    """
    other_area_mm2 = area_mm2 if other_area_mm2 is None else other_area_mm2
    shortest_mm = long_axis_mm if other_long_axis_mm is None else min(long_axis_mm, other_long_axis_mm)
    return float(8 * area_mm2 * other_area_mm2 / (3 * np.pi * shortest_mm) / MM3_PER_ML)
