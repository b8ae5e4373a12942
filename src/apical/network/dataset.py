"""Frames of one or more stores as tensors on the network's grid, held in memory (192 kB a frame with its mask)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apical import grid
from apical.anatomy import View
from apical.errors import InputError
from apical.store import Store


@dataclass(frozen=True)
class Frames:
    """Samples to learn from or to watch.

    Images (N, 2, S, S) uint8: the frame, and its view at the other phase of the beat or black where there is
    none. Masks (N, S, S) uint8, views (N,) int64 (index in `anatomy.View`). `same` (N,) int64 numbers the frames:
    samples with one number are renditions of one frame, from different stores.
    """

    images: Tensor
    masks: Tensor
    views: Tensor
    same: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def beside(self, others: Frames, share: float) -> Frames:
        """Return these frames with others beside them, of which an epoch sees `share` of the number of these.

        Where there are fewer, it sees all. They are numbered as renditions of that many frames: each epoch draws
        which of them it sees.
        """
        wanted = round(share * len(np.unique(self.same.numpy())))
        if not wanted:
            return self
        numbers = int(self.same.max()) + 1 + torch.arange(len(others)) % wanted
        return Frames(
            torch.cat([self.images, others.images]),
            torch.cat([self.masks, others.masks]),
            torch.cat([self.views, others.views]),
            torch.cat([self.same, numbers]),
        )

    def pick_renditions(self, random: np.random.Generator) -> NDArray[np.int64]:
        """Return the index of one rendition of each frame, in random order."""
        shuffled = random.permutation(len(self))
        _, first = np.unique(self.same.numpy()[shuffled], return_index=True)
        picked: NDArray[np.int64] = random.permutation(shuffled[first])
        return picked


def load_frames(
    stores: Sequence[Store], patients: Iterable[str], size: int, views: tuple[View, ...] = tuple(View)
) -> Frames:
    """Load all frames with an expert mask of these patients and views.

    The patients are those of the first store; what further stores hold of them is added.

    Raises
    ------
    InputError
        When there is none, a further store has none of them, or one of several bears numbers of its own: nobody
        then knows which patients are the same.
    """
    images: list[NDArray[np.uint8]] = []
    masks, labels, keys = [], [], []
    patients = tuple(patients)
    for number, store in enumerate(stores):
        if len(stores) > 1 and store.renumbered:
            raise InputError(
                f"{store.path}: its patients bear numbers of the PNG tree, not CAMUS's, and cannot be joined with "
                "those of another store; prepare it with CAMUS's patients.csv beside the images"
            )
        before = len(images)
        # The first store must hold all of them, the others give what they have.
        held = set(store.patients) if number else patients
        for study in store.studies(p for p in patients if p in held):
            for frame in study.frames:
                if frame.view in views and frame.reference is not None:
                    box = grid.find_sector(frame.image, frame.region)
                    pair = grid.pair_to_network(frame.image, study.other_phase(frame), box, size)
                    images.append(pair.round().clip(0, 255).astype(np.uint8))
                    masks.append(grid.resample_mask(frame.reference[box.slices], (size, size)))
                    labels.append(list(View).index(frame.view))
                    keys.append(f"{study.patient.id}/{frame.view}/{frame.phase}")
        if number and len(images) == before:
            raise InputError(
                f"{store.path}: holds no frame of the patients of {stores[0].path} to learn from; leave it out"
            )
    if not images:
        raise InputError(f"{stores[0].path}: no frame with an expert mask in the views {', '.join(views)}")
    _, same = np.unique(keys, return_inverse=True)
    return Frames(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(masks)),
        torch.tensor(labels),
        torch.from_numpy(same),
    )


def load_phantoms(phantoms: Store, stores: Sequence[Store], size: int, views: tuple[View, ...]) -> Frames:
    """Load all frames of a store of phantoms.

    Raises
    ------
    InputError
        When a patient of one of `stores` bears the id of a phantom, so that it may be one and the same.
    """
    for store in stores:
        if shared := set(phantoms.patients) & set(store.patients):
            raise InputError(
                f"{phantoms.path}: {min(shared)} is a patient of {store.path}, too; phantoms need ids of their own "
                "(benchmarks/phantom_store.py)"
            )
    return load_frames((phantoms,), phantoms.patients, size, views)
