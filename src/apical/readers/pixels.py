"""From decoded pixels to what the rest of apical works on: grey values 0-255, or labels 0-3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Label
from apical.errors import InputError
from apical.readers.raster import Raster
from apical.study import Mask

LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green, blue in grey (ITU-R BT.601, the Y of JPEG and of DICOM's YBR_FULL)."""

PICTURE_LABEL_STEP = 85
"""CAMUS's PNG masks hold 0, 85, 170, 255: the label times this."""

_OFF_COLOUR_CURVE = 30
_OFF_CURVE_SHARE = 0.03
"""Text, scales and an ECG colour 0.2 % of real grey clips, power Doppler of one vessel bed 4.5 %."""
_STRONG_CHROMA = 100
_STRONG_CHROMA_SHARE = 0.08


def grey_image(path: Path, raster: Raster) -> NDArray[np.uint8]:
    """Return grey values, uint8, (row, column) or (time, row, column).

    RGB becomes luminance; alpha is dropped. Values beyond 0-255 (12- or 16-bit files) are refused:
    such files do not say which value is white, and a guess would change every grey value.

    Raises
    ------
    InputError
        A colour photograph, or values that are not 8-bit grey.
    """
    pixels = raster.pixels
    if not raster.is_clip and pixels.ndim == 3:
        return _from_channels(path, pixels)
    return _as_uint8(path, pixels)


def label_mask(path: Path, raster: Raster) -> Mask:
    """Return labels 0-3, uint8, of a mask stored as 0-3 or as 0, 85, 170, 255.

    Raises
    ------
    InputError
        Any other value, or a coloured mask.
    """
    pixels = raster.pixels
    if not raster.is_clip and pixels.ndim == 3:
        if pixels.shape[2] >= 3 and np.any(pixels[..., :3] != pixels[..., :1]):
            raise InputError(f"{path}: a coloured mask; masks hold 0-3 or 0, 85, 170, 255")
        pixels = pixels[..., 0]
    if pixels.dtype == np.uint8:
        found = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))
    else:
        found = np.unique(pixels)
    labels = [int(label) for label in Label]
    if np.isin(found, labels).all():
        return np.ascontiguousarray(pixels, dtype=np.uint8)
    if np.isin(found, [PICTURE_LABEL_STEP * label for label in labels]).all():
        return (pixels // PICTURE_LABEL_STEP).astype(np.uint8)
    wrong = [v for v in found.tolist() if v not in labels][:4]
    raise InputError(f"{path}: labels outside 0-3 (found {', '.join(f'{v:g}' for v in wrong)}); is it a mask?")


def luminance(rgb: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the grey values of 8-bit RGB, (..., 3) to (...)."""
    grey: NDArray[np.uint8] = np.rint(rgb[..., :3].astype(np.float32) @ LUMINANCE).astype(np.uint8)
    return grey


def is_colour_picture(rgb: NDArray[Any]) -> bool:
    """Tell a colour photograph or colour Doppler from a grey, tinted or annotated ultrasound image.

    Tinted ultrasound has one colour for each luminance; text, markers and ECG cover few pixels.
    So a picture is colour when many pixels lie far from the mean colour of their luminance, or when
    a large part of it is strongly coloured.

    Parameters
    ----------
    rgb
        uint8, (row, column, 3).
    """
    channels = rgb[..., :3].reshape(-1, 3).astype(np.int16)
    chroma = channels.max(axis=1) - channels.min(axis=1)
    if np.mean(chroma > _STRONG_CHROMA) > _STRONG_CHROMA_SHARE:
        return True
    level = luminance(rgb).ravel()
    count = np.maximum(np.bincount(level, minlength=256), 1)
    off = np.zeros(level.shape, dtype=bool)
    for c in range(3):
        curve = np.bincount(level, weights=channels[:, c], minlength=256) / count
        off |= np.abs(channels[:, c] - curve[level]) > _OFF_COLOUR_CURVE
    return bool(off.mean() > _OFF_CURVE_SHARE)


def _from_channels(path: Path, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.shape[2] not in (2, 3, 4):
        raise InputError(f"{path}: {pixels.shape[2]} channels; grey, RGB or RGBA is read")
    first = pixels[..., 0]
    if pixels.shape[2] == 2 or (np.array_equal(first, pixels[..., 1]) and np.array_equal(first, pixels[..., 2])):
        return _as_uint8(path, first)
    rgb = np.stack([_as_uint8(path, pixels[..., c]) for c in range(3)], axis=-1)
    if is_colour_picture(rgb):
        raise InputError(f"{path}: a colour picture, not a grey-scale echocardiogram")
    return luminance(rgb)


def _as_uint8(path: Path, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype.kind not in "iuf" or not np.isfinite(pixels).all():
        raise InputError(f"{path}: pixels of type {pixels.dtype} that are not finite grey values")
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > 255:
        raise InputError(f"{path}: values from {low:g} to {high:g}; 8-bit grey (0-255) is read, convert it first")
    if pixels.dtype.kind == "f" and 0 < high <= 1:
        raise InputError(f"{path}: values from {low:g} to {high:g}, as of a normalised image; scale it to 0-255 first")
    grey: NDArray[np.uint8] = np.rint(pixels).astype(np.uint8)
    return grey
