"""From files to a store: what cannot be stored is named, and an interrupted run goes on only as itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import apical.readers
from apical.anatomy import Phase, View
from apical.errors import ExitCode, InputError, OutputError
from apical.store import Store, StoreWriter
from apical.store.prepare import prepare_store
from apical.store.writing import storable
from apical.study import Clip, Frame, Grid, Patient, Study
from commands import Run
from test_store import study

VIEWS = [f"{view}_{phase}" for view in View for phase in Phase]


def picture(path: Path, seed: int = 0, labels: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 4, (20, 24)) * 85 if labels else random.integers(0, 256, (20, 24))
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def dataset(folder: Path, *patients: str, seed: int = 0) -> Path:
    """CAMUS's names; as many patients as named."""
    for number, patient in enumerate(patients):
        for place, frame in enumerate(VIEWS):
            picture(folder / patient / f"{patient}_{frame}.png", seed + 10 * number + place)
            picture(folder / patient / f"{patient}_{frame}_gt.png", seed + place, labels=True)
    return folder


class Told(list[str]):
    def __call__(self, path: Path, error: InputError) -> None:
        self.append(str(error))


class Killed(Exception):
    """Stands for a kill."""


def interrupted(data: Path, output: Path, after: int, folds: dict[str, int] | None = None) -> Told:
    """Prepare, and be killed when so many patients are finished."""
    told, turn = Told(), iter(range(after))

    def on_patient() -> None:
        if next(turn, None) is None:
            raise Killed

    with pytest.raises(Killed):
        prepare_store(data, output, folds or {}, told, on_patient=on_patient)
    assert not output.exists()
    return told


def test_the_parts_of_another_dataset_are_never_merged(apical: Run, tmp_path: Path):
    one = dataset(tmp_path / "one", "patient0001", "patient0002")
    other = dataset(tmp_path / "other", "patient0001", "patient0003", seed=500)
    output = tmp_path / "s.h5"
    interrupted(one, output, 1)
    result = apical("prepare", other, "-o", output)
    assert result.code == ExitCode.OUTPUT
    assert result.one_line
    assert "s.h5.parts" in result.err
    assert "--overwrite" in result.err
    assert (tmp_path / "s.h5.parts" / "patient0001.apical-part").is_file(), "a refusal deletes nothing"
    assert apical("prepare", other, "-o", output, "--overwrite").code == ExitCode.OK
    prepare_store(other, tmp_path / "fresh.h5", {}, Told())
    with Store(output) as mixed, Store(tmp_path / "fresh.h5") as fresh:
        assert mixed.patients == ("patient0001", "patient0003")
        assert mixed.content_sha256 == fresh.content_sha256
    assert not (tmp_path / "s.h5.parts").exists()


@pytest.mark.parametrize("what", ["folds", "version", "no marker"])
def test_other_folds_or_another_version_do_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str):
    data, output, folds = dataset(tmp_path / "data", "patient0001", "patient0002"), tmp_path / "s.h5", {}
    interrupted(data, output, 1)
    if what == "folds":
        folds = {"patient0001": 3}
    elif what == "version":
        monkeypatch.setattr("apical.store.writing.__version__", "0.0.0")
    else:
        (tmp_path / "s.h5.parts" / ".apical-run.json").unlink()
    with pytest.raises(OutputError, match="parts of an interrupted run"):
        prepare_store(data, output, folds, Told())
    assert prepare_store(data, output, folds, Told(), overwrite=True) == 2
    with Store(output) as store:
        assert store.folds == folds


def test_a_run_that_finished_nobody_stands_in_nobodys_way(tmp_path: Path):
    interrupted(dataset(tmp_path / "one", "patient0001"), tmp_path / "s.h5", 0)
    other = dataset(tmp_path / "other", "patient0002")
    assert prepare_store(other, tmp_path / "s.h5", {}, Told()) == 1


def test_files_of_somebody_else_beside_the_parts_stay(tmp_path: Path):
    data, output, parts = dataset(tmp_path / "data", "patient0001"), tmp_path / "s.h5", tmp_path / "s.h5.parts"
    interrupted(data, output, 0)
    for name in ("notes.txt", "other.h5"):
        (parts / name).write_text("mine")
    prepare_store(data, output, {}, Told())
    assert sorted(path.name for path in parts.iterdir()) == ["notes.txt", "other.h5"]


def test_a_folder_of_somebody_else_by_that_name_keeps_its_stores(tmp_path: Path):
    data, output, theirs = dataset(tmp_path / "data", "patient0001"), tmp_path / "s.h5", tmp_path / "s.h5.parts"
    theirs.mkdir()
    (theirs / "patient0009.h5").write_text("mine")
    assert prepare_store(data, output, {}, Told(), overwrite=True) == 1
    assert [path.name for path in theirs.iterdir()] == ["patient0009.h5"]


def test_finished_patients_are_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data, output = dataset(tmp_path / "data", "patient0001", "patient0002", "patient0003"), tmp_path / "s.h5"
    interrupted(data, output, 2)
    decoded: list[str] = []
    whole = apical.readers.assemble_study

    def watched(files, tell):
        decoded.append(files.label)
        return whole(files, tell)

    monkeypatch.setattr(apical.readers, "assemble_study", watched)
    earlier: list[int] = []
    assert prepare_store(data, output, {}, Told(), on_start=earlier.append) == 3
    assert (decoded, earlier) == (["patient0003"], [2])
    prepare_store(data, tmp_path / "fresh.h5", {}, Told())
    with Store(output) as resumed, Store(tmp_path / "fresh.h5") as fresh:
        assert resumed.content_sha256 == fresh.content_sha256


def test_a_patient_whose_files_changed_is_read_again_and_one_who_left_is_not_merged(tmp_path: Path):
    data, output = dataset(tmp_path / "data", "patient0001", "patient0002", "patient0003"), tmp_path / "s.h5"
    interrupted(data, output, 2)
    changed = picture(data / "patient0001" / "patient0001_4CH_ED.png", seed=999)
    shutil.rmtree(data / "patient0002")
    prepare_store(data, output, {}, Told())
    with Store(output) as store:
        assert store.patients == ("patient0001", "patient0003")
        image = store.study("patient0001").frame(View.A4C, Phase.ED).image
    np.testing.assert_array_equal(image, np.asarray(Image.open(changed)))


def test_what_the_interrupted_run_left_out_is_named_again(tmp_path: Path):
    data, output = dataset(tmp_path / "data", "patient0001", "patient0002", "patient0003"), tmp_path / "s.h5"
    (data / "patient0001" / "patient0001_2CH_ED.png").write_bytes(b"rubbish")
    first = interrupted(data, output, 2)
    assert len(first) == 1
    assert "patient0001_2CH_ED" in first[0]
    again = Told()
    assert prepare_store(data, output, {}, again) == 3
    assert again == first


def test_a_damaged_part_is_made_again(tmp_path: Path):
    data, output = dataset(tmp_path / "data", "patient0001", "patient0002"), tmp_path / "s.h5"
    interrupted(data, output, 1)
    (tmp_path / "s.h5.parts" / "patient0001.apical-part").write_bytes(b"rubbish")
    assert prepare_store(data, output, {}, Told()) == 2


def test_a_frame_without_view_or_phase_is_left_out_by_name(apical: Run, tmp_path: Path):
    data = dataset(tmp_path / "data", "patient0001")
    picture(data / "lab" / "a_4ch_ed.png", 1)
    picture(data / "lab" / "b_4ch.png", 2)
    picture(data / "lab" / "c.png", 3)
    result = apical("prepare", data, "-o", tmp_path / "s.h5", "--json", "--strict")
    assert result.code == ExitCode.PARTIAL
    left_out = {Path(item["path"]).name: item["reason"] for item in json.loads(result.out)["left_out"]}
    assert set(left_out) == {"b_4ch.png", "c.png"}
    assert "phase unknown" in left_out["b_4ch.png"]
    assert "view and phase unknown" in left_out["c.png"]
    assert "left out: " in result.err
    with Store(tmp_path / "s.h5") as store:
        assert store.patients == ("lab", "patient0001")
        assert [f.name for f in store.study("lab").frames] == ["a_4ch_ed"]
    assert apical("prepare", data, "-o", tmp_path / "b.h5").code == ExitCode.OK


def test_a_patient_of_whom_nothing_can_be_stored_is_no_patient(tmp_path: Path):
    data = dataset(tmp_path / "data", "patient0001")
    picture(data / "lab" / "c.png")
    for number in range(8):
        picture(data / "clips" / f"frame_{number:04d}.png", number)
    told = Told()
    assert prepare_store(data, tmp_path / "s.h5", {}, told) == 1
    assert [line for line in told if "clips only" in line and "frame_0000.png" in line]
    assert len(told) == 2
    with Store(tmp_path / "s.h5") as store:
        assert store.patients == ("patient0001",)


def test_a_dataset_of_clips_gives_no_store(apical: Run, tmp_path: Path):
    for number in range(8):
        picture(tmp_path / "clips" / f"frame_{number:04d}.png", number)
    result = apical("prepare", tmp_path / "clips", "-o", tmp_path / "s.h5")
    assert result.code == ExitCode.INPUT
    assert result.one_line
    assert [p.name for p in tmp_path.iterdir()] == ["clips"]


def test_clips_beside_frames_are_no_hindrance():
    grid = Grid((4, 4))
    frame = Frame("a", np.zeros((4, 4), np.uint8), grid, View.A4C, Phase.ED)
    study = Study(Patient("p"), (frame,), (Clip("c", np.zeros((9, 4, 4), np.uint8), grid),))
    told = Told()
    assert storable(study, told) is not None
    assert told == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "a second 4CH ED of p beside a"),
        ({"phase": None}, "phase unknown"),
        ({"view": None}, "view unknown"),
        ({"name": "../b"}, "no name of a patient or frame"),
    ],
)
def test_the_first_frame_of_a_view_and_phase_is_stored(change: dict[str, object], reason: str):
    first = Frame("a", np.zeros((4, 4), np.uint8), Grid((4, 4)), View.A4C, Phase.ED)
    told = Told()
    study = storable(Study(Patient("p"), (first, replace(first, **{"name": "b", **change}))), told)
    assert study is not None
    assert [f.name for f in study.frames] == ["a"]
    assert len(told) == 1
    assert reason in told[0]


def test_a_store_that_somebody_made_meanwhile_is_kept(tmp_path: Path):
    writer = StoreWriter(tmp_path / "s.h5")
    writer.add(study())
    (tmp_path / "s.h5").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        writer.close()
    assert (tmp_path / "s.h5").read_text() == "precious"


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise RuntimeError("Can't decrement id ref count\n(file write failed, errno = 28)")

    monkeypatch.setattr("apical.store.writing._write_patient", full)
    with pytest.raises(OutputError, match=r"patient0001.*cannot be written \(Can't decrement id ref") as told:
        StoreWriter(tmp_path / "s.h5").add(study())
    assert "\n" not in str(told.value)


def test_a_patient_without_a_plain_name_is_refused_when_written(tmp_path: Path):
    frame = Frame("a", np.zeros((4, 4), np.uint8), Grid((4, 4)), View.A4C, Phase.ED)
    with pytest.raises(InputError, match="no name of a patient"):
        StoreWriter(tmp_path / "s.h5").add(Study(Patient("../p"), (frame,)))


@pytest.mark.parametrize("folds", ["nowhere", "empty", "contradicting", "binary"])
def test_fold_lists_that_are_none_are_refused(apical: Run, tmp_path: Path, folds: str):
    data, folder = dataset(tmp_path / "data", "patient0001"), tmp_path / folds
    if folds != "nowhere":
        folder.mkdir()
    if folds == "contradicting":
        (folder / "subGroup1_testing.txt").write_text("patient0001\n")
        (folder / "subGroup2_testing.txt").write_text("patient0001\n")
    if folds == "binary":
        (folder / "subGroup1_testing.txt").write_bytes(b"\xff\xfe\x00")
    result = apical("prepare", data, "-o", tmp_path / "s.h5", "--folds", folder)
    assert result.code == ExitCode.INPUT
    assert result.one_line
    assert folds in result.err
    assert not (tmp_path / "s.h5").exists()


def test_given_fold_lists_are_written_down(apical: Run, tmp_path: Path):
    data, folder = dataset(tmp_path / "data", "patient0001"), tmp_path / "lists"
    folder.mkdir()
    (folder / "subGroup7_testing.txt").write_text("patient0001\n")
    assert apical("prepare", data, "-o", tmp_path / "s.h5", "--folds", folder).code == ExitCode.OK
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["patients/patient0001"].attrs["camus_fold"] == 7


def test_info_of_broken_files_says_so_by_its_code(apical: Run, tmp_path: Path):
    data = dataset(tmp_path / "data", "patient0001")
    broken = data / "patient0001" / "patient0001_2CH_ED.png"
    broken.write_bytes(b"rubbish")
    result = apical("info", broken)
    assert result.code == ExitCode.INPUT
    assert result.one_line
    result = apical("info", data, "--json")
    assert result.code == ExitCode.PARTIAL
    assert [Path(item["path"]).name for item in json.loads(result.out)["left_out"]] == [broken.name]
    assert apical("info", data).code == ExitCode.PARTIAL
    broken.unlink()
    assert apical("info", data).code == ExitCode.OK


def test_the_table_of_info_is_its_product(apical: Run, tmp_path: Path):
    name = "a_long_name_that_an_eighty_column_terminal_would_cut_[b]_4CH_ED"
    picture(tmp_path / "[i]ward[b] :heart:" / f"{name}.png")
    result = apical("info", tmp_path)
    assert result.code == ExitCode.OK
    (row,) = [line for line in result.out.splitlines() if name in line]
    assert "[i]ward[b] :heart:" in row
    assert "20 x 24" in row
    assert name not in result.err
