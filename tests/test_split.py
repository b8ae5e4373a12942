"""Split by patient, by seed or by CAMUS's folds."""

from __future__ import annotations

from pathlib import Path

import pytest

from apical.errors import InputError
from apical.split import Split, find_camus_folds, split_by_fold, split_by_seed

SINGLE = [(f"patient{i:04d}",) for i in range(1, 101)]


def test_every_patient_is_in_exactly_one_part():
    split = split_by_seed(SINGLE, 3, n_test=10, n_validation=5)
    assert (len(split.test), len(split.validation), len(split.train)) == (10, 5, 85)
    assert sorted(split.test + split.validation + split.train) == sorted(p for (p,) in SINGLE)


def test_the_seed_decides_and_the_order_of_the_data_does_not():
    split = split_by_seed(SINGLE, 3, n_test=10)
    assert split == split_by_seed(SINGLE[::-1], 3, n_test=10)
    assert split.test != split_by_seed(SINGLE, 4, n_test=10).test


def test_patients_that_share_a_frame_stay_together_for_every_seed():
    groups = [("a", "b", "c"), *SINGLE[:20]]
    for seed in range(30):
        split = split_by_seed(groups, seed, n_test=5, n_validation=5)
        holders = [part for part in (split.train, split.validation, split.test) if {"a", "b", "c"} & set(part)]
        assert len(holders) == 1


def test_too_few_patients_are_refused():
    with pytest.raises(InputError, match="leave any to train on"):
        split_by_seed(SINGLE[:6], 0, n_test=4, n_validation=2)


def test_a_patient_in_two_parts_cannot_be_made():
    with pytest.raises(ValueError, match="two parts"):
        Split(("a",), ("b",), ("a",), "by hand")


def test_camus_fold_tests_its_own_patients_and_watches_the_next_fold():
    folds = {"a": 1, "b": 2, "c": 3, "d": 3}
    split = split_by_fold(folds, 3)
    assert (split.test, split.validation, split.train) == (("c", "d"), ("a",), ("b",))


@pytest.mark.parametrize("folds", [{}, {"a": 1, "b": 2}])
def test_an_absent_fold_is_refused(folds: dict[str, int]):
    with pytest.raises(InputError, match="CAMUS fold 5"):
        split_by_fold(folds, 5)


def test_fold_lists_are_found_beside_the_data(tmp_path: Path):
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "subGroup2_testing.txt").write_text("patient0007\npatient0009\n")
    (tmp_path / "splits" / "subGroup2_training.txt").write_text("patient0001\n")
    data = tmp_path / "png" / "Training"
    data.mkdir(parents=True)
    assert find_camus_folds(data) == {"patient0007": 2, "patient0009": 2}
    assert find_camus_folds(tmp_path.parent) == {}


def test_the_real_lists_give_each_patient_one_fold(camus: Path):
    folds = find_camus_folds(camus / "png")
    assert len(folds) == 500
    assert sorted(folds.values()) == sorted(list(range(1, 11)) * 50)
