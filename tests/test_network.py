"""Training on two phantoms: it learns, repeats itself and survives kills."""

from __future__ import annotations

import csv
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs `pip install apical[train]`")

from apical.anatomy import View
from apical.errors import InputError, OutputError
from apical.files import FolderLock
from apical.network.checkpoint import read_tensors
from apical.network.dataset import load_frames
from apical.network.training import TrainConfig, autocast, learning_rate, pick_device, train
from apical.network.unet import UNet, UNetConfig, start_from
from apical.phantom import as_study, make_patient
from apical.split import Split
from apical.store import Store, StoreWriter
from network_runs import SMALL, SPLIT, small_run, store_of_phantoms


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of_phantoms(tmp_path_factory.mktemp("store") / "phantoms.h5")


@pytest.fixture(scope="module")
def run(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(store_path, tmp_path_factory.mktemp("runs") / "whole")


def weights(run: Path, name: str = "last") -> dict[str, np.ndarray]:
    tensors, _ = read_tensors(run / f"{name}.safetensors")
    return {k: v.numpy() for k, v in tensors.items()}


def assert_same_run(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


def test_a_run_leaves_manifest_history_curves_and_weights(run: Path, store_path: Path):
    manifest = json.loads((run / "manifest.json").read_text())
    with Store(store_path) as store:
        assert manifest["data"][0]["content_sha256"] == store.content_sha256
    assert manifest["split"]["train"] == ["patient0001"]
    assert manifest["recipe"]["seed"] == 0
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(float(row["val_loss"]) > 0 and 0 <= float(row["val_dice_endo"]) <= 1 for row in rows)
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "best.safetensors").is_file()


def test_it_learns(store_path: Path, tmp_path: Path):
    config = replace(SMALL, epochs=12, batch=1, learning_rate=1e-2, average_decay=0.8)
    with Store(store_path) as store:
        progress = train(store, SPLIT, tmp_path / "run", config, device="cpu")
    first, last = progress.history[0], progress.history[-1]
    assert last["val_dice_endo"] > 0.5  # of another heart than the one it saw
    assert last["train_loss"] < 0.6 * first["train_loss"]


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(run: Path, store_path: Path, tmp_path: Path):
    with Store(store_path) as store:
        train(store, SPLIT, tmp_path / "again", SMALL, device="cpu")
        train(store, SPLIT, tmp_path / "other", replace(SMALL, seed=1), device="cpu")
    assert_same_run(run, tmp_path / "again")
    assert any((weights(run)[k] != v).any() for k, v in weights(tmp_path / "other").items())


class Stop(Exception):
    """Stands for a kill between two steps."""


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_stopped_run_goes_on_to_the_same_weights(run: Path, store_path: Path, tmp_path: Path, stop_at: int):
    calls = 0

    def on_step(step: int, steps: int) -> None:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise Stop

    with Store(store_path) as store:
        with pytest.raises(Stop):
            train(store, SPLIT, tmp_path / "run", SMALL, device="cpu", on_step=on_step)
        train(store, SPLIT, tmp_path / "run", SMALL, device="cpu", resume=True)
    assert_same_run(run, tmp_path / "run")
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 1 + SMALL.epochs


TRAIN = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from network_runs import SMALL, SPLIT
from apical.network.training import train
from apical.store import Store
with Store(Path({store!r})) as store:
    train(store, SPLIT, Path({run!r}), SMALL, device="cpu", resume=True, on_step=lambda a, b: print(a, flush=True))
"""


def test_a_run_killed_at_random_moments_goes_on_to_the_same_weights(run: Path, store_path: Path, tmp_path: Path):
    folder = tmp_path / "run"
    program = TRAIN.format(tests=str(Path(__file__).parent), store=str(store_path), run=str(folder))
    random = np.random.default_rng()
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline(), "training began"
        time.sleep(float(random.uniform(0, 0.4)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for path in folder.glob("*.safetensors"):
            if not path.name.startswith("."):
                read_tensors(path)  # whole, or not there
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert_same_run(run, folder)


def test_a_run_is_not_overwritten_and_not_continued_with_another_recipe(run: Path, store_path: Path):
    with Store(store_path) as store:
        with pytest.raises(OutputError, match="--resume"):
            train(store, SPLIT, run, SMALL, device="cpu")
        with pytest.raises(InputError, match="recipe differs"):
            train(store, SPLIT, run, replace(SMALL, batch=2), device="cpu", resume=True)


def test_two_processes_do_not_go_on_with_one_run(store_path: Path, tmp_path: Path):
    run = small_run(store_path, tmp_path / "run")
    assert not list(run.glob(".*"))
    with Store(store_path) as store, FolderLock(run), pytest.raises(OutputError, match="another run is writing"):
        train(store, SPLIT, run, SMALL, device="cpu", resume=True)
    with Store(store_path) as store:
        assert train(store, SPLIT, run, SMALL, device="cpu", resume=True).finished


def test_a_time_budget_ends_the_run_early(store_path: Path, tmp_path: Path):
    with Store(store_path) as store:
        progress = train(store, SPLIT, tmp_path / "r", replace(SMALL, epochs=500, max_minutes=0.03), device="cpu")
    assert progress.finished
    assert progress.epoch < 500


def test_training_stops_when_nothing_gets_better(store_path: Path, tmp_path: Path):
    config = replace(SMALL, epochs=50, patience=2, learning_rate=0.0)
    with Store(store_path) as store:
        progress = train(store, SPLIT, tmp_path / "r", config, device="cpu")
    assert progress.epoch <= progress.best_epoch + 2 < 50


def test_a_single_view_is_learned_alone(store_path: Path):
    with Store(store_path) as store:
        frames = load_frames((store,), ["patient0001"], 64, (View.A4C,))
        assert len(frames) == 2
        assert set(frames.views.tolist()) == {1}
        with pytest.raises(InputError, match="no frame"):
            load_frames((store,), [], 64)


def test_the_other_phase_stands_beside_each_frame(store_path: Path):
    with Store(store_path) as store:
        frames = load_frames((store,), ["patient0001"], 64, (View.A2C,))
    assert frames.images.shape == (2, 2, 64, 64)
    ed, es = frames.images
    assert not torch.equal(ed[0], es[0])
    assert torch.equal(ed[1], es[0])
    assert torch.equal(es[1], ed[0])


def test_renditions_of_one_frame_count_once_in_an_epoch(store_path: Path):
    with Store(store_path) as store:
        frames = load_frames((store, store), ["patient0001", "patient0002"], 64)
    assert (len(frames), len(set(frames.same.tolist()))) == (16, 8)
    epochs = [frames.pick_renditions(np.random.default_rng(seed)) for seed in range(20)]
    assert all(sorted(frames.same[torch.from_numpy(e)].tolist()) == list(range(8)) for e in epochs)
    assert set(np.concatenate(epochs).tolist()) == set(range(16))


def test_stores_that_cannot_be_joined_are_refused(store_path: Path, tmp_path: Path):
    other, renumbered = StoreWriter(tmp_path / "other.h5"), StoreWriter(tmp_path / "renumbered.h5")
    study = as_study(make_patient(3))
    other.add(replace(study, patient=replace(study.patient, id="patient0099")))
    renumbered.add(replace(study, patient=replace(study.patient, id="patient0001", renumbered=True)))
    other.close()
    renumbered.close()
    with (
        Store(store_path) as first,
        Store(tmp_path / "other.h5") as strangers,
        Store(tmp_path / "renumbered.h5") as png,
    ):
        with pytest.raises(InputError, match=r"other\.h5: holds no frame of the patients"):
            load_frames((first, strangers), ["patient0001"], 64)
        with pytest.raises(InputError, match=r"renumbered\.h5: its patients bear numbers of the PNG tree"):
            load_frames((first, png), ["patient0001"], 64)


def test_a_run_starts_from_another_that_saw_the_frame_alone(store_path: Path, tmp_path: Path):
    alone = replace(SMALL, epochs=1, unet=UNetConfig((8, 16), frames=1))
    with Store(store_path) as store:
        train(store, SPLIT, tmp_path / "alone", alone, device="cpu")
        train(store, SPLIT, tmp_path / "both", SMALL, start=tmp_path / "alone", device="cpu")
        manifest = json.loads((tmp_path / "both" / "manifest.json").read_text())
        assert manifest["start"]["learned"] == ["patient0001"]
        unseen = Split(("patient0002",), (), ("patient0001",), "by hand")
        with pytest.raises(InputError, match="learned from or watched 1 patients"):
            train(store, unseen, tmp_path / "cheat", SMALL, start=tmp_path / "both", device="cpu")
        wide = replace(SMALL, unet=UNetConfig((8, 24)))
        with pytest.raises(InputError, match="another size"):
            train(store, SPLIT, tmp_path / "wide", wide, start=tmp_path / "alone", device="cpu")


def test_a_start_that_is_refused_leaves_no_run(store_path: Path, tmp_path: Path):
    small_run(store_path, tmp_path / "one")
    other = replace(SMALL, unet=UNetConfig((8, 12)))
    with Store(store_path) as store, pytest.raises(InputError, match="give the same --channels"):
        train(store, SPLIT, tmp_path / "two", other, start=tmp_path / "one", device="cpu")
    assert not (tmp_path / "two").exists()


def test_a_widened_start_ignores_the_other_phase():
    narrow, wide = UNet(UNetConfig((8, 16), frames=1)).eval(), UNet(UNetConfig((8, 16))).eval()
    start_from(wide, narrow.state_dict())
    pair = torch.rand(1, 2, 64, 64) * 255
    with torch.no_grad():
        torch.testing.assert_close(wide(pair)[0], narrow(pair[:, :1])[0])


def test_a_size_that_does_not_divide_is_refused(store_path: Path, tmp_path: Path):
    with Store(store_path) as store, pytest.raises(InputError, match="multiple of 4"):
        train(store, SPLIT, tmp_path / "r", replace(SMALL, size=66), device="cpu")


@pytest.mark.parametrize(
    ("processor", "has_instructions", "expected"),
    [("x86_64", True, True), ("x86_64", False, False), ("AMD64", False, False), ("aarch64", False, True)],
)
def test_bfloat16_is_used_only_where_the_processor_multiplies_it(
    processor: str, has_instructions: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(platform, "machine", lambda: processor)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_instructions)
    with autocast(torch.device("cpu")):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if expected else torch.float32)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="'abacus' is not here"):
        pick_device("abacus")
    assert pick_device("cpu").type == "cpu"


@pytest.mark.slow
def test_several_processes_train_one_model(store_path: Path, tmp_path: Path):
    script = tmp_path / "parallel.py"
    script.write_text(TRAIN.format(tests=str(Path(__file__).parent), store=str(store_path), run=str(tmp_path / "run")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
    with (tmp_path / "run" / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == SMALL.epochs


def test_the_learning_rate_warms_up_and_ends_low():
    config = TrainConfig(warmup_steps=10)
    assert learning_rate(config, 0, 0.0) == pytest.approx(config.learning_rate / 10)
    assert learning_rate(config, 10, 0.0) == pytest.approx(config.learning_rate)
    assert learning_rate(config, 1000, 1.0) == pytest.approx(0.005 * config.learning_rate)
    assert learning_rate(replace(config, final_rate=0.4), 1000, 1.0) == pytest.approx(0.4 * config.learning_rate)
