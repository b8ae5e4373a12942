"""Peers in benchmarks/: the paper's U-Net, who is shown what, and which trainings may stand in one table."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs `pip install apical[train]`")


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))


from apical.errors import InputError
from apical.evaluate import evaluate, masks_from_folder
from apical.network.dataset import load_frames
from apical.network.training import TrainConfig, train
from apical.network.unet import UNetConfig
from apical.phantom import as_study, make_patient
from apical.split import Split
from apical.store import Store, StoreWriter

SPLIT = Split(("patient0001",), ("patient0002",), ("patient0003",), "by hand")


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "phantoms.h5"
    writer = StoreWriter(path)
    for seed in (1, 2, 3):
        study = as_study(make_patient(seed))
        name = f"patient{seed:04d}"
        frames = tuple(replace(f, name=f"{name}_{f.view}_{f.phase}") for f in study.frames)
        writer.add(replace(study, patient=replace(study.patient, id=name), frames=frames))
    writer.close()
    return path


@pytest.fixture(scope="module")
def run(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    config = TrainConfig(size=64, epochs=1, batch=4, unet=UNetConfig((8, 16)))
    with Store(store_path) as store:
        train(store, SPLIT, folder, config, device="cpu")
    return folder


def test_unet1_has_two_million_parameters():
    from peers.unet1 import UNet1

    network = UNet1()
    assert sum(p.numel() for p in network.parameters()) == 1_980_164
    assert network(torch.rand(2, 1, 64, 96) * 255).shape == (2, 4, 64, 96)


def test_reference_reads_a_run_and_refuses_another_store(run: Path, store_path: Path, tmp_path: Path):
    from peers.record import Reference

    with Store(store_path) as store:
        reference = Reference.read(run, store)
    assert reference.split == SPLIT
    record = reference.record
    assert (record.name, record.epochs, record.frames_seen, record.batch) == ("apical-small", 1, 4, 4)
    assert record.parameters < 20_000
    assert 0 < record.minutes < 5
    manifest = json.loads((run / "manifest.json").read_text())
    other = [manifest["data"][0] | {"content_sha256": "0"}]
    for changes, why in (
        ({"data": other}, "other data"),
        ({"data": manifest["data"] + other}, "other data"),
        ({"phantoms": other[0]}, "other data"),
        ({"start": {"data": other}}, "other data"),
        ({"averaged": []}, "a mean of runs"),
    ):
        (tmp_path / "manifest.json").write_text(json.dumps(manifest | changes))
        with Store(store_path) as store, pytest.raises(InputError, match=why):
            Reference.read(tmp_path, store)


def test_nnunet_is_never_shown_a_test_patient(store_path: Path, tmp_path: Path):
    from peers.nnunet import DATASET, export, export_test

    with Store(store_path) as store:
        fold = export(store, SPLIT, tmp_path)
        export_test(store, SPLIT, tmp_path / "test")
    views = [f"{view}_{phase}" for view in ("2CH", "4CH") for phase in ("ED", "ES")]
    assert fold == {"train": [f"patient0001_{v}" for v in views], "val": [f"patient0002_{v}" for v in views]}
    shown = {path.name for part in ("imagesTr", "labelsTr") for path in (tmp_path / DATASET / part).iterdir()}
    assert len(shown) == 16
    assert not any("patient0003" in name for name in shown)
    assert sorted(p.name for p in (tmp_path / "test").iterdir()) == [f"patient0003_{v}_0000.nii.gz" for v in views]


def test_plain_peer_trains_resumes_predicts_and_stands_in_the_table(run: Path, store_path: Path, tmp_path: Path):
    from peers import plain
    from peers.record import Reference, TrainingRecord
    from peers.table import peers_document
    from peers.unet1 import Unet1Recipe

    recipe, peer = Unet1Recipe(size=64, batch=4), tmp_path / "peer"
    peer.mkdir()
    with Store(store_path) as store:
        reference = Reference.read(run, store)
        _, first = plain.train(store, SPLIT, peer, 1e-6, recipe)
        assert first.epoch == 1
        _, again = plain.train(store, SPLIT, peer, 1e-6, recipe)
        assert (again.epoch, again.seconds) == (first.epoch, first.seconds)  # the budget was spent
        model, second = plain.train(store, SPLIT, peer, first.seconds / 60 + 1e-6, recipe)
        assert (second.epoch, second.step, [row["frames"] for row in second.history]) == (2, 2, [4, 4])
        plain.predict(model, store, SPLIT.test, peer / plain.NAME, recipe.size)
        studies = list(store.studies(SPLIT.test))
        assert len(masks_from_folder(peer / plain.NAME)(studies[0])) == 4
        evaluate(studies, masks_from_folder(peer / plain.NAME), name=plain.NAME).write(peer / "evaluation")
    record = TrainingRecord(**asdict(reference.record) | {"name": plain.NAME, "frames_seen": 120, "minutes": 0.5})
    assert not reference.finished(peer)
    record.write(peer)
    assert reference.finished(peer)
    assert TrainingRecord.read(peer) == record
    document = peers_document(reference.record, peer / "evaluation", [peer])
    assert "| U-Net-1 | " in document
    assert "| 0.5 | 1 | 120 | 4.0 |" in document
    written = json.loads((peer / "training.json").read_text())
    (peer / "training.json").write_text(json.dumps(written | {"test": ["patient0001"]}))
    with pytest.raises(InputError, match="another split"):
        reference.finished(peer)
    with pytest.raises(InputError, match="another store or split"):
        peers_document(reference.record, peer / "evaluation", [peer])


def test_training_speed_is_a_ratio_within_each_round(store_path: Path):
    import training_speed
    from peers.unet1 import Unet1Recipe

    with Store(store_path) as store:
        frames = load_frames((store,), ("patient0001",), 64)
    config = TrainConfig(batch=4, unet=UNetConfig((8, 16)))
    contestants = [
        training_speed.apical(frames, "float32", config),
        training_speed.unet1(frames, "float32", Unet1Recipe(batch=4)),
    ]
    bursts = list(training_speed.race(contestants, len(frames), rounds=2, seconds=0.01))
    assert [(b["round"], b["network"]) for b in bursts] == [
        (0, "apical"),
        (0, "U-Net-1"),
        (1, "U-Net-1"),
        (1, "apical"),
    ]
    made = [
        {"round": n, "network": name, "precision": "float32", "frames_per_second": speed}
        for n, (ours, theirs) in enumerate([(10.0, 5.0), (30.0, 10.0), (8.0, 8.0)])
        for name, speed in (("apical", ours), ("U-Net-1", theirs))
    ]
    ours, theirs = training_speed.table(contestants, list(np.random.default_rng(0).permutation(made)))
    assert (ours["frames per second"], ours["ours is faster by"]) == ("10.0 (8.0-30.0)", "")
    assert (theirs["frames per second"], theirs["ours is faster by"]) == ("8.0 (5.0-10.0)", "2.00 (1.00-3.00)")
