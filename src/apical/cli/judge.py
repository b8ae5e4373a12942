"""Commands that judge models: `evaluate` and `compare`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apical.cli.console import Json, LeftOut, Overwrite, exit_partial, print_json, progress_bar, say
from apical.cli.options import Output, Patients, Runtime, parse_patients
from apical.errors import InputError

if TYPE_CHECKING:
    from apical.study import Mask, Study


def evaluate(
    subject: Annotated[
        str, typer.Argument(metavar="MODEL|MASKS", help="Model name or folder, or any tool's masks in CAMUS names.")
    ],
    data: Annotated[Path, typer.Argument(help="Dataset or store with expert masks.")],
    output: Output,
    patients: Patients = None,
    everyone: Annotated[
        bool, typer.Option("--all", help="Also patients that the model was trained on (said in the title).")
    ] = False,
    runtime: Runtime = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score a model or any tool's masks: Dice, distances, EDV, ESV, EF agreement, with intervals over patients.

    A model is scored on the patients that it never saw; --all or --patients choose others.
    """
    from apical.evaluate import evaluate as score
    from apical.evaluate import masks_from_folder
    from apical.files import refuse_existing
    from apical.inputs import count, open_studies
    from apical.segment import Segmenter

    refuse_existing(output / "summary.json", overwrite=overwrite)
    wanted, name, views = parse_patients(patients), Path(subject).name, None
    if _is_model(subject):
        segmenter = Segmenter.load(subject, runtime)
        predict: Callable[[Study], Mapping[str, Mask]] = segmenter.segment
        views, name = segmenter.model.views, segmenter.model.name
        split = segmenter.model.config["training"]["split"]
        if wanted is None and not everyone:
            wanted = set(split["test"])
        learned = {*split["train"], *split["validation"]}
        if wanted is None or wanted & learned:
            name += " (patients seen in training included)"
    else:
        predict = masks_from_folder(Path(subject))
    if wanted is not None and not wanted:
        raise InputError(f"{subject}: it was trained without keeping patients unseen; name some with --patients")
    left_out = LeftOut()
    studies = open_studies(data, left_out, wanted)
    if views is not None:
        studies = (replace(s, frames=tuple(f for f in s.frames if f.view in views)) for s in studies)
    with progress_bar("scoring", count(data, wanted)) as bar:
        result = score(studies, predict, lambda patient: bar.advance(bar.task_ids[0]), name=name)
    for path in result.write(output, overwrite=overwrite):
        say(str(path))
    if as_json:
        print_json(result.as_dict())
    exit_partial(left_out)


def compare(
    evaluations: Annotated[list[Path], typer.Argument(help="Folders written by `apical evaluate`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Markdown file to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Set several evaluations of the same patients side by side in one table."""
    from apical.evaluate.comparison import comparison_document
    from apical.files import write_text

    write_text(output, comparison_document(evaluations), overwrite=overwrite)
    say(str(output))


def _is_model(subject: str) -> bool:
    from apical.models import installed_models

    return (Path(subject) / "config.json").is_file() or subject in {m.name for m in installed_models()}


COMMANDS = (evaluate, compare)
