"""Scores of many frames in one table: by view, phase and structure, with intervals over patients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from apical.anatomy import Phase, Structure, View
from apical.evaluate.bootstrap import Bootstrap, Interval
from apical.evaluate.geometry import FrameScore

ALL = "all"
"""Every view, or every phase."""

FOREGROUND_MEAN = "foreground"
"""Pseudo-structure: mean Dice of cavity, myocardium ring and atrium."""

WHOLE_IMAGE = "image"
"""Pseudo-structure of the pixel accuracies."""

DISTANCES = ("hd", "hd95", "masd")


@dataclass(frozen=True)
class Summary:
    """One metric of one structure over a group of frames.

    Attributes
    ----------
    view, phase
        CAMUS names, or "all".
    structure
        Value of `anatomy.Structure`, or "foreground", or "image".
    metric
        dice, hd, hd95, masd, accuracy or heart_accuracy.
    unit
        "mm" or "pixel" for distances, else "". Frames with and without spacing are never averaged together.
    n
        Frames with a value.
    n_patients
        Patients that these frames belong to.
    n_missing
        Frames without a prediction: 0 in Dice and accuracy, without a distance.
    n_absent
        Frames without a value: a distance to or from nothing.
    mean, median, sd
        Over frames; None without values. The mean accuracy is pooled over pixels. The sample SD needs two.
    interval
        Bootstrap interval of the mean, over patients; None for a single patient.
    """

    view: str
    phase: str
    structure: str
    metric: str
    unit: str
    n: int
    n_patients: int
    n_missing: int
    n_absent: int
    mean: float | None
    median: float | None
    sd: float | None
    interval: Interval | None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)


def summarise(frames: Iterable[FrameScore], bootstrap: Bootstrap = Bootstrap()) -> list[Summary]:
    """Summarise frame scores for each view, each phase and all of them, structure by structure.

    Views and phases without a frame are left out; a frame of unknown view or phase counts under "all" only.
    """
    everything = list(frames)
    table = []
    for view in (*View, None):
        for phase in (*Phase, None):
            group = [f for f in everything if view in (None, f.view) and phase in (None, f.phase)]
            if group:
                names = (view.value if view else ALL, phase.value if phase else ALL)
                table += list(_summarise_group(group, *names, bootstrap))
    return table


def find(
    table: Iterable[Summary], structure: str, metric: str, view: str = ALL, phase: str = ALL, *, unit: str | None = None
) -> Summary | None:
    """Return the entry of a summary table, or None; `unit` matters only where frames have different ones."""
    wanted = (structure, metric, view, phase)
    return next(
        (s for s in table if (s.structure, s.metric, s.view, s.phase) == wanted and unit in (None, s.unit)), None
    )


def _summarise_group(group: list[FrameScore], view: str, phase: str, bootstrap: Bootstrap) -> Iterator[Summary]:
    for structure in Structure:
        dice = [f[structure].dice for f in group]
        yield _summary(group, dice, bootstrap, view=view, phase=phase, structure=structure.value, metric="dice")
        for unit in sorted({f[structure].unit for f in group}):
            members = [f for f in group if f[structure].unit == unit]
            for metric in DISTANCES:
                values = [getattr(f[structure], metric) for f in members]
                yield _summary(
                    members,
                    values,
                    bootstrap,
                    view=view,
                    phase=phase,
                    structure=structure.value,
                    metric=metric,
                    unit=unit,
                )
    foreground = [f.foreground_dice for f in group]
    yield _summary(group, foreground, bootstrap, view=view, phase=phase, structure=FOREGROUND_MEAN, metric="dice")
    for metric in ("accuracy", "heart_accuracy"):
        values = [getattr(f, metric) for f in group]
        yield _summary(
            group, values, bootstrap, view=view, phase=phase, structure=WHOLE_IMAGE, metric=metric, by_pixels=True
        )


def _summary(
    frames: Sequence[FrameScore],
    values: Sequence[float | None],
    bootstrap: Bootstrap,
    *,
    view: str,
    phase: str,
    structure: str,
    metric: str,
    unit: str = "",
    by_pixels: bool = False,
) -> Summary:
    """Summarise one value per frame, None where there is none; `by_pixels` weighs the mean by frame size."""
    kept = [(f, value) for f, value in zip(frames, values, strict=True) if value is not None]
    array = np.array([value for _, value in kept], dtype=np.float64)
    owners = [f.patient for f, _ in kept]
    weights = [f.n_pixels if by_pixels else 1 for f, _ in kept]
    return Summary(
        view=view,
        phase=phase,
        structure=structure,
        metric=metric,
        unit=unit,
        n=len(kept),
        n_patients=len(set(owners)),
        n_missing=sum(f.missing for f in frames),
        n_absent=len(frames) - len(kept),
        mean=float(np.average(array, weights=weights)) if kept else None,
        median=float(np.median(array)) if kept else None,
        sd=float(array.std(ddof=1)) if len(kept) > 1 else None,
        interval=bootstrap.mean_interval(array, owners, weights) if kept else None,
    )
