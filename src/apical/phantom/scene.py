"""Where a heart lies in the picture: its pose, the ultrasound sector, and the mask they give."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from apical.anatomy import Label, View
from apical.phantom.heart import Heart, Points
from apical.study import Mask, Spacing


@dataclass(frozen=True)
class Pose:
    """Position of the heart in a view; positions are (row, column) in mm from the first pixel's centre.

    Attributes
    ----------
    annulus_mm
        (row, column) of the annulus midpoint.
    rotation_deg
        Turns the heart counter-clockwise as seen: 0 points the apex up, 90 to the left, 180 down.
    tilt_deg
        Tilt of the view plane away from the long axis (foreshortening).
    mirrored
        Left and right exchanged, as some laboratories display it.
    """

    annulus_mm: tuple[float, float]
    rotation_deg: float = 0.0
    tilt_deg: float = 0.0
    mirrored: bool = False

    def to_heart(self, row_mm: Points, column_mm: Points) -> tuple[Points, Points]:
        """Return the heart coordinates (along, across) in mm of image positions in mm."""
        turn = math.radians(self.rotation_deg)
        row, column = row_mm - self.annulus_mm[0], column_mm - self.annulus_mm[1]
        along = -row * math.cos(turn) - column * math.sin(turn)
        across = -row * math.sin(turn) + column * math.cos(turn)
        return along, -across if self.mirrored else across

    @classmethod
    def centred(
        cls,
        heart: Heart,
        shape: tuple[int, int],
        spacing_mm: Spacing,
        *,
        rotation_deg: float = 0.0,
        tilt_deg: float = 0.0,
        mirrored: bool = False,
    ) -> Pose:
        """Return the pose whose middle, half-way between roof of the atrium and epicardial apex, is mid-frame."""
        up = (heart.epicardium.length_mm - heart.atrium.length_mm) / 2
        turn = math.radians(rotation_deg)
        centre = [(n - 1) / 2 * step for n, step in zip(shape, spacing_mm, strict=True)]
        annulus = centre[0] + up * math.cos(turn), centre[1] + up * math.sin(turn)
        return cls(annulus, rotation_deg, tilt_deg, mirrored)


@dataclass(frozen=True)
class Sector:
    """Fan that the probe sees: its tip (row, column) in mm, opening angle and depth from the tip."""

    tip_mm: tuple[float, float]
    depth_mm: float
    opening_deg: float = 75.0

    @classmethod
    def filling(cls, shape: tuple[int, int], spacing_mm: Spacing) -> Sector:
        """Return the sector that touches the frame on all four sides, as in CAMUS."""
        height, width = ((n - 1) * step for n, step in zip(shape, spacing_mm, strict=True))
        half_opening = math.asin(min(1.0, width / 2 / height))
        return cls((0.0, width / 2), height, 2 * math.degrees(half_opening))

    def to_beam(self, row_mm: Points, column_mm: Points) -> tuple[Points, Points]:
        """Return depth in mm and angle in radians (positive to the right) of image positions in mm."""
        row, column = row_mm - self.tip_mm[0], column_mm - self.tip_mm[1]
        return np.hypot(row, column), np.arctan2(column, row)

    def contains(self, row_mm: Points, column_mm: Points) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Return which image positions in mm the probe sees."""
        depth, angle = self.to_beam(row_mm, column_mm)
        # A hair of tolerance: the pixels that define the sector lie on its edge.
        return (depth <= self.depth_mm + 1e-9) & (np.abs(angle) <= math.radians(self.opening_deg / 2) + 1e-9)


def pixel_positions_mm(shape: tuple[int, int], spacing_mm: Spacing) -> tuple[Points, Points]:
    """Return row and column positions in mm of all pixel centres, each (row, column)."""
    rows, columns = (np.arange(n) * step for n, step in zip(shape, spacing_mm, strict=True))
    row, column = np.meshgrid(rows, columns, indexing="ij")
    return row, column


def render(
    heart: Heart,
    view: View,
    shape: tuple[int, int],
    spacing_mm: Spacing,
    *,
    pose: Pose | None = None,
    sector: Sector | None = None,
) -> Mask:
    """Return the mask of a heart, labels 0-3, uint8 (row, column).

    A pixel has the label of its centre, found analytically: nothing is drawn or resampled.

    Parameters
    ----------
    heart, view
        What is seen, and from where.
    shape, spacing_mm
        Size and (row, column) spacing in mm of the grid.
    pose
        Where the heart lies; in the middle of the frame by default.
    sector
        Cuts the atrium off at the sector's edge. The wall is not cut: experts draw it on where it
        was not insonified, as CAMUS masks show.
    """
    pose = pose or Pose.centred(heart, shape, spacing_mm)
    row, column = pixel_positions_mm(shape, spacing_mm)
    labels = heart.labels_at(view, *pose.to_heart(row, column), pose.tilt_deg)
    if sector is not None:
        labels[(labels == Label.LEFT_ATRIUM) & ~sector.contains(row, column)] = Label.BACKGROUND
    return labels
