"""Frames of a store as tensors on the network's grid, held in memory (64 kB a frame)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from apical import grid
from apical.anatomy import View
from apical.errors import InputError
from apical.store import Store


@dataclass(frozen=True)
class Frames:
    """Images (N, 1, S, S) uint8, masks (N, S, S) uint8, views (N,) int64 (index in `anatomy.View`)."""

    images: Tensor
    masks: Tensor
    views: Tensor

    def __len__(self) -> int:
        return len(self.images)


def load_frames(
    store: Store,
    patients: Iterable[str],
    size: int,
    views: tuple[View, ...] = tuple(View),
    on_patient: Callable[[], None] = lambda: None,
) -> Frames:
    """Load all frames with an expert mask of these patients and views.

    Raises
    ------
    InputError
        When there is none.
    """
    images, masks, labels = [], [], []
    for study in store.studies(patients):
        for frame in study.frames:
            if frame.view in views and frame.reference is not None:
                box = grid.find_sector(frame.image, frame.region)
                images.append(grid.to_network(frame.image, box, size).round().clip(0, 255).astype(np.uint8))
                masks.append(grid.resample_mask(frame.reference[box.slices], (size, size)))
                labels.append(list(View).index(frame.view))
        on_patient()
    if not images:
        raise InputError(f"{store.path}: no frame with an expert mask in the views {', '.join(views)}")
    return Frames(torch.from_numpy(np.stack(images))[:, None], torch.from_numpy(np.stack(masks)), torch.tensor(labels))
