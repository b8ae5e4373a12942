"""Masks of hearts whose volumes are known in closed form, drawn pixel by pixel from their equations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Label, Phase, View
from apical.study import Frame, Grid, Patient, Spacing, Study

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Heart:
    """An ellipsoid, half-axes `half_length_mm` and one per view, cut flat `cut` of the half-length below its centre."""

    half_length_mm: float
    half_width_2ch_mm: float
    half_width_4ch_mm: float
    cut: float = 0.5
    wall_mm: float = 9.0
    atrium_mm: float = 35.0

    @property
    def length_mm(self) -> float:
        return self.half_length_mm * (1 + self.cut)

    @property
    def volume_ml(self) -> float:
        return self._ellipsoid_ml(self.half_length_mm, self.half_width_2ch_mm, self.half_width_4ch_mm)

    @property
    def epicardial_volume_ml(self) -> float:
        """Of the outer ellipsoid, thicker by the wall and cut by the same plane."""
        a, b, c = (x + self.wall_mm for x in (self.half_length_mm, self.half_width_2ch_mm, self.half_width_4ch_mm))
        return self._ellipsoid_ml(a, b, c)

    def _ellipsoid_ml(self, a: float, b: float, c: float) -> float:
        below = self.cut * self.half_length_mm / a
        return math.pi * b * c * a * (2 / 3 + below - below**3 / 3) / 1000

    @property
    def atrium_volume_ml(self) -> float:
        """Half an ellipsoid under the annulus, 5 % wider than it."""
        annulus2 = self.half_width_2ch_mm * self.half_width_4ch_mm * (1 - self.cut**2)
        return 2 / 3 * math.pi * annulus2 * 1.05**2 * self.atrium_mm / 1000


def draw(
    heart: Heart,
    view: View = View.A4C,
    spacing_mm: Spacing = (0.5, 0.5),
    *,
    angle_degrees: float = 0.0,
    mirrored: bool = False,
    shift_mm: tuple[float, float] = (0.0, 0.0),
    size_mm: tuple[float, float] = (190.0, 170.0),
    shape: tuple[int, int] | None = None,
) -> Mask:
    """Draw a view: a pixel belongs to whatever its centre lies in."""
    rows, columns = shape or (round(size_mm[0] / spacing_mm[0]), round(size_mm[1] / spacing_mm[1]))
    row = (np.arange(rows)[:, None] - (rows - 1) / 2) * spacing_mm[0] - shift_mm[0]
    column = (np.arange(columns)[None, :] - (columns - 1) / 2) * spacing_mm[1] - shift_mm[1]
    if mirrored:
        column = -column
    t = math.radians(angle_degrees)
    down, across = row * math.cos(t) + column * math.sin(t), -row * math.sin(t) + column * math.cos(t)
    a = heart.half_length_mm
    b = heart.half_width_2ch_mm if view is View.A2C else heart.half_width_4ch_mm
    base = heart.cut * a
    mask = np.zeros((rows, columns), dtype=np.uint8)
    atrium_width = 1.05 * b * math.sqrt(1 - heart.cut**2)
    if heart.atrium_mm:
        half_ellipse = ((down - base) / heart.atrium_mm) ** 2 + (across / atrium_width) ** 2 <= 1
        mask[(down > base) & half_ellipse] = Label.LEFT_ATRIUM
    outer, wide = a + heart.wall_mm, b + heart.wall_mm
    mask[((down / outer) ** 2 + (across / wide) ** 2 <= 1) & (down <= base)] = Label.MYOCARDIUM
    mask[((down / a) ** 2 + (across / b) ** 2 <= 1) & (down <= base)] = Label.LV_CAVITY
    return mask


DIASTOLE = Heart(55.0, 24.0, 21.0)
SYSTOLE = Heart(46.0, 17.0, 15.0, wall_mm=12.0)
EF_PERCENT = 100 * (1 - SYSTOLE.volume_ml / DIASTOLE.volume_ml)


def examination(
    masks: dict[tuple[View, Phase], Mask], spacing_mm: Spacing | None = (0.5, 0.5), patient: Patient | None = None
) -> tuple[Study, dict[str, Mask]]:
    """Return a study with blank images and its masks by frame name."""
    frames, named = [], {}
    for (view, phase), mask in masks.items():
        name = f"p_{view}_{phase}"
        frames.append(Frame(name, np.zeros_like(mask), Grid(mask.shape, spacing_mm), view, phase))
        named[name] = mask
    return Study(patient or Patient("p"), tuple(frames)), named


def heart_masks(
    spacing_mm: Spacing = (0.5, 0.5), *, diastole: Heart = DIASTOLE, systole: Heart = SYSTOLE, **how: object
) -> dict[tuple[View, Phase], Mask]:
    """Return the four masks of one patient; `how` as for `draw`."""
    hearts = {Phase.ED: diastole, Phase.ES: systole}
    return {(v, p): draw(hearts[p], v, spacing_mm, **how) for v in View for p in Phase}  # type: ignore[arg-type]
