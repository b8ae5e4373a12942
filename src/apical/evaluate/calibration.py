"""Calibrate the intervals of EF, EDV and ESV on unseen patients, and look honestly at how many they hold.

Split conformal prediction (`apical.calibration`). A patient who calibrates is inside the interval by construction, so
that the coverage is looked at in two other ways: the patients are halved at random again and again, one half
calibrating and the other judging; and where the model brings intervals of its own, they are held against patients who
did not calibrate them. How much of *all* patients a calibration on n of them holds is itself uncertain: the share is
distributed as Beta(k, n + 1 - k), k being the conformal rank (Vovk, ACML 2012, arXiv:1209.2673). The mean over halves
of one set of patients is close to what is expected by construction; the second way is the test.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.calibration import EF, QUANTITIES, Calibration, ErrorBound, conformal_bound, conformal_rank, error
from apical.evaluate.tables import ABSENT, QUANTITY_NAMES, Row, number, to_markdown
from apical.evaluate.volumes import VolumePair
from apical.measure.results import Reason, Status


@dataclass(frozen=True)
class CalibrationRule:
    """How intervals are calibrated and judged."""

    level: float = 0.9
    ef_caution_factor: float = 1.5
    """How many times larger the interval of EF is where the gate asks for caution: what the gate must be right by,
    set beforehand and not fitted. Volumes have shown no larger errors there."""
    n_splits: int = 1000
    seed: int = 2019


@dataclass(frozen=True)
class SplitCoverage:
    """Coverage of one quantity by one method when one half of the patients calibrates and the other judges.

    Attributes
    ----------
    n
        Patients in all.
    n_calibrating
        Patients of the half that calibrates.
    nominal
        Coverage to expect of so many: their conformal rank / (n_calibrating + 1), which is at least the level.
    mean, low, high
        Mean, 5th and 95th percentile of the share of the judging half inside the interval, over the splits. None
        where one half is too small.
    median_width
        Median over all patients of the width of the interval that all of them calibrate: points of EF, mL. None where
        they are too few.
    all_patients
        Share of all patients like these that this interval holds: with a probability of 90 % between these two.
    """

    method: str
    quantity: str
    n: int
    n_calibrating: int
    nominal: float | None
    mean: float | None
    low: float | None
    high: float | None
    median_width: float | None
    all_patients: tuple[float, float] | None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)


@dataclass(frozen=True)
class OwnCoverage:
    """How many patients the model's own intervals of EF hold, none of whom calibrated them.

    Attributes
    ----------
    n, n_inside
        Patients with an interval and an expert's EF; those whose expert's EF lies inside.
    interval
        95 % interval of the share (Wilson, J Am Stat Assoc 22:209-212, 1927, doi:10.1080/01621459.1927.10502953).
    median_width
        Of the intervals, in points.
    """

    method: str
    n: int
    n_inside: int
    interval: tuple[float, float]
    median_width: float

    @property
    def share(self) -> float:
        """Part of the patients inside."""
        return self.n_inside / self.n

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {**asdict(self), "share": self.share}


def calibrate(pairs: Iterable[VolumePair], *, source: str, rule: CalibrationRule = CalibrationRule()) -> Calibration:
    """Return the bounds of the errors of unseen patients; without any patient there are none.

    Parameters
    ----------
    pairs
        Of patients that the network has never seen. Who comes twice with one method counts the first time. Only
        those count like whom an interval is given to: with both numbers, of pictures not unlike the learned ones.
    source
        What the patients are of, to be shown.
    """
    bounds = []
    patients = set()
    for method, group in _by_method(pairs).items():
        for quantity in QUANTITIES:
            known = _known(group, quantity)
            if known:
                factor = _caution_factor(quantity, rule)
                bound = conformal_bound(_errors(known, quantity, factor), rule.level)
                bounds.append(ErrorBound(method, quantity, len(known), _shown(bound), factor))
                patients |= {p.patient for p in known}
    return Calibration(rule.level, source, tuple(sorted(patients)), tuple(bounds))


def split_coverage(pairs: Iterable[VolumePair], rule: CalibrationRule = CalibrationRule()) -> list[SplitCoverage]:
    """Return the coverage over random halves of the patients, by method and quantity; `pairs` as in `calibrate`."""
    table = []
    for method, group in _by_method(pairs).items():
        for quantity in QUANTITIES:
            known = _known(group, quantity)
            if known:
                table.append(_split_coverage(method, quantity, known, rule))
    return table


def own_coverage(pairs: Iterable[VolumePair]) -> list[OwnCoverage]:
    """Return the coverage of the intervals of EF that the model brought, by method; who calibrated them has none."""
    table = []
    judging = [p for p in pairs if p.ef_interval is not None and p.reference[EF] is not None]
    for method, group in _by_method(judging).items():
        ends = np.array([p.ef_interval for p in group], dtype=np.float64)
        truth = np.array([p.reference[EF] for p in group], dtype=np.float64)
        inside = int(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).sum())
        width = float(np.median(ends[:, 1] - ends[:, 0]))
        table.append(OwnCoverage(method, len(group), inside, _wilson(inside, len(group)), width))
    return table


def _split_coverage(method: str, quantity: str, known: Sequence[VolumePair], rule: CalibrationRule) -> SplitCoverage:
    factor = _caution_factor(quantity, rule)
    scores = _errors(known, quantity, factor)
    n, half = len(known), len(known) // 2
    rank, rank_of_half = conformal_rank(n, rule.level), conformal_rank(half, rule.level)
    bound = ErrorBound(method, quantity, n, _shown(conformal_bound(scores, rule.level)), factor)
    mean = low = high = nominal = None
    if rank_of_half is not None:
        rng = np.random.default_rng(rule.seed)
        shuffled = rng.permuted(np.tile(scores, (rule.n_splits, 1)), axis=1)
        limits = np.sort(shuffled[:, :half], axis=1)[:, rank_of_half - 1]
        shares = (shuffled[:, half:] <= limits[:, None]).mean(axis=1)
        nominal, mean = rank_of_half / (half + 1), float(shares.mean())
        low, high = (float(q) for q in np.quantile(shares, (0.05, 0.95)))
    ends = [bound.ends(p.predicted[quantity] or 0.0, caution=_is_caution(p)) for p in known]
    widths = [end[1] - end[0] for end in ends if end is not None]
    return SplitCoverage(
        method=method,
        quantity=quantity,
        n=n,
        n_calibrating=half,
        nominal=nominal,
        mean=mean,
        low=low,
        high=high,
        median_width=float(np.median(widths)) if widths else None,
        all_patients=_share_of_all(rank, n) if rank is not None and widths else None,
    )


def _by_method(pairs: Iterable[VolumePair]) -> dict[str, list[VolumePair]]:
    groups: dict[str, dict[str, VolumePair]] = {}
    for pair in pairs:
        groups.setdefault(pair.predicted_method, {}).setdefault(pair.patient, pair)
    return {method: list(group.values()) for method, group in groups.items()}


def _known(pairs: Sequence[VolumePair], quantity: str) -> list[VolumePair]:
    """Return those like whom an interval is given to: with a number, of pictures like the learned ones."""
    like = [p for p in pairs if Reason.UNLIKE_TRAINING not in p.reasons]
    return [p for p in like if p.error(quantity) is not None]


def _errors(pairs: Sequence[VolumePair], quantity: str, factor: float) -> NDArray[np.float64]:
    """Return the errors, (n,), each divided by the factor of its status."""
    errors = []
    for pair in pairs:
        predicted, reference = pair.predicted[quantity], pair.reference[quantity]
        if predicted is not None and reference is not None:
            errors.append(error(quantity, predicted, reference) / (factor if _is_caution(pair) else 1.0))
    return np.array(errors, dtype=np.float64)


def _is_caution(pair: VolumePair) -> bool:
    return pair.predicted_status == Status.CAUTION


def _caution_factor(quantity: str, rule: CalibrationRule) -> float:
    return rule.ef_caution_factor if quantity == EF else 1.0


def _shown(bound: float | None) -> float | None:
    """Round up, so that no patient falls out by rounding."""
    return None if bound is None else math.ceil(bound * 1e4) / 1e4


def _share_of_all(rank: int, n: int) -> tuple[float, float]:
    from scipy.special import betaincinv  # slow to import

    low, high = betaincinv(rank, n + 1 - rank, (0.05, 0.95))
    return float(low), float(high)


def _wilson(inside: int, n: int) -> tuple[float, float]:
    z = 1.959964  # 95 % of a normal distribution
    centre = (inside + z * z / 2) / (n + z * z)
    reach = z / (n + z * z) * math.sqrt(inside * (n - inside) / n + z * z / 4)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def interval_dict(calibration: Calibration, pairs: Sequence[VolumePair]) -> dict[str, Any]:
    """Return calibration and coverage as a JSON-ready dictionary; without bounds there is no coverage to tell."""
    return {
        "calibration": calibration.as_dict(),
        "half_splits": [c.as_dict() for c in split_coverage(pairs)] if calibration.bounds else [],
        "own": [c.as_dict() for c in own_coverage(pairs)],
    }


def interval_section(calibration: Calibration, pairs: Sequence[VolumePair]) -> list[str]:
    """Return the section of report.md."""
    halves = split_coverage(pairs) if calibration.bounds else []
    own = own_coverage(pairs)
    if not halves and not own:
        return []
    parts = [
        "## EF interval",
        f"Nominal coverage {100 * calibration.level:g} %. Widths of EF are in points, those of EDV and ESV in mL.",
    ]
    if halves:
        parts += [
            "Split conformal: the interval that these patients calibrate. 'Halves' is the share of patients inside "
            "when one random half calibrates and the other judges, mean (5th to 95th percentile of the splits), beside "
            "what is to be expected of a half so large; 'all patients like these': with a probability of 90 % the "
            "calibration on all of them holds a share of the population in this range.",
            to_markdown([_row(c) for c in sorted(halves, key=lambda c: (QUANTITIES.index(c.quantity), c.method))]),
        ]
    if own:
        parts += [
            "The intervals of EF that the model itself gave, held against patients who did not calibrate them "
            "(share with 95 % Wilson interval):",
            to_markdown(
                [
                    {
                        "method": c.method,
                        "patients": c.n,
                        "inside": f"{c.share:.1%} ({c.interval[0]:.1%} to {c.interval[1]:.1%})",
                        "median width": number(c.median_width, 1),
                    }
                    for c in own
                ]
            ),
        ]
    return parts


def _row(c: SplitCoverage) -> Row:
    mean, low, high = c.mean, c.low, c.high
    halves = ABSENT if mean is None or low is None or high is None else f"{mean:.1%} ({low:.1%} to {high:.1%})"
    return {
        "method": c.method,
        "quantity": QUANTITY_NAMES[c.quantity],
        "patients": c.n,
        "median width": number(c.median_width, 1),
        "halves": halves,
        "expected": ABSENT if c.nominal is None else f"{c.nominal:.1%}",
        "all patients like these": f"{c.all_patients[0]:.1%} to {c.all_patients[1]:.1%}" if c.all_patients else ABSENT,
    }
