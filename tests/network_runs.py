"""A store of phantoms and a small run on it, for the tests of training and export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from apical.network.training import TrainConfig, train
from apical.network.unet import UNetConfig
from apical.phantom import as_study, make_patient
from apical.split import Split
from apical.store import Store, StoreWriter

SMALL = TrainConfig(size=64, epochs=3, batch=4, warmup_steps=2, unet=UNetConfig((8, 16)))
SPLIT = Split(("patient0001",), ("patient0002",), (), "by hand")


def store_of_phantoms(path: Path) -> Path:
    writer = StoreWriter(path)
    for seed in (1, 2, 3):
        study = as_study(make_patient(seed))
        writer.add(replace(study, patient=replace(study.patient, id=f"patient{seed:04d}")))
    writer.close()
    return path


def small_run(store_path: Path, folder: Path, split: Split = SPLIT) -> Path:
    with Store(store_path) as store:
        train(store, split, folder, SMALL, device="cpu")
    return folder
