"""A released model as a run again: to go on from with one's own patients, or to average.

The exported file has each batch norm folded into the convolution before it. Unfolded again, the network gives what it
gave: but training normalises by the batch, so a norm must also know what its convolution gives on pictures as they
are learned from. That is measured anew, on the frames of the stores.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from apical.anatomy import Orientation
from apical.errors import ModelError
from apical.files import FolderLock, make_folder, refuse_existing, write_text
from apical.models import Model
from apical.network.augment import Augment, AugmentConfig
from apical.network.checkpoint import (
    BEST,
    CONFIDENCE,
    FAMILIARITY,
    LAST,
    ORIENTATION,
    Progress,
    save_checkpoint,
    write_tensors,
)
from apical.network.dataset import Frames, load_frames
from apical.network.doubt import Confidence, Familiarity
from apical.network.manifest import MANIFEST
from apical.network.released import FOUND_ON, begin_anew, end_run
from apical.network.unet import UNet, UNetConfig
from apical.store import Store

_ENOUGH = 500
"""Augmented pictures that tell what a convolution gives."""
_BATCH = 16
_TRAINED = 1.5
"""Deviation of a convolution's weights after training, in units of the one that it began with."""


@dataclass(frozen=True)
class Restored:
    """What a model's folder holds, found to fit together."""

    network: UNet
    features: dict[str, dict[str, Tensor]]
    """Of doubt and display, by file of a run."""
    found_on: dict[str, str]
    """Whose frames told the temperature, where the model says."""
    progress: Progress
    augment: AugmentConfig
    seed: int
    learned: frozenset[str]
    watched: frozenset[str]
    manifest: dict[str, Any]


def restore_run(model: Model, stores: Sequence[Store], output: Path) -> None:
    """Write a released model as a finished run.

    Its manifest is what the model says of its training: whom it saw stays known. A mean is a run like any other then.

    Parameters
    ----------
    stores
        Frames to measure the norms on. Of the model's own patients those that it learned from, as far as the
        first store holds any; else all of the first store.

    Raises
    ------
    OutputError
        When the folder holds a run already.
    ModelError
        When network and description are not those that `apical export` writes.
    """
    refuse_existing(output / MANIFEST, overwrite=False)
    found = read_model(model)
    patients = [p for p in stores[0].patients if p in found.learned] or stores[0].patients
    learned = load_frames(stores, patients, model.size, model.views)
    aside = [p for p in stores[0].patients if p in found.watched]
    watched = load_frames(stores[:1], aside, model.size, model.views) if aside else None
    _measure_norms(found.network, learned, found.augment, found.seed)

    network = found.network
    unet = {"channels": network.config.channels, "frames": network.config.frames}
    optimizer = torch.optim.AdamW(network.parameters())
    make_folder(output)
    with FolderLock(output):
        refuse_existing(output / MANIFEST, overwrite=False)  # another may have come first
        begin_anew(output)
        write_tensors(output / BEST, network.state_dict(), {"config": json.dumps(unet)})
        save_checkpoint(output / LAST, network, copy.deepcopy(network), optimizer, found.progress)
        for file, tensors in found.features.items():
            write_tensors(output / file, tensors, found.found_on if file == CONFIDENCE else {})
        # What an earlier version's model does not tell.
        end_run(output, network, learned, watched, found.augment, found.seed)
        write_text(output / MANIFEST, json.dumps(found.manifest, indent=1))


def read_model(model: Model) -> Restored:
    """Return what a model's folder holds; the norms of the network do nothing but add yet.

    Raises
    ------
    ModelError
        When network and description are not those that `apical export` writes.
    """
    try:
        return _read(model)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, DecodeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{model.folder}: no network with the description of its training ({reason})") from error


def _read(model: Model) -> Restored:
    training = model.config["training"]
    recipe = training["recipe"]
    tensors = _tensors_of(model)
    # The file bounds the network, not the description.
    levels = sum(name.startswith("folded.") for name in tensors) // 8 + 1
    channels = tuple(len(tensors[f"folded.{2 * level}.bias"]) for level in range(levels))
    if channels != tuple(recipe["unet"]["channels"]):
        raise ValueError(f"the file has channels {channels}, the description {recipe['unet']['channels']}")
    network = UNet(UNetConfig(channels, model.frames))
    if model.size <= 0 or model.size % network.config.stride:
        raise ValueError(f"size {model.size} is no multiple of {network.config.stride}")
    _unfold(network, tensors)
    familiarity = Familiarity(sum(channels[-2:]))
    parts: dict[str, tuple[str, nn.Module]] = {FAMILIARITY: ("familiarity.", familiarity)}
    # What an earlier version's model lacks is found anew.
    if "confidence.temperature" in tensors:
        parts[CONFIDENCE] = ("confidence.", Confidence())
    if "orientation.weight" in tensors:
        parts[ORIENTATION] = ("orientation.", nn.Linear(sum(channels[-2:]), len(Orientation)))
    for name, part in parts.values():
        part.load_state_dict({k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)})
    epoch = int(training["epoch"])
    made = {k: v for k, v in training.items() if k not in ("averaged", "epoch", "best_epoch", "seconds")}
    restored = {"name": model.name, "sha256": model.sha256, "averaged": training.get("averaged")}
    return Restored(
        network=network,
        found_on={k: v for k, v in model.config["doubt"].items() if k == FOUND_ON and v},
        features={file: part.state_dict() for file, (_, part) in parts.items()},
        progress=Progress(
            epoch=epoch,
            seconds=float(training["seconds"]),
            best_epoch=int(training.get("best_epoch", epoch)),  # a mean has none
            finished=True,
        ),
        augment=AugmentConfig.from_dict(recipe["augment"]),
        seed=int(recipe["seed"]),
        learned=frozenset(training["split"]["train"]),
        watched=frozenset(training["split"]["validation"]),
        manifest={"apical": model.config["apical_version"], **made, "restored": restored},
    )


def _tensors_of(model: Model) -> dict[str, Tensor]:
    """Return the file's tensors by name; those of folded convolutions as `folded.N.weight` and `.bias`, in order."""
    graph = onnx.load(str(model.onnx)).graph
    values = {t.name: torch.from_numpy(np.array(numpy_helper.to_array(t))) for t in graph.initializer}
    named = {k: v for k, v in values.items() if "::" not in k}
    folded = [n.input for n in graph.node if n.op_type == "Conv" and n.input[1] not in named]
    for number, (_, weight, bias) in enumerate(folded):
        named |= {f"folded.{number}.weight": values[weight], f"folded.{number}.bias": values[bias]}
    return named


def _norms(network: UNet) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return each convolution and the norm behind it, in the order in which they are used."""
    found = []
    for part in (*network.down, *reversed(network.up)):
        layers = list(part.children())
        found += [
            (layer, behind)
            for layer, behind in pairwise(layers)
            if isinstance(layer, nn.Conv2d) and isinstance(behind, nn.BatchNorm2d)
        ]
    return found


@torch.no_grad()
def _unfold(network: UNet, tensors: Mapping[str, Tensor]) -> None:
    """Load the weights; every norm adds its convolution's bias and does nothing else yet."""
    state = network.state_dict()
    plain = [name for part in ("stem", "labels", "view") for name in (f"{part}.weight", f"{part}.bias")]
    network.load_state_dict(state | {name: tensors[f"network.{name}"] for name in plain})
    for number, (convolution, norm) in enumerate(_norms(network)):
        weight, bias = tensors[f"folded.{number}.weight"], tensors[f"folded.{number}.bias"]
        if weight.shape != convolution.weight.shape:
            raise ValueError(f"convolution {number} is {tuple(weight.shape)}, not {tuple(convolution.weight.shape)}")
        convolution.weight.copy_(weight)
        _place(norm, torch.zeros_like(bias), torch.ones_like(bias), bias)


def _place(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, bias: Tensor) -> None:
    """Let a norm add `bias` and nothing else, with this mean and variance as what it has seen."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(bias + mean)


def _rescale(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Give each channel's weights the size that training leaves them at; behind a norm it changes nothing.

    Folding took the norm's gain into them, and small ones would be moved too far by each step of Adam.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight = convolution.weight
    begun = (3 * weight[0].numel()) ** -0.5  # PyTorch's initial weights: uniform within 1 / sqrt(fan in)
    factor = _TRAINED * begun / weight.flatten(1).std(dim=1).clamp(min=1e-12)
    weight.mul_(factor[:, None, None, None])
    norm.running_mean.mul_(factor)
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    norm.running_var.mul_(factor.square())
    norm.weight.copy_(gain / factor * (norm.running_var + norm.eps).sqrt())


@torch.no_grad()
def _measure_norms(network: UNet, frames: Frames, config: AugmentConfig, seed: int) -> None:
    """Give every norm the mean and variance of what its convolution gives; what the network gives stays the same."""
    norms = _norms(network)
    moments = [torch.zeros(2, norm.num_features, dtype=torch.float64) for _, norm in norms]

    def watch(number: int) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            variance, mean = torch.var_mean(given[0], dim=(0, 2, 3), correction=0)
            moments[number] += len(given[0]) * torch.stack([mean, variance + mean.square()]).double()

        return hook

    hooks = [norm.register_forward_pre_hook(watch(i)) for i, (_, norm) in enumerate(norms)]
    generator = torch.Generator().manual_seed(seed)
    augment = Augment(config, generator)
    network.eval()
    chosen = torch.randperm(len(frames), generator=generator)[:_ENOUGH]
    for picked in torch.split(chosen, _BATCH):
        moved, _ = augment(frames.images[picked, : network.config.frames], frames.masks[picked])
        network(moved)
    for hook in hooks:
        hook.remove()
    for (convolution, norm), total in zip(norms, moments, strict=True):
        mean, square = (total / len(chosen)).float()
        added = norm.bias.clone()
        _place(norm, mean, (square - mean.square()).clamp(min=1e-12), added)
        _rescale(convolution, norm)
