"""U-Net 1 of the CAMUS paper (Leclerc et al. 2019, doi:10.1109/TMI.2019.2900516): the plain peer.

Six levels of two 3x3 convolutions with ReLU, max pooling down to 8x8, nearest-neighbour upsampling, 32-128-16 feature
maps: 2 million parameters. Trained with Adam at 1e-3; grey levels scaled to 0-1. Taken from public descriptions and
re-implementations, not from the paper's own text: that no augmentation is used, the rate is constant and upsampling
and first weights are Keras's, which it was written in, is our reading. Two things are not as described there: without
normalisation and with a Dice loss alone it still drew nothing after two passes over the frames, so that it is given
batch normalisation, cross-entropy beside the Dice loss, and batches of 16.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apical.anatomy import Label

DOWN = (32, 32, 64, 128, 128, 128)
UP = (128, 128, 64, 32, 16)


@dataclass(frozen=True)
class Unet1Recipe:
    """The recipe: as described for the paper, but for what this file says at its head."""

    size: int = 256
    batch: int = 16
    learning_rate: float = 1e-3
    seed: int = 0


class UNet1(nn.Module):
    """Input (N, 1, H, W) float, grey levels 0-255, H and W multiples of 32; output scores (N, 4, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(_block(i, o) for i, o in zip((1, *DOWN), DOWN, strict=False))
        below, skips = (DOWN[-1], *UP), DOWN[-2::-1]
        self.up = nn.ModuleList(_block(b + s, o) for b, s, o in zip(below, skips, UP, strict=False))
        self.labels = nn.Conv2d(UP[-1], len(Label), kernel_size=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x / 255
        skips: list[Tensor] = []
        for level, down in enumerate(self.down):
            x = down(F.max_pool2d(x, 2) if level else x)  # (N, C_level, H/2^level, W/2^level)
            skips.append(x)
        for up, skip in zip(self.up, skips[-2::-1], strict=True):
            x = up(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1))
        scores: Tensor = self.labels(x)
        return scores


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in (inputs, outputs):
        layers += [nn.Conv2d(i, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
