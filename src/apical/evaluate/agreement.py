"""Agreement of two measurements of the same patients, and of two models on the same frames.

Bias, limits of agreement ``bias +- 1.96 SD`` (Bland and Altman, Lancet 327:307-310, 1986,
doi:10.1016/S0140-6736(86)90837-8), mean absolute error, root mean square error and Pearson's r.
Differences are predicted - reference; the SD is that of a sample (n - 1).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Structure
from apical.errors import InputError
from apical.evaluate.bootstrap import Bootstrap, Floats, Interval
from apical.evaluate.geometry import FrameScore
from apical.evaluate.summary import FOREGROUND_MEAN

LIMITS_OF_AGREEMENT_SD = 1.96
"""Half-width of the limits of agreement, in SD: 95 % of a normal distribution."""

Numbers = Sequence[float | None] | NDArray[np.float64]
"""One number per patient; None or NaN where there is none."""


@dataclass(frozen=True)
class Agreement:
    """How well predicted numbers agree with reference ones, in their own unit.

    Attributes
    ----------
    n
        Patients with both numbers; everything below is over these.
    n_missing
        Patients with a reference but no predicted number. They are not in the figures: read it first.
    n_unreferenced
        Patients without a reference number.
    bias, sd, mae, rmse, r, loa_low, loa_high
        None where there are too few patients, or, for r, no spread.
    intervals
        Bootstrap interval over patients of each of these, by name.
    """

    n: int
    n_missing: int
    n_unreferenced: int
    bias: float | None = None
    sd: float | None = None
    mae: float | None = None
    rmse: float | None = None
    r: float | None = None
    loa_low: float | None = None
    loa_high: float | None = None
    intervals: dict[str, Interval] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)


def agreement(predicted: Numbers, reference: Numbers, bootstrap: Bootstrap = Bootstrap()) -> Agreement:
    """Compare predicted with reference numbers of the same patients, in the same order.

    Raises
    ------
    ValueError
        If the lengths differ or a number is infinite.

    Examples
    --------
    >>> a = agreement([50.0, 62.0, None], [52.0, 60.0, 55.0])
    >>> a.n, a.n_missing, a.bias, a.mae
    (2, 1, 0.0, 2.0)
    """
    p, r = _floats(predicted), _floats(reference)
    if p.shape != r.shape or p.ndim != 1:
        raise ValueError(f"{p.shape} predicted numbers for {r.shape} reference ones: give one of each per patient")
    if np.isinf(p).any() or np.isinf(r).any():
        raise ValueError("a measurement is infinite; an absent one is None or NaN")
    both = ~np.isnan(p) & ~np.isnan(r)
    n_missing, n_unreferenced = int((np.isnan(p) & ~np.isnan(r)).sum()), int(np.isnan(r).sum())
    p, r = p[both], r[both]
    if not len(p):
        return Agreement(0, n_missing, n_unreferenced)
    values = {name: float(v[0]) if np.isfinite(v[0]) else None for name, v in _statistics(p[None], r[None]).items()}
    intervals = bootstrap.statistic_intervals(_statistics, p, r)
    defined = {name: interval for name, interval in intervals.items() if values[name] is not None}
    return Agreement(len(p), n_missing, n_unreferenced, **values, intervals=defined)


@dataclass(frozen=True)
class PairedDifference:
    """Mean Dice of two models on the same frames of the same patients.

    Attributes
    ----------
    structure
        Value of `anatomy.Structure`, or "foreground" for the mean of the three disjoint ones.
    n_patients
        Patients compared; each counts once, with the mean over its frames.
    n_unpaired
        Frames that only one of the models was scored on; left out.
    first, second
        Mean Dice of each model.
    difference
        first - second, with its bootstrap interval over patients.
    p_value
        Two-sided Wilcoxon signed-rank test over patients (Biometrics Bulletin 1(6):80-83, 1945,
        doi:10.2307/3001968); 1 where no patient differs.
    """

    structure: str
    n_patients: int
    n_unpaired: int
    first: float
    second: float
    difference: float
    interval: Interval | None
    p_value: float

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)


def compare_models(
    first: Iterable[FrameScore], second: Iterable[FrameScore], bootstrap: Bootstrap = Bootstrap()
) -> list[PairedDifference]:
    """Compare the Dice of two models patient by patient, for the foreground mean and each structure.

    Raises
    ------
    InputError
        If they share no frame.
    """
    a, b = ({(f.patient, f.frame): f for f in frames} for frames in (first, second))
    shared = sorted(a.keys() & b.keys())
    if not shared:
        raise InputError("the two evaluations share no frame: score both models on the same patients")
    readers: dict[str, Callable[[FrameScore], float]] = {FOREGROUND_MEAN: lambda f: f.foreground_dice}
    for structure in Structure:
        readers[structure.value] = lambda f, s=structure: f[s].dice  # type: ignore[misc]
    differences = []
    for name, dice in readers.items():
        by_patient: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for key in shared:
            by_patient[key[0]].append((dice(a[key]), dice(b[key])))
        means = np.array([np.mean(pairs, axis=0) for pairs in by_patient.values()])
        difference = means[:, 0] - means[:, 1]
        differences.append(
            PairedDifference(
                structure=name,
                n_patients=len(by_patient),
                n_unpaired=len(a.keys() ^ b.keys()),
                first=float(means[:, 0].mean()),
                second=float(means[:, 1].mean()),
                difference=float(difference.mean()),
                interval=bootstrap.mean_interval(difference, list(by_patient)),
                p_value=_wilcoxon(difference),
            )
        )
    return differences


def _wilcoxon(difference: Floats) -> float:
    """Return the two-sided p of the signed-rank test over patients that differ; 1 where none does."""
    # Equal Dice values averaged in another order differ in the last digit: such noise must not be ranked.
    ranked = np.round(difference, 12)
    ranked = ranked[ranked != 0]
    if not len(ranked):
        return 1.0
    from scipy.stats import wilcoxon  # a slow import that only a comparison needs

    return float(wilcoxon(ranked).pvalue)


def _statistics(predicted: Floats, reference: Floats) -> dict[str, Floats]:
    """Return the statistics of (m, n) pairs along the last axis; NaN where undefined."""
    difference = predicted - reference
    n = difference.shape[-1]
    bias = difference.mean(axis=-1)
    sd = difference.std(axis=-1, ddof=1) if n > 1 else np.full_like(bias, np.nan)
    p = predicted - predicted.mean(axis=-1, keepdims=True)
    r = reference - reference.mean(axis=-1, keepdims=True)
    spread = np.sqrt((p**2).sum(axis=-1) * (r**2).sum(axis=-1))
    has_spread = (np.ptp(predicted, axis=-1) > 0) & (np.ptp(reference, axis=-1) > 0)
    correlation = np.divide((p * r).sum(axis=-1), spread, out=np.full_like(spread, np.nan), where=has_spread)
    return {
        "bias": bias,
        "sd": sd,
        "mae": np.abs(difference).mean(axis=-1),
        "rmse": np.sqrt((difference**2).mean(axis=-1)),
        "r": np.clip(correlation, -1.0, 1.0),
        "loa_low": bias - LIMITS_OF_AGREEMENT_SD * sd,
        "loa_high": bias + LIMITS_OF_AGREEMENT_SD * sd,
    }


def _floats(numbers: Numbers) -> Floats:
    return np.array([np.nan if value is None else value for value in numbers], dtype=np.float64)
