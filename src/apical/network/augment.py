"""Augmentation on tensors: what another patient, probe position or scanner could have given.

Geometry moves image and mask together; intensity stays mild (strong intensity augmentation is known
to hurt on CAMUS) but covers dark, coarse and unevenly amplified pictures of other scanners. There are no vertical
flips: a heart that is shown upside down is turned before the network sees it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges; each value is drawn uniformly (scales and gamma on a logarithmic axis)."""

    rotation_degrees: float = 20.0
    scale: float = 1.3
    """Zoom between 1/scale and scale."""
    shrink_probability: float = 0.15
    shrink: float = 1.6
    """With this probability the sector is shrunk further, as in a picture with wide margins."""
    mirror_probability: float = 0.15
    """Left and right exchanged, as some laboratories show the heart."""
    aspect: float = 1.13
    shear: float = 0.08
    shift: float = 0.15
    """Share of half the frame."""
    elastic_probability: float = 0.5
    elastic: float = 0.02
    """Deviation of the displacement on a 6x6 grid, as a share of half the frame."""
    gamma: float = 1.65
    field_probability: float = 0.3
    field: float = 0.35
    """Uneven gain: deviation of a smooth multiplicative field on a 3x3 grid."""
    speckle_probability: float = 0.3
    speckle: float = 0.25
    coarse_probability: float = 0.15
    coarse: tuple[float, float] = (0.35, 0.75)
    """Resolution, as a share of the frame's, of a picture from a coarser source."""
    dark_probability: float = 0.15
    dark: tuple[float, float] = (0.25, 0.8)
    """Gain of a dark picture, whose faintest echoes drown in 8-bit steps."""
    shadow_probability: float = 0.15
    shadow: tuple[float, float] = (0.1, 0.7)
    """Gain inside a wedge from the probe: a rib or lung in the way, a lost wall."""
    shadow_width: tuple[float, float] = (0.03, 0.15)
    """Half of the wedge's angle in radians."""
    reject_probability: float = 0.15
    reject: float = 0.2
    """Highest grey level, as a share of white, that a scanner's reject setting turns black."""

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> AugmentConfig:
        """Return what a recipe read from JSON holds; settings that it does not name are as they are today."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()})  # type: ignore[arg-type]


class Augment:
    """Draws from its own generator: the same seed gives the same pictures."""

    def __init__(self, config: AugmentConfig, generator: torch.Generator) -> None:
        self.config = config
        self.generator = generator

    def __call__(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Augment images (N, C, H, W) uint8 and masks (N, H, W) uint8; return float 0-255 and int64.

        The C pictures of a sample move together and share the scanner's settings, not the speckle; black stays black.
        """
        n, _, height, width = images.shape
        grid = F.affine_grid(self._affine(n), [n, 1, height, width], align_corners=False)
        grid = grid + self._elastic(n, height, width)
        moved = F.grid_sample(images.float() / 255, grid, mode="bilinear", align_corners=False)
        labels = F.grid_sample(masks[:, None].float(), grid, mode="nearest", align_corners=False)
        return self._intensity(moved), labels[:, 0].long()

    def _affine(self, n: int) -> Tensor:
        c = self.config
        angle = math.radians(c.rotation_degrees) * self._uniform(n)
        scale = torch.exp(math.log(c.scale) * self._uniform(n))
        scale = scale * torch.exp(math.log(c.shrink) * self._unit(n) * self.chance(c.shrink_probability, n))
        aspect = torch.exp(math.log(c.aspect) * self._uniform(n))
        shear = c.shear * self._uniform(n)
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        top = torch.stack([cos * aspect, -sin + shear, c.shift * self._uniform(n)], dim=1)
        bottom = torch.stack([sin, cos / aspect, c.shift * self._uniform(n)], dim=1)
        # The rows give the source's column and row of each pixel.
        top = torch.where(self.chance(c.mirror_probability, n, 1), -top, top)
        return torch.stack([top, bottom], dim=1)  # (N, 2, 3)

    def _elastic(self, n: int, height: int, width: int) -> Tensor:
        knots = torch.randn(n, 2, 6, 6, generator=self.generator, device=self.generator.device) * self.config.elastic
        knots = knots * self.chance(self.config.elastic_probability, n, 1, 1, 1)
        field = F.interpolate(knots, size=(height, width), mode="bicubic", align_corners=False)
        return field.permute(0, 2, 3, 1)  # (N, H, W, 2)

    def _intensity(self, x: Tensor) -> Tensor:
        c = self.config
        n, channels, size = *x.shape[:2], x.shape[-2:]
        x = x ** torch.exp(math.log(c.gamma) * self._uniform(n, 1, 1, 1))
        knots = 1 + c.field * torch.randn(n, 1, 3, 3, generator=self.generator, device=self.generator.device)
        gain = F.interpolate(knots, size=size, mode="bicubic", align_corners=False).clamp(0.2, 2)
        x = torch.where(self.chance(c.field_probability, n, 1, 1, 1), x * gain, x)
        shape = (n, channels, size[0] // 2, size[1] // 2)
        grain = torch.randn(*shape, generator=self.generator, device=self.generator.device)
        grain = F.interpolate(grain, size=size, mode="bilinear", align_corners=False)
        x = torch.where(self.chance(c.speckle_probability, n, 1, 1, 1), x * (1 + c.speckle * grain), x)
        coarse = self.chance(c.coarse_probability, n)
        if coarse.any():
            low, high = c.coarse
            share = low + (high - low) * float(self._unit(1))
            small = F.interpolate(x[coarse], size=[round(s * share) for s in size], mode="area")
            x[coarse] = F.interpolate(small, size=size, mode="bilinear", align_corners=False)
        low, high = c.dark
        dark = low + (high - low) * self._unit(n, 1, 1, 1)
        x = torch.where(self.chance(c.dark_probability, n, 1, 1, 1), x * dark, x)
        shaded = self.chance(c.shadow_probability, n)
        if shaded.any():
            x[shaded] *= self._shadows(int(shaded.sum()), size)
        reject = c.reject * self._unit(n, 1, 1, 1) * self.chance(c.reject_probability, n, 1, 1, 1)
        x = (x - reject).clamp(min=0) / (1 - reject)
        return (x * 255).round().clamp(0, 255)

    def _shadows(self, n: int, size: torch.Size) -> Tensor:
        """Gain (n, 1, H, W) with one soft dark wedge each, from a point near the middle of the upper edge."""
        place = self.generator.device
        rows = torch.linspace(0, 1, size[0], device=place)[:, None]
        columns = torch.linspace(-0.5, 0.5, size[1], device=place)
        origin = 0.2 * self._uniform(n, 1, 1)
        angle = torch.atan2(columns - origin, rows + 0.1 * self._unit(n, 1, 1) + 0.01)
        middle = 0.7 * self._uniform(n, 1, 1)
        narrow, wide = self.config.shadow_width
        width = narrow + (wide - narrow) * self._unit(n, 1, 1)
        low, high = self.config.shadow
        gain = low + (high - low) * self._unit(n, 1, 1)
        return (1 - (1 - gain) * torch.exp(-(((angle - middle) / width) ** 2)))[:, None]

    def _unit(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, device=self.generator.device)

    def _uniform(self, *shape: int) -> Tensor:
        return self._unit(*shape) * 2 - 1

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Draw booleans that are true with this probability."""
        return self._unit(*shape) < probability
