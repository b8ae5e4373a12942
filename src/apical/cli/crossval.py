"""Command `crossval`: train and judge one network per CAMUS fold, and pool what they score."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apical.cli.console import Json, print_json, say
from apical.cli.judge import score_model
from apical.cli.options import Runtime, parse_views
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
from apical.errors import ExitCode, InputError
from apical.split import DEFAULT_SEED

if TYPE_CHECKING:
    from apical.evaluate import Evaluation
    from apical.network.training import TrainConfig
    from apical.split import Split
    from apical.store import Store

N_FOLDS = 10
"""CAMUS's own folds."""


def crossval(
    stores: Stores,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; one sub-folder per fold.")],
    folds: Annotated[str, typer.Option(help="CAMUS folds, such as 1-10, 5 or 1,2,5.")] = f"1-{N_FOLDS}",
    view: ViewName = "both",
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = DEFAULT_SEED,
    epochs: Epochs = None,
    max_minutes: MaxMinutes = None,
    patience: Patience = None,
    keep: Keep = "best",
    batch: Batch = None,
    learning_rate: LearningRate = None,
    final_rate: FinalRate = None,
    average_decay: AverageDecay = None,
    channels: Channels = None,
    size: Size = None,
    device: Device = "auto",
    runtime: Runtime = "auto",
    as_json: Json = False,
) -> None:
    """Train, export and evaluate a network per CAMUS fold, and pool the scores: each patient judged once, unseen.

    Interrupted, the same command goes on; with further folds it adds them and pools anew.
    """
    from contextlib import ExitStack

    from apical.evaluate import pool
    from apical.evaluate.evaluation import SUMMARY_JSON
    from apical.split import split_by_fold
    from apical.store import Store

    # Folds of an earlier call in this folder are pooled with those asked for now.
    earlier = {f for f in range(1, N_FOLDS + 1) if (_place(output, f) / "evaluation" / SUMMARY_JSON).is_file()}
    chosen = tuple(sorted({*parse_folds(folds), *earlier}))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("crossval runs as one process: give each process folds and a folder of its own, not torchrun")
    parse_views(view)
    with ExitStack() as opened:
        data = [opened.enter_context(Store(path)) for path in stores]
        # All splits first: a fold that the data lack is told before hours of training.
        splits = {fold: split_by_fold(data[0].folds, fold, data[0].groups()) for fold in chosen}
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
        )
        _claim(output, data, config)
        results = [_one_fold(data, split, fold, output, config, device, runtime) for fold, split in splits.items()]
    pooled = pool(results, f"{output.name}, cross-validated over CAMUS folds {', '.join(map(str, chosen))}")
    for path in pooled.write(output, overwrite=True):
        say(str(path))
    if as_json:
        print_json(pooled.as_dict())
    if pooled.left_out:
        raise typer.Exit(ExitCode.PARTIAL)


def parse_folds(text: str) -> tuple[int, ...]:
    """'1-10', '5' or '1,2,5-7' to fold numbers, sorted.

    Raises
    ------
    InputError
        When it is no such list of numbers from 1 to 10.

    Examples
    --------
    >>> parse_folds("7,1-3")
    (1, 2, 3, 7)
    """
    chosen: set[int] = set()
    for part in text.split(","):
        if not (match := re.fullmatch(r"\s*(\d{1,2})(?:-(\d{1,2}))?\s*", part)):
            raise InputError(f"--folds '{text}': give numbers like 1-{N_FOLDS} or 1,2,5")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= N_FOLDS:
            raise InputError(f"--folds '{text}': CAMUS's folds are 1 to {N_FOLDS}")
        chosen.update(range(first, last + 1))
    return tuple(sorted(chosen))


def _place(output: Path, fold: int) -> Path:
    return output / f"fold-{fold:02d}"


def _claim(output: Path, stores: Sequence[Store], config: TrainConfig) -> None:
    """Make the folder ours, or see that it is of the same cross-validation.

    The folds are no part of that: what they score does not depend on which others are run.
    """
    from apical.evaluate.evaluation import RESULT_FILES
    from apical.files import make_folder, refuse_existing, write_text
    from apical.network.manifest import CROSSVAL

    settings: dict[str, Any] = {
        "data": [{"name": store.path.name, "content_sha256": store.content_sha256} for store in stores],
        "recipe": json.loads(json.dumps(asdict(config))),
    }
    path = output / CROSSVAL
    if not path.exists():
        for name in RESULT_FILES:
            refuse_existing(output / name, overwrite=False)
        make_folder(output)
        write_text(path, json.dumps(settings, indent=1) + "\n")
        return
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        different = [key for key in settings if earlier[key] != settings[key]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error!r}); name another folder") from error
    if different:
        raise InputError(
            f"{output}: its {different[0]} differs from what is asked now; give the same, or another folder"
        )


def _one_fold(
    stores: Sequence[Store], split: Split, fold: int, output: Path, config: TrainConfig, device: str, runtime: str
) -> Evaluation:
    """Train, export and evaluate one fold, or read what an earlier run has finished of it."""
    from apical.evaluate import read_evaluation
    from apical.evaluate.evaluation import SUMMARY_JSON
    from apical.models import find_model
    from apical.network.export import export
    from apical.segment import Segmenter

    place = _place(output, fold)
    run, model, evaluation = place / "run", place / "model", place / "evaluation"
    if (evaluation / SUMMARY_JSON).exists():
        say(f"fold {fold}: finished before")
    else:
        train_shown(stores, split, run, config, title=f"fold {fold}: ", device=device, resume=True)
        if not (model / "config.json").exists():
            export(run, model, name=f"{output.name}-fold-{fold:02d}")
        result = score_model(Segmenter.load(model, runtime), stores[0].path, None)
        replace(result, name=f"fold {fold}").write(evaluation, overwrite=True)
    # Read back in either case, so that an interrupted run pools the very same numbers as an uninterrupted one.
    result = read_evaluation(evaluation)
    if result.model_sha256 != find_model(model).sha256 or not set(result.patients) <= set(split.test):
        raise InputError(f"{evaluation}: not of this fold's model and patients; remove the folder to evaluate again")
    return result


COMMANDS = (crossval,)
