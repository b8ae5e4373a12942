"""The model card, generated from a model's config so that it cannot say anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apical.network.manifest import phantoms_of, stores_of

CITATION = (
    "S. Leclerc, E. Smistad, J. Pedrosa, A. Ostvik, et al. "
    '"Deep Learning for Segmentation using an Open Large-Scale Dataset in 2D Echocardiography", '
    "IEEE Transactions on Medical Imaging 38(9):2198-2210, 2019, doi:10.1109/TMI.2019.2900516"
)


def model_card(config: Mapping[str, Any], report: str = "") -> str:
    """Return the card as Markdown; `report` is the evaluation's report.md."""
    training = config["training"]
    split = training["split"]
    recipe = training["recipe"]
    machine = training["machine"]
    measured = (
        _as_section(report) or "None: the model was exported without an evaluation (`apical export --evaluation`)."
    )
    return f"""# {config["name"]}

A U-Net that outlines the left-ventricular cavity (1), the myocardium (2) and the left atrium (3) in apical
echocardiograms ({", ".join(config["views"])}), and names the view and how the heart is shown.

**Research only. Not a medical device. Licence: {config["license"]}**, inherited from CAMUS, which is free "strictly only
[for] non-commercial scientific research purposes". Cite: {CITATION}.

| | |
|---|---|
| parameters | {config["parameters"]:,} |
| input | `images` (N, {config["input"]["frames"]}, {config["input"]["size"]}, {config["input"]["size"]}): {config["input"]["geometry"]}; {config["input"]["values"]}; second picture: {config["input"]["second_frame"]} |
| output | `scores` (N, 4, {config["input"]["size"]}, {config["input"]["size"]}) and `views` (N, 2), before softmax; `confidence` (N, 4): expected Dice of endo, epi, la, myo; `unlike` (N): {config["doubt"]["unlike"]}; `orientation` (N, 4), before softmax: {", ".join(config["orientation_scores"])} |
| SHA-256 of model.onnx | `{config["sha256"]}` |
| intervals of EF, EDV, ESV | {_intervals(config.get("ef_interval"))} |

## Training

{len(split["train"])} patients trained on, {len(split["validation"])} watched for the choice of the epoch,
{len(split["test"])} never seen ({split["origin"]}). {training["epoch"]} {"further " if training["start"] else ""}epochs{_kept(training)},
in {training["seconds"] / 60:.0f} minutes on {machine["threads"]} threads of a {machine["device"].upper()} ({machine["precision"]}, torch {machine["torch"]}).
Batch {recipe["batch"]}, AdamW, peak learning rate {recipe["learning_rate"]:g}, cosine; cross-entropy + Dice; moving average of weights.
{_averaged(training.get("averaged", ()))}{_started_from(training["start"])}Data {_data(stores_of(training))}; every patient's id stands in config.json.{_phantoms(training)}

## Figures on unseen patients

{_judged(config)}{measured}

## Limits

CAMUS is one hospital and one make of scanner (GE Vivid E95). On other scanners expect worse and look at the overlays.
The masks follow CAMUS's conventions: trabeculae and papillary muscles belong to the cavity, walls may reach beyond the sector.
{_noted(config)}What was tried, kept and not, and what went wrong in the worst patients: docs/experiments.md of the project.
Not for M-mode, Doppler, other windows, congenital disease, children, or any decision about a patient.
"""


def _intervals(calibration: Mapping[str, Any] | None) -> str:
    if not calibration or not calibration["bounds"]:
        return "none: not calibrated on unseen patients"
    text = (
        f"split conformal, {100 * calibration['level']:g} %, on {len(calibration['patients'])} patients of "
        f"{calibration['source']}"
    )
    return f"{text}; {calibration['note']}" if calibration["note"] else text


def _kept(training: Mapping[str, Any]) -> str:
    if training.get("averaged"):
        return " in all"
    if training["recipe"].get("keep") == "last" or not training["split"]["validation"]:
        return ", the last kept"
    return f", the best being {training['best_epoch']}"


def _averaged(runs: Sequence[Mapping[str, Any]]) -> str:
    if not runs:
        return ""
    told = " and ".join(
        f"'{run['run']}' ({run['epoch']} epochs, SHA-256 `{run['weights_sha256'][:16]}`, started from "
        f"`{(run['start_sha256'] or 'nothing')[:16]}`)"
        for run in runs
    )
    return f"Its weights are the mean of those of the runs {told}; batch and the rest are those of the last.\n"


def _started_from(start: Mapping[str, Any] | None) -> str:
    if start is None or "run" not in start:  # a mean has several, told by `_averaged`
        return ""
    return (
        f"Started from the kept weights of the run '{start['run']}' (SHA-256 `{start['weights_sha256'][:16]}`), which, "
        f"with what it started from itself, had learned from {len(start['learned'])} patients and watched "
        f"{len(start['watched'])}, none of them unseen here.\n"
    )


def _judged(config: Mapping[str, Any]) -> str:
    if "judged" not in config:
        return ""
    return (
        f"**These are the figures of the network before** (run '{config['judged']['run']}', SHA-256 of its model.onnx "
        f"`{config['judged']['sha256'][:16]}`), trained on {config['judged']['trained']} patients. The released one went "
        f"on from it, by the same recipe, with {len(config['training']['split']['train'])}; no patient of this data "
        f"is left to judge it.{_same_in_both(config['judged']['kept'])}\n\n"
    )


def _same_in_both(runs: Sequence[str]) -> str:
    return f" Of the runs averaged, {' and '.join(map(repr, runs))} did not go on." if runs else ""


def _noted(config: Mapping[str, Any]) -> str:
    return f"{config['note']}\n" if config.get("note") else ""


def _data(stores: list[dict[str, str]]) -> str:
    return ", ".join(f"{s['name']} (hash `{s['content_sha256'][:16]}`)" for s in stores)


def _phantoms(training: Mapping[str, Any]) -> str:
    if (store := phantoms_of(training)) is None:
        return ""
    whose = "One of the runs" if training.get("averaged") else "It"
    return f"\n{whose} learned from synthetic hearts besides: {_data([store])}, which are of no patient."


def _as_section(report: str) -> str:
    """The report below its title, one level deeper; its pictures stay with the evaluation."""
    lines = [line for line in report.splitlines()[1:] if not line.startswith("![")]
    return "\n".join(f"#{line}" if line.startswith("##") else line for line in lines).strip()
