"""Smoothing in time: a Gaussian-weighted quadratic fitted about every frame.

A running mean cuts off the peaks that end-diastole and end-systole are; a local quadratic keeps them. The
weights depend on the frame times alone, so that unequal intervals and frames without a mask need no
special case, and one matrix smooths a curve, distance maps and class scores alike.

Savitzky and Golay, Anal Chem 36(8):1627-1639, 1964, doi:10.1021/ac60214a047; Cleveland, J Am Stat Assoc
74(368):829-836, 1979, doi:10.1080/01621459.1979.10481038.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Smoother: TypeAlias = "sparse.csr_array[np.float64]"
"""(time, time) matrix of weights, rows summing to one: ``smoother @ values`` smooths along the first axis."""

REACH = 4.0
"""Widths beyond which a frame has no weight: exp(-8)."""

_RIDGE = 1e-3
"""Keeps the fit from leaning on a slope that one or two frames cannot tell."""


def temporal_smoother(times: NDArray[np.float64], width: float, valid: NDArray[np.bool_] | None = None) -> Smoother:
    """Return the weights by which values at `times` are smoothed.

    Parameters
    ----------
    times
        (time,) ascending, in any unit.
    width
        Standard deviation of the Gaussian weights, in the same unit.
    valid
        (time,) False for frames without a value: they get one from their neighbours.

    Raises
    ------
    ValueError
        When the width is not above 0, or no frame is valid.

    Examples
    --------
    >>> times = np.arange(9.0)
    >>> parabola = (times - 4) ** 2
    >>> bool(np.allclose(temporal_smoother(times, 1.0) @ parabola, parabola, atol=0.05))
    True
    """
    n = len(times)
    known = np.arange(n) if valid is None else np.flatnonzero(valid)
    if not width > 0 or not known.size:
        raise ValueError("smoothing needs a width above 0 and at least one valid frame")
    at = times[known]
    first, last = (np.searchsorted(at, times + side * REACH * width) for side in (-1, 1))
    # Every frame looks at equally many, so that all fits are made at once; those too far off weigh nothing.
    count = min(at.size, max(3, int((last - first).max())))
    nearest = np.clip(np.searchsorted(at, times), 0, at.size - 1)
    begin = np.clip(np.minimum(first, nearest - 1), 0, at.size - count)
    window = begin[:, None] + np.arange(count)
    distance = (at[window] - times[:, None]) / width
    # Scaled to the nearest frame: in a gap all weights would vanish together.
    gauss = np.exp(-0.5 * (distance**2 - (distance**2).min(axis=1, keepdims=True)))
    powers = distance[..., None] ** np.arange(3)
    weighted = gauss[..., None] * powers
    moments = powers.transpose(0, 2, 1) @ weighted
    moments[:, [1, 2], [1, 2]] += _RIDGE * moments[:, :1, 0]
    intercept = np.linalg.solve(moments, np.broadcast_to([[1.0], [0.0], [0.0]], (n, 3, 1)))
    weights = (weighted @ intercept)[..., 0]
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(n), count)
    return sparse.csr_array((weights.ravel(), (rows, known[window].ravel())), shape=(n, n))
