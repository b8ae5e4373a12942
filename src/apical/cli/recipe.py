"""What `train` and `crossval` share: the options of a recipe, and a training that shows how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apical.cli.console import progress_bar, say
from apical.cli.options import parse_channels, parse_views
from apical.errors import InputError

if TYPE_CHECKING:
    from apical.network.checkpoint import Progress
    from apical.network.training import TrainConfig
    from apical.split import Split
    from apical.store import Store

Stores = Annotated[
    list[Path],
    typer.Argument(
        metavar="STORE [STORE]...",
        help="Store made by `apical prepare`; further ones add renditions of the same patients to learn from.",
    ),
]
ViewName = Annotated[str, typer.Option("--view", help="2CH, 4CH or both.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Epochs (default: 50).")]
MaxMinutes = Annotated[float | None, typer.Option(min=0.01, help="Wall-clock budget of one training.")]
Patience = Annotated[int | None, typer.Option(min=1, help="Epochs without progress before stopping.")]
Keep = Annotated[
    str, typer.Option(help="Weights to keep: 'best' by the watched patients' Dice, or those of the 'last' epoch.")
]
Batch = Annotated[int | None, typer.Option(min=1, help="Frames per step.")]
LearningRate = Annotated[float | None, typer.Option(min=0, help="Peak learning rate.")]
FinalRate = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Learning rate at the end, as a share of the peak (default: 0.005)."),
]
AverageDecay = Annotated[
    float | None,
    typer.Option(min=0, max=0.99999, help="Decay per step of the moving average of the weights (default: 0.995)."),
]
Channels = Annotated[str | None, typer.Option(help="Feature channels per level, e.g. 32,64,128,192,256.")]
Size = Annotated[int | None, typer.Option(min=32, help="Rows and columns of the network's grid.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


def make_recipe(
    view: str,
    seed: int,
    *,
    epochs: int | None,
    max_minutes: float | None,
    patience: int | None,
    keep: str,
    batch: int | None,
    learning_rate: float | None,
    final_rate: float | None,
    average_decay: float | None,
    channels: str | None,
    size: int | None,
    phantom_share: float | None = None,
) -> TrainConfig:
    """Return the recipe that the options name; what is not given stays as `TrainConfig` has it.

    Raises
    ------
    InputError
        When a view, the weights to keep or the channels make no sense.
    """
    if keep not in ("best", "last"):
        raise InputError(f"--keep '{keep}': choose best or last")
    views = parse_views(view)  # before the heavy import: a wrong word is told at once
    levels = parse_channels(channels) if channels else None
    from apical.network.training import TrainConfig
    from apical.network.unet import UNetConfig

    asked = {
        "keep": keep,
        "epochs": epochs,
        "max_minutes": max_minutes,
        "patience": patience,
        "batch": batch,
        "learning_rate": learning_rate,
        "final_rate": final_rate,
        "average_decay": average_decay,
        "size": size,
        "phantom_share": phantom_share,
        "unet": UNetConfig(levels) if levels else None,
    }
    given = {k: v for k, v in asked.items() if v is not None}
    return TrainConfig(views=views, seed=seed, **given)  # type: ignore[arg-type]


def train_shown(
    stores: Sequence[Store],
    split: Split,
    run: Path,
    config: TrainConfig,
    *,
    title: str = "",
    phantoms: Store | None = None,
    start: Path | None = None,
    device: str = "auto",
    resume: bool = False,
) -> Progress:
    """Train, with a line per epoch and a bar within it; errors as `network.training.train`."""
    from apical.network.training import train

    say(
        f"{title}{len(split.train)} patients to learn from, {len(split.validation)} to watch, {len(split.test)} unseen"
        f"; views {', '.join(config.views)}; {config.epochs} epochs"
        + (f", {config.max_minutes:g} minutes at most" if config.max_minutes else "")
    )
    with progress_bar(f"{title}epoch 1", None) as bar:
        task = bar.task_ids[0]

        def on_epoch(progress: Progress) -> None:
            row = progress.history[-1]
            line = f"{title}epoch {row['epoch']:3}  loss {row['train_loss']:.4f}"
            if "val_dice_mean" in row:
                line += f"  validation {row['val_loss']:.4f}  Dice {row['val_dice_mean']:.4f}"
            say(f"{line}  {row['seconds'] / 60:.1f} min")
            bar.update(task, description=f"{title}epoch {row['epoch'] + 1}", completed=0)

        first, *more = stores
        return train(
            first,
            split,
            run,
            config,
            more=more,
            phantoms=phantoms,
            start=start,
            device=device,
            resume=resume,
            on_epoch=on_epoch,
            on_step=lambda step, steps: bar.update(task, completed=step, total=steps),
        )
