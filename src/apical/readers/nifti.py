"""NIfTI-1 (.nii, .nii.gz): CAMUS's current release.

SimpleITK reads a NIfTI that was cut short without a word and shows noise or black for the rest, so
the bytes are counted first, which bounds a gzip bomb as well.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from apical.errors import InputError
from apical.readers.limits import check_size
from apical.readers.raster import Raster, load_with_simpleitk, raster_from_simpleitk

_HEADER_BYTES = 348
_LARGEST_OFFSET = 2**20
_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4}
_SPACE_UNITS = 0b111


def read_nifti(path: Path) -> Raster:
    """Read a NIfTI frame or clip (time on the last axis).

    A spacing of exactly 1 with no unit is NIfTI's way to say nothing, and is taken as unknown.

    Raises
    ------
    InputError
        Not NIfTI-1, cut short, a pixel type that is no grey image, or too large.
    """
    compressed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path, "rb") if compressed else path.open("rb") as handle:
            spacing_known = _check(path, handle)  # type: ignore[arg-type]
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a gzip file, or cut short; copy it again") from error
    return raster_from_simpleitk(path, load_with_simpleitk(path, "NiftiImageIO"), spacing_known=spacing_known)


def _check(path: Path, handle: BinaryIO) -> bool:
    header = handle.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or header[344:348] != b"n+1\x00":
        raise InputError(f"{path}: not a NIfTI-1 file")
    order = "<" if struct.unpack("<i", header[:4])[0] == _HEADER_BYTES else ">"
    n_axes, *size = struct.unpack(f"{order}8h", header[40:56])
    (datatype,) = struct.unpack(f"{order}h", header[70:72])
    pixdim = struct.unpack(f"{order}8f", header[76:108])
    (offset,) = struct.unpack(f"{order}f", header[108:112])
    if not 2 <= n_axes <= 7 or min(size[:n_axes]) < 1:
        raise InputError(f"{path}: the NIfTI header states an impossible size")
    size = size[:n_axes]
    check_size(path, size[1], size[0], math.prod(size[2:]))
    if datatype not in _BYTES:
        raise InputError(f"{path}: NIfTI data type {datatype} is no grey image; store 8-bit grey")
    if not _HEADER_BYTES < offset <= _LARGEST_OFFSET:
        raise InputError(f"{path}: the NIfTI header puts the pixels at byte {offset:g}; the file is damaged")
    _count(path, handle, int(offset) - _HEADER_BYTES + math.prod(size) * _BYTES[datatype])
    spacing = pixdim[1:3]
    if not all(math.isfinite(v) and v > 0 for v in spacing):
        return False
    return not (header[123] & _SPACE_UNITS == 0 and spacing == (1.0, 1.0))


def _count(path: Path, handle: BinaryIO, expected: int) -> None:
    while expected > 0:
        block = handle.read(min(expected, 2**20))
        if not block:
            raise InputError(f"{path}: the NIfTI file is cut short; copy it again")
        expected -= len(block)
