"""The picture without what is written around it: only the ultrasound region stays, the rest is black."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from apical.errors import InputError
from apical.grid import Box, find_sector
from apical.readers.dicom_guard import check_codestream_size
from apical.readers.dicom_pixels import quiet
from apical.readers.limits import check_size
from apical.readers.pixels import luminance

_ULTRASOUND_DATA = (1, 2, 3, 4)
"""Region data types: tissue, colour flow, pulsed and continuous wave; not ECG, colour bars or graphics."""
_TWO_DIMENSIONAL_DATA = (1, 2)
_INSTANTS = 16
_MOVING, _BRIGHT = 2.0, 4.0
"""Grey levels of the smoothed range over time, or of a still, above which a pixel may be ultrasound."""
_SMOOTHING_PX, _OPENING_PX = 2.0, 3
_MARGIN_PX = 1.0
"""Little: smoothing alone widens a bright edge by some five pixels."""
_LEAST_SHARE = 0.2
"""A hull of less than this share of its box is no fan."""
_WHOLE_SHARE = 0.95
"""A region of nearly the whole image keeps nothing out: some scanners state it for want of a better one."""


def decode(path: Path, dataset: Dataset) -> NDArray[Any]:
    """Decode all frames as grey, (time, row, column), or RGB, (time, row, column, 3).

    Raises
    ------
    InputError
        The size is implausible, the syntax is not read, or a frame is damaged.
    """
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    check_size(path, rows, columns, n_frames)
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise InputError(
            f"{path}: transfer syntax {syntax.name} is not decoded here, so its picture cannot be cleaned; "
            "export it as JPEG or raw"
        ) from error
    try:
        if syntax.is_compressed:
            for frame in generate_frames(dataset.PixelData, number_of_frames=n_frames):
                check_codestream_size(path, frame, rows, columns)
        with quiet():
            frames = [_shown(dataset, pixels, p) for pixels, p in decoder.iter_array(dataset, raw=False)]
    except InputError:
        raise
    except Exception as error:  # decoders raise whatever a damaged frame makes them raise
        raise InputError(f"{path}: its frames cannot be decoded; copy the file again") from error
    if len(frames) != n_frames:
        raise InputError(f"{path}: holds {len(frames)} frames, the header says {n_frames}; copy the file again")
    return np.stack(frames)


def _shown(dataset: Dataset, pixels: NDArray[Any], properties: Any) -> NDArray[Any]:
    kind = str(properties["photometric_interpretation"])
    if kind == "PALETTE COLOR":
        colours = apply_color_lut(pixels, dataset)[..., :3]
        colours_8_bit: NDArray[Any] = (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
        return colours_8_bit
    if kind == "MONOCHROME1":
        inverted: NDArray[Any] = (2 ** int(dataset.BitsStored) - 1 - pixels).astype(pixels.dtype)
        return inverted
    return pixels


def kept_pixels(path: Path, dataset: Dataset, pixels: NDArray[Any], region: Box | None) -> NDArray[np.bool_]:
    """Return which pixels are ultrasound, (row, column): by request, by the tags, or by the picture itself.

    The box that a tag or the picture gives still has corners outside the fan, with room for writing: in a
    two-dimensional picture only the convex hull of what moves (or, in a still, is bright) stays.

    Raises
    ------
    InputError
        No tag says where the ultrasound is, and no sector stands out from the rest of the picture, or no fan in
        its box; or the requested region does not lie in the image.
    """
    shape = (pixels.shape[1], pixels.shape[2])
    grey = luminance(pixels) if pixels.ndim == 4 else _to_8_bit(pixels)
    kept = np.zeros(shape, np.bool_)
    if region is not None:
        if not (0 <= region.top < region.bottom <= shape[0] and 0 <= region.left < region.right <= shape[1]):
            raise InputError(f"{path}: the region to keep does not lie in its {shape[0]} x {shape[1]} pixels")
        kept[region.slices] = True
        return kept
    says_clean = str(dataset.get("BurnedInAnnotation") or "") == "NO"
    unclear = InputError(
        f"{path}: neither its tags nor its picture say where the ultrasound ends and the writing begins; "
        "name the region to keep"
    )
    regions = [r for item in dataset.get("SequenceOfUltrasoundRegions") or () if (r := _region(item))]
    # Some scanners state the end of a region as one past its last pixel.
    fits = all(box.bottom <= shape[0] + 1 and box.right <= shape[1] + 1 for box, _ in regions)
    if not regions or not fits or any(_is_nearly_whole(box, shape) for box, _ in regions):
        sector = find_sector(grey if len(grey) > 1 else grey[0])
        if not _is_nearly_whole(sector, shape):
            regions = [(sector, True)]
        elif says_clean:
            regions = [(Box.whole(shape), False)]
        else:
            raise unclear
    for box, two_dimensional in regions:
        fan = _fan(grey[:, *box.slices]) if two_dimensional else None
        if two_dimensional and fan is None and not says_clean:
            raise unclear
        kept[box.slices] |= True if fan is None else fan
    return kept


def _fan(grey: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Return the convex hull of the largest moving or, in a still, bright part of a box, (row, column).

    None where there is no such part, or one too small for a fan.
    """
    few = grey[np.linspace(0, len(grey) - 1, min(len(grey), _INSTANTS)).astype(int)]
    shown = few.max(axis=0) - few.min(axis=0)
    threshold = _MOVING
    if not (shown > _MOVING).any():
        shown, threshold = few.max(axis=0), _BRIGHT
    smooth = ndimage.gaussian_filter(shown.astype(np.float32), _SMOOTHING_PX)
    # Opening cuts what hangs on to the fan by a thread.
    parts, n = ndimage.label(ndimage.binary_opening(smooth > threshold, iterations=_OPENING_PX))
    if n == 0:
        return None
    points = np.argwhere(parts == np.bincount(parts.ravel())[1:].argmax() + 1)
    try:
        sides = ConvexHull(points).equations
    except QhullError:
        return None
    places = np.indices(shown.shape).reshape(2, -1)
    hull = (sides[:, :2] @ places + sides[:, 2:]).max(axis=0).reshape(shown.shape) <= _MARGIN_PX
    return hull if hull.mean() >= _LEAST_SHARE else None


def blacken(pixels: NDArray[Any], kept: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the pixels, (time, row, column[, 3]), with zero wherever `kept`, (row, column), is false."""
    clean: NDArray[Any] = np.where(kept[None, ..., None] if pixels.ndim == 4 else kept[None], pixels, 0)
    return clean.astype(pixels.dtype, copy=False)


def set_pixels(clean: Dataset, pixels: NDArray[Any], bits_stored: int) -> None:
    """Write grey or RGB pixels into a data set as RLE, without loss."""
    colour = pixels.ndim == 4
    clean.SamplesPerPixel = 3 if colour else 1
    clean.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        clean.PlanarConfiguration = 0
    clean.Rows, clean.Columns = pixels.shape[1:3]
    bits = pixels.dtype.itemsize * 8
    clean.BitsAllocated = bits
    clean.BitsStored = min(bits_stored, bits)
    clean.HighBit = clean.BitsStored - 1
    clean.PixelRepresentation = int(pixels.dtype.kind == "i")
    if len(pixels) > 1 or "NumberOfFrames" in clean:
        clean.NumberOfFrames = len(pixels)
    clean.file_meta = FileMetaDataset()
    clean.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # A single frame goes without an axis of time.
    frames = np.ascontiguousarray(pixels if len(pixels) > 1 else pixels[0])
    clean.compress(RLELossless, frames, encoding_plugin="gdcm", generate_instance_uid=False)


def _region(item: Dataset) -> tuple[Box, bool] | None:
    """Return the box of an ultrasound region and whether it is a two-dimensional picture."""
    try:
        if int(item.RegionDataType) not in _ULTRASOUND_DATA:
            return None
        top, left = int(item.RegionLocationMinY0), int(item.RegionLocationMinX0)
        bottom, right = int(item.RegionLocationMaxY1) + 1, int(item.RegionLocationMaxX1) + 1
    except (AttributeError, TypeError, ValueError):
        return None
    if not (0 <= top < bottom and 0 <= left < right):
        return None
    return Box(top, left, bottom, right), int(item.RegionDataType) in _TWO_DIMENSIONAL_DATA


def _is_nearly_whole(box: Box, shape: tuple[int, int]) -> bool:
    return box.shape[0] * box.shape[1] >= _WHOLE_SHARE * shape[0] * shape[1]


def _to_8_bit(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    top = max(float(pixels.max()), 1.0)
    return np.clip(pixels * (255.0 / top), 0, 255).astype(np.uint8)
