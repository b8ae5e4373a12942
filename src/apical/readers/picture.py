"""PNG, JPEG, BMP and TIFF pictures. None of them has a trustworthy spacing, so it stays unknown."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np

from apical.errors import InputError
from apical.readers.limits import check_size
from apical.readers.raster import Raster, load_with_simpleitk, raster_from_simpleitk
from apical.study import Grid

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IMAGE_IO = {"JPEG": "JPEGImageIO", "BMP": "BMPImageIO", "TIFF": "TIFFImageIO"}


def read_picture(path: Path) -> Raster:
    """Read a picture; its content, not its suffix, says which format it is.

    Raises
    ------
    InputError
        Damaged, cut short, several pages, or too large.
    """
    with path.open("rb") as handle:
        is_png = handle.read(len(_PNG_SIGNATURE)) == _PNG_SIGNATURE
    image_io = _check_png(path) if is_png else _check_other(path)
    if image_io is None:
        return _read_grey_with_alpha(path)
    return raster_from_simpleitk(path, load_with_simpleitk(path, image_io), spacing_known=False)


def _check_png(path: Path) -> str | None:
    """Walk the chunks: size from IHDR, checksums, and IEND at the end.

    libpng writes its complaints straight to stderr; a file that passes here gives it no cause.
    Returns the reader, or None for 8-bit grey with alpha, which SimpleITK has no pixel type for.
    """
    damaged = InputError(f"{path}: the PNG is damaged or cut short; copy it again")
    with path.open("rb") as handle:
        handle.seek(len(_PNG_SIGNATURE))
        left = path.stat().st_size - len(_PNG_SIGNATURE)
        kind, grey_with_alpha = b"", False
        while kind != b"IEND":
            head = handle.read(8)
            if len(head) < 8:
                raise damaged
            length, kind = struct.unpack(">I4s", head)
            left -= 12 + length
            # Before the read: a buffer as long as a chunk claims to be would be made first.
            if left < 0:
                raise damaged
            data, checksum = handle.read(length), handle.read(4)
            if zlib.crc32(kind + data) != int.from_bytes(checksum):
                raise damaged
            if kind == b"IHDR" and length == 13:
                columns, rows = struct.unpack(">II", data[:8])
                check_size(path, rows, columns)
                grey_with_alpha = data[8:10] == b"\x08\x04"
    return None if grey_with_alpha else "PNGImageIO"


def _read_grey_with_alpha(path: Path) -> Raster:
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as picture:
            pixels = np.asarray(picture)
    except Exception as error:  # Pillow's plug-ins raise whatever a damaged file makes them raise
        raise InputError(f"{path}: the PNG is damaged; copy it again") from error
    return Raster(pixels, Grid(pixels.shape[:2]))


def _check_other(path: Path) -> str:
    """Let Pillow read the header, then decode once, because it notices files that are cut short."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(path, formats=tuple(_IMAGE_IO)) as picture:
                columns, rows = picture.size
                check_size(path, rows, columns)
                if getattr(picture, "n_frames", 1) > 1:
                    raise InputError(f"{path}: several pages in one picture; store one frame in each file")
                name = str(picture.format)
                picture.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path}: larger than is read; crop or resize it") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not a PNG, JPEG, BMP or TIFF picture") from error
    except InputError:
        raise
    except Exception as error:  # Pillow's plug-ins raise whatever a damaged header makes them raise
        raise InputError(f"{path}: the picture is damaged or cut short; copy it again") from error
    return _IMAGE_IO.get(name, "JPEGImageIO")
