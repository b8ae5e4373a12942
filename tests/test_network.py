"""Training on two phantoms: it learns, repeats itself, survives kills, and the exported file says the same."""

from __future__ import annotations

import csv
import json
import os
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
from apical.calibration import Calibration, ErrorBound
from apical.errors import InputError, ModelError, OutputError
from apical.models import find_model
from apical.network.checkpoint import read_tensors
from apical.network.dataset import load_frames
from apical.network.export import export, load_run
from apical.network.training import TrainConfig, learning_rate, pick_device, train
from apical.network.unet import UNet, UNetConfig, start_from
from apical.phantom import as_study, make_patient
from apical.segment import Segmenter
from apical.split import Split
from apical.store import Store, StoreWriter

SMALL = TrainConfig(size=64, epochs=3, batch=4, warmup_steps=2, unet=UNetConfig((8, 16)))
SPLIT = Split(("patient0001",), ("patient0002",), (), "by hand")


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "phantoms.h5"
    writer = StoreWriter(path)
    for seed in (1, 2, 3):
        study = as_study(make_patient(seed))
        writer.add(replace(study, patient=replace(study.patient, id=f"patient{seed:04d}")))
    writer.close()
    return path


@pytest.fixture(scope="module")
def run(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with Store(store_path) as store:
        train(store, SPLIT, folder, SMALL, device="cpu")
    return folder


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
from test_network import SMALL, SPLIT
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


def test_a_widened_start_ignores_the_other_phase():
    narrow, wide = UNet(UNetConfig((8, 16), frames=1)).eval(), UNet(UNetConfig((8, 16))).eval()
    start_from(wide, narrow.state_dict())
    pair = torch.rand(1, 2, 64, 64) * 255
    with torch.no_grad():
        torch.testing.assert_close(wide(pair)[0], narrow(pair[:, :1])[0])


def test_the_exported_model_gives_the_networks_scores(run: Path, tmp_path: Path):
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    export(run, tmp_path / "bare")
    figures = {"model_sha256": find_model(tmp_path / "bare").sha256, "patients": ["p"], "seen_in_training": False}
    (evaluation / "summary.json").write_text(json.dumps(figures))
    (evaluation / "report.md").write_text("# Evaluation of x\n\nmeasured\n\n## View 2CH\n\n![dice](dice.png)\n")
    export(run, tmp_path / "model", evaluation=evaluation)
    network, _ = load_run(run)
    images = torch.rand(3, 2, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        expected = dict(zip(("scores", "views", "confidence", "unlike"), network(images), strict=True))
    for runtime in ("onnxruntime", "openvino"):
        pytest.importorskip(runtime)
        segmenter = Segmenter.load(tmp_path / "model", runtime)
        got = segmenter._runtime(images.numpy())
        assert got.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(got[name], values.numpy(), atol=1e-3, rtol=1e-3, err_msg=name)
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text()
    config = find_model(tmp_path / "model").config
    assert config["figures"] == figures
    assert "![" not in card
    for needed in (
        "CC BY-NC-SA 4.0",
        "Not a medical device",
        "10.1109/TMI.2019.2900516",
        config["sha256"],
        "measured",
        "### View 2CH",
    ):
        assert needed in card
    assert config["training"]["split"]["train"] == ["patient0001"]
    with pytest.raises(OutputError, match="exists already"):
        export(run, tmp_path / "model")


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({"model_sha256": "0" * 64}, "not of this run's network"),
        ({"model_sha256": None}, "not of this run's network"),
        ({"patients": ["patient0001", "patient0009"]}, "scored 1 patients that the run learned from or watched"),
        ({"patients": ["patient0002"]}, "scored 1 patients that the run learned from or watched"),
        ({"seen_in_training": True}, "patients who may be among those"),
    ],
)
def test_a_card_takes_figures_of_its_own_network_on_unseen_patients_only(
    run: Path, tmp_path: Path, others: dict[str, object], why: str
):
    export(run, tmp_path / "model")
    right = {
        "model_sha256": find_model(tmp_path / "model").sha256,
        "patients": ["patient0009"],
        "seen_in_training": False,
    }
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    (evaluation / "report.md").write_text("# Evaluation\n")
    (evaluation / "summary.json").write_text(json.dumps(right))
    export(run, tmp_path / "right", evaluation=evaluation)
    (evaluation / "summary.json").write_text(json.dumps(right | others))
    with pytest.raises(InputError, match=why):
        export(run, tmp_path / "wrong", evaluation=evaluation)
    assert not (tmp_path / "wrong" / "config.json").exists()


def test_a_run_on_all_patients_takes_the_figures_of_the_one_before(run: Path, store_path: Path, tmp_path: Path):
    everybody = Split(("patient0001", "patient0002", "patient0003"), (), (), "by hand")
    with Store(store_path) as store:
        train(store, everybody, tmp_path / "all", replace(SMALL, epochs=1), start=run, device="cpu")
        train(store, everybody, tmp_path / "other", replace(SMALL, batch=2), start=run, device="cpu")
        train(store, everybody, tmp_path / "alone", SMALL, device="cpu")
    export(run, tmp_path / "split")
    split = find_model(tmp_path / "split")
    found = Calibration(0.9, "hearts", ("patient0003",), (ErrorBound("biplane", "ef_percent", 50, 8.0),))
    summary = {"model_sha256": split.sha256, "patients": ["patient0003"], "seen_in_training": False}
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    (evaluation / "report.md").write_text("# Evaluation\n")
    (evaluation / "summary.json").write_text(json.dumps(summary | {"ef_interval": {"calibration": found.as_dict()}}))
    export(tmp_path / "all", tmp_path / "model", evaluation=evaluation, before=run)
    model = find_model(tmp_path / "model")
    assert model.sha256 != split.sha256 == model.config["judged"]["sha256"]
    assert model.config["figures"]["patients"] == ["patient0003"]
    assert "before it went on with these patients" in model.calibration.note
    assert model.seen_patients == set(everybody.train)
    card = (model.folder / "MODEL_CARD.md").read_text()
    assert "These are the figures of the network before" in card
    assert split.sha256[:16] in card
    for name, before, why in (
        ("all", None, "not of this run's network"),
        ("alone", run, "not the run that this one went on from"),
        ("other", run, "its recipe had another batch"),
    ):
        with pytest.raises(InputError, match=why):
            export(tmp_path / name, tmp_path / "refused", evaluation=evaluation, before=before)


def test_a_model_carries_the_errors_of_unseen_patients(run: Path, tmp_path: Path):
    found = Calibration(0.9, "hearts", ("patient0002",), (ErrorBound("biplane", "ef_percent", 50, 8.0),))

    def evaluation(name: str, **others: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        summary = {"ef_interval": {"calibration": found.as_dict(), "half_splits": [], "own": []}} | others
        (folder / "summary.json").write_text(json.dumps(summary))
        (folder / "report.md").write_text("# Evaluation\n")
        return folder

    export(run, tmp_path / "bare")
    bare = find_model(tmp_path / "bare")
    assert bare.calibration.bounds == ()
    assert "none: not calibrated" in (bare.folder / "MODEL_CARD.md").read_text()
    own = evaluation("own", model_sha256=bare.sha256, patients=["patient0003"], seen_in_training=False)
    export(run, tmp_path / "model", evaluation=own)
    model = find_model(tmp_path / "model")
    assert model.calibration == found
    assert model.config["figures"]["ef_interval"] == {"half_splits": [], "own": []}
    assert "split conformal, 90 %, on 1 patients of hearts" in (model.folder / "MODEL_CARD.md").read_text()
    export(run, tmp_path / "folded", calibration=evaluation("folds", model_sha256=None, folds=[{"name": "1"}]))
    assert "cross-validation" in find_model(tmp_path / "folded").calibration.note
    empty = {"ef_interval": {"calibration": Calibration().as_dict()}, "model_sha256": bare.sha256}
    for name, others, why in (
        ("foreign", {"model_sha256": "0" * 64}, "neither of this network"),
        ("seen", empty, "no unseen patients"),
        ("old", {"ef_interval": {}}, r"no errors of EF in its summary\.json"),
    ):
        with pytest.raises(InputError, match=why):
            export(run, tmp_path / "refused", calibration=evaluation(name, **others))
    path = model.folder / "config.json"
    damaged = json.loads(path.read_text())
    damaged["ef_interval"]["bounds"][0]["bound"] = -1
    path.write_text(json.dumps(damaged))
    with pytest.raises(ModelError, match="damaged model description"):
        find_model(model.folder)


def test_a_folder_without_a_finished_epoch_is_no_run(tmp_path: Path):
    with pytest.raises(InputError, match="no run"):
        export(tmp_path, tmp_path / "model")


def test_a_size_that_does_not_divide_is_refused(store_path: Path, tmp_path: Path):
    with Store(store_path) as store, pytest.raises(InputError, match="multiple of 4"):
        train(store, SPLIT, tmp_path / "r", replace(SMALL, size=66), device="cpu")


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
