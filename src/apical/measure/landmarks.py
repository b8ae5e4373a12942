"""Landmarks of the left ventricle: hinge points of the mitral annulus, apex, long axis.

The annulus is where cavity, myocardium and the rest (left atrium or background) meet: walking along the
outline of the cavity, what lies on the other side changes from myocardium to something else at one hinge
point and back at the other. Between them lies the base, elsewhere the endocardium. The hinge itself is a
corner that pixels round off; it is put where straight lines fitted to the endocardium and to the base near
it meet. The apex is the point of the endocardium farthest from the midpoint of the annulus.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from apical.measure.contour import Points, first_contour, polyline_length, resample, smooth_open
from apical.study import Spacing

SMOOTHING = 0.02
"""Smoothing of outlines, as a fraction of the square root of the cavity's area (1.1 mm in a normal heart)."""

_MIN_SMOOTHING_PX = 1.2
# Along the outline, as fractions of the square root of the cavity's area.
_GAP = 0.12
_FIT = 0.08
_FIT_PX = 6
_MIN_BASE = 0.25
# A cavity rounder than this, or with ends more alike, does not say by its shape which end is the base.
_MIN_ELONGATION = 1.3
_MIN_FLARE = 1.2
# A corner flatter than this has no crossing of lines worth the name.
_MIN_CORNER_SINE = 0.35
_STEP_PX = 0.5


class Beyond(IntEnum):
    """What lies on the other side of the cavity's outline."""

    REST = 0
    WALL = 1
    ATRIUM = 2
    EDGE = 3


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Where the ventricle begins and ends, in mm, (row, column).

    Attributes
    ----------
    endocardium_mm
        (K, 2) from the first hinge point over the apex to the second, hinge points included.
    base_mm
        (B, 2) the outline between the hinge points, from the second back to the first.
    annulus_mm
        (2, 2) hinge points, first the one with the smaller column.
    apex_mm
        (2,).
    found_by
        'junction' (of cavity, myocardium and rest), 'atrium' (its contact with the cavity, without a
        myocardium) or 'shape' (the flat end of a cavity that has neither).
    certain
        Whether no other stretch of the outline could be the base.
    edge_fraction
        Fraction of the endocardium that lies on the edge of the image.
    base_edge_fraction
        Fraction of the base that lies on the edge of the image.
    bare_fraction
        Fraction of the endocardium without myocardium on the other side.
    """

    endocardium_mm: Points
    base_mm: Points
    annulus_mm: Points
    apex_mm: NDArray[np.float64]
    found_by: str
    certain: bool
    edge_fraction: float
    base_edge_fraction: float
    bare_fraction: float

    @property
    def annulus_midpoint_mm(self) -> NDArray[np.float64]:
        """Midpoint of the annulus, (2,)."""
        midpoint: NDArray[np.float64] = self.annulus_mm.mean(axis=0)
        return midpoint

    @property
    def long_axis_mm(self) -> float:
        """Length from apex to annulus midpoint."""
        return float(np.hypot(*(self.apex_mm - self.annulus_midpoint_mm)))

    @property
    def outline_mm(self) -> Points:
        """(K, 2) closed outline of the cavity as it was traced, bulge of the valve included."""
        return np.concatenate([self.endocardium_mm, self.base_mm[1:-1]])

    @property
    def endocardial_length_mm(self) -> float:
        """Length of the endocardium, base excluded."""
        return polyline_length(self.endocardium_mm)


def smoothing_mm(cavity_pixels: int, spacing_mm: Spacing) -> float:
    """Return the smoothing of outlines, in mm, for a cavity of this many pixels."""
    size = float(np.sqrt(cavity_pixels * spacing_mm[0] * spacing_mm[1]))
    return max(SMOOTHING * size, _MIN_SMOOTHING_PX * max(spacing_mm))


def find_landmarks(
    cavity: NDArray[np.bool_], beyond: NDArray[np.uint8], spacing_mm: Spacing, offset: tuple[int, int] = (0, 0)
) -> Landmarks | None:
    """Find hinge points, endocardium and apex, in mm, or None where no annulus can be told.

    Parameters
    ----------
    cavity
        (rows, columns) one component without holes, clear of the edge of the array.
    beyond
        (rows, columns) of `Beyond`: what each pixel outside the cavity is.
    spacing_mm
        (row, column) pixel spacing.
    offset
        (row, column) of the first pixel of `cavity` in the image, whose coordinates come back.
    """
    jagged = first_contour(cavity)[:-1]
    size = float(np.sqrt(np.count_nonzero(cavity) * spacing_mm[0] * spacing_mm[1]))
    kind = _kind_beyond(jagged, cavity, beyond)
    points = (jagged + np.array(offset)) * spacing_mm
    lengths = np.hypot(*(np.roll(points, -1, axis=0) - points).T)
    if (kind == Beyond.WALL).any():
        found_by = "junction"
        base = _base_by_junction(kind, lengths, size)
    elif (kind == Beyond.ATRIUM).any():
        found_by = "atrium"
        base = _base_by_atrium(kind, lengths, size)
    else:
        found_by = "shape"
        base = _base_by_shape(points, size)
    if base is None:
        return None
    first, count, certain = base
    if not 3 <= count <= len(points) - 5:
        return None
    # Starting at the first point of the base, the endocardium is what follows the base.
    points, kind, lengths = np.roll(points, -first, axis=0), np.roll(kind, -first), np.roll(lengths, -first)
    wall, wall_kind, wall_lengths = points[count:], kind[count:], lengths[count:]
    valve, valve_lengths = points[:count], lengths[:count]
    hinge_in = _corner(valve[::-1], wall, _FIT * size, spacing_mm)
    hinge_out = _corner(valve, wall[::-1], _FIT * size, spacing_mm)
    step = min(spacing_mm) * _STEP_PX
    sigma = smoothing_mm(int(np.count_nonzero(cavity)), spacing_mm) / step
    endocardium = smooth_open(resample(np.vstack([hinge_in, wall, hinge_out]), step, closed=False), sigma)
    base_line = smooth_open(resample(np.vstack([hinge_out, valve, hinge_in]), step, closed=False), sigma)
    if hinge_in[1] > hinge_out[1]:
        endocardium, base_line = endocardium[::-1], base_line[::-1]
    annulus = np.stack([endocardium[0], endocardium[-1]])
    distance = np.hypot(*(endocardium - annulus.mean(axis=0)).T)
    return Landmarks(
        endocardium_mm=endocardium,
        base_mm=base_line,
        annulus_mm=annulus,
        apex_mm=endocardium[int(np.argmax(distance))],
        found_by=found_by,
        certain=certain,
        edge_fraction=_share(wall_kind == Beyond.EDGE, wall_lengths),
        base_edge_fraction=_share(kind[:count] == Beyond.EDGE, valve_lengths),
        bare_fraction=_share(wall_kind != Beyond.WALL, wall_lengths),
    )


def _kind_beyond(jagged: Points, cavity: NDArray[np.bool_], beyond: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what lies outside at each outline point, which is half-way between an inner and an outer pixel."""
    low, high = np.floor(jagged).astype(int), np.ceil(jagged).astype(int)
    outer = np.where(cavity[low[:, 0], low[:, 1]][:, None], high, low)
    return beyond[outer[:, 0], outer[:, 1]]


def _share(where: NDArray[np.bool_], lengths: NDArray[np.float64]) -> float:
    return float(lengths[where].sum() / lengths.sum())


def _runs(where: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (first, count) of the runs of True on a closed curve; one that is all True is a single run."""
    n = len(where)
    starts = np.flatnonzero(where & ~np.roll(where, 1))
    if starts.size == 0:
        return [(0, n)] if where.all() else []
    ends = np.flatnonzero(where & ~np.roll(where, -1))
    if ends[0] < starts[0]:
        ends = np.roll(ends, -1)
    return [(int(s), int((e - s) % n) + 1) for s, e in zip(starts, ends, strict=True)]


def _length(run: tuple[int, int], lengths: NDArray[np.float64]) -> float:
    first, count = run
    return float(np.take(lengths, np.arange(first, first + count), mode="wrap").sum())


def _without_gaps(where: NDArray[np.bool_], lengths: NDArray[np.float64], gap: float) -> NDArray[np.bool_]:
    """Close gaps in `where` that are shorter than `gap`."""
    closed = where.copy()
    for run in _runs(~where):
        if run[1] < len(where) and _length(run, lengths) < gap:
            closed[np.arange(run[0], run[0] + run[1]) % len(where)] = True
    return closed


def _base_by_junction(
    kind: NDArray[np.uint8], lengths: NDArray[np.float64], size: float
) -> tuple[int, int, bool] | None:
    """Return (first, count, certain) of the stretch without myocardium that is the base.

    It is the one that touches the atrium most, or the longest where none touches it.
    """
    open_side = _without_gaps(kind != Beyond.WALL, lengths, _GAP * size / 2)
    runs = [r for r in _runs(open_side) if r[1] < len(kind)]
    if not runs:
        return None

    def contact(run: tuple[int, int]) -> float:
        return _length(run, np.where(kind == Beyond.ATRIUM, lengths, 0.0))

    total = [_length(r, lengths) for r in runs]
    touching = [contact(r) for r in runs]
    by = touching if max(touching) > 0 else total
    ranked = sorted(by, reverse=True)
    best = int(np.argmax(by))
    if total[best] < _MIN_BASE * size:
        return None
    certain = len(ranked) == 1 or ranked[1] < ranked[0] / 2
    return (*runs[best], certain)


def _base_by_atrium(kind: NDArray[np.uint8], lengths: NDArray[np.float64], size: float) -> tuple[int, int, bool] | None:
    """Return the stretch in contact with the atrium; without a myocardium the hinge points are its ends."""
    contact = _without_gaps(kind == Beyond.ATRIUM, lengths, _GAP * size)
    runs = [r for r in _runs(contact) if r[1] < len(kind)]
    if not runs:
        return None
    total = [_length(r, lengths) for r in runs]
    best = int(np.argmax(total))
    return (*runs[best], False) if total[best] >= _MIN_BASE * size else None


def _base_by_shape(points: Points, size: float) -> tuple[int, int, bool] | None:
    """Return the flat end of a cavity that borders on neither myocardium nor atrium.

    Along the principal axis the base is the end that is wider a tenth of the way in, and its corners are
    the points farthest out on either diagonal.
    """
    centred = points - points.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    if values[0] <= 0 or values[1] < _MIN_ELONGATION * values[0]:
        return None
    along, across = centred @ vectors[:, 1], centred @ vectors[:, 0]
    tenth = 0.1 * np.ptp(along)
    ends = (-along, along)
    near = [out > out.max() - tenth for out in ends]
    widths = [float(np.ptp(across[end])) for end in near]
    wider = int(np.argmax(widths))
    if widths[wider] < _MIN_FLARE * widths[1 - wider] or widths[wider] < _MIN_BASE * size:
        return None
    runs = _runs(near[wider])
    if len(runs) != 1:
        return None
    run = np.arange(runs[0][0], runs[0][0] + runs[0][1]) % len(points)
    outwards, sideways = ends[wider][run], across[run]
    first, last = sorted((int(np.argmax(outwards + sideways)), int(np.argmax(outwards - sideways))))
    return int(run[first]), last - first + 1, False


def _corner(valve: Points, wall: Points, reach: float, spacing_mm: Spacing) -> NDArray[np.float64]:
    """Return the hinge point at which the base `valve` and the endocardium `wall`, both led away from it, meet.

    Each side is fitted by a line over `reach`, but for the last pixel, which the corner has rounded.
    """
    middle: NDArray[np.float64] = (valve[0] + wall[0]) / 2
    skip = 0.75 * max(spacing_mm)
    reach = max(reach, _FIT_PX * max(spacing_mm))
    lines = []
    # The valve is flatter than the wall: a longer stretch of it says more about its direction.
    for side, length in ((valve[: (len(valve) + 1) // 2], 2 * reach), (wall, reach)):
        distance = np.hypot(*(side - middle).T)
        beyond_reach = np.flatnonzero(distance > length)
        near = slice(0, int(beyond_reach[0]) if beyond_reach.size else len(side))
        chosen = side[near][distance[near] > skip]
        if len(chosen) < 4:
            return middle
        centre: NDArray[np.float64] = chosen.mean(axis=0)
        _, _, axes = np.linalg.svd(chosen - centre, full_matrices=False)
        lines.append((centre, axes[0]))
    (p, u), (q, v) = lines
    sine = u[0] * v[1] - u[1] * v[0]
    if abs(sine) < _MIN_CORNER_SINE:
        return middle
    gap = q - p
    crossing: NDArray[np.float64] = p + u * ((gap[0] * v[1] - gap[1] * v[0]) / sine)
    return crossing if np.hypot(*(crossing - middle)) <= reach / 2 else middle
