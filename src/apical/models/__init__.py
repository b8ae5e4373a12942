"""Released models: a folder with `model.onnx`, `config.json` and `MODEL_CARD.md`, and how one is found."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apical.anatomy import Label, View
from apical.errors import ModelError

FORMAT_VERSION = 1
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

    @property
    def onnx(self) -> Path:
        """The network: grey levels (N, frames, size, size) in, scores (N, 4, size, size) and view scores (N, 2) out."""
        return self.folder / "model.onnx"


def installed_models() -> list[Model]:
    """Return the models that come with the package, by name."""
    return [_read(p.parent) for p in sorted(_INSTALLED.glob("*/config.json"))]


def find_model(name: str | Path = DEFAULT) -> Model:
    """Find a model by the name of an installed one, or by its folder, and check it.

    Raises
    ------
    ModelError
        When there is no such model, or its files are damaged: never another model instead.
    """
    folder = _INSTALLED / str(name)
    if "/" in str(name) or not (folder / "config.json").is_file():
        folder = Path(name)
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
        size, frames = int(config["input"]["size"]), int(config["input"].get("frames", 1))
        return Model(config["name"], folder, size, views, frames, config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: damaged model description ({error!r}); export the model again") from error
