"""Outlines of masks: marching squares on pixels, smooth closed curves in millimetres.

A mask says of each pixel centre whether it lies inside. The outline runs half-way between the centres
of neighbouring pixels on either side (marching squares at level 0.5), which is unbiased but jagged by
half a pixel; smoothing along arc length takes the jags out. Smoothing alone would shrink a curve of
radius R by sigma^2 / (2 R), so what it removed is smoothed and added back once (Taubin, ICCV 1995,
doi:10.1109/ICCV.1995.466848): the shrinkage left is of fourth order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from apical.study import Spacing

Points = NDArray[np.float64]

_TOP, _LEFT, _BOTTOM, _RIGHT = range(4)
# Edge midpoints of the 2x2 square whose upper-left pixel is (0, 0), in half pixels.
_EDGE_OFFSETS = np.array([(0, 1), (1, 0), (2, 1), (1, 2)])
# Segments by square case (bit 1 upper-left, 2 upper-right, 4 lower-left, 8 lower-right is inside), the
# inside on the right hand. In the saddles 6 and 9 the inside pixels stay apart (4-connectivity).
_FIRST_SEGMENT = np.array(
    [
        (-1, -1),
        (_TOP, _LEFT),
        (_RIGHT, _TOP),
        (_RIGHT, _LEFT),
        (_LEFT, _BOTTOM),
        (_TOP, _BOTTOM),
        (_RIGHT, _TOP),
        (_RIGHT, _BOTTOM),
        (_BOTTOM, _RIGHT),
        (_TOP, _LEFT),
        (_BOTTOM, _TOP),
        (_BOTTOM, _LEFT),
        (_LEFT, _RIGHT),
        (_TOP, _RIGHT),
        (_LEFT, _TOP),
        (-1, -1),
    ]
)
_SECOND_SEGMENT = {6: (_LEFT, _BOTTOM), 9: (_BOTTOM, _RIGHT)}


def first_contour(mask: NDArray[np.bool_]) -> Points:
    """Trace the first outline of a mask in raster order, in pixels.

    The same points in the same order as ``skimage.measure.find_contours(mask, 0.5)[0]``, on which the
    published CAMUS algorithm depends.

    Parameters
    ----------
    mask
        (rows, columns), True inside.

    Returns
    -------
    (K, 2) points (row, column); a closed outline repeats its first point, one that leaves the image
    is open. Empty (0, 2) where there is no outline.

    Examples
    --------
    >>> import numpy as np
    >>> first_contour(np.pad(np.ones((1, 1), bool), 1)).tolist()
    [[1.5, 1.0], [1.0, 0.5], [0.5, 1.0], [1.0, 1.5], [1.5, 1.0]]
    """
    inside = np.asarray(mask, dtype=np.uint8)
    if min(inside.shape) < 2:
        return np.empty((0, 2))
    case = inside[:-1, :-1] + 2 * inside[:-1, 1:] + 4 * inside[1:, :-1] + 8 * inside[1:, 1:]
    crossed = np.flatnonzero((case != 0) & (case != 15))
    if crossed.size == 0:
        return np.empty((0, 2))
    rows, columns = np.divmod(crossed, case.shape[1])
    cases = case[rows, columns]
    squares = np.stack([2 * rows, 2 * columns], axis=1)
    segments = _FIRST_SEGMENT[cases]
    order = 2 * np.arange(len(cases))
    for saddle, second in _SECOND_SEGMENT.items():
        (extra,) = np.nonzero(cases == saddle)
        squares = np.concatenate([squares, squares[extra]])
        segments = np.concatenate([segments, np.broadcast_to(second, (len(extra), 2))])
        order = np.concatenate([order, 2 * extra + 1])
    raster = np.argsort(order)
    squares, segments = squares[raster], segments[raster]
    start = squares + _EDGE_OFFSETS[segments[:, 0]]
    end = squares + _EDGE_OFFSETS[segments[:, 1]]
    chain = _chain_of_first_segment(start, end, width=2 * inside.shape[1] + 1)
    points: Points = np.concatenate([start[chain[:1]], end[chain]]) / 2.0
    return points


def _chain_of_first_segment(start: NDArray[np.int_], end: NDArray[np.int_], width: int) -> NDArray[np.int_]:
    """Return the indices of the segments, head to tail, of the curve that holds segment 0.

    Every point belongs to at most two segments, ending one and starting the other. A closed curve is
    cut where the segment that comes last in raster order ends: there scikit-image closes it.
    """
    start_key = start[:, 0] * width + start[:, 1]
    end_key = end[:, 0] * width + end[:, 1]
    following = _lookup(start_key, end_key).tolist()
    chain = [0]
    while (k := following[chain[-1]]) > 0:
        chain.append(k)
    if k == 0:
        last = int(np.argmax(chain))
        return np.array(chain[last + 1 :] + chain[: last + 1])
    preceding = _lookup(end_key, start_key).tolist()
    before = []
    k = 0
    while (k := preceding[k]) >= 0:
        before.append(k)
    return np.array(before[::-1] + chain)


def _lookup(keys: NDArray[np.int_], wanted: NDArray[np.int_]) -> NDArray[np.int_]:
    """Return for each wanted key its index in `keys`, or -1."""
    order = np.argsort(keys)
    position = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    index = order[position]
    return np.where(keys[index] == wanted, index, -1)


def largest_component(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], float]:
    """Return the largest 4-connected component and the fraction of all pixels that lie in others."""
    labelled, count = ndimage.label(mask)
    if count <= 1:
        return mask, 0.0
    sizes = np.bincount(labelled.ravel())[1:]
    biggest = int(np.argmax(sizes))
    return labelled == biggest + 1, float(1.0 - sizes[biggest] / sizes.sum())


def without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what no 4-connected path outside the mask joins to the edge of the array."""
    background, count = ndimage.label(np.pad(~mask, 1, constant_values=True))
    if count == 1:
        return mask
    filled: NDArray[np.bool_] = background[1:-1, 1:-1] != background[0, 0]
    return filled


def trace_outline(mask: NDArray[np.bool_], spacing_mm: Spacing, smoothing_mm: float) -> Points:
    """Trace the smooth closed outline, in mm, of a mask that is one component without holes.

    Parameters
    ----------
    mask
        (rows, columns), True inside; it may touch the edge of the array.
    spacing_mm
        (row, column) pixel spacing.
    smoothing_mm
        Standard deviation of the smoothing along the outline.

    Returns
    -------
    (K, 2) points (row, column) in mm, first point not repeated; empty (0, 2) for an empty mask.
    """
    jagged = (first_contour(np.pad(mask, 1)) - 1.0)[:-1] * np.asarray(spacing_mm)
    if len(jagged) < 4:
        return np.empty((0, 2))
    step = min(spacing_mm) / 2
    return smooth_closed(resample(jagged, step, closed=True), smoothing_mm / step)


def resample(points: Points, step: float, *, closed: bool) -> Points:
    """Return points about `step` apart along the polyline; an open one keeps both its ends."""
    if closed:
        points = np.concatenate([points, points[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    count = max(8, round(float(along[-1]) / step))
    wanted = np.linspace(0.0, along[-1], count, endpoint=not closed)
    return np.stack([np.interp(wanted, along, points[:, axis]) for axis in (0, 1)], axis=1)


def smooth_closed(points: Points, sigma: float) -> Points:
    """Smooth a closed curve of evenly spaced points without shrinking it; `sigma` in points."""
    return _smooth(points, min(sigma, len(points) / 8), "wrap")


def smooth_open(points: Points, sigma: float) -> Points:
    """Smooth an open curve of evenly spaced points, holding both ends; `sigma` in points."""
    margin = len(points) - 1
    mirrored = np.pad(points, ((margin, margin), (0, 0)), mode="reflect", reflect_type="odd")
    return _smooth(mirrored, min(sigma, len(points) / 8), "nearest")[margin : margin + len(points)]


def _smooth(points: Points, sigma: float, mode: str) -> Points:
    if sigma <= 0:
        return points
    low: Points = ndimage.gaussian_filter1d(points, sigma, axis=0, mode=mode)
    low += ndimage.gaussian_filter1d(points - low, sigma, axis=0, mode=mode)
    return low


def polygon_area(points: Points) -> float:
    """Return the area inside a closed polygon, in the square of its unit.

    Examples
    --------
    >>> import numpy as np
    >>> polygon_area(np.array([[0.0, 0.0], [0.0, 3.0], [2.0, 3.0], [2.0, 0.0]]))
    6.0
    """
    row, column = (points - points[0]).T
    return float(abs(np.dot(row, np.roll(column, -1)) - np.dot(column, np.roll(row, -1))) / 2)


def polyline_length(points: Points) -> float:
    """Return the length of an open polyline, in its unit."""
    return float(np.hypot(*np.diff(points, axis=0).T).sum())
