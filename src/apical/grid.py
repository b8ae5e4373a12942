"""From the native grid to the network's and back.

The network sees the ultrasound sector's bounding box squashed to a square. A CAMUS frame is its own
box, so the native frame and CAMUS's 256x256 PNG of it look alike to the network, and the lost aspect
of the PNG does not matter. Images are resampled linearly with the kernel widened when shrinking
(no aliasing of speckle); class scores are resampled linearly before the decision is taken, so that
a mask's border follows the score surface and not the network's pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from apical.study import Frame, Image, Mask, Region


@dataclass(frozen=True)
class Box:
    """Half-open rectangle of pixels: rows `top` to `bottom`, columns `left` to `right`."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in a (row, column) array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def reversed(self, shape: tuple[int, int], axes: tuple[int, ...]) -> Box:
        """Return where the box lies in an image of this (rows, columns) shape that is `reverse`d along axes."""
        rows, columns = (self.top, self.bottom), (self.left, self.right)
        if 0 in axes:
            rows = shape[0] - self.bottom, shape[0] - self.top
        if 1 in axes:
            columns = shape[1] - self.right, shape[1] - self.left
        return Box(rows[0], columns[0], rows[1], columns[1])

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> Box:
        """Return the box of a whole (rows, columns) image."""
        return cls(0, 0, *shape)


@dataclass(frozen=True)
class SectorRule:
    """How the sector is told from text, scale marks and black margins."""

    threshold: int = 4
    """Grey level (0-255) above which a pixel may be tissue; below it lies compression noise."""
    smoothing: float = 0.012
    """Gaussian sigma as a share of the image's smaller side: joins speckle, fades lone marks."""
    density: float = 0.4
    """Share of such pixels, in the Gaussian's window, that makes tissue."""
    margin: float = 0.01
    """Space kept around the sector as a share of its sides: expert walls reach beyond the sector."""
    least_share: float = 0.08
    """A largest region below this share of the image is no sector; the whole image is used."""
    whole_share: float = 0.90
    """Where the sector spans this share of both sides, the frame was already cropped to it."""


def find_sector(images: NDArray[np.uint8], region: Region | None = None, rule: SectorRule = SectorRule()) -> Box:
    """Find the bounding box of the ultrasound sector.

    Parameters
    ----------
    images
        uint8, (row, column), or (time, row, column) for a clip: then brightness over all of the
        clip counts, and what never moves (text, scale marks, logos) is left out.
    region
        Where the file itself says that the ultrasound lies (DICOM): the sector is looked for in it.

    Returns
    -------
    Box
        The whole image (or region) when it was already cropped to the sector, or when no sector stands out.
    """
    if region is not None:
        top, left, bottom, right = region
        inner = find_sector(images[..., top:bottom, left:right], rule=rule)
        return Box(top + inner.top, left + inner.left, top + inner.bottom, left + inner.right)
    if images.ndim == 3:
        # At most 16 instants: enough to see motion, cheap for long clips.
        images = images[np.linspace(0, len(images) - 1, min(len(images), 16)).astype(int)]
        still = images.min(axis=0) == images.max(axis=0)
        image = images.max(axis=0)
        if len(images) > 1 and not still.all():
            image = np.where(still, 0, image)
    else:
        image = images
    shape = (int(image.shape[0]), int(image.shape[1]))
    sigma = max(1.0, rule.smoothing * min(shape))
    bright = ndimage.gaussian_filter((image > rule.threshold).astype(np.float32), sigma) > rule.density
    # Opening cuts the thin bridges by which tick marks and text hang on to the sector.
    opened = ndimage.binary_opening(bright, iterations=max(1, round(2 * sigma)))
    regions, n = ndimage.label(opened)
    if n == 0:
        return Box.whole(shape)
    sizes = np.bincount(regions.ravel())[1:]
    if sizes.max() < rule.least_share * image.size:
        return Box.whole(shape)
    rows, columns = ndimage.find_objects(regions)[int(sizes.argmax())]
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if height >= rule.whole_share * shape[0] and width >= rule.whole_share * shape[1]:
        return Box.whole(shape)
    pad_r, pad_c = round(rule.margin * height), round(rule.margin * width)
    return Box(
        max(0, rows.start - pad_r),
        max(0, columns.start - pad_c),
        min(shape[0], rows.stop + pad_r),
        min(shape[1], columns.stop + pad_c),
    )


def reverse(values: NDArray[np.uint8], axes: tuple[int, ...]) -> NDArray[np.uint8]:
    """Reverse an image or mask (row, column) along some of its axes; itself where there are none."""
    return np.ascontiguousarray(np.flip(values, axes)) if axes else values


@lru_cache(maxsize=64)
def _weights(source: int, target: int) -> sparse.csr_array:
    """(target, source) matrix of linear resampling between pixel centres, rows summing to one."""
    scale = source / target
    support = max(scale, 1.0)
    centre = (np.arange(target) + 0.5) * scale - 0.5
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(source)[None, :] - centre[:, None]) / support)
    return sparse.csr_array((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


def resample(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resample the last two axes (row, column) linearly to `shape`, without aliasing when shrinking."""
    return _weighted(values, _weights(values.shape[-2], shape[0]), _weights(values.shape[-1], shape[1]))


def _weighted(values: NDArray[np.float32], rows: sparse.csr_array, columns: sparse.csr_array) -> NDArray[np.float32]:
    planes = values.reshape(-1, *values.shape[-2:]).astype(np.float32, copy=False)
    made = np.stack([(columns @ np.ascontiguousarray((rows @ plane).T)).T for plane in planes])
    return made.reshape(*values.shape[:-2], rows.shape[0], columns.shape[0])


def resample_mask(mask: Mask, shape: tuple[int, int]) -> Mask:
    """Resample labels to `shape` by the nearest pixel centre, so that no label is invented."""
    rows, columns = ((np.arange(t) + 0.5) * s / t for t, s in zip(shape, mask.shape, strict=True))
    return mask[np.ix_(rows.astype(int), columns.astype(int))]


def to_network(image: Image, box: Box, size: int) -> NDArray[np.float32]:
    """Return the box of an image as the network's float32 (size, size) input, grey levels 0-255."""
    return resample(image[box.slices].astype(np.float32), (size, size))


def pair_to_network(image: Image, other: Frame | None, box: Box, size: int) -> NDArray[np.float32]:
    """Return (2, size, size): the box of an image and of its view at the other phase, black where there is none."""
    frame = to_network(image, box, size)
    return np.stack([frame, to_network(other.image, box, size) if other else np.zeros_like(frame)])


def to_native(scores: NDArray[np.float32], box: Box, shape: tuple[int, int]) -> Mask:
    """Turn class scores (label, row, column) on the network's grid into a mask on the native grid.

    Outside the box everything is background.
    """
    mask = np.zeros(shape, np.uint8)
    heart = scores[1:].max(axis=0) > scores[0]
    if not heart.any():
        return mask
    # Where background leads at every pixel that a native one is made of, it leads there too: no need to look.
    rows, first_row = _reached(_weights(heart.shape[0], box.shape[0]), heart.any(axis=1))
    columns, first_column = _reached(_weights(heart.shape[1], box.shape[1]), heart.any(axis=0))
    labels = _weighted(scores, rows, columns).argmax(axis=0)
    top, left = box.top + first_row, box.left + first_column
    mask[top : top + labels.shape[0], left : left + labels.shape[1]] = labels
    return mask


def _reached(weights: sparse.csr_array, sources: NDArray[np.bool_]) -> tuple[sparse.csr_array, int]:
    """Return the rows of `weights` from the first to the last that any source goes into, and the first's index."""
    reached = np.flatnonzero(weights @ sources.astype(np.float32))
    first, last = (int(reached[0]), int(reached[-1])) if reached.size else (0, -1)
    return weights[first : last + 1], first
