"""Make a predicted mask anatomically possible, and say what had to be changed.

One cavity without holes, one atrium below it, a wall in no more than its large pieces: a heart has no
specks. What is taken away gets the label of its nearest remaining neighbour, so that no hole is torn.
Expert masks are never repaired.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from apical.anatomy import Label
from apical.study import Mask, Repair

WALL_PIECE = 0.05
"""A piece of myocardium below this share of its largest piece is a speck: sector edges can split a wall in two."""

_DIAGONALS = np.ones((3, 3), bool)
"""Pixels that touch at a corner belong together, region and background alike: only what is plainly apart counts."""


def repair_mask(mask: Mask) -> tuple[Mask, tuple[Repair, ...]]:
    """Return an anatomically possible mask and the repairs it took; the mask itself when there were none.

    Parameters
    ----------
    mask
        Labels 0-3, (row, column).

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.zeros((9, 9), np.uint8)
    >>> mask[2:6, 2:6] = 1
    >>> mask[3, 3], mask[8, 8] = 0, 1
    >>> repaired, repairs = repair_mask(mask)
    >>> [(r.what, r.pixels) for r in repairs]
    [('second cavity removed', 1), ('hole in the cavity filled', 1)]
    """
    rows, columns = (np.flatnonzero((mask > 0).any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return mask, ()
    # All happens where the heart is; one pixel of margin keeps its outside in one piece.
    heart = (slice(max(0, rows[0] - 1), rows[-1] + 2), slice(max(0, columns[0] - 1), columns[-1] + 2))
    result = mask[heart]
    repairs = []
    for what, step in _STEPS:
        after = step(result)
        changed = int(np.count_nonzero(after != result))
        if changed:
            repairs.append(Repair(what, changed))
            result = after
    if not repairs:
        return mask, ()
    whole = mask.copy()
    whole[heart] = result
    return whole, tuple(repairs)


def _one_cavity(mask: Mask) -> Mask:
    return _without(mask, _beside_largest(mask == Label.LV_CAVITY))


def _whole_cavity(mask: Mask) -> Mask:
    return np.where(_holes(mask == Label.LV_CAVITY), np.uint8(Label.LV_CAVITY), mask)


def _one_atrium(mask: Mask) -> Mask:
    return _without(mask, _beside_largest(mask == Label.LEFT_ATRIUM))


def _atrium_below(mask: Mask) -> Mask:
    """Take away an atrium whose centre lies level with the apex half of the cavity or above it."""
    cavity, atrium = mask == Label.LV_CAVITY, mask == Label.LEFT_ATRIUM
    if not cavity.any() or not atrium.any():
        return mask
    rows = np.flatnonzero(cavity.any(axis=1))
    middle = (rows[0] + rows[-1]) / 2
    return _without(mask, atrium) if np.flatnonzero(atrium.any(axis=1)).mean() < middle else mask


def _no_specks_of_wall(mask: Mask) -> Mask:
    pieces, n = ndimage.label(mask == Label.MYOCARDIUM, _DIAGONALS)
    if n < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return _without(mask, np.isin(pieces, np.flatnonzero((sizes > 0) & (sizes < WALL_PIECE * sizes.max()))))


def _whole_heart(mask: Mask) -> Mask:
    """Background that the heart encloses is wall."""
    return np.where(_holes(mask > 0), np.uint8(Label.MYOCARDIUM), mask)


# A stray piece of atrium or wall can part the cavity in two: only when it is gone is it plain what else is stray.
_STEPS = (
    ("second atrium removed", _one_atrium),
    ("specks of myocardium removed", _no_specks_of_wall),
    ("second cavity removed", _one_cavity),
    ("atrium beside the apex removed", _atrium_below),
    ("hole in the cavity filled", _whole_cavity),
    ("hole in the heart filled", _whole_heart),
)


def _holes(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which pixels outside a region it encloses."""
    outside, n = ndimage.label(np.pad(~region, 1, constant_values=True), _DIAGONALS)
    return (outside > 0)[1:-1, 1:-1] & (outside != outside[0, 0])[1:-1, 1:-1] if n > 1 else np.zeros_like(region)


def _beside_largest(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pieces, n = ndimage.label(region, _DIAGONALS)
    if n < 2:
        return np.zeros_like(region)
    largest = int(np.bincount(pieces.ravel())[1:].argmax()) + 1
    stray: NDArray[np.bool_] = (pieces > 0) & (pieces != largest)
    return stray


def _without(mask: Mask, region: NDArray[np.bool_]) -> Mask:
    """Give the pixels of a region the label of the nearest pixel outside it."""
    if not region.any():
        return mask
    nearest = ndimage.distance_transform_edt(region, return_distances=False, return_indices=True)
    filled: Mask = mask[tuple(nearest)]
    return filled
