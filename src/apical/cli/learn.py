"""Commands that make models: `train`, `export`, `models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apical.cli.console import Json, Overwrite, print_json, progress_bar, say
from apical.cli.options import parse_channels, parse_views
from apical.split import DEFAULT_SEED

if TYPE_CHECKING:
    from apical.network.checkpoint import Progress


def train(
    stores: Annotated[
        list[Path],
        typer.Argument(
            metavar="STORE [STORE]...",
            help="Store made by `apical prepare`; further ones add renditions of the same patients to learn from.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
    view: Annotated[str, typer.Option(help="2CH, 4CH or both.")] = "both",
    fold: Annotated[
        int | None, typer.Option(min=1, max=10, help="Split by this CAMUS fold instead of by seed.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of split and training.")] = DEFAULT_SEED,
    test: Annotated[int, typer.Option(min=0, help="Patients kept unseen (split by seed).")] = 50,
    validation: Annotated[int, typer.Option(min=0, help="Patients watched while training (split by seed).")] = 20,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs [default: 50].")] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0.01, help="Wall-clock budget.")] = None,
    patience: Annotated[int | None, typer.Option(min=1, help="Epochs without progress before stopping.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Frames per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Peak learning rate.")] = None,
    channels: Annotated[str | None, typer.Option(help="Feature channels per level, e.g. 32,64,128,192,256.")] = None,
    start: Annotated[
        Path | None, typer.Option(help="Run to start from: its best weights instead of random ones.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=32, help="Rows and columns of the network's grid.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    as_json: Json = False,
) -> None:
    """Train a U-Net on stores; writes manifest, history, curves and checkpoints. Several processes: under torchrun."""
    from contextlib import ExitStack
    from dataclasses import asdict

    from apical.anatomy import View
    from apical.split import split_by_fold, split_by_seed
    from apical.store import Store

    views = parse_views(view)
    with ExitStack() as opened:
        data, *more = [opened.enter_context(Store(path)) for path in stores]
        split = (
            split_by_fold(data.folds, fold)
            if fold is not None
            else split_by_seed(data.groups(), seed, n_test=test, n_validation=validation)
        )
        from apical.network.training import TrainConfig
        from apical.network.training import train as run_training
        from apical.network.unet import UNetConfig

        asked = {
            "epochs": epochs,
            "max_minutes": max_minutes,
            "patience": patience,
            "batch": batch,
            "learning_rate": learning_rate,
            "size": size,
            "unet": UNetConfig(parse_channels(channels)) if channels else None,
        }
        given = {k: v for k, v in asked.items() if v is not None}
        config = TrainConfig(views=views, seed=seed, **given)  # type: ignore[arg-type]
        say(f"patients: {len(split.train)} to learn from, {len(split.validation)} to watch, {len(split.test)} unseen")
        say(
            f"views {', '.join(views)}; {config.epochs} epochs"
            + (f", {max_minutes:g} minutes at most" if max_minutes else "")
        )
        with progress_bar("epoch 1", None) as bar:
            task = bar.task_ids[0]

            def on_epoch(progress: Progress) -> None:
                row = progress.history[-1]
                line = f"epoch {row['epoch']:3}  loss {row['train_loss']:.4f}"
                if "val_dice_mean" in row:
                    line += f"  validation {row['val_loss']:.4f}  Dice {row['val_dice_mean']:.4f}"
                say(f"{line}  {row['seconds'] / 60:.1f} min")
                bar.update(task, description=f"epoch {row['epoch'] + 1}", completed=0)

            progress = run_training(
                data,
                split,
                output,
                config,
                more=more,
                start=start,
                device=device,
                resume=resume,
                on_epoch=on_epoch,
                on_step=lambda step, steps: bar.update(task, completed=step, total=steps),
            )
    say(f"{output}: best epoch {progress.best_epoch} of {progress.epoch}; look at {output / 'curves.png'}")
    if as_json:
        print_json(asdict(progress) | {"run": str(output), "views": [str(v) for v in View if v in views]})


def export(
    run: Annotated[Path, typer.Argument(help="Run folder made by `apical train`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the model [default: the folder's].")] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="Folder that `apical evaluate` wrote for this run's model; goes into the card.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a run's best network as ONNX with its config and model card."""
    from apical.network.export import export as write_model

    write_model(run, output, name=name, evaluation=evaluation, overwrite=overwrite)
    say(f"{output}: model.onnx, config.json, MODEL_CARD.md")


def models(as_json: Json = False) -> None:
    """List the installed models."""
    from rich.table import Table

    from apical.cli.console import console
    from apical.models import DEFAULT, installed_models

    found = installed_models()
    if as_json:
        print_json([{"name": m.name, "default": m.name == DEFAULT, "folder": str(m.folder), **m.config} for m in found])
        return
    table = Table("name", "views", "size", "parameters", "licence")
    for model in found:
        label = model.name + (" (default)" if model.name == DEFAULT else "")
        table.add_row(
            label, ", ".join(model.views), str(model.size), f"{model.config['parameters']:,}", model.config["license"]
        )
    console.print(table)


COMMANDS = (train, export, models)
