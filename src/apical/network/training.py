"""The training loop: store in, run folder out (manifest, history, curves, best and last checkpoint)."""

from __future__ import annotations

import copy
import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from apical.anatomy import FOREGROUND, Structure, View
from apical.errors import InputError
from apical.network.augment import Augment, AugmentConfig
from apical.network.checkpoint import (
    BEST,
    LAST,
    Progress,
    load_checkpoint,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from apical.network.curves import draw_curves, write_history
from apical.network.dataset import Frames, load_frames, load_phantoms
from apical.network.losses import dice_per_frame, segmentation_loss
from apical.network.manifest import claim, describe_run, load_start, origin_of
from apical.network.released import end_run, has_ended
from apical.network.unet import UNet, UNetConfig
from apical.split import Split
from apical.store import Store


@dataclass(frozen=True)
class TrainConfig:
    """The recipe; the released model had another budget (docs/training.md)."""

    views: tuple[View, ...] = tuple(View)
    size: int = 256
    epochs: int = 50
    max_minutes: float | None = None
    """Wall-clock budget; the learning rate then reaches its end with the clock instead of the epochs."""
    patience: int = 20
    """Epochs without a better validation Dice after which training stops."""
    keep: Literal["best", "last"] = "best"
    """Weights that are kept: of the best validation Dice, or of the last epoch, where patience does not count."""
    batch: int = 16
    learning_rate: float = 2e-3
    final_rate: float = 0.005
    """Learning rate at the end of the budget, as a share of the peak. A high one needs a long `average_decay`."""
    warmup_steps: int = 200
    weight_decay: float = 0.02
    average_decay: float = 0.995
    """Decay per step of the exponential moving average of the weights, which is what is kept."""
    other_phase_probability: float = 0.6
    """Share of the samples that show the network the other phase where there is one: it must do without, too."""
    phantom_share: float = 0.3
    """Phantom frames in an epoch, as a share of the real ones, where there is a store of them."""
    view_weight: float = 0.1
    """Weight of the view recognition loss beside segmentation."""
    clip_norm: float = 2.0
    seed: int = 0
    unet: UNetConfig = field(default_factory=UNetConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


def train(
    store: Store,
    split: Split,
    run: Path,
    config: TrainConfig = TrainConfig(),
    *,
    more: Sequence[Store] = (),
    phantoms: Store | None = None,
    start: Path | None = None,
    device: str = "auto",
    resume: bool = False,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> Progress:
    """Train a U-Net and return how far it came.

    Under `torchrun` every process takes its share of each batch; only the first writes.

    Parameters
    ----------
    more
        Further stores with other renditions or frames of the same patients, to learn from; what is watched is
        the first store's.
    phantoms
        Store of synthetic hearts to learn from besides; some of them in each epoch (`phantom_share`).
    start
        Run whose kept weights are started from; it must not have learned or watched this split's unseen patients.
    run
        Folder to write. With `resume`, an interrupted run in it goes on from its last whole epoch,
        and gives what an uninterrupted one would have given.

    Raises
    ------
    OutputError
        When the folder holds a run already and `resume` is not set.
    InputError
        When `resume` is set but data, split or recipe are not those of the run, `start` cannot be started from, or
        a phantom bears the id of a patient.
    """
    if config.size % config.unet.stride:
        raise InputError(f"size {config.size} is not a multiple of {config.unet.stride}: try {config.unet.stride * 8}")
    rank, world = _join_processes()
    place = pick_device(device)
    torch.manual_seed(config.seed)
    stores = (store, *more)
    synthetic = load_phantoms(phantoms, stores, config.size, config.views) if phantoms else None
    manifest = describe_run(stores, split, asdict(config), machine(place), phantoms) | {
        "start": origin_of(start, store, split) if start else None
    }
    real = load_frames(stores, split.train, config.size, config.views)
    learned = real.beside(synthetic, config.phantom_share) if synthetic else real
    watched = load_frames((store,), split.validation, config.size, config.views) if split.validation else None

    model = UNet(config.unet)
    if start:
        load_start(model, start)
    # Only now: what is refused leaves no folder behind.
    with claim(run, manifest, resume=resume) if rank == 0 else nullcontext():
        model = model.to(place).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(model).requires_grad_(False)
        optimizer = _optimizer(model, config)
        progress = Progress()
        last = run / LAST
        if resume and last.exists():
            progress = load_checkpoint(last, model, average, optimizer)
        parallel = DistributedDataParallel(model) if world > 1 else model

        while not progress.finished:
            started = time.monotonic()
            done = _share_done(progress, config)
            row = _one_epoch(parallel, model, average, optimizer, learned, config, progress, (rank, world), on_step)
            if rank == 0:
                row |= validate(average, watched, config) if watched else {}
            progress.epoch += 1
            progress.seconds += time.monotonic() - started
            dice = row.get("val_dice_mean") if config.keep == "best" else None
            # With nothing to judge by, the last epoch is the best.
            if rank == 0 and (dice is None or progress.best_dice is None or dice > progress.best_dice):
                progress.best_dice, progress.best_epoch = dice, progress.epoch
                write_tensors(run / BEST, average.state_dict(), {"config": json.dumps(asdict(config.unet))})
            progress.epoch_share = _share_done(progress, config) - done
            # Stop where a further epoch would overrun by more than half of itself.
            out_of_budget = _share_done(progress, config) + progress.epoch_share / 2 > 1
            progress.finished = out_of_budget or progress.epoch - progress.best_epoch >= config.patience
            progress.history.append({"epoch": progress.epoch, "seconds": round(progress.seconds, 3), **row})
            if rank == 0:
                save_checkpoint(last, model, average, optimizer, progress)
                write_history(run / "history.csv", progress.history)
                draw_curves(run / "curves.png", progress.history)
                on_epoch(progress)
            _agree(progress, world)
        if rank == 0 and not has_ended(run):
            best = UNet(config.unet)
            best.load_state_dict(read_tensors(run / BEST)[0])
            end_run(run, best.to(place), learned, watched, config.augment, config.seed, start)
        if world > 1:
            dist.destroy_process_group()
    return progress


def _one_epoch(
    parallel: nn.Module,
    model: UNet,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    frames: Frames,
    config: TrainConfig,
    progress: Progress,
    process: tuple[int, int],
    on_step: Callable[[int, int], None],
) -> dict[str, float]:
    """Go once over the frames; return mean loss, pixel accuracy and the last learning rate."""
    place = next(model.parameters()).device
    rank, world = process
    # Seeded by epoch: a resumed run draws what the uninterrupted one would have drawn.
    order = frames.pick_renditions(np.random.default_rng((config.seed, progress.epoch)))
    generator = torch.Generator(place).manual_seed(
        int(np.random.SeedSequence((config.seed, progress.epoch, rank)).generate_state(1)[0])
    )
    augment = Augment(config.augment, generator)
    batch = min(config.batch, len(order))
    steps = len(order) // batch
    losses = hits = 0.0
    done, share = _share_done(progress, config), progress.epoch_share or 1 / config.epochs
    model.train()
    for step in range(steps):
        picked = torch.from_numpy(order[step * batch : (step + 1) * batch][rank::world].copy())
        images = frames.images[picked, : config.unet.frames].to(place)
        # Blacked out before it is augmented: that is what black looks like when there is no other phase.
        images[:, 1:] *= augment.chance(config.other_phase_probability, len(images), 1, 1, 1)
        images, masks = augment(images, frames.masks[picked].to(place))
        rate = learning_rate(config, progress.step, done + share * step / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with autocast(place):
            scores, views = parallel(images.contiguous(memory_format=torch.channels_last))
        loss = segmentation_loss(scores.float(), masks)
        loss = loss + config.view_weight * F.cross_entropy(views.float(), frames.views[picked].to(place))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        progress.step += 1
        # Early on, over the latter half of the steps so far: the first weights are soon forgotten.
        _update_average(average, model, min(config.average_decay, (1 + progress.step) / (3 + progress.step)))
        losses += loss.item()
        hits += (scores.detach().argmax(1) == masks).float().mean().item()
        on_step(step + 1, steps)
    if not math.isfinite(losses):
        raise InputError("the loss is no longer a number: lower --learning-rate")
    return {"learning_rate": rate, "train_loss": losses / steps, "train_pixel_accuracy": hits / steps}


@torch.no_grad()
def validate(model: nn.Module, frames: Frames, config: TrainConfig) -> dict[str, float]:
    """Return loss, pixel accuracy, Dice per structure and the share of views recognised, on frames as they are."""
    place = next(model.parameters()).device
    model.eval()
    losses, hits, recognised = [], [], []
    dice: dict[Structure, list[Tensor]] = {s: [] for s in Structure}
    for start in range(0, len(frames), config.batch):
        part = slice(start, start + config.batch)
        images = frames.images[part, : config.unet.frames].float().to(place)
        masks = frames.masks[part].long().to(place)
        with autocast(place):
            scores, views = model(images.contiguous(memory_format=torch.channels_last))
        losses += [segmentation_loss(scores.float(), masks).item()] * len(masks)
        predicted = scores.argmax(1)
        hits.append((predicted == masks).float().mean(dim=(1, 2)))
        recognised.append((views.argmax(1) == frames.views[part].to(place)).float())
        for structure in Structure:
            dice[structure].append(dice_per_frame(predicted, masks, structure))
    mean = {s: torch.cat(d).mean().item() for s, d in dice.items()}
    return {
        "val_loss": float(np.mean(losses)),
        "val_pixel_accuracy": torch.cat(hits).mean().item(),
        "val_view_accuracy": torch.cat(recognised).mean().item(),
        **{f"val_dice_{s}": v for s, v in mean.items()},
        "val_dice_mean": float(np.mean([mean[s] for s in FOREGROUND])),
    }


def learning_rate(config: TrainConfig, step: int, done: float) -> float:
    """Linear warm-up, then half a cosine down to `final_rate` at the end of the budget."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    low = config.final_rate
    return config.learning_rate * warm * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def pick_device(name: str) -> torch.device:
    """Resolve 'auto' to CUDA, MPS or CPU, in this order.

    Raises
    ------
    InputError
        When the named device is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(d for d, ok in there.items() if ok)
    if not there.get(name.split(":")[0], False):
        raise InputError(
            f"device '{name}' is not here: choose from auto, {', '.join(d for d, ok in there.items() if ok)}"
        )
    return torch.device(name)


def autocast(place: torch.device) -> torch.autocast:
    """bfloat16 where the hardware multiplies it natively; elsewhere float32."""
    if place.type == "cpu":
        native = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        if platform.machine().lower() in ("x86_64", "amd64"):
            # oneDNN also takes bfloat16 where it has to convert it for every product: half as fast as float32.
            native = native and torch.cpu._is_avx512_bf16_supported()
    else:
        native = place.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(place.type, torch.bfloat16, enabled=native)


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; biases and normalisation are not decayed."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def _share_done(progress: Progress, config: TrainConfig) -> float:
    clock = progress.seconds / (60 * config.max_minutes) if config.max_minutes else 0.0
    return max(progress.epoch / config.epochs, clock)


def _join_processes() -> tuple[int, int]:
    """Rank and number of processes; `torchrun` sets the environment."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return int(os.environ.get("RANK", "0")), world


def _agree(progress: Progress, world: int) -> None:
    """Every process follows the first one's clock and its decision to stop."""
    if world == 1:
        return
    told = torch.tensor([progress.epoch_share, progress.seconds, float(progress.finished)], dtype=torch.float64)
    if torch.cuda.is_available():
        told = told.cuda()
    dist.broadcast(told, src=0)
    progress.epoch_share, progress.seconds, progress.finished = float(told[0]), float(told[1]), bool(told[2])


def machine(place: torch.device) -> dict[str, object]:
    """What trains, for the manifest."""
    return {
        "device": str(place),
        "threads": torch.get_num_threads(),
        "precision": "bfloat16" if autocast(place)._enabled else "float32",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
