"""What is minimised, and what is watched meanwhile."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from apical.anatomy import Label, Structure


def segmentation_loss(scores: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy plus one minus the mean soft Dice of the three foreground labels.

    Scores (N, 4, H, W), masks (N, H, W) int64. Dice is taken over the batch, not per frame: a small
    atrium in one frame then does not dominate the gradient.
    """
    probability = scores.softmax(dim=1)
    target = F.one_hot(masks, len(Label)).permute(0, 3, 1, 2).to(probability.dtype)
    overlap = (probability * target).sum(dim=(0, 2, 3))
    total = probability.sum(dim=(0, 2, 3)) + target.sum(dim=(0, 2, 3))
    dice = (2 * overlap + 1) / (total + 1)  # one pixel of smoothing keeps an absent label finite
    return F.cross_entropy(scores, masks) + 1 - dice[1:].mean()


def dice_per_frame(predicted: Tensor, reference: Tensor, structure: Structure) -> Tensor:
    """Dice of one structure in each frame: masks (N, H, W) to (N,); 1 where both are empty."""
    labels = torch.tensor(structure.labels, device=predicted.device)
    a, b = torch.isin(predicted, labels).flatten(1), torch.isin(reference, labels).flatten(1)
    total = a.sum(1) + b.sum(1)
    return torch.where(total > 0, 2 * (a & b).sum(1) / total.clamp(min=1), torch.ones_like(total, dtype=torch.float))
