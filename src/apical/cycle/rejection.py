"""Which of a clip's beats count: those like the others, of a heart's length, and with masks throughout.

A premature beat, the beat that it cuts short, and the pause after it have volumes of their own; guidelines
ask to leave them out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from apical.cycle.results import Beat, Cycle


@dataclass(frozen=True)
class RejectionRule:
    """When a beat does not count."""

    duration_ms: tuple[float, float] = (320.0, 3000.0)
    """187 to 20 bpm."""
    duration_ratio: tuple[float, float] = (0.7, 1.45)
    amplitude_ratio: tuple[float, float] = (0.7, 1.4)
    """Against the median of the clip's beats, where there are at least `least_majority`."""
    least_majority: int = 3
    missing_share: float = 0.25
    missing_gap: float = 0.12
    """Implausible frames in a beat: their share, and the longest run of them as a share of the beat."""


def judge(cycle: Cycle, beats: tuple[Beat, ...], rule: RejectionRule = RejectionRule()) -> tuple[Beat, ...]:
    """Return the complete beats of a clip, those that should not count with the reason why."""
    judged = [_judged_alone(cycle, beat, rule) for beat in beats]
    good = [b for b in judged if b.rejected is None]
    if len(good) < rule.least_majority:
        return tuple(judged)
    lengths = {id(b): b.duration_ms or float(b.n_frames or 0) for b in judged}
    usual_length = float(np.median([lengths[id(b)] for b in good]))
    usual_change = float(np.median([b.fractional_area_change_percent for b in good]))
    result = []
    for beat in judged:
        length, change = lengths[id(beat)] / usual_length, beat.fractional_area_change_percent / usual_change
        checked = beat
        for ratio, limits, what in (
            (length, rule.duration_ratio, "long"),
            (change, rule.amplitude_ratio, "strong"),
        ):
            if not limits[0] <= ratio <= limits[1]:
                checked = checked.rejected_because(f"it is {100 * ratio:.0f} % as {what} as the clip's median beat")
        result.append(checked)
    return tuple(result)


def _judged_alone(cycle: Cycle, beat: Beat, rule: RejectionRule) -> Beat:
    assert beat.next_ed_index is not None
    missing = ~cycle.plausible[beat.ed_index : beat.next_ed_index + 1]
    run = longest = 0
    for gone in missing:
        run = run + 1 if gone else 0
        longest = max(longest, run)
    if missing.mean() > rule.missing_share or longest > max(2.0, rule.missing_gap * missing.size):
        beat = beat.rejected_because(f"{int(missing.sum())} of its {missing.size} masks are missing or implausible")
    if beat.duration_ms is not None and not rule.duration_ms[0] <= beat.duration_ms <= rule.duration_ms[1]:
        beat = beat.rejected_because(f"{beat.duration_ms:.0f} ms is not the length of a heartbeat")
    return beat
