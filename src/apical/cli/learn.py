"""Commands that make models: `train`, `average`, `restore`, `export`, `models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apical.cli.console import Json, Overwrite, print_json, print_table, say
from apical.cli.options import parse_views
from apical.cli.recipe import (
    AverageDecay,
    Batch,
    Channels,
    Device,
    Epochs,
    FinalRate,
    Keep,
    LearningRate,
    MaxMinutes,
    Patience,
    Size,
    Stores,
    ViewName,
    make_recipe,
    train_shown,
)
from apical.errors import InputError
from apical.split import DEFAULT_SEED


def train(
    stores: Stores,
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
    view: ViewName = "both",
    fold: Annotated[
        int | None, typer.Option(min=1, max=10, help="Split by this CAMUS fold instead of by seed.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of split and training.")] = DEFAULT_SEED,
    test: Annotated[int, typer.Option(min=0, help="Patients kept unseen (split by seed).")] = 50,
    validation: Annotated[int, typer.Option(min=0, help="Patients watched while training (split by seed).")] = 20,
    epochs: Epochs = None,
    max_minutes: MaxMinutes = None,
    patience: Patience = None,
    keep: Keep = "best",
    batch: Batch = None,
    learning_rate: LearningRate = None,
    final_rate: FinalRate = None,
    average_decay: AverageDecay = None,
    channels: Channels = None,
    phantoms: Annotated[
        Path | None,
        typer.Option(help="Store of synthetic hearts to learn from besides (benchmarks/phantom_store.py)."),
    ] = None,
    phantom_share: Annotated[
        float | None,
        typer.Option(min=0.01, max=10, help="Frames of --phantoms in an epoch, as a share of the rest (default: 0.3)."),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Run to start from: the weights it kept instead of random ones.")
    ] = None,
    size: Size = None,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    as_json: Json = False,
) -> None:
    """Train a U-Net on stores; writes manifest, history, curves and checkpoints. Several processes: under torchrun."""
    from contextlib import ExitStack
    from dataclasses import asdict

    from apical.anatomy import View
    from apical.split import split_by_fold, split_by_seed
    from apical.store import Store

    parse_views(view)
    if phantom_share is not None and phantoms is None:
        raise InputError("--phantom-share is of the frames of a store of synthetic hearts: give --phantoms too")
    with ExitStack() as opened:
        data = [opened.enter_context(Store(path)) for path in stores]
        groups = data[0].groups()
        split = (
            split_by_fold(data[0].folds, fold, groups)
            if fold is not None
            else split_by_seed(groups, seed, n_test=test, n_validation=validation)
        )
        config = make_recipe(
            view,
            seed,
            epochs=epochs,
            max_minutes=max_minutes,
            patience=patience,
            keep=keep,
            batch=batch,
            learning_rate=learning_rate,
            final_rate=final_rate,
            average_decay=average_decay,
            channels=channels,
            size=size,
            phantom_share=phantom_share,
        )
        made_up = opened.enter_context(Store(phantoms)) if phantoms else None
        progress = train_shown(data, split, output, config, phantoms=made_up, start=start, device=device, resume=resume)
    kept = "the last" if progress.best_dice is None else f"epoch {progress.best_epoch}"
    say(f"{output}: {kept} of {progress.epoch} epochs was kept; look at {output / 'curves.png'}")
    if as_json:
        print_json(asdict(progress) | {"run": str(output), "views": [str(v) for v in View if v in config.views]})


def average(
    stores: Stores,
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
    runs: Annotated[list[Path], typer.Option("--run", help="Run to take the mean of; give two or more.")],
    phantoms: Annotated[Path | None, typer.Option(help="Store of synthetic hearts that a run learned from.")] = None,
) -> None:
    """Write the mean of the weights of several runs as a run of its own, for `apical export`."""
    from contextlib import ExitStack

    from apical.network.averaging import average_runs
    from apical.store import Store

    with ExitStack() as opened:
        made_up = opened.enter_context(Store(phantoms)) if phantoms else None
        average_runs([opened.enter_context(Store(path)) for path in stores], runs, output, phantoms=made_up)
    say(f"{output}: the mean of {len(runs)} runs; go on with `apical export {output} -o MODEL`")


def restore(
    model: Annotated[str, typer.Argument(help="Installed model, or the folder of one.")],
    stores: Stores,
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")],
) -> None:
    """Write a released model as a run again, to go on from with own patients (`apical train --start`) or to average."""
    from contextlib import ExitStack

    from apical.models import find_model
    from apical.network.restoring import restore_run
    from apical.store import Store

    with ExitStack() as opened:
        restore_run(find_model(model), [opened.enter_context(Store(path)) for path in stores], output)
    say(f"{output}: the network of {model}; go on with `apical train STORE -o RUN --start {output}`")


def export(
    run: Annotated[Path, typer.Argument(help="Run folder made by `apical train`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the model (default: the folder's).")] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="Folder that `apical evaluate` wrote for this run's model; goes into the card.")
    ] = None,
    before: Annotated[
        Path | None,
        typer.Option(help="Run that this one went on from with all patients, where --evaluation is of its network."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Other evaluation, or cross-validation, that gives the EF interval (default: --evaluation)."),
    ] = None,
    note: Annotated[str, typer.Option(help="What the card is to say among the limits besides.")] = "",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a run's best network as ONNX with its config and model card."""
    from apical.models import find_model
    from apical.network.export import export as write_model

    if before is not None and evaluation is None:
        raise InputError("--before says whose figures --evaluation holds: give both")
    write_model(
        run,
        output,
        name=name,
        evaluation=evaluation,
        before=before,
        calibration=calibration,
        note=note,
        overwrite=overwrite,
    )
    say(f"{output}: model.onnx, config.json, MODEL_CARD.md")
    if as_json:
        written = find_model(output)
        print_json({"name": written.name, "folder": str(output), **written.config})


def models(as_json: Json = False) -> None:
    """List the installed models."""
    from rich.table import Table

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
    print_table(table)


COMMANDS = (train, average, restore, export, models)
