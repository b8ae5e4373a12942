"""Masks that do not flicker: how steady a clip's masks are, and a filter that makes them steadier.

Distance maps are smoothed, not labels: the border moves to where the smoothed distance is zero, the mean
of where it was in the frames around. The weights are those of a local quadratic (see `smoothing`), so that the turn
at end-systole is not flattened. Distances are chessboard distances, eight times faster to compute
than Euclidean ones: along any one border they grow evenly too, and only where they are zero counts.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from apical.anatomy import Label
from apical.cycle.curve import cavity_areas, plausible_frames
from apical.cycle.smoothing import Smoother, temporal_smoother

_NESTED = (
    (Label.LV_CAVITY, Label.MYOCARDIUM, Label.LEFT_ATRIUM),
    (Label.LV_CAVITY, Label.MYOCARDIUM),
    (Label.LV_CAVITY,),
)
"""Regions within each other, whose borders part all labels without gap or overlap; the largest, which takes
longest, comes first."""

_LABELLED = {labels: np.isin(np.arange(256), labels) for labels in _NESTED}
"""Which values of a mask belong to each region."""

_MOST_PX = 30
"""Distances are cut off here: a border that moves farther within the filter's reach is another object."""

_CHUNK = 1 << 15


@dataclass(frozen=True)
class StabilityRule:
    """Width of the temporal filter: a time, but at least a part of the interval between frames."""

    width_ms: float = 40.0
    width_frames: float = 1.0


@dataclass(frozen=True)
class Stability:
    """How steady the cavity is from frame to frame; None where fewer than three frames have one.

    Attributes
    ----------
    area_jitter_percent
        Standard deviation, in percent of the median area, of the noise on the area: from the distance of each
        frame to the middle of its neighbours, by the median, so that real motion hardly counts.
    neighbour_dice
        Mean Dice of the cavity in consecutive frames; motion lowers it too.
    """

    area_jitter_percent: float | None
    neighbour_dice: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        values = {"area_jitter_percent": self.area_jitter_percent, "neighbour_dice": self.neighbour_dice}
        return {name: None if value is None else round(value, 4) for name, value in values.items()}


def measure_stability(masks: NDArray[np.uint8]) -> Stability:
    """Measure how steady the cavity is in (time, row, column) masks; implausible frames are left out.

    Examples
    --------
    >>> measure_stability(np.ones((3, 8, 8), np.uint8))
    Stability(area_jitter_percent=0.0, neighbour_dice=1.0)
    """
    areas = cavity_areas(masks)
    known = plausible_frames(areas)
    kept = areas[known]
    if kept.size < 3:
        return Stability(None, None)
    off = np.abs(kept[1:-1] - (kept[:-2] + kept[2:]) / 2)
    # The middle of two noisy frames is noisy itself: variance 1 + 1/2.
    jitter = 1.4826 * float(np.median(off)) / np.sqrt(1.5) / float(np.median(kept))
    dice = []
    for first, second in pairwise(np.flatnonzero(known)):
        if second == first + 1:
            common = np.count_nonzero((masks[first] == Label.LV_CAVITY) & (masks[second] == Label.LV_CAVITY))
            dice.append(2 * common / (areas[first] + areas[second]))
    return Stability(100 * float(jitter), float(np.mean(dice)) if dice else None)


def stabilise(
    masks: NDArray[np.uint8],
    frame_times_ms: NDArray[np.float64] | None = None,
    rule: StabilityRule = StabilityRule(),
) -> NDArray[np.uint8]:
    """Return the masks of a clip with their borders smoothed in time.

    A still clip comes back as it is. Frames whose mask is missing or implausible stay as they are and
    lend nothing to their neighbours: no mask is invented.

    Parameters
    ----------
    masks
        (time, row, column), labels 0-3.
    frame_times_ms
        (time,) ascending, or None where unknown.
    """
    known = plausible_frames(cavity_areas(masks), frame_times_ms)
    if known.sum() < 3:
        return masks.copy()
    box = _around(masks[known].max(axis=0) > 0)
    part = masks[:, *box]
    smoother = _smoother(len(masks), frame_times_ms, known, rule)
    smooth = np.zeros_like(part)
    with ThreadPoolExecutor() as pool:
        regions = pool.map(lambda labels: _smoothed_region(_LABELLED[labels][part], smoother, known), _NESTED)
        # From the outermost region inwards, each taking its part of the one before.
        for labels, inside in zip(_NESTED, regions, strict=True):
            smooth[inside if labels == _NESTED[0] else inside & (smooth > 0)] = labels[-1]
    result = masks.copy()
    result[known] = 0
    result[(known, *box)] = smooth[known]
    return result


def stabilise_scores(
    scores: NDArray[np.float32],
    frame_times_ms: NDArray[np.float64] | None = None,
    rule: StabilityRule = StabilityRule(),
) -> NDArray[np.float32]:
    """Return class scores (time, ...) smoothed in time by the same weights, before any label is decided."""
    smoother = _smoother(len(scores), frame_times_ms, np.ones(len(scores), dtype=bool), rule)
    flat = scores.reshape(len(scores), -1)
    smooth = np.empty_like(flat)
    for start in range(0, flat.shape[1], _CHUNK):
        smooth[:, start : start + _CHUNK] = smoother @ flat[:, start : start + _CHUNK]
    return smooth.reshape(scores.shape)


def _smoother(
    n: int, frame_times_ms: NDArray[np.float64] | None, known: NDArray[np.bool_], rule: StabilityRule
) -> Smoother:
    if frame_times_ms is None or n < 2:
        return temporal_smoother(np.arange(n, dtype=np.float64), rule.width_frames, known)
    interval = float(np.median(np.diff(frame_times_ms)))
    return temporal_smoother(frame_times_ms, max(rule.width_ms, rule.width_frames * interval), known)


def _smoothed_region(region: NDArray[np.bool_], smoother: Smoother, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Smooth the signed distance maps of a (time, row, column) region and return where they are inside.

    A pixel that is inside in every frame that counts, or in none, stays so.
    """
    inside = np.zeros(region.shape, dtype=bool)
    counted = region[known]
    box = _around(np.asarray(counted.any(axis=0)))
    # All borders lie in the box, and what lies beyond its margin is no nearer to a pixel than the margin.
    counted, region = counted[:, *box], region[:, *box]
    always = counted.all(axis=0)
    changing = np.asarray(counted.any(axis=0) & ~always)
    distance = np.stack([_signed_distance(frame, changing) for frame in region])
    part = inside[:, *box]
    part[:] = always
    part[:, changing] = smoother.astype(np.float32) @ distance > 0
    return inside


def _around(region: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the box of a (row, column) region with a margin of one pixel, where the array reaches that far."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return slice(max(0, int(rows[0]) - 1), int(rows[-1]) + 2), slice(max(0, int(columns[0]) - 1), int(columns[-1]) + 2)


def _signed_distance(frame: NDArray[np.bool_], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return twice the signed distance to the border, at some pixels: 1, 3, 5 ... inside, -1, -3, -5 ... outside.

    Doubled and odd, so that the border lies half-way between two pixels.
    """
    if not frame.any() or frame.all():
        depth = np.full(np.count_nonzero(where), _MOST_PX + 1 if frame.any() else -_MOST_PX - 1)
    else:
        inner, outer = (ndimage.distance_transform_cdt(side, "chessboard")[where] for side in (frame, ~frame))
        depth = np.clip(inner - outer, -_MOST_PX, _MOST_PX)
    return np.asarray(2 * depth - np.sign(depth), dtype=np.float32)
