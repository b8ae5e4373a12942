"""The whole evaluation: patients in, tables and figures out."""

from __future__ import annotations

import csv
import gc
import json
import re
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apical.anatomy import Phase, View
from apical.calibration import Calibration, ErrorBound
from apical.errors import InputError, OutputError
from apical.evaluate import Evaluation, document, evaluate, read_evaluation
from apical.measure import examination
from apical.measure.results import Measurements, Status, VolumeDefinition, Volumes
from apical.phantom import as_study, make_patient
from apical.study import Mask, Segmentation, Study
from evaluated_hearts import heart, study

FILES = {"frames.csv", "patients.csv", "summary.json", "report.md", "dice.png", "bland_altman.png"}
FILES |= {"single_plane.csv", "worst.png"}


def by_area(examined: Study, masks: Mapping[str, Mask]) -> Measurements:
    """Stand in for the real measurement: volume is the cavity's pixel count, so that results are known exactly."""
    volumes = {}
    views = {frame.view for frame in examined.frames}
    method = "biplane" if len(views) == 2 else f"single plane ({' '.join(views)})"
    for definition, factor in ((VolumeDefinition.ASE, 1.0), (VolumeDefinition.CAMUS, 2.0)):
        counts = {}
        for phase in Phase:
            frames = [f for f in examined.frames if f.phase is phase]
            known = all(f.name in masks and f.grid.spacing_mm for f in frames)
            counts[phase] = factor * sum(int((masks[f.name] == 1).sum()) for f in frames) if known else None
        edv, esv = counts[Phase.ED], counts[Phase.ES]
        complete = edv is not None and esv is not None
        ef = 100 * (edv - esv) / edv if complete else None
        status = Status.MEASURED if complete else Status.REFUSED
        volumes[definition] = Volumes(definition, method, edv, esv, ef, None, status, ())
    return Measurements(examined.patient, volumes)


@pytest.fixture(autouse=True)
def known_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apical.measure.measure", by_area)


def perfect(examined: Study) -> dict[str, Mask]:
    return examined.references


def shrunk(examined: Study) -> dict[str, Mask]:
    return {name: np.where(np.roll(mask, 1, axis=0) == mask, mask, 0) for name, mask in examined.references.items()}


def test_perfect_masks_score_one():
    result = evaluate((study(i, 9 + i) for i in range(3)), perfect)
    assert (result.n_patients, len(result.frames), result.n_missing) == (3, 12, 0)
    for summary in result.summaries:
        assert summary.mean == (1 if summary.metric in ("dice", "accuracy", "heart_accuracy") else 0)
    assert {a.agreement.mae for a in result.agreements if a.group == "all"} == {0.0}
    assert {a.definition for a in result.agreements} == {"ase", "camus"}


def test_volumes_are_those_of_the_real_measurement(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("apical.measure.measure", examination.measure)
    patients = [make_patient(i, edv_ml=100.0 + 20 * i, ef_percent=60.0) for i in (1, 2)]
    result = evaluate([as_study(patient, with_images=False) for patient in patients], perfect)
    ase = [p for p in result.volumes if p.definition == "ase"]
    for pair, patient in zip(ase, patients, strict=True):
        assert pair.predicted == pair.reference
        assert pair.reference["edv_ml"] == pytest.approx(patient.truth.edv_ml, rel=0.02)
        assert pair.reference["ef_percent"] == pytest.approx(60.0, abs=1.0)
        assert pair.same_method
    assert {a.agreement.mae for a in result.agreements if a.group == "all"} == {0.0}


def test_single_planes_are_measured_beside_biplane(evaluation: Evaluation, tmp_path: Path):
    assert {p.predicted_method for p in evaluation.volumes} == {"biplane"}
    assert [p.predicted_method for p in evaluation.single_plane[:3:2]] == ["single plane (2CH)", "single plane (4CH)"]
    both, view = evaluation.volumes[0], evaluation.single_plane[0]
    assert view.reference["edv_ml"] == both.reference["edv_ml"] / 2
    evaluation.write(tmp_path)
    again = read_evaluation(tmp_path)
    assert len(again.single_plane) == 2 * len(again.volumes) == 24
    assert again.calibration == evaluation.calibration
    one_view = [replace(s, frames=s.frames[:2]) for s in (study(0), study(1))]
    assert evaluate(one_view, perfect).single_plane == ()


def test_the_models_own_intervals_judge_only_who_did_not_calibrate_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("apical.measure.measure", examination.measure)
    hearts = [as_study(make_patient(i, edv_ml=120.0, ef_percent=60.0), with_images=False) for i in (1, 2, 3)]
    ids = [heart.patient.id for heart in hearts]
    bounds = (ErrorBound("biplane method of disks, ASE 2015", "ef_percent", 50, 8.0),)
    carried = Calibration(0.9, "hearts", (ids[0],), bounds)
    result = evaluate(hearts, lambda s: Segmentation(s.references, "model", calibration=carried))
    ase = {p.patient: p.ef_interval for p in result.volumes if p.definition == "ase"}
    assert ase[ids[0]] is None
    assert ase[ids[1]][1] - ase[ids[1]][0] == pytest.approx(16.0)
    own = result.as_dict()["ef_interval"]["own"]
    assert [(c["method"], c["n"], c["n_inside"]) for c in own] == [(bounds[0].method, 2, 2)]
    assert "did not calibrate them" in document.render(result)


def test_missing_masks_score_zero_and_leave_no_volume():
    def predict(examined: Study) -> dict[str, Mask]:
        masks = examined.references
        if examined.patient.id == "patient0001":
            del masks["patient0001_4CH_ES"]
        return masks

    result = evaluate([study(0), study(1)], predict)
    assert result.n_missing == 1
    dice = next(s for s in result.summaries if (s.view, s.phase, s.structure) == ("4CH", "ES", "endo"))
    assert (dice.mean, dice.n, dice.n_missing) == (0.5, 2, 1)
    ef = next(a.agreement for a in result.agreements if a.quantity == "ef_percent")
    assert (ef.n, ef.n_missing) == (1, 1)


def test_frames_without_expert_mask_are_left_out_and_noted():
    def everywhere(examined: Study) -> dict[str, Mask]:
        return {f.name: heart(10) for f in examined.frames}

    result = evaluate([study(0, es=False)], everywhere)
    assert len(result.frames) == 2
    assert "2 frames without an expert mask: patient0000 patient0000_2CH_ES" in result.notes[0]
    # The expert has no ES volume, so the model's is not compared with anything.
    assert result.volumes[0].predicted["esv_ml"] is None


def test_distances_without_spacing_are_in_pixels_and_volumes_absent(tmp_path: Path):
    result = evaluate([study(0, spacing_mm=None), study(1, spacing_mm=None)], shrunk)
    assert {s.unit for f in result.frames for s in f.structures} == {"pixel"}
    written = {path.name for path in result.write(tmp_path)}
    assert written == FILES - {"bland_altman.png"}
    assert "no known spacing" in (tmp_path / "report.md").read_text()


def test_quality_is_the_view_s():
    result = evaluate([study(0)], perfect)
    assert {(f.view, f.quality) for f in result.frames} == {(View.A2C, "Good"), (View.A4C, "Poor")}


def test_one_patient_is_in_memory_at_a_time():
    alive: list[weakref.ref[Study]] = []

    def studies() -> Iterator[Study]:
        for i in range(4):
            gc.collect()
            # The loop variable may still hold the one before; none further back.
            assert sum(reference() is not None for reference in alive) <= 1
            examined = study(i)
            alive.append(weakref.ref(examined))
            yield examined
            del examined

    seen: list[str] = []
    result = evaluate(studies(), shrunk, progress=seen.append)
    gc.collect()
    assert seen == [f"patient{i:04d}" for i in range(4)]
    assert not any(reference() for reference in alive)
    assert result.n_patients == 4


def test_impossible_evaluations_are_refused():
    with pytest.raises(InputError, match="patient0001: two studies"):
        evaluate([study(1), study(1)], perfect)
    with pytest.raises(InputError, match="no expert mask in 0 patients"):
        evaluate([], perfect)
    with pytest.raises(InputError, match="a tool: no mask for any of the 4 frames"):
        evaluate([study(1)], lambda _: {"patient0002_2CH_ED": heart(10)}, name="a tool")
    with pytest.raises(InputError, match="patient0001 patient0001_2CH_ED: predicted mask has 24 x 40"):
        evaluate([study(1)], lambda s: {name: mask[:24] for name, mask in s.references.items()})


@pytest.fixture
def evaluation() -> Evaluation:
    return evaluate([study(i, 9 + i % 5) for i in range(6)], shrunk, name="a model")


def test_everything_is_written(evaluation: Evaluation, tmp_path: Path):
    folder = tmp_path / "new" / "folder"
    assert {path.name for path in evaluation.write(folder)} == FILES == {path.name for path in folder.iterdir()}

    with (folder / "frames.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 6 * 4 * 4
    assert {row["unit"] for row in rows} == {"mm"}
    with (folder / "patients.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [(r["patient"], r["definition"]) for r in rows[:2]] == [("patient0000", "ase"), ("patient0000", "camus")]
    assert float(rows[1]["reference_edv_ml"]) == 2 * float(rows[0]["reference_edv_ml"])

    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["name"], summary["n_patients"], summary["n_frames"]) == ("a model", 6, 24)
    foreground = next(
        s for s in summary["geometry"] if s["structure"] == "foreground" and s["phase"] == s["view"] == "all"
    )
    expected = np.mean([f.foreground_dice for f in evaluation.frames])
    assert foreground["mean"] == pytest.approx(expected)

    report = (folder / "report.md").read_text()
    expected_words = (
        "# Evaluation of a model",
        "6 patients, 24 frames",
        "## View 2CH",
        "## All views",
        "LV epicardium (1+2)",
        f"**{expected:.4f} (",
        "EF (%)",
        "| camus |",
        "Worst patients by EF (`ase`)",
        "| Poor |",
        "![bland altman](bland_altman.png)",
    )
    for words in expected_words:
        assert words in report
    for name in ("dice.png", "bland_altman.png"):
        assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_report_lists_the_worst_patients_first():
    def predict(examined: Study) -> dict[str, Mask]:
        worse = int(examined.patient.id[-1])
        return {
            name: np.where(np.arange(48)[:, None] < 14 + worse * (Phase.ED in name), 0, mask)
            for name, mask in examined.references.items()
        }

    result = evaluate([study(i, 10) for i in (1, 3, 0, 2)], predict)
    report = document.render(result)
    by_dice, by_ef = (report.split(title)[1].split("##")[0] for title in ("Worst patients by Dice", "by EF (`ase`)"))
    assert re.findall(r"patient\d+", by_dice) == ["patient0003", "patient0002", "patient0001", "patient0000"]
    errors = [abs(float(cell)) for cell in re.findall(r"\| ([+-][\d.]+) \|", by_ef)]
    assert len(set(errors)) == 4
    assert errors == sorted(errors, reverse=True)


def test_the_same_scores_are_written_alike(evaluation: Evaluation, tmp_path: Path):
    again = evaluate([study(i, 9 + i % 5) for i in range(6)], shrunk, name="a model")
    for folder, result in (("a", evaluation), ("b", again)):
        result.write(tmp_path / folder)
    for name in ("frames.csv", "patients.csv", "summary.json", "report.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_nothing_is_overwritten_unasked(evaluation: Evaluation, tmp_path: Path):
    (tmp_path / "report.md").write_text("mine")
    with pytest.raises(OutputError, match=r"report\.md: exists"):
        evaluation.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
    evaluation.write(tmp_path, overwrite=True)
    assert (tmp_path / "report.md").read_text() != "mine"


def test_overwriting_leaves_nothing_of_the_earlier_evaluation(evaluation: Evaluation, tmp_path: Path):
    replace(evaluation, single_plane=evaluation.volumes).write(tmp_path)
    assert (tmp_path / "single_plane.csv").exists()
    replace(evaluation, single_plane=(), worst=()).write(tmp_path, overwrite=True)
    assert not (tmp_path / "single_plane.csv").exists()
    assert not (tmp_path / "worst.png").exists()


def test_a_broken_overwrite_is_no_evaluation(evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    evaluation.write(tmp_path)
    monkeypatch.setattr("apical.evaluate.evaluation.write_text", lambda *_args, **_kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluation.write(tmp_path, overwrite=True)
    monkeypatch.undo()
    with pytest.raises(InputError, match="no whole evaluation"):
        read_evaluation(tmp_path)


def test_a_name_is_no_formula(evaluation: Evaluation, tmp_path: Path):
    replace(evaluation, name=r"run $\alph$ x").write(tmp_path)
    assert (tmp_path / "summary.json").exists()


def test_of_masks_it_is_not_said_that_patients_were_unseen(evaluation: Evaluation):
    assert "nobody told" in replace(evaluation, model_sha256=None).calibration.source
    assert "never seen" in replace(evaluation, model_sha256="0").calibration.source


def test_two_models_are_compared_on_the_same_patients(evaluation: Evaluation):
    better = evaluate([study(i, 9 + i % 5) for i in range(6)], perfect)
    foreground = better.compare(evaluation)[0]
    assert (foreground.n_patients, foreground.n_unpaired) == (6, 0)
    assert 0 < foreground.interval[0] < foreground.difference
    assert foreground.p_value == pytest.approx(2 / 2**6)
