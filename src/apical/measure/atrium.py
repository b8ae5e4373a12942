"""Left atrium at end-systole, when it is largest.

The axis runs from the midpoint of the mitral annulus to the point of the atrium farthest from it, its
roof. Method of disks as for the ventricle, V = pi/4 * sum(a_i * b_i) * L / 20 with the longer axis; area-length
V = 8 A_4ch A_2ch / (3 pi L) with the shorter.

Lang et al., J Am Soc Echocardiogr 28(1):1-39, 2015, doi:10.1016/j.echo.2014.10.003.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from apical.measure.contour import polygon_area
from apical.measure.disks import area_length_volume_ml, biplane_volume_ml, disk_profile
from apical.measure.results import DiskProfile, ViewGeometry


@dataclass(frozen=True, eq=False)
class AtriumView:
    """Left atrium in one view: disks from annulus to roof, axis and width of the annulus in mm, area in mm2."""

    disks: DiskProfile
    long_axis_mm: float
    area_mm2: float
    annulus_mm: float


def measure_atrium(geometry: ViewGeometry) -> AtriumView | None:
    """Measure the atrium in mm, or None where there is none worth the name (below 1 cm2)."""
    outline = geometry.atrium_mm
    if outline is None or polygon_area(outline) < 100.0:
        return None
    distance = np.hypot(*(outline - geometry.annulus_midpoint_mm).T)
    roof = outline[int(np.argmax(distance))]
    disks = disk_profile(outline, geometry.annulus_midpoint_mm, roof)
    return AtriumView(
        disks=disks,
        long_axis_mm=float(distance.max()),
        area_mm2=polygon_area(outline),
        annulus_mm=float(np.hypot(*(geometry.annulus_mm[1] - geometry.annulus_mm[0]))),
    )


def atrial_volumes_ml(views: Sequence[AtriumView]) -> tuple[float, float]:
    """Return the volumes in mL by disks and by area-length, of one view or two."""
    first, second = views[0], views[-1]
    return (
        biplane_volume_ml(first.disks, second.disks),
        area_length_volume_ml(first.area_mm2, first.long_axis_mm, second.area_mm2, second.long_axis_mm),
    )
