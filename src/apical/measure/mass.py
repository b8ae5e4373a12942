"""Left-ventricular mass at end-diastole, a biplane apical estimate.

mass = 1.05 g/mL * (volume inside the epicardium - volume of the cavity), both by the method of disks from
the annulus plane on. The guidelines measure wall thickness in a short-axis view; where there are only
apical views this is an estimate and is called one, without a reference range.

Lang et al., J Am Soc Echocardiogr 28(1):1-39, 2015, doi:10.1016/j.echo.2014.10.003.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from apical.measure.disks import biplane_volume_ml, disk_profile
from apical.measure.results import DiskProfile, ViewGeometry

MYOCARDIAL_DENSITY_G_ML = 1.05


def epicardial_disks(geometry: ViewGeometry) -> DiskProfile | None:
    """Cut the epicardium into disks, in mm, from the annulus to the epicardial apex, or None without one.

    The axis prolongs the cavity's: the epicardial apex is where it leaves the myocardium.
    """
    outline = geometry.epicardium_mm
    if outline is None:
        return None
    midpoint = geometry.annulus_midpoint_mm
    axis = (geometry.apex_mm - midpoint) / geometry.long_axis_mm
    along = (outline - midpoint) @ axis
    across = (outline - midpoint) @ np.array([-axis[1], axis[0]])
    next_along, next_across = np.roll(along, -1), np.roll(across, -1)
    crossed = np.flatnonzero((across > 0) != (next_across > 0))
    fraction = across[crossed] / (across[crossed] - next_across[crossed])
    depth = along[crossed] + fraction * (next_along[crossed] - along[crossed])
    if depth.size == 0 or depth.max() < geometry.long_axis_mm:
        return None
    return disk_profile(outline, midpoint, midpoint + depth.max() * axis)


def mass_g(views: Sequence[ViewGeometry], epicardia: Sequence[DiskProfile]) -> float:
    """Return the mass in g of one view or two, with their epicardial disks in the same order."""
    shell_ml = biplane_volume_ml(epicardia[0], epicardia[-1]) - biplane_volume_ml(views[0].disks, views[-1].disks)
    return MYOCARDIAL_DENSITY_G_ML * shell_ml
