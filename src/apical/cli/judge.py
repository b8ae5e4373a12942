"""Commands that judge models: `evaluate` and `compare`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apical.cli.console import Json, LeftOut, Overwrite, print_json, progress_bar, say
from apical.cli.options import Output, Patients, PrecisionOption, Runtime, parse_patients
from apical.errors import ExitCode, InputError, ModelError

if TYPE_CHECKING:
    from apical.evaluate import Evaluation
    from apical.models import Model
    from apical.segment import Segmenter
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
    precision: PrecisionOption = "float32",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score a model or any tool's masks: Dice, distances, EDV, ESV, EF agreement, with intervals over patients.

    A model is scored on the patients that it never saw; --all or --patients choose others.
    """
    from apical.evaluate import masks_from_folder
    from apical.files import refuse_existing
    from apical.segment import Segmenter

    refuse_existing(output / "summary.json", overwrite=overwrite)
    wanted = parse_patients(patients)
    if _is_model(subject):
        result = score_model(Segmenter.load(subject, runtime, precision=precision), data, wanted, everyone=everyone)
    else:
        if (runtime, precision) != ("auto", "float32"):
            raise InputError(f"--runtime and --precision are a model's, and {subject} is no model: leave them out")
        masks = Path(subject)
        result = _score(data, wanted, masks_from_folder(masks), name=masks.name)
    for path in result.write(output, overwrite=overwrite):
        say(str(path))
    if as_json:
        print_json(result.as_dict())
    if result.left_out:
        raise typer.Exit(ExitCode.PARTIAL)


def score_model(segmenter: Segmenter, data: Path, wanted: set[str] | None, *, everyone: bool = False) -> Evaluation:
    """Score a model on the wanted patients; by default on those that it never saw.

    Raises
    ------
    InputError
        When nobody was kept unseen, or when the data number their patients in another way than the model's training
        data: then nobody can say who is unseen, and only `everyone` may be scored.
    """
    model = segmenter.model
    if wanted is None and not everyone:
        wanted = set(model.config["training"]["split"]["test"])
        if not wanted:
            raise InputError(f"{model.name}: was trained without keeping patients unseen; name some with --patients")
    strangers: list[str] = []

    def known(studies: Iterable[Study]) -> Iterator[Study]:
        same_numbers = _learned_from(model, data)
        for study in studies:
            if study.patient.renumbered and not same_numbers:
                if not everyone:
                    raise InputError(
                        f"{data}: its patients bear numbers of the PNG tree, not CAMUS's, so that nobody knows whom "
                        f"{model.name} has never seen: put CAMUS's patients.csv beside them, or score all with --all"
                    )
                strangers.append(study.patient.id)
            yield replace(study, frames=tuple(f for f in study.frames if f.view in model.views))

    name = segmenter.name
    made_by = {"model_sha256": model.sha256, "precision": str(segmenter.precision)}
    result = _score(data, wanted, segmenter.segment, known, name=name, **made_by)
    if strangers:
        say(f"warning: {len(strangers)} patients bear numbers of the PNG tree; who of them was learned from is unknown")
        title = f"{name} (patients seen in training may be included: their numbers are not CAMUS's)"
    elif model.seen_patients & set(result.patients):
        title = f"{name} (patients seen in training included)"
    else:
        return result
    return replace(result, name=title, seen_in_training=True)


def _score(
    data: Path,
    wanted: set[str] | None,
    predict: Callable[[Study], Mapping[str, Mask]],
    choose: Callable[[Iterable[Study]], Iterable[Study]] = lambda studies: studies,
    *,
    name: str,
    model_sha256: str | None = None,
    precision: str | None = None,
) -> Evaluation:
    """Score with a progress bar, and say at once what could not be scored."""
    from apical.evaluate import evaluate as score
    from apical.inputs import count, open_studies

    files = LeftOut()
    with progress_bar("scoring", count(data, wanted)) as bar:
        result = score(
            choose(open_studies(data, files, wanted)),
            predict,
            lambda patient: bar.advance(bar.task_ids[0]),
            name=name,
            wanted=wanted or (),
            model_sha256=model_sha256,
            precision=precision,
            data=data.name,
        )
    if result.left_out:
        who = ", ".join(list(result.left_out)[:5]) + (" and others" if len(result.left_out) > 5 else "")
        say(f"left out: {len(result.left_out)} of {len(wanted or ())} wanted patients: {who} (reasons in summary.json)")
    # Relative to the data: an evaluation goes into model cards, which are of no machine.
    unread = {
        _relative(item["path"], data): item["reason"].removeprefix(f"{item['path']}: ").replace(f"{data}{os.sep}", "")
        for item in files.items
    }
    return replace(result, left_out={**result.left_out, **unread})


def _relative(path: str, data: Path) -> str:
    return str(Path(path).relative_to(data)) if Path(path).is_relative_to(data) else Path(path).name


def _learned_from(model: Model, data: Path) -> bool:
    """Whether it is the store that the model's split is of: then its numbers are the model's, whatever they are."""
    from apical.inputs import is_store
    from apical.store import Store

    if not is_store(data):
        return False
    with Store(data) as store:
        return bool(store.content_sha256 == model.config["training"]["data"][0]["content_sha256"])


def compare(
    evaluations: Annotated[list[Path], typer.Argument(help="Folders written by `apical evaluate`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Markdown file to write.")],
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Set several evaluations of the same patients side by side in one table."""
    from apical.evaluate.comparison import compare_evaluations
    from apical.files import write_text

    compared = compare_evaluations(evaluations)
    write_text(output, compared.document(), overwrite=overwrite)
    say(str(output))
    if as_json:
        print_json(compared.as_dict())


def _is_model(subject: str) -> bool:
    from apical.models import installed_folder, two_meanings

    folder, installed = Path(subject), installed_folder(subject)
    is_model = (folder / "config.json").is_file()
    if installed and folder.is_dir() and not is_model:
        raise ModelError(two_meanings(installed, "a folder of masks"))
    return is_model or installed is not None


COMMANDS = (evaluate, compare)
