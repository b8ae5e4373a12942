"""What a clip tells about the heart cycle: the cavity-area curve, its beats, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import View
from apical.measure.results import Finding


@dataclass(frozen=True)
class Beat:
    """One beat by its frames: end-diastole, end-systole, and the next end-diastole.

    Attributes
    ----------
    ed_index, es_index, next_ed_index
        Zero-based frames of the clip. `next_ed_index` is None where the clip holds no complete beat and
        the largest and the smallest cavity stand for ED and ES.
    fractional_area_change_percent
        100 (A_ED - A_ES) / A_ED of the smoothed curve.
    duration_ms
        From end-diastole to end-diastole; None without frame times or a next end-diastole.
    rejected
        One sentence that says why the beat does not count, or None.
    """

    ed_index: int
    es_index: int
    next_ed_index: int | None
    fractional_area_change_percent: float
    duration_ms: float | None = None
    rejected: str | None = None

    @property
    def complete(self) -> bool:
        """Whether the clip shows the beat from end-diastole to end-diastole."""
        return self.next_ed_index is not None

    @property
    def n_frames(self) -> int | None:
        """Frames from end-diastole to the next, or None where there is none."""
        return None if self.next_ed_index is None else self.next_ed_index - self.ed_index

    def rejected_because(self, sentence: str) -> Beat:
        """Return the beat as rejected; the first reason stays."""
        return self if self.rejected else replace(self, rejected=sentence)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "ed_index": self.ed_index,
            "es_index": self.es_index,
            "next_ed_index": self.next_ed_index,
            "fractional_area_change_percent": round(self.fractional_area_change_percent, 2),
            "duration_ms": None if self.duration_ms is None else round(self.duration_ms, 1),
            "rejected": self.rejected,
        }


@dataclass(frozen=True, eq=False)
class Cycle:
    """Beats of one clip and the curve they were found on.

    Attributes
    ----------
    area
        (time,) area of the cavity in `unit`, as the masks have it.
    smoothed
        (time,) the same, smoothed over the plausible frames; NaN where no frame is plausible.
    plausible
        (time,) False where the mask is missing or its area cannot be the ventricle's.
    frame_times_ms
        (time,) or None where unknown.
    unit
        'cm²', or 'pixels' without a spacing.
    beats
        In order of time, the rejected ones too. Empty where the heart is not seen to beat.
    """

    area: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    plausible: NDArray[np.bool_]
    frame_times_ms: NDArray[np.float64] | None
    unit: str
    beats: tuple[Beat, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def good_beats(self) -> tuple[Beat, ...]:
        """The beats that count."""
        return tuple(b for b in self.beats if b.rejected is None)

    @property
    def representative(self) -> Beat | None:
        """The good beat whose area change is the median (the lower of the two middle ones), or None."""
        ordered = sorted(self.good_beats, key=lambda b: b.fractional_area_change_percent)
        return ordered[(len(ordered) - 1) // 2] if ordered else None

    @property
    def heart_rate_bpm(self) -> float | None:
        """Median heart rate of the good beats, or None without frame times or a complete beat."""
        durations = [b.duration_ms for b in self.good_beats if b.duration_ms]
        return 60_000 / float(np.median(durations)) if durations else None

    def seen_in(self, view: View, clip: str) -> tuple[Finding, ...]:
        """Return the findings with the view and the clip's name in them."""
        return tuple(replace(f, view=view, sentence=f"{view}, {clip}: {f.sentence}") for f in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; unknown values of the smoothed curve are None."""
        return {
            "unit": self.unit,
            "frame_times_ms": None if self.frame_times_ms is None else _rounded(self.frame_times_ms),
            "area": _rounded(self.area),
            "smoothed_area": _rounded(self.smoothed),
            "implausible_frames": np.flatnonzero(~self.plausible).tolist(),
            "heart_rate_bpm": None if self.heart_rate_bpm is None else round(self.heart_rate_bpm, 1),
            "beats": [b.as_dict() for b in self.beats],
            "findings": [f.as_dict() for f in self.findings],
        }


def _rounded(values: Iterable[float]) -> list[float | None]:
    return [round(float(v), 3) if np.isfinite(v) else None for v in values]
