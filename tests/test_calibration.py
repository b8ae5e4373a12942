"""Split conformal intervals: the exact rank, coverage on exchangeable errors, every absence with its reason."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from apical.calibration import (
    EF,
    QUANTITIES,
    Calibration,
    ErrorBound,
    PredictionInterval,
    conformal_bound,
    conformal_rank,
    error,
    least_patients,
)
from apical.evaluate import Evaluation, VolumePair, calibration, pool
from apical.evaluate.calibration import CalibrationRule, calibrate, own_coverage, split_coverage
from apical.evaluate.geometry import FrameScore
from apical.measure import Status, VolumeDefinition, Volumes, measure
from apical.measure.interval import FOREIGN_MASKS, UNLIKE, with_intervals
from apical.measure.results import Finding, Reason, Severity
from apical.phantom import as_study, make_patient
from apical.study import Segmentation, Study

BIPLANE = "biplane method of disks, ASE 2015"


def pair(number: int, predicted: float, reference: float, status: str = "measured", **others: object) -> VolumePair:
    given = {"predicted_method": BIPLANE, "reference_method": BIPLANE} | others
    return VolumePair(
        patient=f"patient{number:04d}",
        definition="ase",
        predicted={EF: predicted, "edv_ml": 100.0, "esv_ml": 100 - predicted},
        reference={EF: reference, "edv_ml": 110.0, "esv_ml": 110 - 1.1 * reference},
        predicted_status=status,
        reference_status="measured",
        **given,  # type: ignore[arg-type]
    )


def pairs(n: int, seed: int = 1) -> list[VolumePair]:
    errors = np.random.default_rng(seed).normal(1.0, 6.0, n)
    return [pair(i, 50.0 + e, 50.0) for i, e in enumerate(errors)]


def volumes(ef: float | None = 60.0, status: Status = Status.MEASURED, method: str = BIPLANE) -> Volumes:
    return Volumes(VolumeDefinition.ASE, method, 100.0, 40.0, ef, 60.0, status, ())


def known(bound: float | None = 8.0, **others: object) -> Calibration:
    bounds = (
        ErrorBound(BIPLANE, EF, 50, bound, 1.5),
        ErrorBound(BIPLANE, "edv_ml", 50, math.log(1.25)),
        ErrorBound(BIPLANE, "esv_ml", 50, math.log(2.0)),
    )
    return replace(Calibration(0.9, "CAMUS", ("patient0001",), bounds), **others)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_the_rank_is_the_least_that_covers(level: float):
    for n in range(1, 400):
        rank = conformal_rank(n, level)
        enough = [k for k in range(1, n + 1) if k / (n + 1) >= level - 1e-12]
        assert rank == (enough[0] if enough else None)
        assert (rank is None) == (n < least_patients(level))


def test_ranks_by_hand():
    # ceil(51 * .9) = 46; (9 + 1) * .9 is 9 and not a hair more; 8 patients are too few.
    assert [conformal_rank(n, 0.9) for n in (50, 20, 9, 8, 0)] == [46, 19, 9, None, None]
    assert conformal_bound(range(1, 51), 0.9) == 46
    assert conformal_bound([3.0, 1.0, 2.0], 0.5) == 2.0
    assert conformal_bound(range(8), 0.9) is None
    assert conformal_bound([1.0] * 8 + [math.inf], 0.9) is None


def test_errors_are_points_and_log_ratios():
    assert error(EF, 40.0, 52.5) == error(EF, 52.5, 40.0) == 12.5
    assert error("edv_ml", 200.0, 100.0) == pytest.approx(math.log(2)) == error("edv_ml", 50.0, 100.0)
    assert error("esv_ml", 0.0, 10.0) == math.inf
    assert error("esv_ml", 0.0, 0.0) == 0.0


def test_exchangeable_errors_are_covered_as_promised():
    rng = np.random.default_rng(3)
    inside = total = 0
    for _ in range(400):
        # Skewed, biased, heavy-tailed: nothing of it matters.
        errors = np.abs(rng.standard_t(3, 41) + rng.exponential(2.0, 41))
        inside += errors[40] <= conformal_bound(errors[:40], 0.9)
        total += 1
    expected = conformal_rank(40, 0.9) / 41
    assert abs(inside / total - expected) < 4 * math.sqrt(expected * (1 - expected) / total)


def test_calibration_on_one_half_covers_another_sample():
    calibrated = calibrate(pairs(400, 1), source="CAMUS")
    bound = next(b for b in calibrated.bounds if b.quantity == EF)
    fresh = pairs(2000, 2)
    inside = [error(EF, p.predicted[EF], p.reference[EF]) <= bound.bound for p in fresh]
    # Within what 400 patients leave open (SD .015) and 2000 can show (.007).
    assert np.mean(inside) == pytest.approx(0.9, abs=4 * math.hypot(0.015, 0.007))
    assert (bound.n, bound.method) == (400, BIPLANE)


def test_intervals_of_ef_stay_an_ef_and_those_of_volumes_are_ratios():
    ef, edv, esv = known().bounds
    assert ef.ends(60.0, caution=False) == (52.0, 68.0)
    assert ef.ends(60.0, caution=True) == (48.0, 72.0)
    assert ef.ends(3.0, caution=False) == (0.0, 11.0)
    assert ef.ends(95.0, caution=False) == (87.0, 100.0)
    assert edv.ends(100.0, caution=True) == pytest.approx((80.0, 125.0))
    assert esv.ends(40.0, caution=False) == pytest.approx((20.0, 80.0))


def test_a_measurement_carries_its_intervals():
    found = with_intervals(volumes(), known())
    assert set(found.intervals) == set(QUANTITIES)
    assert found.ef_interval == PredictionInterval(52.0, 68.0, 0.9, "split conformal, 50 patients of CAMUS")
    assert found.intervals["edv_ml"].ends == pytest.approx((80.0, 125.0))
    assert with_intervals(volumes(status=Status.CAUTION), known()).ef_interval.ends == (48.0, 72.0)
    noted = with_intervals(volumes(), known(note="found on stills"))
    assert noted.ef_interval.method == "split conformal, 50 patients of CAMUS; found on stills"


@pytest.mark.parametrize(
    ("measured", "calibrated", "reason"),
    [
        (volumes(), None, FOREIGN_MASKS),
        (volumes(), Calibration(), "carries no calibration"),
        (volumes(), known(None), "50 unseen patients give no bound at 90 % (it takes at least 9"),
        (volumes(method="single plane (4CH) method of disks, ASE 2015"), known(), "measured by the same method"),
        (volumes(None, Status.REFUSED), known(), "There is no number."),
    ],
)
def test_every_absence_has_its_reason(measured: Volumes, calibrated: Calibration | None, reason: str):
    found = with_intervals(measured, calibrated).ef_interval
    assert (found.ends, found.level, found.method) == (None, None, "")
    assert reason in str(found.reason)


def test_pictures_unlike_the_learned_ones_have_none():
    doubtful = Finding(Reason.UNLIKE_TRAINING, "It is unlike.", Severity.CAUTION)
    found = with_intervals(replace(volumes(), findings=(doubtful,)), known())
    assert {i.reason for i in found.intervals.values()} == {UNLIKE}
    # And they calibrate nothing.
    strange = [replace(p, reasons=("unlike_training",)) for p in pairs(30)]
    assert calibrate(strange, source="CAMUS").bounds == ()


def test_an_interval_is_a_range_or_a_reason():
    with pytest.raises(ValueError, match="or the reason"):
        PredictionInterval(1.0, 2.0, 0.9, "split conformal", "but why")
    with pytest.raises(ValueError, match="or the reason"):
        PredictionInterval(None, None, None, "")
    with pytest.raises(ValueError, match="or the reason"):
        PredictionInterval(1.0, None, 0.9, "split conformal")


@pytest.fixture(scope="module")
def heart() -> Study:
    return as_study(make_patient(5, edv_ml=120.0, ef_percent=60.0), with_images=False)


def test_only_masks_of_a_model_bring_intervals(heart: Study):
    plain = measure(heart, heart.references)
    assert {v.ef_interval.reason for v in plain.volumes.values()} == {FOREIGN_MASKS}
    method = plain.volumes[VolumeDefinition.ASE].method
    model = Calibration(0.9, "CAMUS", (), (ErrorBound(method, EF, 50, 8.0),))
    found = measure(heart, Segmentation(heart.references, "model", calibration=model))
    low, high = found.default.ef_interval.ends
    assert (low + high) / 2 == pytest.approx(found.ef_percent)
    assert high - low == pytest.approx(16.0)
    assert "same method" in found.volumes[VolumeDefinition.CAMUS].ef_interval.reason
    document = found.as_dict()["volumes"]["ase"]["intervals"][EF]
    assert document["method"] == "split conformal, 50 patients of CAMUS"
    assert document["reason"] is None


def test_calibration_survives_json():
    calibrated = replace(calibrate(pairs(30), source="CAMUS"), note="a remark")
    assert len(calibrated.bounds) == 3
    assert Calibration.from_dict(json.loads(json.dumps(calibrated.as_dict()))) == calibrated
    few = calibrate(pairs(5), source="CAMUS")
    assert [b.bound for b in few.bounds] == [None] * 3
    assert Calibration.from_dict(json.loads(json.dumps(few.as_dict()))) == few


@pytest.mark.parametrize(
    "damage",
    [{"level": 1.5}, {"bounds": [{"method": "x"}]}, {"bounds": None}, {"patients": None}, {"level": None}],
)
def test_a_damaged_calibration_is_none(damage: dict[str, object]):
    with pytest.raises((ValueError, KeyError, TypeError)):
        Calibration.from_dict(known().as_dict() | damage)


@pytest.mark.parametrize(
    "change", [{"bound": -1.0}, {"bound": math.nan}, {"quantity": "sv_ml"}, {"caution_factor": 0.5}]
)
def test_a_bound_that_bounds_nothing_is_refused(change: dict[str, object]):
    with pytest.raises(ValueError, match="no bound"):
        replace(known().bounds[0], **change)  # type: ignore[arg-type]


def test_no_calibration_without_unseen_patients():
    unseen = Evaluation("model", (), tuple(pairs(30)), model_sha256="0", data="camus.h5")
    assert unseen.calibration.source == "those that the network had never seen"
    assert len(unseen.calibration.bounds) == 3
    assert "## EF interval" in "\n".join(calibration.interval_section(unseen.calibration, unseen.volumes))
    seen = replace(unseen, seen_in_training=True)
    assert seen.calibration.bounds == ()
    assert calibration.interval_section(seen.calibration, seen.volumes) == []
    assert calibration.interval_dict(seen.calibration, seen.volumes)["half_splits"] == []
    assert calibrate([], source="CAMUS").bounds == ()


def test_the_error_counts_where_caution_widens_it():
    # Ten patients off by 6 with caution and ten off by 4: with a factor of 1.5 all are off by the same.
    group = [pair(i, 56.0, 50.0, "caution") for i in range(10)] + [pair(i, 54.0, 50.0) for i in range(10, 20)]
    bound = next(b for b in calibrate(group, source="CAMUS").bounds if b.quantity == EF)
    assert (bound.bound, bound.caution_factor) == (4.0, 1.5)
    plain = calibrate(group, source="CAMUS", rule=CalibrationRule(ef_caution_factor=1.0))
    assert next(b for b in plain.bounds if b.quantity == EF).bound == 6.0


def test_a_patient_counts_once_per_method():
    single = [replace(p, predicted_method="single plane (4CH)") for p in pairs(20, 1)]
    gated = [replace(p, predicted_method="single plane (4CH)") for p in pairs(3, 9)]
    bounds = calibrate([*single, *pairs(17, 2), *gated], source="CAMUS").bounds
    assert {(b.method, b.n) for b in bounds} == {("single plane (4CH)", 20), (BIPLANE, 17)}
    alone = calibrate(single, source="CAMUS").bounds
    assert [b for b in bounds if b.method != BIPLANE] == list(alone)


def test_half_splits_cover_what_is_expected():
    table = split_coverage(pairs(100))
    ef = next(c for c in table if c.quantity == EF)
    assert (ef.n, ef.n_calibrating, ef.nominal) == (100, 50, pytest.approx(46 / 51))
    assert ef.mean == pytest.approx(46 / 51, abs=0.03)
    assert ef.low < ef.mean < ef.high
    bound = next(b for b in calibrate(pairs(100), source="").bounds if b.quantity == EF)
    assert ef.median_width == pytest.approx(2 * bound.bound)
    # Beta(91, 10): mean .901, SD .030.
    assert ef.all_patients == pytest.approx((0.848, 0.944), abs=0.005)
    few = split_coverage(pairs(12))[0]
    assert (few.mean, few.nominal) == (None, None)
    assert few.median_width is not None


def test_own_intervals_are_counted_on_who_has_one():
    group = [pair(i, 50.0, 50.0 + i, ef_interval=(40.0, 60.0)) for i in range(20)]
    group += [pair(30, 50.0, 90.0)]
    (own,) = own_coverage(group)
    assert (own.n, own.n_inside, own.share, own.median_width) == (20, 11, 0.55, 20.0)
    # Wilson's interval of 11 in 20.
    assert own.interval == pytest.approx((0.342, 0.742), abs=0.001)
    assert own_coverage(pairs(5)) == []


def test_pooled_folds_calibrate_together():
    def fold(name: str, numbers: range) -> Evaluation:
        frames = tuple(FrameScore(f"patient{i:04d}", "f", None, None, "", True, 1, 0.0, 0.0, ()) for i in numbers)
        members = tuple(p for p in pairs(40) if int(p.patient[-4:]) in numbers)
        single = tuple(replace(p, predicted_method="single plane (2CH)") for p in members)
        return Evaluation(name, frames, members, single_plane=single, data="camus.h5")

    pooled = pool([fold("one", range(20)), fold("two", range(20, 40))], "folds")
    assert {b.n for b in pooled.calibration.bounds} == {40}
    assert {b.method for b in pooled.calibration.bounds} == {BIPLANE, "single plane (2CH)"}
    assert pooled.calibration.source == "those that the network had never seen"
