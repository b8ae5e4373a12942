"""`apical crossval`: every patient judged once, by a network that never saw it; and it goes on where it stopped."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apical.anatomy import Label
from apical.cli.crossval import parse_folds
from apical.errors import ExitCode, InputError
from apical.evaluate import Evaluation, evaluate, pool, read_evaluation
from apical.evaluate.summary import find
from apical.phantom import as_study, make_patient
from apical.split import split_by_fold
from apical.store import StoreWriter
from commands import Result, Run

TINY = ("--epochs", 1, "--channels", "4,8", "--size", 32, "--batch", 4, "--device", "cpu")
FOLD_OF = {"patient0001": 1, "patient0002": 2, "patient0003": 3, "patient0004": 3}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "hearts.h5"
    writer = StoreWriter(path)
    for seed, (patient, fold) in enumerate(FOLD_OF.items()):
        study = as_study(make_patient(seed + 1))
        writer.add(replace(study, patient=replace(study.patient, id=patient)), fold)
    writer.close()
    return path


def changed(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_each_patient_is_judged_once_by_a_network_that_never_saw_it(apical: Run, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "cv"

    def crossval(*more: object) -> Result:
        return apical("crossval", store, "-o", out, *TINY, *more)

    # Stopped in the middle: fold 1 is whole, fold 2 has a run and a model, fold 3 nothing.
    assert crossval("--folds", "1,2").code == ExitCode.OK
    for path in (out / "fold-02" / "evaluation").iterdir():
        if path.name == "summary.json":
            path.unlink()
    before = changed(out / "fold-01") | changed(out / "fold-02" / "run")
    result = crossval("--folds", "1-3", "--json")
    assert result.code == ExitCode.OK, result.err
    assert {path: time for path, time in changed(out).items() if path in before} == before
    assert "fold 1: finished before" in result.err

    pooled = json.loads(result.out)
    assert json.loads((out / "summary.json").read_text()) == pooled
    assert pooled["patients"] == sorted(FOLD_OF)
    assert [fold["patients"] for fold in pooled["folds"]] == [
        ["patient0001"], ["patient0002"], ["patient0003", "patient0004"]
    ]  # fmt: skip
    for number in (1, 2, 3):
        config = json.loads((out / f"fold-{number:02d}" / "model" / "config.json").read_text())
        learned = {*config["training"]["split"]["train"], *config["training"]["split"]["validation"]}
        assert not learned & set(pooled["folds"][number - 1]["patients"])
        assert pooled["folds"][number - 1]["model_sha256"] == config["sha256"]
    assert pooled["over_folds"]["dice_foreground"]["n"] == 3
    with (out / "frames.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4 * 4 * 4
    with (out / "folds.csv").open() as file:
        assert [row["fold"] for row in csv.DictReader(file)] == ["fold 1", "fold 2", "fold 3"]
    report = (out / "report.md").read_text()
    assert "## By fold" in report
    assert "mean ± SD over folds" in report
    assert (out / "dice.png").read_bytes().startswith(b"\x89PNG")

    # Asked for one fold alone, those that are done are not lost.
    again = json.loads(crossval("--folds", "3", "--json").out)
    assert [f["patients"] for f in again["folds"]] == [f["patients"] for f in pooled["folds"]]
    result = crossval("--folds", "1-3", "--seed", 7)
    assert (result.code, result.one_line) == (ExitCode.INPUT, True)
    assert "its recipe differs" in result.err
    # The evaluation of a fold is the one of its model, and may go into that model's card.
    fold = out / "fold-01"
    command = ("export", fold / "run", "-o", tmp_path / "model", "--evaluation", fold / "evaluation", "--json")
    result = apical(*command)
    assert result.code == ExitCode.OK, result.err
    written = json.loads(result.out)
    assert pooled["precision"] == written["figures"]["precision"] == "float32"
    assert written["sha256"] == written["figures"]["model_sha256"] == pooled["folds"][0]["model_sha256"]
    assert written["folder"] == str(tmp_path / "model")
    summary = fold / "evaluation" / "summary.json"
    summary.write_text(summary.read_text().replace(written["sha256"], "0" * 64))
    result = crossval("--folds", "1-3")
    assert result.code == ExitCode.INPUT
    assert "not of this fold's model" in result.err


def test_what_cannot_be_done_is_told_before_the_first_training(apical: Run, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "cv"
    for folds, why in (
        ("1-4", "no patient of CAMUS fold 4"),
        ("0-2", "folds are 1 to 10"),
        ("one", "give numbers like"),
    ):
        result = apical("crossval", store, "-o", out, *TINY, "--folds", folds)
        assert (result.code, result.one_line, why in result.err) == (ExitCode.INPUT, True, True)
        assert not out.exists()
    out.mkdir()
    (out / "report.md").write_text("mine")
    assert apical("crossval", store, "-o", out, *TINY, "--folds", "1-3").code == ExitCode.OUTPUT
    assert [path.name for path in out.iterdir()] == ["report.md"]


@pytest.mark.parametrize(
    ("text", "folds"), [("1-10", tuple(range(1, 11))), ("5", (5,)), ("2,1,5", (1, 2, 5)), ("3-4,3, 9", (3, 4, 9))]
)
def test_folds_are_named_by_numbers_and_ranges(text: str, folds: tuple[int, ...]) -> None:
    assert parse_folds(text) == folds


@pytest.mark.parametrize("text", ["", "0", "11", "3-1", "1-", "-1", "a", "1;2", "1-99"])
def test_other_folds_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--folds"):
        parse_folds(text)


def test_who_shares_a_frame_with_a_judge_does_not_teach() -> None:
    folds = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 4}
    plain = split_by_fold(folds, 1)
    assert (plain.train, plain.validation, plain.test) == (("c", "d", "e"), ("b",), ("a",))
    watched = split_by_fold(folds, 1, [("a", "b"), ("c",), ("d",), ("e",)])
    assert (watched.train, watched.validation, watched.test) == (("c", "d", "e"), (), ("a",))
    taught = split_by_fold(folds, 1, [("a", "d"), ("b", "c"), ("e",)])
    assert (taught.train, taught.validation, taught.test) == (("e",), ("b",), ("a",))
    assert "without 2 who share a frame" in taught.origin
    # Patients who share a frame and stand on one side are all kept.
    assert split_by_fold(folds, 1, [("d", "e")]) == plain


def scored(name: str, *seeds: int, atrium: bool = True) -> Evaluation:
    """Expert masks as predictions, with or without the atrium: foreground Dice 1 or 2/3."""
    studies = [as_study(make_patient(seed, id=f"patient{seed:04d}"), with_images=False) for seed in seeds]
    return evaluate(
        studies,
        lambda s: {n: m if atrium else np.where(m == Label.LEFT_ATRIUM, 0, m) for n, m in s.references.items()},
        name=name,
        wanted=["patient0009"] if name == "b" else (),
        data=f"{name}.h5",
    )


def test_pooled_figures_are_over_patients_and_the_spread_is_over_folds(tmp_path: Path) -> None:
    folds = [scored("a", 3), scored("b", 2, 1, atrium=False)]
    pooled = pool(folds, "both")
    assert pooled.patients == [f.patient for f in pooled.frames[::4]] == ["patient0001", "patient0002", "patient0003"]
    foreground = find(pooled.summaries, "foreground", "dice")
    assert foreground is not None
    assert foreground.mean == pytest.approx((1 + 2 * 2 / 3) / 3)  # the fold of two patients counts twice
    written = pooled.as_dict()
    over = written["over_folds"]["dice_foreground"]
    assert (over["n"], over["min"], over["max"]) == (2, pytest.approx(2 / 3), 1.0)
    assert (over["mean"], over["sd"]) == (pytest.approx(5 / 6), pytest.approx(1 / 3 / np.sqrt(2)))
    assert written["over_folds"]["dice_la"]["sd"] == pytest.approx(1 / np.sqrt(2))
    assert written["over_folds"]["camus_ef_percent_mae"]["mean"] == 0
    assert written["left_out"] == [{"what": "patient0009", "reason": "is not in the data"}]
    assert written["data"] == "a.h5, b.h5"

    pooled.write(tmp_path)
    assert "| mean ± SD over folds | 3 | 1.000 ± 0.000 |" in (tmp_path / "report.md").read_text()
    again = read_evaluation(tmp_path)
    assert again.patients == pooled.patients
    assert again.left_out == pooled.left_out
    assert [p.reasons for p in again.volumes] == [p.reasons for p in pooled.volumes]
    for before, after in zip(pooled.volumes + pooled.single_plane, again.volumes + again.single_plane, strict=True):
        assert (before.patient, before.predicted_method) == (after.patient, after.predicted_method)
        assert after.predicted == pytest.approx(before.predicted, abs=1e-6)


def test_no_patient_is_pooled_twice_and_none_that_was_seen() -> None:
    one, other = scored("a", 1), scored("b", 1)
    with pytest.raises(InputError, match="patient0001: scored in a and in b"):
        pool([one, other], "twice")
    with pytest.raises(InputError, match="seen in training"):
        pool([replace(one, seen_in_training=True)], "seen")
    with pytest.raises(InputError, match="no fold"):
        pool([], "nothing")
