"""`apical evaluate` and `compare`: who is scored, who is left out, and whom the model may have seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apical import __version__
from apical.errors import ExitCode
from apical.models import DEFAULT, find_model
from apical.phantom import make_patient, write_camus_png
from commands import Run

SPLIT_MODEL = "apical-unet-small"
"""A released model that kept patients unseen."""


@pytest.fixture(scope="module")
def bare_png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patient in the PNG tree, without the table that gives CAMUS's number."""
    folder = tmp_path_factory.mktemp("png")
    unseen = find_model(SPLIT_MODEL).config["training"]["split"]["test"][0]
    write_camus_png(folder, make_patient(1, id=unseen))
    return folder


def test_who_was_asked_for_and_is_not_in_the_data_is_named(apical: Run, phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "e"
    result = apical("evaluate", DEFAULT, phantoms, "-o", out, "--patients", "patient0001,patient0777", "--json")
    assert result.code == ExitCode.PARTIAL
    assert "left out: 1 of 2 wanted patients: patient0777" in result.err
    summary = json.loads((out / "summary.json").read_text())
    assert json.loads(result.out) == summary
    assert summary["left_out"] == [{"what": "patient0777", "reason": "is not in the data"}]
    assert "**Asked for, but not scored: 1.** patient0777 is not in the data." in (out / "report.md").read_text()
    assert summary["patients"] == ["patient0001"]
    assert (summary["model_sha256"], summary["apical_version"]) == (find_model().sha256, __version__)
    assert summary["precision"] == "float32"
    assert summary["seen_in_training"] == ("patient0001" in find_model().seen_patients)
    assert ("seen in training" in summary["name"]) == summary["seen_in_training"]


def test_files_that_cannot_be_read_are_named_without_the_place_of_the_data(apical: Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for patient in ("patient0001", "patient0002"):
        write_camus_png(data, make_patient(1, id=patient))
    broken = next(data.rglob("patient0002/4CH_ED.png"))
    broken.write_bytes(b"no picture")
    result = apical("evaluate", data, data, "-o", tmp_path / "e")
    assert result.code == ExitCode.PARTIAL
    (left_out,) = json.loads((tmp_path / "e" / "summary.json").read_text())["left_out"]
    assert left_out["what"] == str(broken.relative_to(data))
    assert str(tmp_path) not in json.dumps(left_out)
    # Damage in files of a patient who was not asked for is no error of the evaluation.
    one = apical("evaluate", data, data, "-o", tmp_path / "one", "--patients", "patient0001")
    assert one.code == ExitCode.OK
    assert json.loads((tmp_path / "one" / "summary.json").read_text())["left_out"] == []


def test_numbers_that_may_be_other_patients_never_choose_the_unseen(
    apical: Run, bare_png: Path, tmp_path: Path
) -> None:
    store, out = tmp_path / "png.h5", tmp_path / "e"
    assert apical("prepare", bare_png, "-o", store).code == ExitCode.OK
    (patient,) = (path.parent.name for path in bare_png.rglob("2CH_ED.png"))
    for data in (bare_png, store):
        for more in ((), ("--patients", patient)):
            result = apical("evaluate", SPLIT_MODEL, data, "-o", out, *more)
            assert (result.code, result.one_line) == (ExitCode.INPUT, True)
            assert "put CAMUS's patients.csv beside them" in result.err
            assert not out.exists()
    result = apical("evaluate", SPLIT_MODEL, bare_png, "-o", out, "--all")
    assert result.code == ExitCode.OK
    assert "warning: 1 patients bear numbers of the PNG tree" in result.err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["seen_in_training"]
    assert "may be included" in summary["name"]
    # Masks of a tool are matched by the files themselves: numbers choose nothing there.
    assert apical("evaluate", bare_png, bare_png, "-o", tmp_path / "masks").code == ExitCode.OK


def test_a_comparison_gives_the_same_numbers_to_a_program(apical: Run, phantoms: Path, tmp_path: Path) -> None:
    assert apical("evaluate", DEFAULT, phantoms, "-o", tmp_path / "model", "--all").code == ExitCode.OK
    assert apical("evaluate", phantoms, phantoms, "-o", tmp_path / "expert").code == ExitCode.OK
    command = ("compare", tmp_path / "expert", tmp_path / "model", "-o", tmp_path / "table.md", "--json")
    result = apical(*command)
    assert result.code == ExitCode.OK
    compared = json.loads(result.out)
    first, second = compared["evaluations"]
    written = json.loads((tmp_path / "model" / "summary.json").read_text())
    assert second["model_sha256"] == written["model_sha256"] == find_model().sha256
    assert (first["model_sha256"], first["patients"]) == (None, written["patients"])
    assert first["precision"] is None
    (pair,) = compared["differences"]
    foreground = pair["dice"][0]
    assert foreground["first"] == 1.0
    assert foreground["difference"] == pytest.approx(1 - foreground["second"])
    table = (tmp_path / "table.md").read_text()
    assert f"{foreground['second']:.4f}" in table
    assert f"{foreground['difference']:.4f}" in table
