"""Masks on disk: MetaImage (.mhd with .raw), NIfTI (.nii.gz) or PNG, on the grid of the frame.

MetaImage and NIfTI hold the labels 0-3, PNG holds 0, 85, 170, 255 as CAMUS's own PNG masks do, which
can be looked at. A clip's mask is one volume with time as the last axis of the file.

Where the spacing is unknown, the MetaImage header has no `ElementSpacing` and the NIfTI header has
no unit of length: other programs then take 1 and say so or not, apical reads 'unknown' again.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Label
from apical.errors import OutputError
from apical.files import atomic_write, refuse_existing
from apical.readers.raster import simpleitk
from apical.study import Grid

SUFFIXES = (".mhd", ".nii.gz", ".png")

_PICTURE_STEP = 85
_XYZT_UNITS_BYTE = 123


def write_mask(path: Path | str, mask: NDArray[np.uint8], grid: Grid, *, overwrite: bool = False) -> None:
    """Write one mask; the suffix of `path` chooses the format.

    Parameters
    ----------
    path
        Ends in `.mhd` (its pixels go beside it, in `.raw`), `.nii.gz` or `.png`.
    mask
        Labels 0-3, (row, column), or (time, row, column) for a clip, which PNG cannot hold.
    grid
        Grid of the frame; spacing in mm, origin and direction go into the header.
    overwrite
        Whether existing files may be replaced.

    Raises
    ------
    OutputError
        A file exists already, the folder cannot be written to, or the format does not fit.
    ValueError
        The mask is not on the grid or holds other values than 0-3.
    """
    path = Path(path)
    if mask.ndim not in (2, 3) or mask.shape[-2:] != grid.shape:
        raise ValueError(f"mask {mask.shape} is not on the grid {grid.shape}")
    if mask.size and (mask.min() < 0 or mask.max() > max(Label)):
        raise ValueError("a mask holds the labels 0-3 only")
    labels = np.ascontiguousarray(mask, dtype=np.uint8)
    name = path.name.lower()
    if name.endswith(".mhd"):
        _write_metaimage(path, labels, grid, overwrite)
    elif name.endswith(".nii.gz"):
        _write_nifti(path, labels, grid, overwrite)
    elif name.endswith(".png"):
        _write_picture(path, labels, overwrite)
    else:
        raise OutputError(f"{path}: masks are written as {', '.join(SUFFIXES)}; choose one of them")


def _write_metaimage(path: Path, mask: NDArray[np.uint8], grid: Grid, overwrite: bool) -> None:
    # MetaImage takes some names for a pattern, a list, or the header itself.
    raw = path.with_name(re.sub(r"[%:\\]|^(?=list|local|\.)", "_", f"{path.stem}.raw", flags=re.I))
    refuse_existing(path, overwrite=overwrite)
    # The header last: whoever sees it finds its pixels already there.
    with atomic_write(raw, overwrite=overwrite) as temporary:
        mask.tofile(temporary)
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(_metaimage_header(mask.shape, grid, raw.name), encoding="utf-8")


def _metaimage_header(shape: tuple[int, ...], grid: Grid, raw_name: str) -> str:
    direction, origin, spacing = _to_file_axes(grid, len(shape))
    lines = [
        "ObjectType = Image",
        f"NDims = {len(shape)}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        # MetaImage lists the axis cosines one axis after the other: the columns of the matrix.
        f"TransformMatrix = {_text(direction.T.ravel())}",
        f"Offset = {_text(origin)}",
    ]
    if spacing is not None:
        lines.append(f"ElementSpacing = {_text(spacing)}")
    size = " ".join(str(n) for n in shape[::-1])
    lines += [f"DimSize = {size}", "ElementType = MET_UCHAR", f"ElementDataFile = {raw_name}"]
    return "\n".join(lines) + "\n"


def _write_nifti(path: Path, mask: NDArray[np.uint8], grid: Grid, overwrite: bool) -> None:
    direction, origin, spacing = _to_file_axes(grid, mask.ndim)
    image = simpleitk().GetImageFromArray(mask)
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(origin.tolist())
    if spacing is not None:
        image.SetSpacing(spacing.tolist())
    with atomic_write(path, overwrite=overwrite) as temporary:
        _run_writer(path, temporary, image)
        if spacing is None:
            content = bytearray(gzip.decompress(temporary.read_bytes()))
            content[_XYZT_UNITS_BYTE] = 0
            temporary.write_bytes(gzip.compress(bytes(content), mtime=0))


def _write_picture(path: Path, mask: NDArray[np.uint8], overwrite: bool) -> None:
    if mask.ndim != 2:
        raise OutputError(f"{path}: a PNG holds one frame; write the clip's mask as .mhd or .nii.gz")
    with atomic_write(path, overwrite=overwrite) as temporary:
        _run_writer(path, temporary, simpleitk().GetImageFromArray(mask * np.uint8(_PICTURE_STEP)))


def _to_file_axes(grid: Grid, n: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Return direction, origin and spacing in the files' order (x, y[, time])."""
    direction = np.eye(n)
    direction[:2, :2] = np.array(grid.direction)[::-1, ::-1]
    origin = np.zeros(n)
    origin[:2] = grid.origin_mm[::-1]
    if grid.spacing_mm is None:
        return direction, origin, None
    spacing = np.ones(n)
    spacing[:2] = grid.spacing_mm[::-1]
    return direction, origin, spacing


def _text(values: NDArray[Any]) -> str:
    return " ".join(repr(float(v)) for v in values)


def _run_writer(path: Path, temporary: Path, image: Any) -> None:
    try:
        simpleitk().WriteImage(image, str(temporary), useCompression=True)
    except RuntimeError as error:
        raise OutputError(f"{path}: cannot be written; is the disk full?") from error
