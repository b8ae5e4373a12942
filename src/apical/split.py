"""Which patients a model learns from, which choose its epoch, and which judge it.

Always by patient: ED and ES of one heart are nearly the same picture. Patients that share a frame
(CAMUS has one such pair) count as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from apical.errors import InputError

DEFAULT_SEED = 0
"""Seed of the split that a store writes down and training uses unless told otherwise."""


@dataclass(frozen=True)
class Split:
    """Patient ids of one split, each sorted; disjoint by construction."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    origin: str

    def __post_init__(self) -> None:
        parts = [set(self.train), set(self.validation), set(self.test)]
        if len(set().union(*parts)) != sum(map(len, parts)):
            raise ValueError("a patient stands in two parts of the split")

    def as_dict(self) -> dict[str, object]:
        """Return the split as JSON values."""
        return asdict(self)


def split_by_seed(groups: Iterable[tuple[str, ...]], seed: int, *, n_test: int = 50, n_validation: int = 20) -> Split:
    """Draw test and validation patients at random; the rest is trained on.

    Parameters
    ----------
    groups
        Patients that must stay together; most groups hold one patient.
    n_test, n_validation
        Wanted numbers of patients; a group drawn last may exceed them by its size.

    Raises
    ------
    InputError
        When no patient would be left to train on.
    """
    ordered = sorted(tuple(sorted(g)) for g in groups)
    order = np.random.default_rng(seed).permutation(len(ordered))
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    for i in order:
        part = 0 if len(parts[0]) < n_test else 1 if len(parts[1]) < n_validation else 2
        parts[part].extend(ordered[i])
    test, validation, train = (tuple(sorted(p)) for p in parts)
    if not train:
        raise InputError(
            f"{len(test) + len(validation)} patients cannot give {n_test} test and {n_validation} validation patients "
            "and leave any to train on: lower --test or --validation"
        )
    return Split(train, validation, test, f"seed {seed}: {n_test} test and {n_validation} validation patients")


def split_by_fold(folds: Mapping[str, int], fold: int, groups: Iterable[tuple[str, ...]] = ()) -> Split:
    """Take CAMUS's own fold: tested on `fold`, validated on the next one, trained on the rest.

    `folds` names for each patient the fold in which it is a test case (1-10). CAMUS's lists part two patients who
    share a frame: of `groups`, which must not be parted, only those on the judging side are kept.

    Raises
    ------
    InputError
        When the fold's test or training patients are not in the data.
    """
    present = sorted(set(folds.values()))
    test = tuple(sorted(p for p, f in folds.items() if f == fold))
    if not test:
        raise InputError(
            f"no patient of CAMUS fold {fold} is in the data: "
            + (f"it holds the folds {', '.join(map(str, present))}" if present else "the store knows no folds")
        )
    following = next((f for f in [*range(fold + 1, 11), *range(1, fold)] if f in present), None)
    validation = tuple(sorted(p for p, f in folds.items() if f == following))
    train = tuple(sorted(p for p, f in folds.items() if f not in (fold, following)))
    group_of = {patient: set(group) for group in groups for patient in group}

    def apart(patients: tuple[str, ...], judges: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(p for p in patients if not group_of.get(p, {p}) & set(judges))

    n_all = len(train) + len(validation)
    train, validation = apart(train, (*test, *validation)), apart(validation, test)
    if not train:
        raise InputError(f"nothing is left to train on beside CAMUS fold {fold}: prepare more patients")
    origin = f"CAMUS fold {fold}, validated on fold {following}"
    if dropped := n_all - len(train) - len(validation):
        origin += f", without {dropped} who share a frame with a patient that judges"
    return Split(train, validation, test, origin)


_FOLD_LIST = re.compile(r"subGroup(\d+)_testing\.txt", re.IGNORECASE)


def read_camus_folds(folder: Path) -> dict[str, int]:
    """Read CAMUS's `subGroupK_testing.txt` lists, in a folder or in `splits/` in it: patient id to the fold testing it.

    Raises
    ------
    InputError
        No such folder, no lists in it, or lists that cannot be read or contradict each other.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one with CAMUS's fold lists")
    folds = _lists_in(folder) or _lists_in(folder / "splits")
    if not folds:
        raise InputError(f"{folder}: holds no fold lists of CAMUS (subGroup1_testing.txt, ...)")
    return folds


def find_camus_folds(place: Path) -> dict[str, int]:
    """Find the fold lists in a folder, or in `splits/` in it or up to two folders above; empty where there are none.

    Raises
    ------
    InputError
        Lists that cannot be read or contradict each other.
    """
    place = place.resolve()
    for folder in (place, *(p / "splits" for p in (place, *place.parents[:2]))):
        if folds := _lists_in(folder):
            return folds
    return {}


def _lists_in(folder: Path) -> dict[str, int]:
    folds: dict[str, int] = {}
    path = folder
    try:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if match := _FOLD_LIST.fullmatch(path.name):
                fold = int(match[1])
                for patient in path.read_text(encoding="utf-8").split():
                    if folds.setdefault(patient, fold) != fold:
                        raise InputError(f"{path}: {patient} is in fold {folds[patient]} already; correct the lists")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text; copy CAMUS's lists again") from error
    return folds
