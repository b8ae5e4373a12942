"""The network: a U-Net (Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28) that also names the view.

It may see the same view at the other phase of the beat beside the frame itself: experts draw ED and ES
together, a wall that is lost in one is often seen in the other, and errors that both share cancel in the EF.

A strided stem halves the grid before the first block: expert contours are smooth at that scale, the
scores are interpolated back linearly, and a CPU trains four times as many frames per second as with
full-resolution blocks. Normalisation is part of the network, so the exported file takes raw grey levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apical.anatomy import Label, View


@dataclass(frozen=True)
class UNetConfig:
    """Size of the network."""

    channels: tuple[int, ...] = (32, 64, 128, 192, 256)
    """Feature channels from the finest level to the bottom; the grid halves from one to the next."""
    frames: int = 2
    """1: the frame alone. 2: also its view at the other phase, or black where there is none."""

    @property
    def stride(self) -> int:
        """Input rows and columns must be a multiple of this."""
        return int(2 ** len(self.channels))


class UNet(nn.Module):
    """Grey frames in, one score per label and pixel out.

    Input (N, frames, H, W) float, grey levels 0-255. Output: scores (N, 4, H, W) in the order of
    `anatomy.Label`, and view scores (N, 2) in the order of `anatomy.View`.
    """

    def __init__(self, config: UNetConfig = UNetConfig()) -> None:
        super().__init__()
        self.config = config
        widths = config.channels
        self.stem = nn.Conv2d(config.frames, widths[0], kernel_size=4, stride=2, padding=1)
        self.down = nn.ModuleList(block(i, o) for i, o in zip((widths[0], *widths), widths, strict=False))
        self.up = nn.ModuleList(block(below + skip, skip) for skip, below in pairwise(widths))
        self.labels = nn.Conv2d(widths[0], len(Label), kernel_size=1)
        self.view = nn.Linear(widths[-1], len(View))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encode(x)
        return self.decode(features)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the features of every level, finest first: (N, C_level, H/2^(level+1), W/2^(level+1))."""
        x = self.stem(standardise(x))
        skips: list[Tensor] = []
        for level, down in enumerate(self.down):
            x = down(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        return skips

    def decode(self, skips: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return scores and view scores from the features of every level."""
        x = skips[-1]
        view = self.view(x.float().mean(dim=(2, 3)))  # (N, 2)
        for level in reversed(range(len(self.up))):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[level](torch.cat([x, skips[level]], dim=1))
        x = self.labels(x).float()  # (N, 4, H/2, W/2)
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False), view


def start_from(network: UNet, weights: Mapping[str, Tensor]) -> None:
    """Load the weights of an earlier network of this size; one that saw the frame alone starts by ignoring the other.

    Raises
    ------
    RuntimeError
        When the weights are of a network of another size.
    """
    weights = dict(weights)
    missing = network.config.frames - weights["stem.weight"].shape[1]
    if missing > 0:
        weights["stem.weight"] = F.pad(weights["stem.weight"], (0, 0, 0, 0, 0, missing))
    network.load_state_dict(weights)


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for i in (inputs, outputs):
        layers += [nn.Conv2d(i, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def standardise(x: Tensor) -> Tensor:
    """Zero mean and unit deviation per frame, so that gain and contrast settings cancel; black stays zero."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    deviation = (x - mean).square().mean(dim=(2, 3), keepdim=True).sqrt()
    # One grey level keeps an empty frame finite instead of amplifying its noise.
    return (x - mean) / (deviation + 1.0)
