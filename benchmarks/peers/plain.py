"""Train U-Net 1 on the store and split of an apical run for a wall-clock budget, and write its masks.

    PYTHONPATH=benchmarks python -m peers.plain STORE RUN FOLDER [--minutes N]

Interrupted, it goes on from its last whole epoch. The masks are of the test patients, by the epoch with the best
Dice on the validation patients, as in the run it is compared with.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch

from apical import grid
from apical.anatomy import FOREGROUND
from apical.files import make_folder
from apical.network.checkpoint import Progress, load_checkpoint, save_checkpoint
from apical.network.dataset import Frames, load_frames
from apical.network.losses import dice_per_frame, segmentation_loss
from apical.network.training import autocast
from apical.report.masks import write_mask
from apical.split import Split
from apical.store import Store
from peers.record import Reference, TrainingRecord, cpu_name
from peers.unet1 import UNet1, Unet1Recipe

NAME = "U-Net-1"
"""Of the folder of masks, which is what an evaluation of it is called."""
CPU = torch.device("cpu")


def train(
    store: Store, split: Split, folder: Path, minutes: float, recipe: Unet1Recipe = Unet1Recipe()
) -> tuple[UNet1, Progress]:
    """Train until the budget is spent; return the network of the best epoch and how it came about."""
    torch.manual_seed(recipe.seed)
    learned, watched = (load_frames((store,), part, recipe.size) for part in (split.train, split.validation))
    model = UNet1().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    best = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    last, progress = folder / "last.safetensors", Progress()
    if last.exists():
        progress = load_checkpoint(last, model, best, optimizer)
    batch = min(recipe.batch, len(learned))
    while progress.seconds < 60 * minutes:
        started = time.monotonic()
        order = torch.from_numpy(np.random.default_rng((recipe.seed, progress.epoch)).permutation(len(learned)))
        model.train()
        seen = 0
        for picked in order[: len(order) // batch * batch].split(batch):
            with autocast(CPU):
                scores = model(_images(learned, picked))
            loss = segmentation_loss(scores.float(), learned.masks[picked].long())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            progress.step += 1
            seen += len(picked)
            if progress.seconds + time.monotonic() - started > 60 * minutes:
                break
        dice = validate(model, watched, batch)
        progress.epoch += 1
        progress.seconds += time.monotonic() - started
        progress.history.append({"epoch": progress.epoch, "frames": seen, "val_dice_mean": dice})
        if progress.best_dice is None or dice > progress.best_dice:
            progress.best_dice, progress.best_epoch = dice, progress.epoch
            best.load_state_dict(model.state_dict())
        save_checkpoint(last, model, best, optimizer, progress)
        print(
            f"epoch {progress.epoch:3}  loss {loss.item():.4f}  Dice {dice:.4f}  {progress.seconds / 60:.1f} min",
            flush=True,
        )
    return best.eval(), progress


@torch.no_grad()
def validate(model: UNet1, frames: Frames, batch: int) -> float:
    """Return the mean Dice of the three structures over all frames."""
    model.eval()
    dice = []
    for picked in torch.arange(len(frames)).split(batch):
        with autocast(CPU):
            predicted = model(_images(frames, picked)).argmax(1)
        dice.append(torch.stack([dice_per_frame(predicted, frames.masks[picked], s) for s in FOREGROUND]))
    return torch.cat(dice, dim=1).mean().item()


@torch.no_grad()
def predict(model: UNet1, store: Store, patients: tuple[str, ...], folder: Path, size: int) -> None:
    """Write one mask per frame of these patients, on the frame's own grid."""
    make_folder(folder)
    for study in store.studies(patients):
        for frame in study.frames:
            box = grid.find_sector(frame.image, frame.region)
            image = torch.from_numpy(grid.to_network(frame.image, box, size))[None, None]
            with autocast(CPU):
                scores = model(image.contiguous(memory_format=torch.channels_last))[0].float()
            mask = grid.to_native(scores.numpy(), box, frame.grid.shape)
            write_mask(folder / f"{frame.name}.nii.gz", mask, frame.grid, overwrite=True)


def _images(frames: Frames, picked: torch.Tensor) -> torch.Tensor:
    return frames.images[picked, :1].float().contiguous(memory_format=torch.channels_last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("store", "run", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, help="wall-clock budget [default: what the run took]")
    arguments = parser.parse_args()
    recipe = Unet1Recipe()
    with Store(arguments.store) as store:
        reference = Reference.read(arguments.run, store)
        if reference.finished(arguments.folder):
            return
        make_folder(arguments.folder)
        minutes = arguments.minutes or reference.record.minutes
        model, progress = train(store, reference.split, arguments.folder, minutes, recipe)
        predict(model, store, reference.split.test, arguments.folder / NAME, recipe.size)
    TrainingRecord(
        name=NAME,
        parameters=sum(p.numel() for p in model.parameters()),
        minutes=progress.seconds / 60,
        epochs=progress.epoch,
        frames_seen=int(sum(row["frames"] for row in progress.history)),
        batch=recipe.batch,
        precision="bfloat16" if autocast(CPU)._enabled else "float32",
        threads=torch.get_num_threads(),
        cpu=cpu_name(),
        recipe=f"Adam {recipe.learning_rate:g}, cross-entropy + Dice, batch normalisation, no augmentation; "
        "best validation epoch",
        data_sha256=reference.record.data_sha256,
        test=reference.record.test,
    ).write(arguments.folder)


if __name__ == "__main__":
    main()
