"""Training frames per second of our network, of nnU-Net's own and of the CAMUS paper's U-Net 1, as ratios.

    runs/peers/venv/bin/python benchmarks/training_speed.py STORE PREPROCESSED [--rounds 5] [--seconds 10] [-o FILE]

PREPROCESSED is the folder with nnUNetPlans.json that `benchmarks/peers.sh` made (.../preprocessed/Dataset301_Apical).
A step is forward pass, loss, backward pass and update, each network with its own loss, optimizer and batch, on the same
256x256 frames; augmentation is left out for all (what whole trainings reach with it stands in docs/peers.md). The
networks take turns in short bursts in one process, so that whatever else the machine does hits all alike; a ratio is
taken within each round. Prints a table and writes every burst as JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apical.evaluate.tables import to_markdown
from apical.files import write_text
from apical.network.dataset import Frames, load_frames
from apical.network.losses import segmentation_loss
from apical.network.training import TrainConfig
from apical.network.unet import UNet
from apical.store import Store
from peers.record import cpu_name
from peers.unet1 import UNet1, Unet1Recipe

OURS, UNET1, NNUNET = "apical", "U-Net-1", "nnU-Net"
PRECISIONS = ("bfloat16", "float32")
Step = Callable[[Tensor], None]
"""Learns from the frames of these indices."""


@dataclass(frozen=True)
class Contestant:
    """One network with its loss, optimizer, batch and number format."""

    name: str
    precision: str
    batch: int
    parameters: int
    step: Step


def autocast(precision: str) -> torch.autocast:
    """Mixed precision, or none."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")


def apical(frames: Frames, precision: str, config: TrainConfig = TrainConfig()) -> Contestant:
    """Ours: both losses, clipped gradients, AdamW and the moving average of the weights."""
    model = UNet(config.unet).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)

    def step(picked: Tensor) -> None:
        images = frames.images[picked, : config.unet.frames].float()
        with autocast(precision):
            scores, views = model(images.contiguous(memory_format=torch.channels_last))
        loss = segmentation_loss(scores.float(), frames.masks[picked].long())
        loss = loss + config.view_weight * F.cross_entropy(views.float(), frames.views[picked])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        with torch.no_grad():
            for kept, new in zip(average.parameters(), model.parameters(), strict=True):
                kept.lerp_(new, 1 - config.average_decay)

    return Contestant(OURS, precision, config.batch, _size(model), step)


def unet1(frames: Frames, precision: str, recipe: Unet1Recipe = Unet1Recipe()) -> Contestant:
    """The CAMUS paper's U-Net 1 by its recipe."""
    model = UNet1().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)

    def step(picked: Tensor) -> None:
        images = frames.images[picked, :1].float()
        with autocast(precision):
            scores = model(images.contiguous(memory_format=torch.channels_last))
        loss = segmentation_loss(scores.float(), frames.masks[picked].long())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return Contestant(UNET1, precision, recipe.batch, _size(model), step)


def nnunet(frames: Frames, precision: str, preprocessed: Path) -> Contestant:
    """nnU-Net's network, loss with deep supervision, optimizer and step, from its plans."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    plans, dataset = (json.loads((preprocessed / f).read_text()) for f in ("nnUNetPlans.json", "dataset.json"))
    trainer = nnUNetTrainer(plans | {"continue_training": False}, "2d", 0, dataset, device=torch.device("cpu"))
    trainer.initialize()
    trainer.network.train()
    strides = [round(1 / scale[0]) for scale in trainer._get_deep_supervision_scales()]
    forward = trainer.network.forward

    def in_precision(x: Tensor) -> list[Tensor]:
        with autocast(precision):
            return [scores.float() for scores in forward(x)]

    trainer.network.forward = in_precision

    def step(picked: Tensor) -> None:
        images, masks = frames.images[picked, :1].float(), frames.masks[picked, None].float()
        images = (images - images.mean((2, 3), keepdim=True)) / images.std((2, 3), keepdim=True).clamp(min=1)
        trainer.train_step({"data": images, "target": [masks[..., ::s, ::s].contiguous() for s in strides]})

    return Contestant(NNUNET, precision, trainer.batch_size, _size(trainer.network), step)


def frames_per_second(contestant: Contestant, n_frames: int, seconds: float, random: np.random.Generator) -> float:
    """Train for one burst after a step that is not counted."""

    def pick() -> Tensor:
        return torch.from_numpy(random.choice(n_frames, contestant.batch, replace=n_frames < contestant.batch))

    contestant.step(pick())
    start, steps = time.perf_counter(), 0
    while steps == 0 or time.perf_counter() - start < seconds:
        contestant.step(pick())
        steps += 1
    return steps * contestant.batch / (time.perf_counter() - start)


def race(contestants: list[Contestant], n_frames: int, rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Give every contestant one burst a round, each round beginning with another."""
    random = np.random.default_rng(0)
    for n in range(rounds):
        turn = n % len(contestants)
        for c in contestants[turn:] + contestants[:turn]:
            speed = frames_per_second(c, n_frames, seconds, random)
            yield {"round": n, "network": c.name, "precision": c.precision, "frames_per_second": speed}


def table(contestants: list[Contestant], bursts: list[dict[str, Any]]) -> list[dict[str, object]]:
    """Return one row per network and number format: median, range, and our ratio to it within the rounds."""

    def speeds(name: str, precision: str) -> np.ndarray:
        mine = [b for b in bursts if (b["network"], b["precision"]) == (name, precision)]
        return np.array([b["frames_per_second"] for b in sorted(mine, key=lambda b: b["round"])])

    rows: list[dict[str, object]] = []
    for c in contestants:
        speed = speeds(c.name, c.precision)
        ratio = speeds(OURS, c.precision) / speed
        rows.append(
            {
                "network": c.name,
                "precision": c.precision,
                "parameters (millions)": f"{c.parameters / 1e6:.2f}",
                "batch": c.batch,
                "frames per second": f"{np.median(speed):.1f} ({speed.min():.1f}-{speed.max():.1f})",
                "ours is faster by": ""
                if c.name == OURS
                else f"{np.median(ratio):.2f} ({ratio.min():.2f}-{ratio.max():.2f})",
            }
        )
    return rows


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("preprocessed", type=Path, help="nnU-Net's folder of the dataset, with nnUNetPlans.json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a burst")
    parser.add_argument("-o", "--output", type=Path, help="JSON file with every burst")
    arguments = parser.parse_args()
    with Store(arguments.store) as store, tempfile.TemporaryDirectory() as results:
        # nnU-Net's trainer wants its folders named before it is imported, and writes its log into the last.
        preprocessed = str(arguments.preprocessed.resolve().parent)
        os.environ.update(nnUNet_raw=results, nnUNet_preprocessed=preprocessed, nnUNet_results=results)
        frames = load_frames((store,), store.patients[:16], TrainConfig().size)
        contestants = [
            c
            for precision in PRECISIONS
            for c in (
                apical(frames, precision),
                nnunet(frames, precision, arguments.preprocessed),
                unet1(frames, precision),
            )
        ]
        bursts = list(race(contestants, len(frames), arguments.rounds, arguments.seconds))
    rows = table(contestants, bursts)
    machine = f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"{machine}; median (range) over {arguments.rounds} bursts of {arguments.seconds:g} s\n\n{to_markdown(rows)}")
    if arguments.output:
        document = {"machine": machine, "table": rows, "bursts": bursts}
        write_text(arguments.output, json.dumps(document, indent=1), overwrite=True)


if __name__ == "__main__":
    main()
