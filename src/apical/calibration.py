"""How far measured volumes lay off on unseen patients, and the intervals that follow: split conformal prediction.

The absolute errors of n patients that the network never saw are sorted. The k-th smallest, k = ceil((n + 1) level),
bounds the error of a further patient with a probability of at least `level`, whatever their distribution, as long as
that patient is one like these (exchangeable). Errors of EF are in points, those of EDV and ESV the logarithm of the
ratio, since large hearts have large errors. Where the quality gate asks for caution an error may be larger by a factor
that is chosen beforehand, which leaves the guarantee as it is. Both sides are alike: the errors are, and a bound for
each side of its own (as in Romano et al., Conformalized Quantile Regression, NeurIPS 2019, arXiv:1905.03222) rests on
half as many.

Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, Springer 2005, doi:10.1007/b106715; Lei et al.,
J Am Stat Assoc 113(523):1094-1111, 2018, doi:10.1080/01621459.2017.1307116, also for errors that are scaled.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

EF = "ef_percent"
QUANTITIES = (EF, "edv_ml", "esv_ml")
"""What an interval is given for."""


@dataclass(frozen=True)
class PredictionInterval:
    """Where an expert's number lies with probability `level`, or the reason why that is not known.

    `low` and `high` are in the unit of the number; exactly one of them and `reason` is given.
    """

    low: float | None
    high: float | None
    level: float | None
    method: str
    reason: str | None = None

    def __post_init__(self) -> None:
        """Check that there is a range or a reason, never both and never neither."""
        absent = [self.low is None, self.high is None, self.level is None]
        if any(absent) != all(absent) or all(absent) != bool(self.reason):
            raise ValueError("an interval is two ends with their level, or the reason why there is none")

    @classmethod
    def absent(cls, reason: str) -> PredictionInterval:
        """Return no interval, with the sentence that says why."""
        return cls(None, None, None, "", reason)

    @property
    def ends(self) -> tuple[float, float] | None:
        """Return (low, high), or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        ends = {name: None if end is None else round(end, 3) for name, end in (("low", self.low), ("high", self.high))}
        return ends | {"level": self.level, "method": self.method, "reason": self.reason}


@dataclass(frozen=True)
class ErrorBound:
    """Bound of the error of one quantity measured by one method.

    Attributes
    ----------
    method
        As `measure` names it: definition and planes; it holds for no other.
    quantity
        One of `QUANTITIES`.
    n
        Patients whose errors gave it.
    bound
        Of a measurement without caution: points of EF, or |log(predicted / expert)| of a volume. None where `n` is
        too small for the level.
    caution_factor
        How many times larger it is where the quality gate asks for caution.
    """

    method: str
    quantity: str
    n: int
    bound: float | None
    caution_factor: float = 1.0

    def __post_init__(self) -> None:
        """Check what came from a file."""
        bounded = self.bound is None or (math.isfinite(self.bound) and self.bound >= 0)
        if self.quantity not in QUANTITIES or not bounded or not 1 <= self.caution_factor < math.inf:
            raise ValueError(f"no bound of an error: {self}")

    def ends(self, value: float, *, caution: bool) -> tuple[float, float] | None:
        """Return the interval around a measured number, in its unit; None without a bound.

        Examples
        --------
        >>> ErrorBound("biplane", "ef_percent", 50, 10.0, 1.5).ends(60.0, caution=True)
        (45.0, 75.0)
        """
        if self.bound is None:
            return None
        reach = self.bound * (self.caution_factor if caution else 1.0)
        if self.quantity == EF:
            # An EF beyond these is none: cutting it off loses no expert's number.
            return max(0.0, value - reach), min(100.0, value + reach)
        return value * math.exp(-reach), value * math.exp(reach)


@dataclass(frozen=True)
class Calibration:
    """What a released model carries to tell its own error.

    Attributes
    ----------
    level
        Nominal coverage of the intervals.
    source
        What the patients are of, as it follows their number in a sentence.
    patients
        Ids of those whose errors gave the bounds: on them the coverage cannot be shown.
    bounds
        One per method and quantity; none where the model carries no calibration.
    note
        What a reader of the interval must know beside.
    """

    level: float = 0.9
    source: str = ""
    patients: tuple[str, ...] = ()
    bounds: tuple[ErrorBound, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        """Check what came from a file."""
        if not 0 < self.level < 1:
            raise ValueError(f"the level of an interval lies between 0 and 1, not at {self.level}")

    def interval(self, quantity: str, value: float, method: str, *, caution: bool) -> PredictionInterval:
        """Return the interval around a number that was measured by `method`, or the reason why there is none."""
        if not self.bounds:
            return PredictionInterval.absent(
                "The model carries no calibration of its error on unseen patients (`apical export --evaluation`)."
            )
        bound = next((b for b in self.bounds if (b.method, b.quantity) == (method, quantity)), None)
        if bound is None:
            return PredictionInterval.absent(f"No unseen patient was measured by the same method ({method}).")
        ends = bound.ends(value, caution=caution)
        if ends is None:
            least = least_patients(self.level)
            return PredictionInterval.absent(
                f"The errors of {bound.n} unseen patients give no bound at {100 * self.level:g} % (it takes at least "
                f"{least}, with a number each)."
            )
        name = f"split conformal, {bound.n} patients of {self.source}"
        return PredictionInterval(*ends, self.level, f"{name}; {self.note}" if self.note else name)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self) | {"patients": list(self.patients), "bounds": [asdict(b) for b in self.bounds]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Return what `as_dict` gave.

        Raises
        ------
        ValueError, KeyError, TypeError, OverflowError
            When it is something else.
        """
        bounds = tuple(
            ErrorBound(
                method=str(b["method"]),
                quantity=str(b["quantity"]),
                n=int(b["n"]),
                bound=None if b["bound"] is None else float(b["bound"]),
                caution_factor=float(b["caution_factor"]),
            )
            for b in values["bounds"]
        )
        patients = tuple(str(p) for p in values["patients"])
        return cls(float(values["level"]), str(values["source"]), patients, bounds, str(values["note"]))


def error(quantity: str, predicted: float, reference: float) -> float:
    """Return the absolute error as bounds have it: points of EF, |log ratio| of volumes.

    A volume of 0 mL (the CAMUS definition rounds) is infinitely far from any other.

    Examples
    --------
    >>> error("ef_percent", 52.0, 60.0), round(error("edv_ml", 110.0, 100.0), 4)
    (8.0, 0.0953)
    """
    if quantity == EF or predicted == reference:
        return abs(predicted - reference)
    return abs(math.log(predicted / reference)) if min(predicted, reference) > 0 else math.inf


def conformal_rank(n: int, level: float) -> int | None:
    """Return which of n sorted errors, counted from 1, bounds a further one; None where n is too small.

    Examples
    --------
    >>> conformal_rank(50, 0.9), conformal_rank(9, 0.9), conformal_rank(8, 0.9)
    (46, 9, None)
    """
    # 0.9 is not a number of base 2: without the rounding (9 + 1) 0.9 could count as more than 9.
    rank = math.ceil(round((n + 1) * level, 9))
    return rank if rank <= n else None


def conformal_bound(errors: Iterable[float], level: float) -> float | None:
    """Return the error that a further patient stays within at `level`; None where no finite one is known."""
    ordered = sorted(errors)
    rank = conformal_rank(len(ordered), level)
    return ordered[rank - 1] if rank is not None and math.isfinite(ordered[rank - 1]) else None


def least_patients(level: float) -> int:
    """Return how many errors it takes for a bound at `level`."""
    return math.ceil(round(level / (1 - level), 9))
