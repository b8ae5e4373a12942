"""How a picture shows the heart (`anatomy.Orientation`), told from the features of a finished network.

The network itself learns the standard display, so that nothing of it is spent on others. Its features tell another
display all the same: a linear model on them, learned from the same pictures and their mirror images, names it, and
the picture is turned before it is segmented (`segment`).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apical.anatomy import Orientation
from apical.network.augment import Augment, AugmentConfig
from apical.network.dataset import Frames
from apical.network.doubt import described
from apical.network.unet import UNet

_ENOUGH = 500
"""Frames to learn from; each is seen in every orientation."""
_ALONE = 0.5
"""Share of them without the other phase: a clip's frames have none."""
_DECAY = 1e-3
_STEPS = 200


@torch.no_grad()
def fit_orientation(network: UNet, learned: Frames, config: AugmentConfig, seed: int) -> nn.Linear:
    """Return the linear model that gives scores (N, 4), in the order of `Orientation`, from `doubt.described`.

    Parameters
    ----------
    learned
        Frames of standard display.
    """
    network = network.eval()
    place = next(network.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    augment = Augment(replace(config, mirror_probability=0.0), generator)
    chosen = torch.randperm(len(learned), generator=generator)[:_ENOUGH]
    features: list[Tensor] = []
    for picked in torch.split(chosen, 4):
        images = learned.images[picked, : network.config.frames].clone()
        images[:, 1:] *= ~augment.chance(_ALONE, len(images), 1, 1, 1)
        moved, _ = augment(images, learned.masks[picked])
        shown = torch.stack([moved.flip([axis + 2 for axis in o.axes]) for o in Orientation], dim=1)
        features.append(described(network.encode(shown.flatten(0, 1).to(place))).cpu())
    x = torch.cat(features)  # (frames * orientations, F)
    y = torch.arange(len(Orientation)).repeat(len(chosen))
    return _logistic(x, y)


@torch.enable_grad()
def _logistic(x: Tensor, y: Tensor) -> nn.Linear:
    """Multinomial logistic regression with a ridge, of features (N, F) of any scale."""
    mean, deviation = x.mean(dim=0), x.std(dim=0).clamp(min=1e-6)
    standard = (x - mean) / deviation
    weight = torch.zeros(len(Orientation), x.shape[1], requires_grad=True)
    bias = torch.zeros(len(Orientation), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(standard, weight, bias), y) + _DECAY / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    fitted = nn.Linear(x.shape[1], len(Orientation)).requires_grad_(False)
    fitted.weight.copy_(weight.detach() / deviation)
    fitted.bias.copy_(bias.detach() - fitted.weight @ mean)
    return fitted
