"""What the network knows of its own doubt: how sure it is of each structure, and whether it ever saw such a picture.

Confidence is the Dice that a mask would have on average if the probabilities were right. Networks are too sure of
themselves: so that theirs are right on patients they did not learn from, one temperature softens them all (Guo et al.,
ICML 2017, arXiv:1706.04599); what is decided stays the same. How unlike a picture is to
those learned from is its Mahalanobis distance among them in the network's own features (Lee et al., NeurIPS 2018,
arXiv:1807.03888), here the means of the two deepest levels. The network is sure of much that it never saw; its
features are not alike.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional as F

from apical.anatomy import Label, Structure
from apical.network.augment import Augment, AugmentConfig
from apical.network.dataset import Frames
from apical.network.unet import UNet

_ENOUGH = 500
"""Frames that tell how features are spread; each is seen as it is and augmented."""
_SHRINKAGE = 0.01
"""Share of the mean variance added to each: several hundred features from a thousand pictures."""
_FEW = 100
"""Frames that tell the temperature."""
_TEMPERATURES = (0.2, 5.0)
LIKE_SHARE = 0.98
"""Share of augmented pictures that are to count as like the learned ones."""


class Familiarity(nn.Module):
    """How unlike the pictures are to those learned from: above 1, farther than nearly all that were watched."""

    mean: Tensor
    whitening: Tensor
    limit: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("whitening", torch.eye(n_features))
        self.register_buffer("limit", torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        """Return (N,) distances in units of the limit, from (N, F) features."""
        return self.distance(features) / self.limit

    def distance(self, features: Tensor) -> Tensor:
        """Return (N,) root mean square deviations of (N, F) features."""
        return ((features - self.mean) @ self.whitening).square().mean(dim=1).sqrt()


class Confidence(nn.Module):
    """The Dice that the network expects of its own masks."""

    temperature: Tensor

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.tensor(temperature))

    def forward(self, scores: Tensor) -> Tensor:
        """Return (N, 4) expected Dice in the order of `anatomy.Structure` from scores (N, 4, H, W)."""
        return expected_dice(scores, self.temperature)


def expected_dice(scores: Tensor, temperature: Tensor) -> Tensor:
    """Return (N, 4) expected Dice per structure from scores (N, 4, H, W); 0 where the mask has no such structure."""
    probability = (scores / temperature).softmax(dim=1)
    decided = (scores >= scores.amax(dim=1, keepdim=True)).to(probability.dtype)
    expected = []
    for structure in Structure:
        labels = [Label(label).value for label in structure.labels]
        p, m = probability[:, labels].sum(dim=1), decided[:, labels].sum(dim=1)
        both, either = (p * m).sum(dim=(1, 2)), p.sum(dim=(1, 2)) + m.sum(dim=(1, 2))
        expected.append(2 * both / (either + 1e-6))
    return torch.stack(expected, dim=1)


def described(skips: list[Tensor]) -> Tensor:
    """Return (N, F) means over the picture of the two deepest levels of `UNet.encode`."""
    return torch.cat([s.float().mean(dim=(2, 3)) for s in skips[-2:]], dim=1)


@torch.no_grad()
def fit_confidence(network: UNet, frames: Frames, seed: int) -> Confidence:
    """Find the temperature by which the probabilities of these frames' pixels are likeliest, best on unlearned ones."""
    network = network.eval()
    place = next(network.parameters()).device
    scores, masks = [], []
    chosen = np.sort(frames.pick_renditions(np.random.default_rng(seed))[:_FEW])
    for picked in torch.split(torch.from_numpy(chosen), 16):
        images = frames.images[picked, : network.config.frames].float().to(place)
        scores.append(network(images)[0].float().cpu())
        masks.append(frames.masks[picked].long())
    given, wanted = torch.cat(scores), torch.cat(masks)
    found = minimize_scalar(
        lambda log: F.cross_entropy(given / math.exp(log), wanted).item(),
        bounds=[math.log(t) for t in _TEMPERATURES],
        method="bounded",
        options={"xatol": 0.01},
    )
    return Confidence(math.exp(found.x))


@torch.no_grad()
def fit_familiarity(
    network: UNet, learned: Frames, watched: Frames | None, config: AugmentConfig, seed: int
) -> Familiarity:
    """Describe the pictures that were learned from, and set the limit on others: those watched, or the other learned.

    The frame alone is looked at, without the other phase: so are single pictures and clips.
    """
    network = network.eval()
    generator = torch.Generator().manual_seed(seed)
    augment = Augment(config, generator)
    # As an epoch draws them: each frame once, and of synthetic hearts as many as it shows.
    order = torch.from_numpy(learned.pick_renditions(np.random.default_rng(seed)))
    plain, augmented = _features(network, learned, order[:_ENOUGH], augment)
    known = torch.cat([plain, augmented]).double()
    covariance = torch.cov(known.T)
    covariance += _SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(covariance))
    familiarity = Familiarity(known.shape[1])
    familiarity.mean.copy_(known.mean(dim=0))
    # cholesky(inverse): the squared length of x @ whitening is x' inverse(covariance) x.
    familiarity.whitening.copy_(torch.linalg.cholesky(torch.linalg.inv(covariance)))
    if watched is not None:
        aside = _features(network, watched, torch.arange(len(watched)), augment)[1]
    elif len(rest := order[_ENOUGH : 2 * _ENOUGH]):
        aside = _features(network, learned, rest, augment)[1]
    else:
        aside = augmented
    familiarity.limit.copy_(familiarity.distance(aside).quantile(LIKE_SHARE))
    return familiarity


def _features(network: UNet, frames: Frames, chosen: Tensor, augment: Augment) -> tuple[Tensor, Tensor]:
    """Features of the frames of these indices, as they are and augmented."""
    place = next(network.parameters()).device
    plain, augmented = [], []
    for picked in torch.split(chosen, 16):
        images = frames.images[picked, : network.config.frames].clone()
        images[:, 1:] = 0
        moved, _ = augment(images, frames.masks[picked])
        plain.append(described(network.encode(images.float().to(place))).cpu())
        augmented.append(described(network.encode(moved.to(place))).cpu())
    return torch.cat(plain), torch.cat(augmented)
