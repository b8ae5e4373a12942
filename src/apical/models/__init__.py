"""Released models: a folder with `model.onnx`, `config.json` and `MODEL_CARD.md`, and how one is found."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apical.anatomy import Label, View
from apical.calibration import Calibration
from apical.errors import ModelError

FORMAT_VERSION = 2
DEFAULT = "apical-unet"
"""Name of the model that is used when none is asked for: both views."""

_INSTALLED = Path(__file__).parent


@dataclass(frozen=True)
class Model:
    """A released model on disk; `config` is its whole config.json."""

    name: str
    folder: Path
    size: int
    views: tuple[View, ...]
    frames: int
    """Pictures that the network sees at once: 1, or 2 with the other phase of the beat."""
    config: dict[str, Any]
    calibration: Calibration
    """How far measurements on its masks lay off on unseen patients; without bounds where nobody has looked."""

    @property
    def onnx(self) -> Path:
        """The network: grey levels (N, frames, size, size) in, scores (N, 4, size, size) and view scores (N, 2) out."""
        return self.folder / "model.onnx"

    @property
    def sha256(self) -> str:
        """Hash of the network, by which an evaluation names what it scored."""
        return str(self.config["sha256"])

    @property
    def seen_patients(self) -> set[str]:
        """Patients that the network learned from or whose Dice chose its epoch."""
        return seen_patients(self.config["training"])


def seen_patients(training: Mapping[str, Any]) -> set[str]:
    """Return who was learned from or watched in a training, and in the one that it started from.

    `training` is a run's manifest, or the part "training" of a model's config.json.
    """
    split, start = training["split"], training.get("start") or {}
    return {*split["train"], *split["validation"], *start.get("learned", ()), *start.get("watched", ())}


def installed_models() -> list[Model]:
    """Return the models that come with the package, by name."""
    return [_read(p.parent) for p in sorted(_INSTALLED.glob("*/config.json"))]


def installed_folder(name: str | Path) -> Path | None:
    """Return where the installed model of this name lies; None for a path, and for a name that is not installed."""
    if isinstance(name, Path) or not name or {"/", os.sep} & set(name) or name in (os.curdir, os.pardir):
        return None
    folder = _INSTALLED / name
    return folder if (folder / "config.json").is_file() else None


def find_model(name: str | Path = DEFAULT) -> Model:
    """Find a model by the name of an installed one, or by its folder, and check it.

    A `Path`, and text with a separator (`./NAME`), is a folder; a bare name is an installed model or a folder here.

    Raises
    ------
    ModelError
        When there is no such model, its files are damaged, or a bare name is that of two models: never another
        model instead.
    """
    installed, folder = installed_folder(name), Path(name)
    if installed and (folder / "config.json").is_file():
        raise ModelError(two_meanings(installed, "a model's folder"))
    folder = installed or folder
    if not (folder / "config.json").is_file():
        known = ", ".join(m.name for m in installed_models()) or "none"
        raise ModelError(f"no model '{name}': installed are {known}; or give the folder that `apical export` wrote")
    model = _read(folder)
    try:
        digest = hashlib.sha256(model.onnx.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{model.onnx}: cannot be read ({error.strerror}); export the model again") from error
    if digest != model.config["sha256"]:
        raise ModelError(
            f"{model.onnx}: not the file that its config.json describes (SHA-256 differs); export it again"
        )
    return model


def two_meanings(installed: Path, what: str) -> str:
    """Return the sentence that refuses a bare name which is an installed model's and that of something here."""
    return (
        f"'{installed.name}' is an installed model and {what} here: "
        f"write ./{installed.name} for the folder, or {installed} for the installed model"
    )


def _read(folder: Path) -> Model:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        version = config["format_version"]
        if version != FORMAT_VERSION:
            raise ModelError(f"{path}: format version {version}, this apical reads {FORMAT_VERSION}")
        if config["labels"] != {label.name: int(label) for label in Label}:
            raise ModelError(f"{path}: its labels are not apical's (0 background, 1 cavity, 2 myocardium, 3 atrium)")
        views = tuple(View(v) for v in config["views"])
        size, frames = int(config["input"]["size"]), int(config["input"]["frames"])
        calibration = Calibration.from_dict(config["ef_interval"]) if "ef_interval" in config else Calibration()
        return Model(config["name"], folder, size, views, frames, config, calibration)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise ModelError(f"{path}: damaged model description ({error!r}); export the model again") from error
