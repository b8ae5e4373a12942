"""Study <-> HDF5: what goes in comes out, and nothing half-written is ever a store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from apical.anatomy import Phase, View
from apical.errors import InputError, OutputError
from apical.split import DEFAULT_SEED, split_by_seed
from apical.store import Store, StoreWriter
from apical.study import Frame, Grid, Patient, Study


def study(
    patient: str = "patient0001", seed: int = 0, *, spacing_mm: tuple[float, float] | None = (0.308, 0.154)
) -> Study:
    random = np.random.default_rng(seed)
    frames = []
    for view in View:
        for phase in Phase:
            image = random.integers(0, 256, (40, 30), dtype=np.uint8)
            mask = random.integers(0, 4, (40, 30), dtype=np.uint8)
            grid = Grid((40, 30), spacing_mm, (1.5, -2.0), ((0.0, 1.0), (1.0, 0.0)))
            frames.append(Frame(f"{patient}_{view}_{phase}", image, grid, view, phase, mask))
    known = Patient(
        patient,
        sex="F",
        age_years=61.0,
        height_cm=165.0,
        weight_kg=70.5,
        image_quality={View.A4C: "Good"},
        published_ef_percent=48.0,
    )
    return Study(known, tuple(frames), notes=("spacing from a list",))


def write(path: Path, *studies: Study, **options: object) -> Path:
    writer = StoreWriter(path, **options)
    for one in studies:
        writer.add(one, camus_fold=4)
    writer.close()
    return path


def test_a_study_comes_back_as_it_was(tmp_path: Path):
    with Store(write(tmp_path / "s.h5", study())) as store:
        assert store.patients == ("patient0001",)
        assert store.folds == {"patient0001": 4}
        back = store.study("patient0001")
    original = study()
    assert (back.patient, back.notes) == (original.patient, original.notes)
    for got, put in zip(back.frames, original.frames, strict=True):
        assert (got.name, got.view, got.phase, got.grid) == (put.name, put.view, put.phase, put.grid)
        np.testing.assert_array_equal(got.image, put.image)
        np.testing.assert_array_equal(got.reference, put.reference)


def test_unknown_spacing_stays_unknown(tmp_path: Path):
    with Store(write(tmp_path / "s.h5", study(spacing_mm=None))) as store:
        assert all(f.grid.spacing_mm is None for f in store.study("patient0001").frames)


def test_the_content_hash_follows_the_pixels_and_nothing_else(tmp_path: Path):
    hashes = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        with Store(write(tmp_path / f"{name}.h5", study(seed=seed))) as store:
            hashes[name] = store.content_sha256
    assert hashes["a"] == hashes["b"] != hashes["c"]


def test_patients_that_share_an_image_are_grouped(tmp_path: Path):
    twin = study("patient0002", seed=0)
    with Store(write(tmp_path / "s.h5", study(), twin, study("patient0003", seed=3))) as store:
        assert sorted(store.groups()) == [("patient0001", "patient0002"), ("patient0003",)]


def test_the_default_split_is_the_one_that_training_draws(tmp_path: Path):
    with Store(write(tmp_path / "s.h5", *(study(f"patient{i:04d}", seed=i) for i in range(72)))) as store:
        drawn = split_by_seed(store.groups(), DEFAULT_SEED)
        assert {p for p, part in store.split.items() if part == "test"} == set(drawn.test)
        assert {p for p, part in store.split.items() if part == "train"} == set(drawn.train)
    with Store(write(tmp_path / "small.h5", study())) as store:
        assert store.split == {}


def test_an_existing_store_is_kept_unless_asked(tmp_path: Path):
    path = write(tmp_path / "s.h5", study())
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        StoreWriter(path)
    assert path.read_bytes() == before
    write(path, study("patient0009"), overwrite=True)
    with Store(path) as store:
        assert store.patients == ("patient0009",)


def test_nothing_read_means_no_store(tmp_path: Path):
    with pytest.raises(InputError, match="no patient could be read"):
        StoreWriter(tmp_path / "s.h5").close()
    assert list(tmp_path.iterdir()) == []


def test_a_frame_without_view_is_no_training_data(tmp_path: Path):
    frame = Frame("x", np.zeros((4, 4), np.uint8), Grid((4, 4)))
    with pytest.raises(InputError, match="view and phase unknown"):
        StoreWriter(tmp_path / "s.h5").add(Study(Patient("x"), (frame,)))


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n" + b"\0" * 64])
def test_files_that_are_no_store_are_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "x.h5"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.h5"):
        Store(path)


def test_other_hdf5_and_later_schemas_are_refused(tmp_path: Path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match="not an apical store"):
        Store(tmp_path / "other.h5")
    path = write(tmp_path / "s.h5", study())
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(InputError, match="schema version 99"):
        Store(path)


@pytest.mark.parametrize("kind", ["external link", "soft link", "external storage", "virtual"])
def test_a_store_never_leads_out_of_itself(tmp_path: Path, kind: str):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["image"] = np.ones((4, 4), np.uint8)
    path = write(tmp_path / "s.h5", study())
    with h5py.File(path, "a") as file:
        group = file["patients/patient0001/4CH/ED"]
        del group["image"]
        if kind == "external link":
            group["image"] = h5py.ExternalLink(str(secret), "image")
        elif kind == "soft link":
            group["image"] = h5py.SoftLink("/patients/patient0001/4CH/ES/image")
        elif kind == "external storage":
            group.create_dataset("image", (4, 4), np.uint8, external=[(str(tmp_path / "raw"), 0, 16)])
        else:
            layout = h5py.VirtualLayout((4, 4), np.uint8)
            layout[:] = h5py.VirtualSource(str(secret), "image", (4, 4))
            group.create_virtual_dataset("image", layout)
    with pytest.raises(InputError, match="refused"):
        Store(path)


WRITE_SLOWLY = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_store import study
from apical.store import StoreWriter
writer = StoreWriter(Path({path!r}))
print("start", flush=True)
for i in range(40):
    if writer.keep(str(i)) is None:
        writer.add(study(f"patient{{i:04d}}", seed=i), stamp=str(i))
        print(i, flush=True)
writer.close()
"""


def test_a_store_killed_at_any_moment_goes_on_to_the_same_content(tmp_path: Path):
    whole = write(tmp_path / "whole.h5", *(study(f"patient{i:04d}", seed=i) for i in range(40)))
    path = tmp_path / "killed.h5"
    program = [sys.executable, "-c", WRITE_SLOWLY.format(tests=str(Path(__file__).parent), path=str(path))]
    random = np.random.default_rng()
    written = 0
    for _ in range(4):
        process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=os.environ | {"MPLBACKEND": "Agg"})
        assert process.stdout is not None
        assert process.stdout.readline() == "start\n"
        for _ in range(int(random.integers(1, 9))):
            process.stdout.readline()
        time.sleep(float(random.uniform(0, 0.01)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        parts = {p.stem for p in (tmp_path / "killed.h5.parts").glob("patient*.apical-part")}
        assert len(parts) > written, "a run that was killed after its first patient keeps what it wrote"
        written = len(parts)
        assert not path.exists()
    subprocess.run(program, check=True, capture_output=True)
    with Store(whole) as a, Store(path) as b:
        assert a.content_sha256 == b.content_sha256
    assert not (tmp_path / "killed.h5.parts").exists()


@pytest.mark.parametrize("name", ["..", "../../escaped", "a/b", "a\\b"])
def test_a_name_that_leads_out_of_the_output_folder_is_refused(tmp_path: Path, name: str):
    path = write(tmp_path / "s.h5", study())
    with h5py.File(path, "a") as file:
        file["patients/patient0001/4CH/ED"].attrs["name"] = name
    with Store(path) as store, pytest.raises(InputError, match="no name of a patient or frame"):
        store.study("patient0001")
    if "/" not in name:
        with h5py.File(path, "a") as file:
            file["patients"].move("patient0001", name)
        with pytest.raises(InputError, match="no name of a patient or frame"):
            Store(path)
