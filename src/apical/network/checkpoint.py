"""Training state on disk, in safetensors: never a pickle.

One file holds weights, their moving average, the optimizer's moments and the history, so that state
and history can't disagree after a kill.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from apical.errors import InputError
from apical.files import atomic_write

BEST, LAST = "best.safetensors", "last.safetensors"
"""Weights for export, and everything to go on with, in a run's folder."""
FAMILIARITY, ORIENTATION = "familiarity.safetensors", "orientation.safetensors"
CONFIDENCE = "confidence.safetensors"
"""What `doubt.fit_familiarity`, `orientation.fit_orientation` and `doubt.fit_confidence` found, in a finished run."""


@dataclass
class Progress:
    """How far a run has come."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    epoch_share: float = 0.0
    """Share of the whole budget that the latest epoch took."""
    best_dice: float | None = None
    """Of the epoch that is kept; None where nothing was watched, or the last is kept whatever its Dice."""
    best_epoch: int = 0
    finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(
    path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the whole state atomically."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
    write_tensors(path, tensors, {"progress": json.dumps(asdict(progress))})


def load_checkpoint(path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Put a saved state back into model, average and optimizer; return the progress."""
    tensors, metadata = read_tensors(path)
    try:
        for prefix, module in (("model.", model), ("average.", average)):
            module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return Progress(**json.loads(metadata["progress"]))
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a checkpoint of this network; train into a new folder") from error


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors atomically as safetensors."""
    with atomic_write(path, overwrite=True) as target:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, target, metadata)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file and its metadata.

    Raises
    ------
    InputError
        When the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: missing or damaged checkpoint ({error}); train again or restore the file") from error
