"""A left heart made of truncated ellipsoids, every volume of it known in closed form.

Heart coordinates, in mm: `along` runs from the mitral annulus (0) to the left-ventricular apex,
negative in the atrium; `across` is the distance from the long axis within the view, negative on the
wall that an apical view shows on the left (septum in 4CH, inferior wall in 2CH).

A section at height z is an ellipse (a *disk*) with one half-width per view; the two views are
orthogonal. So the biplane method of disks (Lang et al. 2015, doi:10.1016/j.echo.2014.10.003) is exact
for these hearts, and stays exact when disks are moved sideways with their widths kept (a bent heart,
Cavalieri). A truncated ellipsoid with half-widths a, b, long semi-axis c and length L, u0 = 1 - L/c, has

    V = pi a b c (2/3 - u0 + u0^3/3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Label, View
from apical.errors import InputError

Points = NDArray[np.float64]

MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class TruncatedEllipsoid:
    """Ellipsoid cut off at the annulus plane; heights are measured from that plane to the tip.

    `length_mm` is the height of the tip, `semi_long_mm` the long semi-axis (length / 2 = a whole
    ellipsoid, length = a half one), the half-widths are the largest, one per view.

    >>> round(TruncatedEllipsoid(60.0, 60.0, 20.0, 20.0).volume_ml, 3)  # 2/3 pi 60 20 20 mm3
    50.265
    """

    length_mm: float
    semi_long_mm: float
    half_width_2ch_mm: float
    half_width_4ch_mm: float

    def __post_init__(self) -> None:
        sizes = [getattr(self, f.name) for f in fields(self)]
        if not all(math.isfinite(s) and s > 0 for s in sizes):
            raise InputError(f"a phantom ellipsoid needs sizes above 0 mm, got {sizes}: give positive lengths")
        if self.length_mm > 2 * self.semi_long_mm:
            raise InputError(
                f"a phantom ellipsoid of long semi-axis {self.semi_long_mm} mm cannot be {self.length_mm} mm long: "
                "give a length of at most twice the semi-axis"
            )

    @property
    def centre_mm(self) -> float:
        """Height of the ellipsoid's centre above the annulus plane, in mm."""
        return self.length_mm - self.semi_long_mm

    @property
    def volume_ml(self) -> float:
        """Volume above the annulus plane in mL, in closed form."""
        u0 = 1.0 - self.length_mm / self.semi_long_mm
        area = math.pi * self.half_width_2ch_mm * self.half_width_4ch_mm
        return area * self.semi_long_mm * (2 / 3 - u0 + u0**3 / 3) / MM3_PER_ML

    def half_widths_mm(self, view: View) -> tuple[float, float]:
        """Return the largest half-widths in mm: in the plane of `view`, and out of it."""
        widths = self.half_width_2ch_mm, self.half_width_4ch_mm
        return widths if view == View.A2C else (widths[1], widths[0])

    def squared_half_width(self, view: View, along_mm: Points, tilt_deg: float = 0.0) -> Points:
        """Return the squared half-width in mm2 of the section at each height; negative beyond the tip.

        The view plane contains the annulus midpoint and is tilted by `tilt_deg` away from the long
        axis (a foreshortened view); `along_mm` is measured within that plane. Exact for any tilt.
        """
        inside, outside = self.half_widths_mm(view)
        tilt = math.radians(tilt_deg)
        level = (along_mm * math.sin(tilt) / outside) ** 2
        level = level + ((along_mm * math.cos(tilt) - self.centre_mm) / self.semi_long_mm) ** 2
        return np.asarray(inside**2 * (1.0 - level), dtype=np.float64)

    def section_length_mm(self, view: View, tilt_deg: float = 0.0) -> float:
        """Return the length in mm of the section in a plane tilted off the long axis."""
        _, outside = self.half_widths_mm(view)
        tilt, c2 = math.radians(tilt_deg), self.semi_long_mm**2
        quadratic = (math.sin(tilt) / outside) ** 2 + math.cos(tilt) ** 2 / c2
        linear = self.centre_mm * math.cos(tilt) / c2
        return (linear + math.sqrt(linear**2 + quadratic * (1.0 - self.centre_mm**2 / c2))) / quadratic


@dataclass(frozen=True)
class Heart:
    """Left ventricle with its wall, and left atrium, at one instant.

    Attributes
    ----------
    cavity, atrium
        The two chambers; the atrium's heights run from the annulus down to its roof.
    wall_mm
        Distance in mm between cavity and epicardium, measured along the ellipsoid's axes.
    thickening_2ch_mm, thickening_4ch_mm
        Extra thickness in mm of the wall on the left of the view (inferior wall, septum), greatest
        at the widest level and fading towards the apex. It grows outwards: the cavity is unchanged.
    bend_2ch_mm, bend_4ch_mm
        Largest sideways displacement in mm of the axis within each view; disks move, widths stay.
    """

    cavity: TruncatedEllipsoid
    atrium: TruncatedEllipsoid
    wall_mm: float = 9.0
    thickening_2ch_mm: float = 0.0
    thickening_4ch_mm: float = 0.0
    bend_2ch_mm: float = 0.0
    bend_4ch_mm: float = 0.0

    def __post_init__(self) -> None:
        thickness = (self.wall_mm, self.wall_mm + self.thickening_2ch_mm, self.wall_mm + self.thickening_4ch_mm)
        if not all(t > 0 for t in thickness):
            raise InputError(f"a phantom wall of {min(thickness)} mm is no wall: give a thickness above 0 mm")

    @property
    def volume_ml(self) -> float:
        """Volume of the cavity in mL, in closed form."""
        return self.cavity.volume_ml

    @property
    def atrium_volume_ml(self) -> float:
        """Volume of the left atrium in mL, in closed form."""
        return self.atrium.volume_ml

    @property
    def epicardium(self) -> TruncatedEllipsoid:
        """Outer surface of the wall without its thickening."""
        c, t = self.cavity, self.wall_mm
        return TruncatedEllipsoid(c.length_mm + t, c.semi_long_mm + t, c.half_width_2ch_mm + t, c.half_width_4ch_mm + t)

    @property
    def epicardium_volume_ml(self) -> float:
        """Volume within the epicardium in mL (cavity and wall), in closed form.

        With s^2 = 1 - u^2 a disk is pi (A s + D4 s^3 / 2) (B s + D2 s^3 / 2): a polynomial in u.
        """
        outer = self.epicardium
        s2 = np.polynomial.Polynomial([1.0, 0.0, -1.0])
        disk = (
            s2
            * (outer.half_width_2ch_mm + self.thickening_2ch_mm / 2 * s2)
            * (outer.half_width_4ch_mm + self.thickening_4ch_mm / 2 * s2)
        )
        integral = disk.integ()
        u0 = 1.0 - outer.length_mm / outer.semi_long_mm
        return float(math.pi * outer.semi_long_mm * (integral(1.0) - integral(u0)) / MM3_PER_ML)

    @property
    def myocardium_volume_ml(self) -> float:
        """Volume of the wall in mL, in closed form."""
        return self.epicardium_volume_ml - self.volume_ml

    def axis_shift_mm(self, view: View, along_mm: Points) -> Points:
        """Return how far the bent axis lies to the side at each height, in mm; 0 at annulus and apex."""
        bend = self.bend_2ch_mm if view == View.A2C else self.bend_4ch_mm
        s = along_mm / self.cavity.length_mm
        return np.asarray(np.where((s > 0) & (s < 1), 4.0 * bend * s * (1.0 - s), 0.0), dtype=np.float64)

    def labels_at(self, view: View, along_mm: Points, across_mm: Points, tilt_deg: float = 0.0) -> NDArray[np.uint8]:
        """Return the label 0-3 at points of a view plane, by exact point-in-shape tests.

        Parameters
        ----------
        view
            Apical view; it passes through the middle of every disk, also where the heart is bent out of it: a
            curved view then, and no plane.
        along_mm, across_mm
            Heart coordinates of the points in mm, arrays of one shape.
        tilt_deg
            Angle between the view and the middles of the disks: 0 shows the true length, more foreshortens it.
        """
        tilt = math.radians(tilt_deg)
        across = across_mm - self.axis_shift_mm(view, along_mm * math.cos(tilt))
        ventricle = along_mm >= 0
        labels = np.zeros(along_mm.shape, dtype=np.uint8)
        labels[ventricle & self._in_epicardium(view, along_mm, across, tilt)] = Label.MYOCARDIUM
        cavity = across**2 <= self.cavity.squared_half_width(view, along_mm, tilt_deg)
        labels[ventricle & cavity] = Label.LV_CAVITY
        atrium = across_mm**2 <= self.atrium.squared_half_width(view, -along_mm, tilt_deg)
        labels[~ventricle & atrium] = Label.LEFT_ATRIUM
        return labels

    def _in_epicardium(self, view: View, along: Points, across: Points, tilt: float) -> NDArray[np.bool_]:
        outer = self.epicardium
        extra = self.thickening_2ch_mm, self.thickening_4ch_mm
        extra_inside, extra_outside = extra if view == View.A2C else (extra[1], extra[0])
        inside, outside = outer.half_widths_mm(view)
        u = (along * math.cos(tilt) - outer.centre_mm) / outer.semi_long_mm
        s = np.sqrt(np.clip(1.0 - u**2, 1e-12, None))
        grown, grown_outside = extra_inside / 2 * s**3, extra_outside / 2 * s**3
        level = ((across + grown) / (inside * s + grown)) ** 2
        level = level + (along * math.sin(tilt) / (outside * s + grown_outside)) ** 2
        return np.asarray((level <= 1.0) & (np.abs(u) <= 1.0))


def blend(first: Heart, second: Heart, weight: float) -> Heart:
    """Return the heart between two: `weight` 0 is `first`, 1 is `second`; all sizes run linearly.

    The volume of the result is again exact: it is a heart like any other.
    """

    def mixed(a: TruncatedEllipsoid | Heart, b: TruncatedEllipsoid | Heart) -> dict[str, float]:
        pairs = ((f.name, getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
        return {name: (1 - weight) * x + weight * y for name, x, y in pairs if isinstance(x, int | float)}

    return Heart(
        cavity=TruncatedEllipsoid(**mixed(first.cavity, second.cavity)),
        atrium=TruncatedEllipsoid(**mixed(first.atrium, second.atrium)),
        **mixed(first, second),
    )
