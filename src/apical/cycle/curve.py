"""The cavity-area curve of a clip, and which of its frames cannot be the ventricle's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from apical.anatomy import Label
from apical.errors import InputError
from apical.study import Spacing

MM2_PER_CM2 = 100.0


@dataclass(frozen=True)
class PlausibilityRule:
    """When the area of a frame cannot be that of the ventricle beside it."""

    least_share: float = 0.35
    largest_share: float = 2.2
    """Share of the clip's median area: an EF of 80 % leaves about 0.4 of the end-diastolic area."""
    window_frames: int = 5
    """Frames of the running median: an outlier is one of at most two in a row."""
    least_jump: float = 0.15
    jump_per_ms: float = 0.008
    """Share of the median area by which an outlier leaves the running median, and per ms between frames: at
    20 frames/s a fast heart empties a third of its area from one frame to the next."""
    usual_interval_ms: float = 33.0
    """Where frame times are unknown: 30 frames/s."""
    jump_mads: float = 6.0
    """The same in median absolute deviations of the clip, for noisy masks."""


def cavity_areas(masks: NDArray[np.uint8], spacing_mm: Spacing | None = None) -> NDArray[np.float64]:
    """Return the area of the LV cavity in every frame, in cm², or in pixels without a spacing.

    Parameters
    ----------
    masks
        (time, row, column), labels 0-3.
    spacing_mm
        (row, column) pixel spacing.

    Raises
    ------
    InputError
        When `masks` is not (time, row, column) or has no frame.

    Examples
    --------
    >>> cavity_areas(np.ones((2, 20, 10), np.uint8), (0.5, 1.0)).tolist()
    [1.0, 1.0]
    """
    if masks.ndim != 3 or not len(masks):
        raise InputError(f"masks of a clip are (time, row, column), got {masks.shape}: give one mask per frame")
    pixels = np.array([np.count_nonzero(mask == Label.LV_CAVITY) for mask in masks], dtype=np.float64)
    return pixels if spacing_mm is None else pixels * (spacing_mm[0] * spacing_mm[1] / MM2_PER_CM2)


def plausible_frames(
    areas: NDArray[np.float64],
    frame_times_ms: NDArray[np.float64] | None = None,
    rule: PlausibilityRule = PlausibilityRule(),
) -> NDArray[np.bool_]:
    """Tell which of the (time,) areas can be the ventricle's; zero, NaN and jumps there and back cannot.

    Examples
    --------
    >>> plausible_frames(np.array([20.0, 19.0, 0.0, 17.0, 16.0, 30.0, 15.0])).tolist()
    [True, True, False, True, True, False, True]
    """
    plausible = np.isfinite(areas) & (areas > 0)
    if not plausible.any():
        return plausible
    middle = float(np.median(areas[plausible]))
    plausible &= (areas > rule.least_share * middle) & (areas < rule.largest_share * middle)
    kept = areas[plausible]
    if kept.size < rule.window_frames:
        return plausible
    off = np.abs(kept - ndimage.median_filter(kept, rule.window_frames, mode="nearest"))
    interval_ms = rule.usual_interval_ms
    if frame_times_ms is not None and frame_times_ms.size > 1:
        interval_ms = float(np.median(np.diff(frame_times_ms)))
    jump = max(rule.least_jump, rule.jump_per_ms * interval_ms)
    limit = max(jump * middle, rule.jump_mads * float(np.median(off)))
    plausible[np.flatnonzero(plausible)[off > limit]] = False
    return plausible
