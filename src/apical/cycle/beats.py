"""Beats on a cavity-area curve: end-diastole where the cavity is largest, end-systole where it is smallest.

The definition is the guidelines' (Lang et al., J Am Soc Echocardiogr 28(1):1-39, 2015,
doi:10.1016/j.echo.2014.10.003), read off the smoothed curve: every deep trough is an end-systole, and
between two of them lies an end-diastole, the last full peak before ejection, so that the plateau of
diastasis is not taken for it. At the ends of a clip a peak counts only when it is as full as the others.
Without frame times the unit of time is the frame, and the beat itself sets the width of the smoothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from apical.cycle.curve import cavity_areas, plausible_frames
from apical.cycle.rejection import RejectionRule, judge
from apical.cycle.results import Beat, Cycle
from apical.cycle.smoothing import Smoother, temporal_smoother
from apical.errors import InputError
from apical.measure.results import Finding, Reason, Severity
from apical.study import Spacing

Curve: TypeAlias = NDArray[np.float64]
Turns: TypeAlias = list[tuple[int | None, int, int | None]]


@dataclass(frozen=True)
class BeatRule:
    """How beats are found and which of them count."""

    smoothing_ms: float = 60.0
    smoothing_frames: float = 1.5
    """First width of the smoothing, with frame times and without."""
    smoothing_share: float = 0.075
    """Width as a share of the beat, once that is known: ejection takes a third of it."""
    least_interval_ms: float = 300.0
    """Two end-systoles are not closer than this: 200 bpm."""
    trough_depth: float = 0.35
    """Depth of an end-systole, as a share of the curve's span."""
    full_peak: float = 0.12
    """How far below the others a peak at the clip's end may lie, as a share of the span: the atrial kick is more."""
    same_peak: float = 0.04
    """Of peaks this close in height (share of the span) the last before ejection is end-diastole."""
    real_rise: float = 0.25
    """Rise or fall (share of the span) between a peak and the clip's end that shows it to be a peak."""
    end_share: float = 0.05
    flat_end: float = 0.35
    """Over this share of a beat the curve at a clip's end changes by no more than this share of its steepest change."""
    least_change_percent: float = 2.0
    noise_factor: float = 1.5
    """Less area change than this, or than so many times what noise alone would leave after smoothing, is no beating."""
    rejection: RejectionRule = field(default_factory=RejectionRule)


def find_cycle(
    masks: NDArray[np.uint8],
    frame_times_ms: Curve | None = None,
    spacing_mm: Spacing | None = None,
    rule: BeatRule = BeatRule(),
) -> Cycle:
    """Find the beats of a clip from its masks.

    Parameters
    ----------
    masks
        (time, row, column), labels 0-3.
    frame_times_ms
        (time,) ascending, or None where unknown.
    spacing_mm
        (row, column) pixel spacing: the curve is then in cm².

    Raises
    ------
    InputError
        When masks and times do not belong together.
    """
    return find_beats(cavity_areas(masks, spacing_mm), frame_times_ms, "pixels" if spacing_mm is None else "cm²", rule)


def find_beats(
    areas: Curve, frame_times_ms: Curve | None = None, unit: str = "pixels", rule: BeatRule = BeatRule()
) -> Cycle:
    """Find the beats on a (time,) curve of cavity areas, in `unit`; see `find_cycle`.

    Examples
    --------
    >>> times = np.arange(0.0, 2500.0, 25.0)
    >>> cycle = find_beats(20 + 6 * np.cos(2 * np.pi * times / 1000), times)
    >>> [(b.ed_index, b.es_index, b.next_ed_index) for b in cycle.beats]
    [(0, 20, 40), (40, 60, 80)]
    >>> cycle.heart_rate_bpm
    60.0
    """
    areas = np.asarray(areas, dtype=np.float64)
    if frame_times_ms is not None:
        frame_times_ms = np.asarray(frame_times_ms, dtype=np.float64)
        if frame_times_ms.shape != areas.shape:
            raise InputError(f"{areas.size} frames have {frame_times_ms.size} times: give one time per frame, or none")
        if not np.isfinite(frame_times_ms).all() or (np.diff(frame_times_ms) <= 0).any():
            raise InputError("frame times do not ascend: give the times in order, or none")
    plausible = plausible_frames(areas, frame_times_ms)
    cycle = Cycle(areas, np.full(areas.shape, np.nan), plausible, frame_times_ms, unit)
    if plausible.any():
        cycle = _with_beats(cycle, rule)
    return replace(cycle, findings=_findings(cycle))


def _with_beats(cycle: Cycle, rule: BeatRule) -> Cycle:
    times = _times(cycle)
    timed = cycle.frame_times_ms is not None
    width = rule.smoothing_ms if timed else rule.smoothing_frames
    smoother, smoothed = _smooth(cycle, width)
    turns = _turning_points(cycle, smoothed, rule)
    period = _period(times, turns)
    if period is not None:
        # A fast beat asks for less smoothing; where there are no times every beat says how much.
        fitted = rule.smoothing_share * period
        width = min(width, fitted) if timed else fitted
        smoother, smoothed = _smooth(cycle, width)
        turns = _turning_points(cycle, smoothed, rule)
    cycle = replace(cycle, smoothed=smoothed)
    if not _is_beating(cycle, smoother, rule):
        return cycle
    beats = tuple(
        _beat(cycle, ed, es, following) for ed, es, following in turns if ed is not None and following is not None
    )
    if beats:
        return replace(cycle, beats=judge(cycle, beats, rule.rejection))
    begun = [(ed, es) for ed, es, _ in turns if ed is not None]
    if begun:
        ed, es = max(begun, key=lambda pair: float(smoothed[pair[0]] - smoothed[pair[1]]))
    else:
        known = np.flatnonzero(cycle.plausible)
        ed, es = int(known[smoothed[known].argmax()]), int(known[smoothed[known].argmin()])
    return replace(cycle, beats=(_beat(cycle, ed, es, None),))


def _times(cycle: Cycle) -> Curve:
    if cycle.frame_times_ms is not None:
        return cycle.frame_times_ms
    return np.arange(cycle.area.size, dtype=np.float64)


def _smooth(cycle: Cycle, width: float) -> tuple[Smoother, Curve]:
    smoother = temporal_smoother(_times(cycle), width, cycle.plausible)
    return smoother, np.asarray(smoother @ np.where(cycle.plausible, cycle.area, 0.0))


def _turning_points(cycle: Cycle, smoothed: Curve, rule: BeatRule) -> Turns:
    """Return every end-systole with the end-diastoles around it, None where cut off."""
    times, known = _times(cycle), np.flatnonzero(cycle.plausible)
    # Marks are set on frames that have a mask of their own.
    curve = smoothed[known]
    span = float(np.subtract(*np.percentile(curve, [98, 2])))
    if span <= 0 or curve.size < 3:
        return []
    troughs = _deep_troughs(curve, rule.trough_depth * span)
    if cycle.frame_times_ms is not None:
        troughs = _apart(troughs, curve, times[known], rule.least_interval_ms)
    if not troughs:
        return []
    edges = [0, *troughs, curve.size - 1]
    peaks = [_last_full_peak(curve, a, b, rule.same_peak * span) for a, b in pairwise(edges)]
    inner = [float(curve[p]) for p in peaks[1:-1]]
    full = float(np.median(inner)) if inner else float(max(curve[peaks[0]], curve[peaks[-1]]))
    first, last = peaks[0], peaks[-1]
    rise, fall = float(curve[first] - curve[0]), float(curve[last] - curve[-1])
    keep = [True] * len(peaks)
    # Where no other peak tells how high one is, one at the clip's very end must be flat, as an end-diastole is.
    some = max(1, round(rule.end_share * (last - first)))
    steepest = float(np.abs(curve[some:] - curve[:-some]).max())
    flat = [abs(float(curve[0] - curve[some])), abs(float(curve[-1] - curve[-1 - some]))]
    ends = [bool(inner) or d <= rule.flat_end * steepest for d in flat]
    ends = [ends[0] or first > 0, ends[1] or last < curve.size - 1]
    keep[0] = (ends[0] and curve[first] >= full - rule.full_peak * span) or rise >= rule.real_rise * span
    keep[-1] = (ends[1] and curve[last] >= full - rule.full_peak * span) or fall >= rule.real_rise * span
    marks = [int(known[p]) if good else None for p, good in zip(peaks, keep, strict=True)]
    return [(a, int(known[t]), b) for a, t, b in zip(marks, troughs, marks[1:], strict=False)]


def _deep_troughs(curve: Curve, depth: float) -> list[int]:
    """Return the minima before and after which the curve is higher by `depth`."""
    troughs = []
    low, high, falling = 0, 0, False
    for k, value in enumerate(curve):
        if falling:
            if value < curve[low]:
                low = k
            elif value >= curve[low] + depth:
                troughs.append(low)
                high, falling = k, False
        elif value > curve[high]:
            high = k
        elif value <= curve[high] - depth:
            low, falling = k, True
    return troughs


def _apart(troughs: list[int], curve: Curve, times: Curve, least: float) -> list[int]:
    """Return the troughs of which no two are closer than `least`; the deeper ones stay."""
    kept: list[int] = []
    for trough in sorted(troughs, key=lambda k: float(curve[k])):
        if all(abs(times[trough] - times[other]) >= least for other in kept):
            kept.append(trough)
    return sorted(kept)


def _last_full_peak(curve: Curve, begin: int, end: int, tolerance: float) -> int:
    """Return the last local maximum within `tolerance` of the largest value between two frames."""
    part = curve[begin : end + 1]
    padded = np.concatenate([[-np.inf], part, [-np.inf]])
    peak = (padded[1:-1] >= padded[:-2]) & (padded[1:-1] > padded[2:])
    return begin + int(np.flatnonzero(peak & (part >= part.max() - tolerance))[-1])


def _period(times: Curve, turns: Turns) -> float | None:
    """Return the median beat in the unit of `times`; from what is seen of one beat, if need be."""
    lengths = [times[b] - times[a] for a, _, b in turns if a is not None and b is not None]
    if not lengths:
        lengths = [times[b[1]] - times[a[1]] for a, b in pairwise(turns)]
    return float(np.median(lengths)) if lengths else None


def _is_beating(cycle: Cycle, smoother: Smoother, rule: BeatRule) -> bool:
    """Tell motion from noise: the residuals say how strong the noise is, the weights what smoothing leaves of it."""
    known = cycle.plausible
    raw, smooth = cycle.area[known], cycle.smoothed[known]
    if raw.size < 3:
        return False
    low, high = np.percentile(smooth, [2, 98])
    kept = float(np.median(smoother.multiply(smoother).sum(axis=1)[known]))
    removed = max(1.0 - 2.0 * float(np.median(smoother.diagonal()[known])) + kept, 1e-6)
    noise = 1.4826 * float(np.median(np.abs(raw - smooth))) * np.sqrt(kept / removed)
    noise_span = 4.1 * noise  # between the same percentiles of a normal distribution
    return bool(high - low >= max(rule.least_change_percent / 100 * high, rule.noise_factor * noise_span))


def _beat(cycle: Cycle, ed: int, es: int, following: int | None) -> Beat:
    change = 100 * float(1 - cycle.smoothed[es] / cycle.smoothed[ed])
    times = cycle.frame_times_ms
    duration = float(times[following] - times[ed]) if times is not None and following is not None else None
    return Beat(ed, es, following, change, duration)


def _findings(cycle: Cycle) -> tuple[Finding, ...]:
    """Say what is wrong with curve and beats."""
    found: list[tuple[Reason, str, Severity]] = []
    n, implausible = cycle.area.size, int((~cycle.plausible).sum())
    if implausible:
        severity = Severity.NOTE if implausible <= 0.1 * n else Severity.CAUTION
        sentence = f"{implausible} of {n} masks are missing or implausible and were left out of the curve."
        found.append((Reason.MASKS_IMPLAUSIBLE, sentence, severity))
    if cycle.frame_times_ms is None and n > 1:
        sentence = "the time between frames is unknown: beats are counted in frames, and there is no heart rate."
        found.append((Reason.FRAME_TIMES_UNKNOWN, sentence, Severity.NOTE))
    if not cycle.beats:
        sentence = "the cavity's area does not change as that of a beating heart."
        found.append((Reason.NO_BEATING, sentence, Severity.REFUSAL))
    elif not cycle.beats[0].complete:
        where = "before" if cycle.beats[0].es_index < cycle.beats[0].ed_index else "after"
        sentence = (
            f"the clip holds no complete beat; the largest cavity and the smallest {where} it stand for "
            "end-diastole and end-systole, which may lie outside the clip."
        )
        found.append((Reason.NO_COMPLETE_BEAT, sentence, Severity.CAUTION))
    for number, beat in enumerate(cycle.beats, start=1):
        if beat.rejected:
            frames = f"frames {beat.ed_index + 1}-{(beat.next_ed_index or beat.es_index) + 1}"
            sentence = f"beat {number} ({frames}) does not count: {beat.rejected}."
            found.append((Reason.BEAT_REJECTED, sentence, Severity.NOTE))
    if cycle.beats and not cycle.good_beats:
        sentence = "no beat is fit to be measured."
        found.append((Reason.NO_COMPLETE_BEAT, sentence, Severity.REFUSAL))
    return tuple(Finding(*parts) for parts in found)
