"""From a run to a released model: ONNX, config.json and a model card."""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from apical import __version__
from apical.anatomy import Label, Orientation, Structure, View
from apical.calibration import Calibration
from apical.errors import InputError
from apical.files import atomic_write, make_folder, refuse_existing, write_text
from apical.models import FORMAT_VERSION, seen_patients
from apical.network.averaging import is_continuation, kept_of
from apical.network.card import model_card
from apical.network.checkpoint import BEST, CONFIDENCE, LAST, read_tensors
from apical.network.doubt import LIKE_SHARE
from apical.network.manifest import CROSSVAL, MANIFEST, recipes_of
from apical.network.released import FOUND_ON, OUTPUTS, Released, with_features
from apical.network.unet import UNet, UNetConfig

OPSET = 17
"""ONNX operator set: the oldest that holds all the network needs, for the oldest runtimes."""

_SCHEDULE = ("epochs", "max_minutes", "patience", "learning_rate", "warmup_steps")
"""What of a recipe a network may have of its own when another's figures stand for it."""
_PRECISION = "float32"
"""In what a released model is judged: what it gives on any machine, where nothing else is asked for."""
_BEFORE_NOTE = "errors of the network before it went on with these patients too"


def load_run(run: Path) -> tuple[Released, dict[str, Any]]:
    """Return a run's best network with what its features tell, ready for inference, and its manifest.

    Raises
    ------
    InputError
        When the folder holds no finished run.
    """
    path = run / MANIFEST
    if not path.is_file() or not (run / BEST).is_file():
        raise InputError(f"{run}: no run with a finished epoch; train one with `apical train`")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    tensors, metadata = read_tensors(run / BEST)
    settings = json.loads(metadata["config"])
    network = UNet(UNetConfig(tuple(settings["channels"]), settings["frames"]))
    network.load_state_dict(tensors)
    return with_features(run, network), manifest


def export(
    run: Path,
    output: Path,
    *,
    name: str | None = None,
    evaluation: Path | None = None,
    before: Path | None = None,
    calibration: Path | None = None,
    note: str = "",
    overwrite: bool = False,
) -> None:
    """Write a run's best network as a released model.

    Parameters
    ----------
    output
        Folder to make, with `model.onnx`, `config.json` and `MODEL_CARD.md`.
    name
        Name of the model; the folder's by default.
    evaluation
        Folder that `apical evaluate` wrote for this run's model, on patients that it never saw: its figures
        go into config.json, its report into the card, and what it found of the errors of EF, EDV and ESV gives the
        intervals of `apical measure`.
    before
        Run that this one went on from with more patients, none being left to judge it: `evaluation` is then of
        that run's network, on the patients that it never saw, and the card says so. Its temperature is that run's.
    calibration
        Folder of another evaluation of this network, or of a cross-validation by its recipe, to give the intervals
        instead: so that the patients of `evaluation` can judge them.
    note
        What the card is to say among the limits besides, such as what was decided after looking at the figures.

    Raises
    ------
    OutputError
        When the folder holds a model already and `overwrite` is not set.
    InputError
        When the run has not ended, or `evaluation` is none, of another network, not in float32, or not of unseen
        patients alone; when `before` or the cross-validation are of another recipe, or this run did not go on from
        `before`.
    """
    if before is not None and evaluation is None:
        raise InputError(f"{before}: its figures stand for this run's, but no evaluation gives them; give both")
    network, manifest = load_run(run)
    if before is not None:
        # How sure the network may be of itself was found where that one had not learned.
        network.confidence = load_run(before)[0].confidence
    refuse_existing(output / "config.json", overwrite=overwrite)
    make_folder(output)
    size = int(manifest["recipe"]["size"])
    data = to_onnx(network, size)
    config = {
        "format_version": FORMAT_VERSION,
        "apical_version": __version__,
        "name": name or output.name,
        "labels": {label.name: int(label) for label in Label},
        "views": manifest["recipe"]["views"],
        "view_scores": [str(v) for v in View],
        "orientation_scores": [str(o) for o in Orientation],
        "input": {
            "size": size,
            "frames": network.network.config.frames,
            "geometry": "bounding box of the ultrasound sector, squashed to size x size (apical.grid)",
            "values": "grey levels 0-255, float32; each frame is standardised inside the network",
            "second_frame": "the same view at the other phase of the beat, or zeros where there is none",
        },
        "doubt": {
            "confidence": [str(s) for s in Structure],
            "temperature": round(float(network.confidence.temperature), 4),
            FOUND_ON: read_tensors((before or run) / CONFIDENCE)[1].get(FOUND_ON),
            "unlike": "distance from the learned pictures in the network's features; above 1, beyond "
            f"{LIKE_SHARE:.0%} of their like",
        },
        "parameters": sum(p.numel() for p in network.parameters()),
        "sha256": hashlib.sha256(data).hexdigest(),
        "license": "CC BY-NC-SA 4.0",
        "training": {k: manifest[k] for k in ("data", "recipe", "split", "machine", "started")}
        | {k: manifest.get(k) for k in ("start", "phantoms", "restored")}
        | _duration(run, manifest),
        "note": note,
        "figures": {},
    }
    report = ""
    judged, split = config["sha256"], manifest["split"]
    if evaluation is not None:
        known = seen_patients(manifest)
        if before is not None:
            config["judged"], split = _network_before(before, manifest)
            judged, known = config["judged"]["sha256"], set(config["judged"]["seen"])
        config["figures"], report = _measured(evaluation)
        _refuse_other(config["figures"], evaluation, judged, known)
    # The errors stand in one place of the description, their coverage with the other figures.
    found = config["figures"].get("ef_interval", {}).pop("calibration", None)
    if calibration is not None:
        config["ef_interval"] = calibration_of(calibration, judged, recipes_of(manifest), split).as_dict()
    elif found is not None:
        config["ef_interval"] = _of_split(Calibration.from_dict(found), split).as_dict()
    if "judged" in config and "ef_interval" in config:
        note = config["ef_interval"]["note"]
        config["ef_interval"]["note"] = "; ".join(filter(None, [note, _BEFORE_NOTE]))
    with atomic_write(output / "model.onnx", overwrite=True) as target:
        target.write_bytes(data)
    write_text(output / "MODEL_CARD.md", model_card(config, report), overwrite=True)
    # The description comes last: a folder with a config.json is a whole model.
    write_text(output / "config.json", json.dumps(config, indent=1), overwrite=True)


def to_onnx(network: Released, size: int) -> bytes:
    """Return the network as ONNX bytes with a free number of frames."""
    names = ["images", *OUTPUTS]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The TorchScript exporter is deprecated but needs no further package and takes seconds; the
        # new one takes a minute for the same graph.
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            network,
            (torch.zeros(2, network.network.config.frames, size, size),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={n: {0: "frames"} for n in names},
        )
        return path.read_bytes()


def calibration_of(
    folder: Path, sha256: str, recipes: Sequence[Mapping[str, Any]], split: Mapping[str, Any]
) -> Calibration:
    """Return what an evaluation of the network of this hash, or a cross-validation, found of the errors of volumes.

    Raises
    ------
    InputError
        When the folder holds none, it is of another network or recipe, or its patients were not unseen.
    """
    figures, _ = _measured(folder)
    try:
        found = Calibration.from_dict(figures["ef_interval"]["calibration"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: no errors of EF in its summary.json; evaluate again ({error!r})") from error
    if not found.bounds:
        raise InputError(f"{folder}: no unseen patients to calibrate intervals on; evaluate on some")
    if figures.get("folds"):
        for recipe in recipes:
            _refuse_other_recipe(folder, _recipe_of_folds(folder), recipe)
        note = "errors of the cross-validation's networks, of the same recipe"
        return replace(found, source="the test folds of a cross-validation", note=note)
    if figures.get("model_sha256") != sha256:
        raise InputError(f"{folder}: neither of this network nor a cross-validation; give an evaluation of this run")
    return _of_split(found, split)


def _recipe_of_folds(folder: Path) -> dict[str, Any]:
    try:
        recipe: dict[str, Any] = json.loads((folder / CROSSVAL).read_text(encoding="utf-8"))["recipe"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: no {CROSSVAL} with its recipe; give the folder of `apical crossval`") from error
    return recipe | {"phantoms": False}  # folds are of real patients alone


def _refuse_other_recipe(folder: Path, earlier: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    """What one network showed is told of another of the same recipe only."""
    if other := [k for k, v in recipe.items() if k not in _SCHEDULE and earlier.get(k) != v]:
        raise InputError(
            f"{folder}: its recipe had another {', '.join(other)}; its figures cannot stand for this run's: "
            "train again by one recipe"
        )


def _of_split(found: Calibration, split: Mapping[str, Any]) -> Calibration:
    """Say of which split the patients were kept unseen."""
    ours = set(found.patients) <= set(split["test"])
    return replace(found, source=f"the test part of the split ({split['origin']})") if ours else found


def _measured(evaluation: Path) -> tuple[dict[str, Any], str]:
    try:
        figures = json.loads((evaluation / "summary.json").read_text(encoding="utf-8"))
        report = (evaluation / "report.md").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{evaluation}: no evaluation; make one with `apical evaluate`") from error
    if (precision := figures.get("precision")) != _PRECISION:
        raise InputError(f"{evaluation}: made in {precision or 'an unknown precision'}; evaluate again in {_PRECISION}")
    return figures, report


def _refuse_other(figures: dict[str, Any], evaluation: Path, sha256: str, seen: set[str]) -> None:
    """A card gives figures of its own network, and of patients whom it never saw."""
    if figures.get("model_sha256") != sha256:
        raise InputError(
            f"{evaluation}: not of this run's network (SHA-256 differs); export the run, evaluate that model, "
            "and export again with the evaluation"
        )
    known = seen & set(figures.get("patients", ()))
    if known or figures.get("seen_in_training", True):
        whom = f"{len(known)} patients" if known else "patients who may be among those"
        raise InputError(f"{evaluation}: scored {whom} that the run learned from or watched; evaluate on unseen ones")


def _network_before(run: Path, manifest: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Describe the network that a run went on from, whose figures are to stand for its own; and return its split."""
    network, earlier = load_run(run)
    if not _went_on(run, earlier, manifest):
        if "averaged" in earlier and "averaged" not in manifest:
            raise InputError(f"{run}: is a mean; go on with each of its runs, and take the mean of those")
        raise InputError(f"{run}: not the run that this one went on from (`apical train --start`)")
    for before, now in zip(recipes_of(earlier), recipes_of(manifest), strict=True):
        _refuse_other_recipe(run, before, now)
    described = {
        "run": run.resolve().name,
        "sha256": hashlib.sha256(to_onnx(network, int(earlier["recipe"]["size"]))).hexdigest(),
        "trained": len(earlier["split"]["train"]),
        "seen": sorted(seen_patients(earlier)),
        "kept": kept_of(manifest.get("averaged", ()), earlier.get("averaged", ())),
    }
    return described, earlier["split"]


def _went_on(run: Path, earlier: dict[str, Any], manifest: dict[str, Any]) -> bool:
    if "averaged" in manifest or "averaged" in earlier:
        return is_continuation(manifest.get("averaged", ()), earlier.get("averaged", ()))
    start = manifest.get("start") or {}
    return bool(start.get("weights_sha256") == hashlib.sha256((run / BEST).read_bytes()).hexdigest())


def _duration(run: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Epochs and time of a run, or of those that it is the mean of, with their names."""
    if averaged := manifest.get("averaged"):
        return {"averaged": averaged} | {k: sum(m[k] for m in averaged) for k in ("epoch", "seconds")}
    _, metadata = read_tensors(run / LAST)
    progress = json.loads(metadata["progress"])
    return {k: progress[k] for k in ("epoch", "best_epoch", "seconds")}
