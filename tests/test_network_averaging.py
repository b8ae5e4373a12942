"""The mean of two runs: its weights, what it has seen, and whose figures it may carry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs `pip install apical[train]`")

from apical.errors import InputError, OutputError
from apical.models import find_model, seen_patients
from apical.network.averaging import average_runs, is_continuation
from apical.network.checkpoint import read_tensors
from apical.network.export import export, load_run
from apical.network.manifest import recipes_of
from apical.network.training import TrainConfig, train
from apical.network.unet import UNetConfig
from apical.phantom import as_frame_study, as_study, make_beating, make_patient
from apical.split import Split
from apical.store import Store, StoreWriter

SMALL = TrainConfig(size=64, epochs=1, batch=4, warmup_steps=2, unet=UNetConfig((8, 16)))
SPLIT = Split(("patient0001",), (), ("patient0002",), "by hand")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("store") / "store.h5"
    writer = StoreWriter(path)
    for seed in (1, 2):
        study = as_study(make_patient(seed))
        writer.add(replace(study, patient=replace(study.patient, id=f"patient{seed:04d}")))
    writer.close()
    with Store(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def runs(store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two runs, the second going on from the first, and their mean."""
    folder = tmp_path_factory.mktemp("runs")
    first, second, mean = folder / "first", folder / "second", folder / "mean"
    train(store, SPLIT, first, SMALL, device="cpu")
    train(store, SPLIT, second, replace(SMALL, learning_rate=1e-2), start=first, device="cpu")
    average_runs([store], [first, second], mean)
    return first, second, mean


def test_every_weight_is_the_mean(runs: tuple[Path, Path, Path]):
    a, b, mean = (read_tensors(run / "best.safetensors")[0] for run in runs)
    changed = 0
    for name, values in mean.items():
        expected = (a[name] + b[name]) / 2 if values.is_floating_point() else b[name]
        torch.testing.assert_close(values, expected)
        changed += int(not torch.equal(a[name], b[name]))
    assert changed > len(mean) / 2


def test_it_is_exported_as_a_run_and_names_its_members(runs: tuple[Path, Path, Path], tmp_path: Path):
    export(runs[2], tmp_path / "model")
    training = find_model(tmp_path / "model").config["training"]
    assert [member["run"] for member in training["averaged"]] == ["first", "second"]
    assert training["epoch"] == 2
    assert seen_patients(training) == {"patient0001"}
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text()
    assert "mean of those of the runs 'first'" in card
    assert "2 further epochs in all" in card


def test_a_mean_goes_on_from_a_mean_whose_runs_its_own_went_on_from(runs: tuple[Path, Path, Path]):
    _, manifest = load_run(runs[2])
    members = manifest["averaged"]
    later = [m | {"start_sha256": m["weights_sha256"], "weights_sha256": f"{k}"} for k, m in enumerate(members)]
    assert is_continuation(later, members)
    assert is_continuation([members[0], later[1]], members)
    assert not is_continuation(later[::-1], members)
    assert not is_continuation(members, members)
    assert not is_continuation(later[:1], members)


def test_a_mean_of_runs_of_which_one_went_on_with_everybody(
    store: Store, runs: tuple[Path, Path, Path], tmp_path: Path
):
    first, second, mean = runs
    everyone = Split(("patient0001", "patient0002"), (), (), "all")
    recipe = replace(SMALL, learning_rate=1e-2)
    train(store, everyone, tmp_path / "all", recipe, start=second, device="cpu")
    average_runs([store], [first, tmp_path / "all"], tmp_path / "mean")
    _, manifest = load_run(tmp_path / "mean")
    assert manifest["split"]["train"] == ["patient0001", "patient0002"]
    assert seen_patients(manifest) == {"patient0001", "patient0002"}
    export(mean, tmp_path / "before")
    known = {"patients": ["patient0002"], "seen_in_training": False, "precision": "float32"}
    summary = known | {"model_sha256": find_model(tmp_path / "before").sha256}
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "report.md").write_text("# Evaluation\n")
    (tmp_path / "evaluation" / "summary.json").write_text(json.dumps(summary))
    export(tmp_path / "mean", tmp_path / "model", evaluation=tmp_path / "evaluation", before=mean)
    config = find_model(tmp_path / "model").config
    assert config["judged"]["trained"] == 1
    assert "Of the runs averaged, 'first' did not go on." in (tmp_path / "model" / "MODEL_CARD.md").read_text()
    earlier = read_tensors(mean / "confidence.safetensors")[0]["temperature"]
    assert config["doubt"]["temperature"] == pytest.approx(float(earlier), abs=1e-4)
    with pytest.raises(InputError, match="not the run that this one went on from"):
        export(mean, tmp_path / "other", evaluation=tmp_path / "evaluation", before=mean)


def test_what_has_no_mean_is_refused(store: Store, runs: tuple[Path, Path, Path], tmp_path: Path):
    first, second, mean = runs
    with pytest.raises(InputError, match="two runs or more"):
        average_runs([store], [first], tmp_path / "a")
    with pytest.raises(InputError, match="is a mean itself"):
        average_runs([store], [first, mean], tmp_path / "a")
    with pytest.raises(OutputError, match="exists"):
        average_runs([store], [first, second], mean)
    other = tmp_path / "other"
    train(store, SPLIT, other, replace(SMALL, unet=UNetConfig((8, 12))), device="cpu")
    with pytest.raises(InputError, match=r"recipe\.unet is not that of"):
        average_runs([store], [first, other], tmp_path / "a")
    with pytest.raises(InputError, match="one network is given twice"):
        average_runs([store], [first, first], tmp_path / "a")
    stranger = tmp_path / "stranger"
    train(store, SPLIT, stranger, replace(SMALL, seed=1), device="cpu")
    with pytest.raises(InputError, match="did not go on from one network"):
        average_runs([store], [stranger, second], tmp_path / "a")
    everyone = Split(("patient0001", "patient0002"), (), (), "all")
    train(store, everyone, tmp_path / "all", SMALL, start=first, device="cpu")
    with pytest.raises(InputError, match="1 patients who are unseen or watched in"):
        average_runs([store], [tmp_path / "all", second], tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_mean_names_the_data_of_all_its_runs_and_who_learned_from_phantoms(
    store: Store, runs: tuple[Path, Path, Path], tmp_path: Path
):
    writer = StoreWriter(tmp_path / "phantoms.h5")
    writer.add(as_frame_study(make_beating(7, n_beats=1, frame_rate_hz=20.0, spacing_mm=(1.5, 1.5))))
    writer.close()
    with Store(tmp_path / "phantoms.h5") as phantoms:
        train(store, SPLIT, tmp_path / "both", SMALL, phantoms=phantoms, start=runs[0], device="cpu")
        with pytest.raises(InputError, match=r"phantoms\.h5: a run learned from .* give them by --phantoms"):
            average_runs([store], [tmp_path / "both", runs[1]], tmp_path / "mean")
        with pytest.raises(InputError, match="none of the runs learned from these synthetic hearts"):
            average_runs([store], runs[:2], tmp_path / "mean", phantoms=phantoms)
        average_runs([store], [tmp_path / "both", runs[1]], tmp_path / "mean", phantoms=phantoms)
    _, manifest = load_run(tmp_path / "mean")
    assert [data["name"] for data in manifest["data"]] == ["store.h5"]
    assert manifest["phantoms"]["name"] == "phantoms.h5"
    assert [recipe["phantoms"] for recipe in recipes_of(manifest)] == [True, False]
    export(tmp_path / "mean", tmp_path / "model")
    assert "learned from synthetic hearts besides: phantoms.h5" in (tmp_path / "model" / "MODEL_CARD.md").read_text()


def test_what_the_run_before_learned_from_is_not_forgotten(store: Store, runs: tuple[Path, Path, Path], tmp_path: Path):
    writer = StoreWriter(tmp_path / "phantoms.h5")
    writer.add(as_frame_study(make_beating(7, n_beats=1, frame_rate_hz=20.0, spacing_mm=(1.5, 1.5))))
    writer.close()
    with Store(tmp_path / "phantoms.h5") as phantoms:
        train(store, SPLIT, tmp_path / "one", SMALL, phantoms=phantoms, start=runs[0], device="cpu")
    train(store, SPLIT, tmp_path / "two", SMALL, start=tmp_path / "one", device="cpu")
    manifest = json.loads((tmp_path / "two" / "manifest.json").read_text())
    assert manifest["phantoms"] is None
    assert [recipe["phantoms"] for recipe in recipes_of(manifest)] == [True]
    assert len(manifest["start"]["lineage"]) == 1
    export(tmp_path / "two", tmp_path / "model")
    assert "learned from synthetic hearts besides: phantoms.h5" in (tmp_path / "model" / "MODEL_CARD.md").read_text()
    # Cousins have a mean: both went on from the first.
    with Store(tmp_path / "phantoms.h5") as phantoms:
        average_runs([store], [tmp_path / "two", runs[1]], tmp_path / "mean", phantoms=phantoms)


def test_a_manifest_that_lacks_a_part_is_refused(store: Store, runs: tuple[Path, Path, Path], tmp_path: Path):
    shutil.copytree(runs[0], tmp_path / "old")
    path = tmp_path / "old" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["start"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"manifest\.json: names no start; train again"):
        average_runs([store], [runs[1], tmp_path / "old"], tmp_path / "a")


def test_a_run_of_another_store_is_refused(store: Store, runs: tuple[Path, Path, Path], tmp_path: Path):
    writer = StoreWriter(tmp_path / "other.h5")
    writer.add(as_study(make_patient(5)))
    writer.close()
    with Store(tmp_path / "other.h5") as other, pytest.raises(InputError, match="another store than"):
        average_runs([other], runs[:2], tmp_path / "a")
    with Store(tmp_path / "other.h5") as other, pytest.raises(InputError, match=r"other\.h5: none of the runs"):
        average_runs([store, other], runs[:2], tmp_path / "a")
