"""Bootstrap over patients, agreement of volumes, and the paired comparison of models."""

from __future__ import annotations

import math

import numpy as np
import pytest

from apical.anatomy import Phase, Structure, View
from apical.errors import InputError
from apical.evaluate import Bootstrap, FrameScore, StructureScore, agreement, bootstrap, compare_models

REFERENCE = [100.0, 80.0, 120.0, 60.0]
DIFFERENCES = [1.0, -1.0, 3.0, -3.0]
PREDICTED = [r + d for r, d in zip(REFERENCE, DIFFERENCES, strict=True)]


def test_agreement_closed_form():
    a = agreement(PREDICTED, REFERENCE)
    sd = math.sqrt(20 / 3)
    assert (a.n, a.n_missing, a.n_unreferenced) == (4, 0, 0)
    assert (a.bias, a.sd, a.mae, a.rmse) == pytest.approx((0.0, sd, 2.0, math.sqrt(5)))
    assert (a.loa_low, a.loa_high) == pytest.approx((-1.96 * sd, 1.96 * sd))
    assert a.r == pytest.approx(np.corrcoef(PREDICTED, REFERENCE)[0, 1])


def test_bias_is_predicted_minus_reference():
    assert agreement([60.0, 50.0], [55.0, 47.0]).bias == 4.0


def test_absent_numbers_are_counted_and_not_zero():
    a = agreement([50.0, None, math.nan, 70.0, None], [52.0, 60.0, 61.0, None, math.nan])
    assert (a.n, a.n_missing, a.n_unreferenced) == (1, 2, 2)
    assert a.bias == -2.0


def test_one_patient_has_no_spread_and_no_interval():
    a = agreement([50.0], [52.0])
    assert (a.bias, a.mae, a.sd, a.r, a.loa_low, a.intervals) == (-2.0, 2.0, None, None, None, {})


def test_no_patient_has_no_numbers():
    a = agreement([None, 3.0], [5.0, None])
    assert (a.n, a.n_missing, a.n_unreferenced, a.bias, a.mae, a.r) == (0, 1, 1, None, None, None)
    assert agreement([], []).n == 0


def test_constant_numbers_have_no_correlation():
    a = agreement([0.1, 0.1, 0.1], [1.0, 2.0, 3.0])
    assert a.r is None
    assert "r" not in a.intervals
    assert "bias" in a.intervals


def test_perfect_agreement():
    a = agreement(REFERENCE, REFERENCE)
    assert (a.bias, a.mae, a.rmse) == (0, 0, 0)
    assert a.r == pytest.approx(1)
    assert a.intervals["mae"] == (0, 0)


@pytest.mark.parametrize(("p", "r"), [([1.0], [1.0, 2.0]), ([math.inf], [1.0]), ([1.0], [-math.inf])])
def test_impossible_numbers_are_refused(p: list[float], r: list[float]):
    with pytest.raises(ValueError, match=r"one of each|infinite"):
        agreement(p, r)


def test_intervals_hold_the_value_and_depend_on_the_seed_alone():
    rng = np.random.default_rng(1)
    reference = rng.normal(50, 10, 60)
    predicted = reference + rng.normal(1, 4, 60)
    first, again, other = (agreement(predicted, reference, Bootstrap(seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first.intervals != other.intervals
    for name, (low, high) in first.intervals.items():
        assert low < getattr(first, name) < high, name
    low, high = first.intervals["bias"]
    # The interval of a mean is near that of normal theory.
    assert high - low == pytest.approx(2 * 1.96 * first.sd / math.sqrt(60), rel=0.15)


def test_mean_interval_resamples_patients_not_frames():
    rng = np.random.default_rng(3)
    values, patients = rng.normal(0.9, 0.05, 40), [f"p{i}" for i in range(40)]
    single = Bootstrap().mean_interval(values, patients)
    # Ten equal frames per patient say nothing new.
    copied = Bootstrap().mean_interval(np.tile(values, 10), patients * 10)
    assert copied == pytest.approx(single)
    assert single[1] - single[0] == pytest.approx(2 * 1.96 * values.std(ddof=1) / math.sqrt(40), rel=0.15)
    as_frames = Bootstrap().mean_interval(np.tile(values, 10), [str(i) for i in range(400)])
    assert as_frames[1] - as_frames[0] < 0.5 * (single[1] - single[0])


def test_mean_interval_depends_on_the_seed_alone():
    values, patients = np.random.default_rng(4).normal(size=30), [str(i) for i in range(30)]
    first = Bootstrap(seed=1).mean_interval(values, patients)
    bootstrap._draws.cache_clear()  # as in another process
    assert Bootstrap(seed=1).mean_interval(values, patients) == first
    assert Bootstrap(seed=2).mean_interval(values, patients) != first


def test_mean_interval_follows_weights_level_and_order():
    values, patients = [0.0, 1.0, 2.0], ["c", "a", "b"]
    assert Bootstrap().mean_interval(values, patients, [1, 1, 1000])[1] == pytest.approx(2.0, abs=0.01)
    wide = Bootstrap(level=0.99).mean_interval(np.arange(30.0), [str(i) for i in range(30)])
    narrow = Bootstrap(level=0.5).mean_interval(np.arange(30.0), [str(i) for i in range(30)])
    assert wide[0] < narrow[0] < 14.5 < narrow[1] < wide[1]
    assert Bootstrap().mean_interval([0.5, 0.7], ["same", "same"]) is None


def score(patient: str, dice: float, phase: Phase = Phase.ED) -> FrameScore:
    structures = tuple(StructureScore(s, dice, 1.0, 1.0, 1.0, "mm") for s in Structure)
    return FrameScore(patient, f"{patient}_4CH_{phase}", View.A4C, phase, "", False, 100, 0.9, 0.9, structures)


def test_paired_difference_counts_each_patient_once():
    # p0 has two frames, +0.1 and +0.3, p1 one, -0.1: the patient means are +0.2 and -0.1.
    a = [score("p0", 0.6), score("p0", 0.8, Phase.ES), score("p1", 0.5)]
    b = [score("p0", 0.5), score("p0", 0.5, Phase.ES), score("p1", 0.6), score("p9", 0.1)]
    result = {d.structure: d for d in compare_models(a, b)}
    assert list(result) == ["foreground", "endo", "epi", "la", "myo"]
    for d in result.values():
        assert (d.n_patients, d.n_unpaired) == (2, 1)
        assert (d.first, d.second, d.difference) == pytest.approx((0.6, 0.55, 0.05))
    assert compare_models(b, a)[0].difference == pytest.approx(-0.05)


def test_paired_structures_are_not_mixed_up():
    better = score("p0", 0.5)
    structures = tuple(
        StructureScore(s.structure, 0.9 if s.structure is Structure.LEFT_ATRIUM else 0.5, 1.0, 1.0, 1.0, "mm")
        for s in better.structures
    )
    better = FrameScore("p0", better.frame, View.A4C, Phase.ED, "", False, 100, 0.9, 0.9, structures)
    result = {d.structure: d.difference for d in compare_models([better], [score("p0", 0.5)])}
    assert result == pytest.approx({"foreground": 0.4 / 3, "endo": 0, "epi": 0, "la": 0.4, "myo": 0})


def test_wilcoxon_p_of_a_consistent_difference():
    a = [score(f"p{i}", 0.9 + i / 1000) for i in range(8)]
    b = [score(f"p{i}", 0.8 - i / 500) for i in range(8)]
    d = compare_models(a, b)[0]
    assert d.p_value == pytest.approx(2 / 2**8)  # all eight ranks on one side, exact test
    low, high = d.interval
    assert 0 < low < d.difference < high


def test_equal_models_do_not_differ():
    frames = [score(f"p{i}", 0.8 + i / 100) for i in range(6)]
    d = compare_models(frames, frames)[0]
    assert (d.difference, d.interval, d.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_models_without_common_frames_are_refused():
    with pytest.raises(InputError, match="share no frame"):
        compare_models([score("p0", 0.9)], [score("p1", 0.9)])
