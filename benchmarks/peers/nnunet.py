"""Train nnU-Net v2 (2D) on the store and split of an apical run for a wall-clock budget, and write its masks.

    PYTHONPATH=benchmarks python -m peers.nnunet STORE RUN FOLDER [--minutes N]

Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z). Fingerprint, plans, preprocessing, network, loss, deep
supervision, augmentation, optimizer and mirrored inference are nnU-Net's own, from training and validation patients
only. Changed, because its 1000 epochs of 250 batches are days of a processor: the schedule, the batch and the number
format; see `CHANGES` in `peers.nnunet_trainer`, which goes into the table. Interrupted, it goes on
from its last whole epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

from apical.files import make_folder, write_text
from apical.report.nnunet import write_nifti, write_nnunet
from apical.split import Split
from apical.store import Store
from peers.record import Reference, TrainingRecord, cpu_name

NAME = "nnU-Net"
"""Of the folder of masks, which is what an evaluation of it is called."""
DATASET_ID = 301
DATASET = f"Dataset{DATASET_ID}_Apical"
BATCH = 12
"""nnU-Net's reference batch in 2D; its plan fills 8 GB of a GPU instead, and leaves too few steps in the budget."""
PLANS = "nnUNetPlans.json"


def export(store: Store, split: Split, raw: Path) -> dict[str, list[str]]:
    """Write the training and validation patients as an nnU-Net dataset; return its one fold, case names by part."""
    shutil.rmtree(raw / DATASET, ignore_errors=True)  # what an interrupted export left
    known = (*split.train, *split.validation)
    write_nnunet(store.studies(known), raw / DATASET, [(patient,) for patient in known], {})
    names = sorted(path.name.removesuffix(".nii.gz") for path in (raw / DATASET / "labelsTr").iterdir())
    watched = set(split.validation)
    fold: dict[str, list[str]] = {"train": [], "val": []}
    for name in names:
        fold["val" if name.rsplit("_", 2)[0] in watched else "train"].append(name)
    return fold


def export_test(store: Store, split: Split, folder: Path) -> None:
    """Write the images of the test patients, without their masks."""
    make_folder(folder)
    for study in store.studies(split.test):
        for frame in study.frames:
            write_nifti(folder / f"{frame.name}_0000.nii.gz", frame.image, frame.grid, overwrite=True)


def plan(folder: Path, fold: dict[str, list[str]]) -> None:
    """Let nnU-Net plan and preprocess the dataset, then set the fold and the batch."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess

    cores = os.cpu_count() or 1
    extract_fingerprints([DATASET_ID], num_processes=cores, check_dataset_integrity=True)
    plan_experiments([DATASET_ID])
    preprocess([DATASET_ID], configurations=["2d"], num_processes=[cores])
    preprocessed = folder / "preprocessed" / DATASET
    plans = json.loads((preprocessed / PLANS).read_text())
    print(f"nnU-Net planned batches of {plans['configurations']['2d']['batch_size']}; {BATCH} are used")
    plans["configurations"]["2d"]["batch_size"] = BATCH
    write_text(preprocessed / PLANS, json.dumps(plans, indent=1), overwrite=True)
    # Last: with it the preparation is complete.
    write_text(preprocessed / "splits_final.json", json.dumps([fold], indent=1), overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("store", "run", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, help="wall-clock budget [default: what the run took]")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    with Store(arguments.store) as store:
        reference = Reference.read(arguments.run, store)
        if reference.finished(folder):
            return
        # nnU-Net reads these when it is imported, so it is imported below.
        for part in ("raw", "preprocessed", "results"):
            os.environ[f"nnUNet_{part}"] = str((folder / part).resolve())
        os.environ.setdefault("nnUNet_n_proc_DA", str(os.cpu_count() or 1))
        if not (folder / "preprocessed" / DATASET / "splits_final.json").exists():
            plan(folder, export(store, reference.split, folder / "raw"))
        export_test(store, reference.split, folder / "test")
    from peers.nnunet_trainer import CHANGES, make_trainer, predict

    trainer = make_trainer(folder / "preprocessed" / DATASET, arguments.minutes or reference.record.minutes)
    trainer.train_or_resume()
    predict(trainer, folder / "test", folder / NAME)
    TrainingRecord(
        name=NAME,
        parameters=sum(p.numel() for p in trainer.network.parameters()),
        minutes=trainer.clock.seconds / 60,
        epochs=trainer.current_epoch,
        frames_seen=trainer.clock.iterations * trainer.batch_size,
        batch=trainer.batch_size,
        precision=trainer.precision,
        threads=trainer.threads,
        cpu=cpu_name(),
        recipe=CHANGES,
        data_sha256=reference.record.data_sha256,
        test=reference.record.test,
    ).write(folder)


if __name__ == "__main__":
    main()
