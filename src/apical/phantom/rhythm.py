"""How full a phantom's ventricle is at every instant of several beats.

Fullness is 1 at a regular beat's end-diastole and 0 at its end-systole. A beat runs from mitral closure
through isovolumic contraction, ejection, isovolumic relaxation, rapid filling and diastasis to the atrial
kick. Ejection shortens with heart rate as in people, LVET = 413 ms - 1.7 ms x beats/min (Weissler et al.,
Circulation 37(2):149-159, 1968, doi:10.1161/01.CIR.37.2.149); diastole takes what is left, diastasis first.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from apical.errors import InputError

Times = NDArray[np.float64]

CONTRACTION_MS, RELAXATION_MS = 45.0, 70.0
"""Isovolumic times; the volume stands still."""

RAPID_FILLING_MS, ATRIAL_KICK_MS = 170.0, 110.0
RAPID_SHARE, DIASTASIS_SHARE = 0.70, 0.05
"""Shares of the filling volume; the atrial kick brings the rest."""

LONGEST_SYSTOLE = 0.62
"""Share of the interval that everything before filling may take; short beats are squeezed."""


@dataclass(frozen=True)
class BeatTimes:
    """Instants of one beat in ms, on the rhythm's clock.

    The volume stands still from `mitral_closing_ms` to `aortic_opening_ms`, which is end-diastole, and from
    `aortic_closing_ms` to `mitral_opening_ms`, which is end-systole.
    """

    mitral_closing_ms: float
    aortic_opening_ms: float
    aortic_closing_ms: float
    mitral_opening_ms: float
    next_mitral_closing_ms: float


@dataclass(frozen=True)
class Rhythm:
    """Consecutive beats.

    Attributes
    ----------
    intervals_ms
        From each end-diastole to the next.
    full
        Fullness at each end-diastole, one more than there are intervals.
    emptied
        Fullness at each end-systole.
    """

    intervals_ms: tuple[float, ...]
    full: tuple[float, ...]
    emptied: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check that there is a heart to beat."""
        n = len(self.intervals_ms)
        if not n or min(self.intervals_ms) < 250.0 or len(self.full) != n + 1 or len(self.emptied) != n:
            raise InputError(
                "a phantom rhythm needs intervals of at least 250 ms, one fullness per end-systole and one more "
                "per end-diastole: give a slower heart or matching lists"
            )

    @classmethod
    def regular(cls, heart_rate_bpm: float, n_beats: int) -> Rhythm:
        """Return equal beats."""
        return cls((60_000 / heart_rate_bpm,) * n_beats, (1.0,) * (n_beats + 1), (0.0,) * n_beats)

    @classmethod
    def irregular(cls, heart_rate_bpm: float, n_beats: int, rng: np.random.Generator) -> Rhythm:
        """Return intervals that vary by up to 20 %; a short one fills the ventricle less."""
        relative = rng.uniform(0.8, 1.2, n_beats)
        full = (1.0, *(1.0 - 0.4 * np.clip(1.0 - relative, 0.0, 1.0)).tolist())
        return cls(tuple((60_000 / heart_rate_bpm * relative).tolist()), full, (0.0,) * n_beats)

    @classmethod
    def premature(cls, heart_rate_bpm: float, n_beats: int, which: int) -> Rhythm:
        """Return regular beats but for one that comes early, ejects less, and is followed by a pause."""
        intervals, full, emptied = [60_000 / heart_rate_bpm] * n_beats, [1.0] * (n_beats + 1), [0.0] * n_beats
        intervals[which - 1] *= 0.62
        intervals[which] *= 1.38
        full[which], emptied[which] = 0.7, 0.2
        return cls(tuple(intervals), tuple(full), tuple(emptied))

    @property
    def duration_ms(self) -> float:
        """From the first end-diastole to the last."""
        return float(sum(self.intervals_ms))

    @property
    def beats(self) -> tuple[BeatTimes, ...]:
        """Instants of every beat."""
        starts = np.concatenate([[0.0], np.cumsum(self.intervals_ms)])
        return tuple(_beat_times(float(a), float(b)) for a, b in pairwise(starts))

    def fullness(self, times_ms: Times) -> Times:
        """Return the fullness at each of the (time,) instants; before the first and after the last beat it stays."""
        result = np.where(times_ms < 0, self.full[0], self.full[-1])
        for beat, begin, low, end in zip(self.beats, self.full, self.emptied, self.full[1:], strict=False):
            inside = (times_ms >= beat.mitral_closing_ms) & (times_ms < beat.next_mitral_closing_ms)
            result[inside] = _fullness(times_ms[inside], beat, begin, low, end)
        return np.asarray(result, dtype=np.float64)


def _beat_times(start: float, end: float) -> BeatTimes:
    interval = end - start
    ejection = max(120.0, 413.0 - 1.7 * 60_000 / interval)
    parts = np.array([CONTRACTION_MS, ejection, RELAXATION_MS])
    parts *= min(1.0, LONGEST_SYSTOLE * interval / parts.sum())
    opening, closing, filling = (float(t) for t in start + np.cumsum(parts))
    return BeatTimes(start, opening, closing, filling, end)


def _fullness(times: Times, beat: BeatTimes, begin: float, low: float, end: float) -> Times:
    filling = beat.next_mitral_closing_ms - beat.mitral_opening_ms
    squeeze = min(1.0, filling / (RAPID_FILLING_MS + ATRIAL_KICK_MS))
    rapid = _step(times, beat.mitral_opening_ms, RAPID_FILLING_MS * squeeze)
    kick = _step(times, beat.next_mitral_closing_ms - ATRIAL_KICK_MS * squeeze, ATRIAL_KICK_MS * squeeze)
    slow = np.clip((times - beat.mitral_opening_ms) / filling, 0.0, 1.0)
    filled = RAPID_SHARE * rapid + DIASTASIS_SHARE * slow + (1 - RAPID_SHARE - DIASTASIS_SHARE) * kick
    ejected = _step(times, beat.aortic_opening_ms, beat.aortic_closing_ms - beat.aortic_opening_ms)
    return np.where(times < beat.mitral_opening_ms, begin + (low - begin) * ejected, low + (end - low) * filled)


def _step(times: Times, start: float, duration: float) -> Times:
    """Return a smooth step from 0 to 1."""
    phase = np.clip((times - start) / duration, 0.0, 1.0)
    return np.asarray((1.0 - np.cos(np.pi * phase)) / 2.0, dtype=np.float64)
