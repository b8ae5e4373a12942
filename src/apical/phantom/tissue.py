"""What reflects in a phantom's fan, and how strongly: the looks of one patient's tissue.

Echo strengths in dB were chosen beside real frames: dark blood, a bright septum, a lateral wall that drops
out, bright annulus and pericardium, leaflets, the right heart in 4CH, haze near the probe.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from apical.anatomy import Label, View
from apical.phantom.heart import Heart, Points

NEAR_FIELD_MM = 28.0
"""Depth to which the beam is not focused yet, and echoes of the chest wall linger."""


@dataclass(frozen=True)
class Appearance:
    """How the tissues of one patient look: echo strengths in dB (0 is white), lengths in mm.

    `seed` fixes what belongs to the patient (haze, texture, leaflets), not the speckle.
    """

    seed: int = 0
    gain_db: float = 0.0
    blood_db: float = -50.0
    atrium_db: float = -45.0
    tissue_db: float = -40.0
    wall_db: float = -37.0
    septum_gain_db: float = 12.0
    dropout_db: float = 3.5
    annulus_db: float = -14.0
    leaflet_db: float = -20.0
    pericardium_db: float = -21.0
    haze_db: float = -22.0
    depth_gain_db: float = 4.0
    edge_loss_db: float = 6.0
    contrast: float = 1.1
    right_ventricle_mm: float = 30.0
    pulse_mm: float = 0.45
    beam_deg: float = 0.55

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Appearance:
        """Return the appearance of another patient: each value spread around its default."""
        # Uniform rather than normal: no patient lies beyond what was looked at.
        drawn = {name: getattr(cls(), name) + spread * rng.uniform(-1.0, 1.0) for name, spread in SPREAD.items()}
        return cls(seed=int(rng.integers(2**31)), **drawn)


INFERIOR_GAIN_DB, INFERIOR_SHARE = 4.0, 0.8
"""2CH: echo strength gained left of the heart, and share of the septum's brightness in the inferior wall."""

SPREAD: dict[str, float] = {
    "gain_db": 5.0,
    "blood_db": 2.5,
    "atrium_db": 4.0,
    "tissue_db": 4.0,
    "wall_db": 2.5,
    "septum_gain_db": 2.5,
    "dropout_db": 3.0,
    "annulus_db": 3.5,
    "leaflet_db": 4.0,
    "pericardium_db": 4.0,
    "haze_db": 5.0,
    "depth_gain_db": 4.0,
    "edge_loss_db": 5.0,
    "contrast": 0.12,
    "right_ventricle_mm": 5.0,
    "beam_deg": 0.1,
}
"""How far patients differ from the default appearance, to either side."""


@dataclass(frozen=True, eq=False)
class Tissue:
    """Echo strength of everything in the fan; positions are heart coordinates in mm."""

    heart: Heart
    view: View
    tilt_deg: float
    looks: Appearance
    along: Points
    across: Points
    depth: Points

    def strength_db(self) -> Points:
        """Return the echo strength in dB at each position."""
        looks, rng = self.looks, np.random.default_rng([self.looks.seed, 1])
        shape = self.along.shape
        # Trabeculae: what reflects is not as smooth as what an expert draws.
        rough = [0.7 * smooth_field(rng, shape, (48, 26)) for _ in range(2)]
        labels = self.heart.labels_at(self.view, self.along + rough[0], self.across + rough[1], self.tilt_deg)
        haze = smooth_field(rng, shape, (7, 6))
        grain = smooth_field(rng, shape, (70, 24))

        db = looks.tissue_db + 4.0 * haze + 3.0 * grain
        # Outlines shine where they lie across the beam and are lost elsewhere.
        gleam = 3.0 * grain + 4.0 * smooth_field(rng, shape, (14, 11))
        if self.view == View.A4C:
            db = self._right_heart(db, haze, gleam)
        else:  # behind the inferior wall lies no cavity but bright tissue
            db = db + INFERIOR_GAIN_DB / (1.0 + np.exp(np.clip(self.across / 6.0, -50, 50)))
        db = self._borders(db, labels, gleam)
        db = np.where(labels == Label.MYOCARDIUM, self._wall(rng, grain, haze), db)
        db = np.where(labels == Label.LV_CAVITY, looks.blood_db + 1.0 * haze + 0.8 * grain, db)
        db = np.where(labels == Label.LEFT_ATRIUM, looks.atrium_db + 2.0 * haze + 1.0 * grain, db)
        db = self._valve(db, rng, grain)
        db = self._cavity_structures(db, rng)
        near = looks.haze_db - 22.0 * (self.depth / NEAR_FIELD_MM) + self._reverberation(rng)
        return np.asarray(10.0 * np.log10(10.0 ** (db / 10.0) + 10.0 ** (near / 10.0)), dtype=np.float64)

    def _reverberation(self, rng: np.random.Generator) -> Points:
        """Bands of equal depth from the chest wall, fading within a centimetre or two."""
        wave, start, fade = rng.uniform(1.5, 2.6), rng.uniform(0.0, 6.0), rng.uniform(8.0, 16.0)
        return np.asarray(4.0 * np.sin(self.depth * wave + start) * np.exp(-self.depth / fade), dtype=np.float64)

    def _wall(self, rng: np.random.Generator, grain: Points, haze: Points) -> Points:
        """Wall: the left one (septum, inferior wall) bright, the right one and the apex dropping out."""
        looks = self.looks
        height = self.along / self.heart.cavity.length_mm
        side = np.tanh(self.across / 6.0)
        share = 1.0 if self.view == View.A4C else INFERIOR_SHARE
        left = share * looks.septum_gain_db * (1.0 - 0.45 * np.clip(height - 0.55, 0, 1) / 0.45)
        right = -looks.dropout_db * np.clip(height * 1.6, 0, 1) + 4.0 * np.clip(0.25 - height, 0, 1) / 0.25
        patches = smooth_field(rng, grain.shape, (16, 10))
        return looks.wall_db + np.where(side < 0, -side * left, side * right) + 3.0 * grain + 2.5 * patches + haze

    def _borders(self, db: Points, labels: NDArray[np.uint8], gleam: Points) -> Points:
        """Pericardium outside the wall, and the bright rim of the atrium: outlines a few mm wide."""
        looks = self.looks
        heart = self.heart
        outer = heart.epicardium.half_widths_mm(self.view)[0]
        across = self.across - heart.axis_shift_mm(self.view, self.along)
        gap = np.abs(across) - np.sqrt(
            np.clip(heart.epicardium.squared_half_width(self.view, self.along, self.tilt_deg), 0, None)
        )
        height = self.along / heart.cavity.length_mm
        free_wall = (self.across > 0) | (self.view == View.A2C)
        fading = 9.0 * np.clip(height, 0, 1) + 3.0 * np.clip(-height, 0, None)
        line = looks.pericardium_db - 4.0 - fading + gleam - ((gap - 0.8) / 2.0) ** 2 * 4.0
        db = np.where(free_wall & (labels == 0) & (self.along > -0.1 * outer), np.maximum(db, line), db)

        atrium = heart.atrium
        inside = np.clip(atrium.squared_half_width(self.view, -self.along, self.tilt_deg), 0, None)
        side_gap = np.abs(self.across) - np.sqrt(inside)
        depth_below = -self.along
        beside = (labels == 0) & (depth_below > 0) & (depth_below < atrium.length_mm)
        rim = looks.pericardium_db - 3.0 + gleam - (side_gap / 3.0) ** 2 * 4.0 - 6.0 * depth_below / atrium.length_mm
        db = np.where(beside, np.maximum(db, rim), db)
        # The roof lies across the beam and mirrors it.
        roof_gap = depth_below - atrium.length_mm * (1 - 0.1 * (self.across / 15.0) ** 2)
        roof = looks.pericardium_db + 1.0 + gleam - (roof_gap / 3.0 - 1.0) ** 2 * 4.0
        roof -= (self.across / 22.0) ** 4 * 6.0
        return np.where((labels == 0) & (roof_gap > 0), np.maximum(db, roof), db)

    def _right_heart(self, db: Points, haze: Points, gleam: Points) -> Points:
        """Right ventricle and atrium, dark pools left of the septum, their free wall bright."""
        looks, heart = self.looks, self.heart
        length, width = heart.cavity.length_mm, looks.right_ventricle_mm
        epi = math.sqrt(max(0.0, float(heart.epicardium.squared_half_width(self.view, np.array(0.0)))))
        septum = -epi - heart.thickening_4ch_mm / 2
        pools = (
            (0.30 * length, septum - 0.25 * width, 0.46 * length, 0.75 * width),
            (-0.5 * heart.atrium.length_mm - 4.0, septum - 0.10 * width, 0.42 * heart.atrium.length_mm, 0.62 * width),
        )
        for middle, aside, half_length, half_width in pools:
            level = np.hypot((self.along - middle) / half_length, (self.across - aside) / half_width)
            gap = (level - 1.0) * half_width
            db = np.maximum(
                db, np.where(gap > 0, looks.pericardium_db - 7.0 + gleam - (gap / 2.5 - 0.6) ** 2 * 4.0, -99.0)
            )
            pool = looks.atrium_db - 1.0 + 2.0 * haze
            db = db + (pool - db) / (1.0 + np.exp(np.clip(gap / 0.9, -50, 50)))
        return db

    def _valve(self, db: Points, rng: np.random.Generator, grain: Points) -> Points:
        """Mitral leaflets, thin arcs from hinge to hinge, and the bright fibrous annulus at both ends."""
        looks = self.looks
        half = math.sqrt(float(self.heart.cavity.squared_half_width(self.view, np.array(0.0))))
        tent = rng.uniform(-1.5, 4.0)
        meet = rng.uniform(0.0, 0.5)
        x = self.across / half
        arc = np.where(x < meet, (x + 1) / (meet + 1), (1 - x) / (1 - meet))
        height = tent * np.sin(np.clip(arc, 0, 1) * math.pi / 2) ** 0.8 - 1.0
        leaflet = looks.leaflet_db + 3.5 * grain - ((self.along - height) / 1.1) ** 2 * 3.0
        db = np.where(np.abs(x) < 1, np.maximum(db, leaflet), db)
        for side, reach in ((-1.0, 6.0), (1.0, 8.0)):
            far = np.hypot((self.along + 2.0) / (reach * 0.8), (self.across - side * (half + 4.0)) / reach)
            blob = looks.annulus_db + 2.5 * grain - far**2 * 7.0
            db = np.maximum(db, blob)
        return db

    def _cavity_structures(self, db: Points, rng: np.random.Generator) -> Points:
        """Chordae and papillary muscle: short streaks across the beam in the lateral half of the cavity."""
        cavity = self.heart.cavity
        half = cavity.half_widths_mm(self.view)[0]
        for _ in range(int(rng.integers(0, 7))):
            height, aside = rng.uniform(0.1, 0.6) * cavity.length_mm, rng.uniform(0.1, 0.6) * half
            length, level = rng.uniform(1.5, 4.5), self.looks.wall_db + rng.uniform(-5.0, 6.0)
            lean = rng.uniform(-0.5, 0.8) * (self.across - aside)
            far = np.hypot((self.along - height - lean) / rng.uniform(0.8, 1.8), (self.across - aside) / length)
            db = np.maximum(db, level - far**2 * 5.0)
        return db


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], cells: tuple[int, int]) -> Points:
    """Return a random field of unit variance, smooth over about 1/cells of each axis."""
    coarse = rng.standard_normal((cells[0] + 3, cells[1] + 3))
    steps = [np.linspace(0.5, n + 0.5, size) for n, size in zip(cells, shape, strict=True)]
    where = np.meshgrid(*steps, indexing="ij")
    field = ndimage.map_coordinates(coarse, where, order=3, mode="nearest")
    return np.asarray(field / field.std(), dtype=np.float64)
