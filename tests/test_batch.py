"""An output folder of many studies: what a failed, killed or repeated run leaves of an earlier one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from apical.batch import OutputFolder
from apical.errors import InputError, InterruptedRunError, OutputError

MARKER = ".apical-run.json"


def opened(folder: Path, setting: int = 1, *, overwrite: bool = False) -> OutputFolder:
    return OutputFolder(folder, {"setting": setting}, record="record.json", table="table.csv", overwrite=overwrite)


def writing(**files: str) -> Callable[[Path], Mapping[str, Any]]:
    def write(place: Path) -> Mapping[str, Any]:
        for name, text in files.items():
            (place / name).write_text(text)
        return {"n": len(files)}

    return write


def failing(place: Path) -> Mapping[str, Any]:
    (place / "half").write_text("half a study")
    raise InputError("bad.png: damaged")


def finished(folder: Path, *patients: str) -> None:
    run = opened(folder)
    rows = [run.add(patient, writing(mask="old", stale="old")) for patient in patients]
    run.finish(rows, {"patients": rows})


def contents(folder: Path) -> dict[str, bytes]:
    """Files but for the lock of a run that is still open."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".apical-lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_a_study_is_kept_with_its_files_and_their_names(tmp_path: Path):
    finished(tmp_path, "p1")
    assert set(contents(tmp_path)) == {"p1/mask", "p1/stale", "p1/record.json", "summary.json", "table.csv"}
    record = json.loads((tmp_path / "p1" / "record.json").read_text())
    assert len(record.pop("run")) == 64
    assert record == {"n": 2, "files": ["mask", "stale"], "input": ""}


def test_a_study_that_fails_leaves_nothing(tmp_path: Path):
    run = opened(tmp_path)
    with pytest.raises(InputError):
        run.add("p1", failing)
    assert contents(tmp_path) == {}
    run.add("p2", writing(mask="new"))
    run.finish([], {})
    assert not (tmp_path / "p1").exists()


def test_an_overwriting_run_that_comes_to_nothing_takes_nothing_away(tmp_path: Path):
    finished(tmp_path, "p1")
    before = contents(tmp_path)
    with pytest.raises(InputError):
        opened(tmp_path, 2, overwrite=True).add("p1", failing)
    assert contents(tmp_path) == before


def test_a_run_that_comes_to_nothing_leaves_the_marker_of_an_interrupted_one(tmp_path: Path):
    opened(tmp_path).add("p1", writing(mask="old"))
    before = contents(tmp_path)
    assert MARKER in before
    opened(tmp_path)  # the input was not there this time
    with pytest.raises(InputError):
        opened(tmp_path).add("p2", failing)
    assert contents(tmp_path) == before


def test_an_interrupted_run_goes_on_with_the_same_settings_only(tmp_path: Path):
    first = opened(tmp_path).add("p1", writing(mask="old"))
    with pytest.raises(OutputError, match="other settings"):
        opened(tmp_path, 2)
    run = opened(tmp_path)
    assert run.add("p1", failing) == first == {"n": 1}
    run.add("p2", writing(mask="new"))
    run.finish([], {})
    assert MARKER not in contents(tmp_path)
    with pytest.raises(OutputError, match="exists already"):
        opened(tmp_path)


def test_a_record_of_another_run_is_never_taken_for_one_of_this(tmp_path: Path):
    finished(tmp_path, "p2", "p3")
    for name in ("summary.json", "table.csv"):
        (tmp_path / name).unlink()
    before = contents(tmp_path)
    for _ in range(2):  # the second time is the same run going on
        with opened(tmp_path, 2) as run:
            assert run.add("p1", writing(mask="new")) == {"n": 1}
            for patient in ("p2", "p3"):
                with pytest.raises(OutputError, match=r"record\.json: exists already"):
                    run.add(patient, writing(mask="new"))
        assert contents(tmp_path).items() >= before.items()
    run = opened(tmp_path, 2, overwrite=True)
    assert run.add("p1", failing) == run.add("p2", writing(mask="new")) == {"n": 1}
    with pytest.raises(InputError):
        run.add("p3", failing)
    run.finish([], {})
    assert set(contents(tmp_path)) == {
        "p1/mask", "p1/record.json", "p2/mask", "p2/record.json", "summary.json", "table.csv",
    }  # fmt: skip


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_kill_between_two_files_does_not_stop_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
):
    if overwrite:
        finished(tmp_path, "p1")
    else:
        (tmp_path / "p1").mkdir()
        (tmp_path / "p1" / "notes.txt").write_text("precious")
    replace, done = Path.replace, []

    def killed(self: Path, target: Path) -> Path:
        done.append(target)
        if sum("p1" in path.parts and not path.name.startswith(".") for path in map(Path, done)) == 2:
            raise InterruptedRunError("killed")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(InterruptedRunError):
        opened(tmp_path, overwrite=overwrite).add("p1", writing(mask="new", curve="new", film="new"))
    monkeypatch.undo()
    run = opened(tmp_path, overwrite=overwrite)
    run.add("p1", writing(mask="new"))
    run.finish([], {})
    left = {p.name for p in (tmp_path / "p1").iterdir()}
    assert left == {"mask", "record.json"} | ({"notes.txt"} if not overwrite else set())
    assert (tmp_path / "p1" / "mask").read_text() == "new"


def test_what_a_killed_run_had_put_of_a_study_is_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The next run is not asked for it: it is neither completed nor left half."""
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target == tmp_path / "p1" / "mask":
            raise InterruptedRunError("killed")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(InterruptedRunError):
        opened(tmp_path).add("p1", writing(curve="half", mask="half"))
    monkeypatch.undo()
    run = opened(tmp_path, overwrite=True)
    run.add("p2", writing(mask="new"))
    run.finish([], {})
    assert list((tmp_path / "p1").iterdir()) == []


def test_overwriting_removes_what_the_earlier_run_had_written_and_nothing_else(tmp_path: Path):
    finished(tmp_path, "p1", "p2")
    (tmp_path / "p1" / "notes.txt").write_text("precious")
    run = opened(tmp_path, 2, overwrite=True)
    run.add("p1", writing(mask="new"))
    run.finish([], {})
    assert {p.name for p in (tmp_path / "p1").iterdir()} == {"mask", "notes.txt", "record.json"}
    # p2 is not of this run: its files stay, with the record of the run that made them
    assert {p.name for p in (tmp_path / "p2").iterdir()} == {"mask", "stale", "record.json"}
    assert (tmp_path / "p2" / "stale").read_text() == "old"
    records = [json.loads((tmp_path / p / "record.json").read_text()) for p in ("p1", "p2")]
    assert records[0]["run"] != records[1]["run"]
    # Nor may a later run take them for its own.
    (tmp_path / "summary.json").unlink()
    (tmp_path / "table.csv").unlink()
    with pytest.raises(OutputError, match="exists already"):
        opened(tmp_path, 3).add("p2", writing(mask="new"))
    run = opened(tmp_path, 3, overwrite=True)
    run.add("p2", writing(mask="newer"))
    run.finish([], {})
    assert {p.name for p in (tmp_path / "p2").iterdir()} == {"mask", "record.json"}


def test_a_study_that_fails_this_time_keeps_no_earlier_result(tmp_path: Path):
    finished(tmp_path, "p1", "p2")
    run = opened(tmp_path, 2, overwrite=True)
    with pytest.raises(InputError):
        run.add("p1", failing)
    run.add("p2", writing(mask="new"))
    run.finish([], {})
    assert set(contents(tmp_path)) == {"p2/mask", "p2/record.json", "summary.json", "table.csv"}


def test_overwriting_replaces_no_file_that_no_run_had_written(tmp_path: Path):
    finished(tmp_path, "p1")
    (tmp_path / "p1" / "curve").write_text("precious")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="curve: was not written by an earlier run"):
        opened(tmp_path, 2, overwrite=True).add("p1", writing(mask="new", curve="new"))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("files", [None, 5, "mask", [5, None, ["mask"]]])
def test_a_record_that_lists_no_names_is_an_empty_list(tmp_path: Path, files: object):
    (tmp_path / "p1").mkdir()
    (tmp_path / "p1" / "record.json").write_text(json.dumps({"files": files}))
    run = opened(tmp_path, overwrite=True)
    assert run.add("p1", writing(mask="new")) == {"n": 1}


def test_a_list_of_files_leads_nowhere_else(tmp_path: Path):
    finished(tmp_path / "out", "p1")
    (tmp_path / "out" / "precious").write_text("precious")
    record = tmp_path / "out" / "p1" / "record.json"
    record.write_text(json.dumps({"files": ["../precious", "mask", "stale"]}))
    run = opened(tmp_path / "out", 2, overwrite=True)
    run.add("p1", writing(mask="new"))
    assert (tmp_path / "out" / "precious").exists()
    assert not (tmp_path / "out" / "p1" / "stale").exists()


def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path):
    (tmp_path / "p1").mkdir()
    (tmp_path / "p1" / "mask").write_text("precious")
    for _ in range(2):  # the first refusal must not make the folder ours
        with pytest.raises(OutputError, match="mask: exists already"):
            opened(tmp_path).add("p1", writing(curve="new", mask="new"))
        assert contents(tmp_path) == {"p1/mask": b"precious"}


def test_two_runs_at_once_are_refused(tmp_path: Path):
    with opened(tmp_path) as first:
        with pytest.raises(OutputError, match="another run is writing into it"):
            opened(tmp_path)
        first.add("p1", writing(mask="new"))
        first.finish([], {})
    assert set(contents(tmp_path)) == {"p1/mask", "p1/record.json", "summary.json", "table.csv"}


def test_what_was_made_of_something_else_is_made_again(tmp_path: Path):
    with opened(tmp_path) as run:
        run.add("p1", writing(mask="old", stale="old"), made_of=lambda: "a")
        run.add("p2", writing(mask="old"), made_of=lambda: "a")
        run.add("p3", writing(mask="old"), made_of=lambda: "a")
        run.add("p4", writing(mask="old"), made_of=lambda: "a")
    with opened(tmp_path) as run:
        assert run.add("p1", writing(mask="new"), made_of=lambda: "b") == {"n": 1}
        assert run.add("p2", failing, made_of=lambda: "a") == {"n": 1}  # of the same: not asked again
        with pytest.raises(InputError):
            run.add("p3", failing, made_of=lambda: "b")
        with pytest.raises(ZeroDivisionError):
            run.add("p4", writing(mask="new"), made_of=lambda: str(1 / 0))
        run.finish([], {})
    assert (tmp_path / "p1" / "mask").read_text() == "new"
    assert sorted(contents(tmp_path)) == [
        "p1/mask", "p1/record.json", "p2/mask", "p2/record.json", "summary.json", "table.csv",
    ]  # fmt: skip
