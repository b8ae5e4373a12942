"""From a run to a model: the file says what the network says, and the card what was measured on unseen patients."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs `pip install apical[train]`")

from apical.calibration import Calibration, ErrorBound
from apical.errors import InputError, ModelError, OutputError
from apical.models import find_model
from apical.network.export import export, load_run
from apical.network.released import OUTPUTS
from apical.network.training import train
from apical.segment import Segmenter
from apical.split import Split
from apical.store import Store
from network_runs import SMALL, small_run, store_of_phantoms

SPLIT = Split(("patient0001",), ("patient0002",), ("patient0003",), "by hand")


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of_phantoms(tmp_path_factory.mktemp("store") / "phantoms.h5")


@pytest.fixture(scope="module")
def run(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(store_path, tmp_path_factory.mktemp("runs") / "whole", SPLIT)


def test_the_exported_model_gives_the_networks_scores(run: Path, tmp_path: Path):
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    export(run, tmp_path / "bare")
    figures = {"model_sha256": find_model(tmp_path / "bare").sha256, "precision": "float32", "patients": ["p"]}
    figures["seen_in_training"] = False
    (evaluation / "summary.json").write_text(json.dumps(figures))
    (evaluation / "report.md").write_text("# Evaluation of x\n\nmeasured\n\n## View 2CH\n\n![dice](dice.png)\n")
    export(run, tmp_path / "model", evaluation=evaluation)
    network, _ = load_run(run)
    images = torch.rand(3, 2, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        expected = dict(zip(OUTPUTS, network(images), strict=True))
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
        ({"precision": "bfloat16"}, "made in bfloat16; evaluate again in float32"),
        ({"precision": None}, "made in an unknown precision; evaluate again in float32"),
    ],
)
def test_a_card_takes_figures_of_its_own_network_on_unseen_patients_only(
    run: Path, tmp_path: Path, others: dict[str, object], why: str
):
    export(run, tmp_path / "model")
    right = {
        "model_sha256": find_model(tmp_path / "model").sha256,
        "precision": "float32",
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
    summary = {"model_sha256": split.sha256, "precision": "float32", "patients": ["patient0003"]}
    summary["seen_in_training"] = False
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    (evaluation / "report.md").write_text("# Evaluation\n")
    (evaluation / "summary.json").write_text(json.dumps(summary | {"ef_interval": {"calibration": found.as_dict()}}))
    export(tmp_path / "all", tmp_path / "model", evaluation=evaluation, before=run)
    model = find_model(tmp_path / "model")
    assert model.sha256 != split.sha256 == model.config["judged"]["sha256"]
    assert model.config["figures"]["patients"] == ["patient0003"]
    assert model.calibration.source == "the test part of the split (by hand)"
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
    found = Calibration(0.9, "hearts", ("patient0009",), (ErrorBound("biplane", "ef_percent", 50, 8.0),))

    def evaluation(name: str, **others: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        errors = {"calibration": found.as_dict(), "half_splits": [], "own": []}
        summary = {"ef_interval": errors, "precision": "float32"} | others
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
    empty = {"ef_interval": {"calibration": Calibration().as_dict()}, "model_sha256": bare.sha256}
    for name, others, why in (
        ("foreign", {"model_sha256": "0" * 64}, "neither of this network"),
        ("seen", empty, "no unseen patients"),
        ("rounded", {"model_sha256": bare.sha256, "precision": "bfloat16"}, "made in bfloat16"),
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


def test_the_errors_of_a_cross_validation_are_those_of_its_recipe_only(run: Path, tmp_path: Path):
    found = Calibration(0.9, "hearts", ("patient0009",), (ErrorBound("biplane", "ef_percent", 50, 8.0),))
    summary = {"ef_interval": {"calibration": found.as_dict()}, "precision": "float32", "folds": [{"name": "1"}]}
    folds = tmp_path / "folds"
    folds.mkdir()
    (folds / "summary.json").write_text(json.dumps(summary))
    (folds / "report.md").write_text("# Evaluation\n")
    with pytest.raises(InputError, match=r"no crossval\.json with its recipe"):
        export(run, tmp_path / "refused", calibration=folds)
    recipe = json.loads((run / "manifest.json").read_text())["recipe"]
    for others, why in (({"size": 128}, "had another size"), ({"unet": None, "batch": 1}, "had another batch, unet")):
        (folds / "crossval.json").write_text(json.dumps({"recipe": recipe | others}))
        with pytest.raises(InputError, match=why):
            export(run, tmp_path / "refused", calibration=folds)
    # How long each trained is no part of the recipe.
    (folds / "crossval.json").write_text(json.dumps({"recipe": recipe | {"epochs": 99, "learning_rate": 0.5}}))
    export(run, tmp_path / "model", calibration=folds)
    carried = find_model(tmp_path / "model").calibration
    assert carried.source == "the test folds of a cross-validation"
    assert "of the same recipe" in carried.note


def test_a_folder_without_a_finished_epoch_is_no_run(tmp_path: Path):
    with pytest.raises(InputError, match="no run"):
        export(tmp_path, tmp_path / "model")
