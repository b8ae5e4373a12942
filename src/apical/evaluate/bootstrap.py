"""Confidence intervals by resampling patients, not images: the frames of one heart are not independent.

Percentile bootstrap (Efron, Ann Statist 7(1):1-26, 1979, doi:10.1214/aos/1176344552) with all frames of a
drawn patient drawn together. The seed is fixed, so that the same scores give the same interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
"""Lower and upper end."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn.

    Attributes
    ----------
    n_resamples
        Number of bootstrap samples.
    level
        Nominal coverage of the interval.
    seed
        Seed of the draws.
    """

    n_resamples: int = 2000
    level: float = 0.95
    seed: int = 2019

    def mean_interval(
        self, values: ArrayLike, patients: Sequence[str], weights: ArrayLike | None = None
    ) -> Interval | None:
        """Return the interval of a (weighted) mean over rows, resampling patients; None for a single patient.

        Parameters
        ----------
        values
            (n,) one value per row.
        patients
            (n,) whose row it is; a patient may have several.
        weights
            (n,) positive weight of each row; equal by default.
        """
        row_values = np.asarray(values, dtype=np.float64)
        row_weights = np.ones_like(row_values) if weights is None else np.asarray(weights, dtype=np.float64)
        names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        if len(names) < 2:
            return None
        totals = np.bincount(owner, weights=row_values * row_weights)
        counts = np.bincount(owner, weights=row_weights)
        draws = _draws(len(names), self.n_resamples, self.seed)
        return self.interval((draws @ totals) / (draws @ counts))

    def statistic_intervals(
        self, statistics: Callable[[Floats, Floats], dict[str, Floats]], first: Floats, second: Floats
    ) -> dict[str, Interval]:
        """Return the intervals of statistics of paired values, one pair per patient; empty for a single patient.

        `statistics` takes two (n_resamples, n) arrays and gives (n_resamples,) values by name.
        """
        n = len(first)
        if n < 2:
            return {}
        index = np.random.default_rng(self.seed).integers(n, size=(self.n_resamples, n))
        samples = statistics(first[index], second[index])
        # A resample of one patient alone has no correlation; it says nothing about the interval.
        return {name: self.interval(s[np.isfinite(s)]) for name, s in samples.items() if np.isfinite(s).any()}

    def interval(self, samples: Floats) -> Interval:
        """Return the central interval of bootstrap samples."""
        tail = (1 - self.level) / 2
        low, high = np.quantile(samples, (tail, 1 - tail))
        return float(low), float(high)


@lru_cache(maxsize=4)
def _draws(n_patients: int, n_resamples: int, seed: int) -> Floats:
    """Return (n_resamples, n_patients) how often each patient is drawn; kept, as a table asks for it many times."""
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n_resamples).astype(np.float64)
    draws.setflags(write=False)
    return draws
