"""A released model as a run again: the same network, its past known, and fit to go on from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs `pip install apical[train]`")

from apical.errors import ExitCode, InputError, ModelError, OutputError
from apical.models import Model, find_model, installed_models
from apical.network.averaging import average_runs
from apical.network.checkpoint import read_tensors
from apical.network.export import export, load_run
from apical.network.restoring import read_model, restore_run
from apical.network.training import train
from apical.store import Store
from commands import Run
from network_runs import SMALL, SPLIT, small_run, store_of_phantoms


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, a run on it, the model that was exported of it, and that model as a run again."""
    place = tmp_path_factory.mktemp("restored")
    store_of_phantoms(place / "store.h5")
    small_run(place / "store.h5", place / "run")
    export(place / "run", place / "model")
    with Store(place / "store.h5") as store:
        restore_run(find_model(place / "model"), [store], place / "again")
    return place


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store(folder / "store.h5") as opened:
        yield opened


@pytest.fixture
def model(folder: Path) -> Model:
    return find_model(folder / "model")


def test_it_gives_what_the_model_gives(folder: Path):
    pictures = torch.rand(3, 2, 64, 64) * 255
    before, after = (load_run(folder / run)[0] for run in ("run", "again"))
    with torch.no_grad():
        for a, b in zip(before(pictures), after(pictures), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_each_norm_knows_what_its_convolution_gives(folder: Path, store: Store):
    """In training, a norm takes mean and deviation from the batch: they must be about those that it has noted."""
    network = load_run(folder / "again")[0].network.train()
    noted = {name: value.clone() for name, value in network.named_buffers() if name.endswith("running_mean")}
    deviations = {name: value.clone().sqrt() for name, value in network.named_buffers() if name.endswith("running_var")}
    frames = torch.stack([torch.from_numpy(f.image) for f in store.study("patient0001").frames]).float()
    frames = torch.nn.functional.interpolate(frames[:, None], size=(64, 64), mode="area")
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    network(frames.repeat(1, 2, 1, 1))
    for name, value in network.named_buffers():
        if name.endswith("running_mean"):
            off = (value - noted[name]).abs() / deviations[name.replace("mean", "var")]
            assert off.median() < 0.5, name


def test_whom_the_model_saw_stays_known(folder: Path, store: Store, model: Model, tmp_path: Path):
    manifest, earlier = (json.loads((folder / run / "manifest.json").read_text()) for run in ("again", "run"))
    assert manifest["split"] == earlier["split"]
    assert manifest["restored"] == {"name": "model", "sha256": model.sha256, "averaged": None}
    other = replace(SPLIT, train=("patient0002",), validation=("patient0003",), test=("patient0001",))
    with pytest.raises(InputError, match="to be unseen"):
        train(store, other, tmp_path / "on", SMALL, start=folder / "again", device="cpu")


def test_a_training_goes_on_from_it(folder: Path, store: Store, tmp_path: Path):
    train(store, SPLIT, tmp_path / "on", SMALL, start=folder / "again", device="cpu")
    average_runs([store], [folder / "again", tmp_path / "on"], tmp_path / "mean")
    export(tmp_path / "mean", tmp_path / "model")
    assert find_model(tmp_path / "model").seen_patients == {"patient0001", "patient0002"}


def test_how_sure_a_network_may_be_is_told_by_its_start_where_nobody_is_watched(
    folder: Path, store: Store, tmp_path: Path
):
    everyone = replace(SPLIT, train=("patient0001", "patient0002", "patient0003"), validation=())
    train(store, everyone, tmp_path / "all", SMALL, start=folder / "run", device="cpu")
    known = [read_tensors(run / "confidence.safetensors") for run in (folder / "run", tmp_path / "all")]
    assert known[0] == known[1]
    assert known[0][1] == {"temperature_found_on": "watched"}
    train(store, everyone, tmp_path / "alone", SMALL, device="cpu")
    export(tmp_path / "alone", tmp_path / "model")
    assert find_model(tmp_path / "model").config["doubt"]["temperature_found_on"] == "learned"
    restore_run(find_model(tmp_path / "model"), [store], tmp_path / "again")
    assert read_tensors(tmp_path / "again" / "confidence.safetensors")[1] == {"temperature_found_on": "learned"}


def test_its_own_training_has_ended(folder: Path, store: Store):
    """It can be averaged and exported as it is."""
    before = read_tensors(folder / "again" / "best.safetensors")[0]
    manifest = json.loads((folder / "again" / "manifest.json").read_text())
    assert manifest["recipe"] == json.loads((folder / "run" / "manifest.json").read_text())["recipe"]
    export(folder / "again", folder / "exported")
    assert find_model(folder / "exported").config["training"]["epoch"] == 3
    temperature = [read_tensors(folder / run / "confidence.safetensors")[0]["temperature"] for run in ("run", "again")]
    torch.testing.assert_close(*temperature)
    after = read_tensors(folder / "again" / "last.safetensors")[0]
    torch.testing.assert_close(before["stem.weight"], after["model.stem.weight"])


def test_what_an_interrupted_try_found_of_another_network_is_forgotten(
    folder: Path, store: Store, model: Model, tmp_path: Path
):
    for name in ("confidence", "familiarity", "orientation"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"of another")
    restore_run(model, [store], tmp_path)
    load_run(tmp_path)


def test_a_run_is_not_replaced(folder: Path, store: Store, model: Model):
    with pytest.raises(OutputError, match="exists already"):
        restore_run(model, [store], folder / "again")


def test_a_mean_is_a_run_like_any_other(folder: Path, store: Store, tmp_path: Path):
    train(store, SPLIT, tmp_path / "on", SMALL, start=folder / "run", device="cpu")
    average_runs([store], [folder / "run", tmp_path / "on"], tmp_path / "mean")
    export(tmp_path / "mean", tmp_path / "model")
    restore_run(find_model(tmp_path / "model"), [store], tmp_path / "again")
    train(store, SPLIT, tmp_path / "further", SMALL, start=tmp_path / "again", device="cpu")
    average_runs([store], [tmp_path / "again", tmp_path / "further"], tmp_path / "mean2")
    export(tmp_path / "again", tmp_path / "exported")
    assert len(find_model(tmp_path / "exported").config["training"]["restored"]["averaged"]) == 2


def changed(config: dict[str, Any], keys: str, value: object) -> None:
    *path, last = keys.split(".")
    for key in path:
        config = config[key]
    if value is None:
        del config[last]
    else:
        config[last] = value


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        *[("training.recipe.unet.channels", channels) for channels in ([8, 24], [8, 16, 24], [8], [], "abc", 8)],
        ("training", None),
        ("training", []),
        ("training.recipe", None),
        ("training.recipe.augment", {"elbow": 1}),
        ("training.recipe.seed", "x"),
        ("training.epoch", None),
        ("training.split", {"train": [[]]}),
        ("apical_version", None),
        ("input.size", 65),
        ("input.size", 0),
        ("input.frames", 1),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    folder: Path, store: Store, tmp_path: Path, keys: str, value: object
):
    shutil.copytree(folder / "model", tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    changed(config, keys, value)
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="no network with the description") as raised:
        restore_run(find_model(tmp_path / "model"), [store], tmp_path / "again")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("content", [b"no network", b"", b"\x08\x07"])
def test_a_file_that_is_no_network_is_refused(folder: Path, store: Store, tmp_path: Path, content: bytes):
    shutil.copytree(folder / "model", tmp_path / "model")
    (tmp_path / "model" / "model.onnx").write_bytes(content)
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}))
    with pytest.raises(ModelError, match="no network with the description"):
        restore_run(find_model(tmp_path / "model"), [store], tmp_path / "again")


@pytest.mark.parametrize("model", installed_models(), ids=lambda model: model.name)
def test_the_installed_models_can_be_restored(model: Model):
    """Without the stores: what a file holds is what the description says."""
    found = read_model(model)
    assert found.network.config.frames == 2
    assert found.progress.finished
    assert set(found.features) == {f"{name}.safetensors" for name in ("confidence", "familiarity", "orientation")}
    assert found.found_on == {"temperature_found_on": "watched"}


def test_the_command(apical: Run, folder: Path, tmp_path: Path):
    command = ("restore", folder / "model", folder / "store.h5", "-o", tmp_path / "again")
    result = apical(*command)
    assert result.code == ExitCode.OK
    assert "--start" in result.err
    assert apical(*command).code == ExitCode.OUTPUT
