"""One image file to pixels and grid, whatever the format; the step before grey values or labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.errors import InputError
from apical.readers.limits import refuse_foreign_name
from apical.study import Grid, is_plausible_spacing


@dataclass(frozen=True, eq=False)
class Raster:
    """Decoded pixels as they lie in the file.

    `pixels` is (row, column), (row, column, channel) or, where `is_clip`, (time, row, column).
    `frame_times_ms`, (time,), is what a film states.
    """

    pixels: NDArray[Any]
    grid: Grid
    is_clip: bool = False
    notes: tuple[str, ...] = ()
    frame_times_ms: NDArray[np.float64] | None = None


PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".gif")
SUFFIXES = (*PICTURE_SUFFIXES, ".mhd", ".mha", ".nii.gz", ".nii", *VIDEO_SUFFIXES)


def image_suffix(path: Path) -> str | None:
    """Return the known suffix of `path` in lower case, or None."""
    name = path.name.lower()
    return next((s for s in SUFFIXES if name.endswith(s)), None)


def read_raster(path: Path) -> Raster:
    """Read one picture, MetaImage, NIfTI or film file.

    Raises
    ------
    InputError
        Missing, empty, unknown, damaged, hostile or too large.
    """
    refuse_foreign_name(path)
    suffix = image_suffix(path)
    if suffix is None:
        raise InputError(f"{path}: not a format that is read ({', '.join(SUFFIXES)}, DICOM)")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty; copy it again")
        return _reader(suffix)(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _reader(suffix: str) -> Callable[[Path], Raster]:
    if suffix in PICTURE_SUFFIXES:
        from apical.readers.picture import read_picture

        return read_picture
    if suffix in VIDEO_SUFFIXES:
        from apical.readers.video import read_video

        return read_video
    if suffix in (".mhd", ".mha"):
        from apical.readers.metaimage import read_metaimage

        return read_metaimage
    from apical.readers.nifti import read_nifti

    return read_nifti


def simpleitk() -> Any:
    """Return SimpleITK with its C++ messages silenced: a person shall see our one line only."""
    sitk: Any = import_module("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    return sitk


def load_with_simpleitk(path: Path, image_io: str) -> Any:
    """Run one SimpleITK reader, named so that a file cannot choose another one by its content."""
    reader = simpleitk().ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{path}: damaged or cut short, it cannot be decoded; copy it again") from error


def raster_from_simpleitk(path: Path, image: Any, *, spacing_known: bool) -> Raster:
    """Turn a SimpleITK image of (x, y[, time]) into a raster of ([time,] row, column).

    Singleton third and fourth axes are dropped; at most one of them, time, may be longer.
    """
    pixels = simpleitk().GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        if image.GetDimension() != 2:
            raise InputError(f"{path}: a colour volume is not read; store grey frames")
        leading: tuple[int, ...] = ()
        shape = pixels.shape[:2]
    else:
        leading, shape = pixels.shape[:-2], pixels.shape[-2:]
    longer = [n for n in leading if n > 1]
    if len(longer) > 1:
        raise InputError(f"{path}: four axes longer than 1 ({pixels.shape}); a frame has two, a clip three")
    pixels = pixels.reshape((*longer, *shape)) if leading else pixels
    n = image.GetDimension()
    # (x, y) of the file becomes (row, column): both axes of the in-plane block change places.
    in_plane = np.array(image.GetDirection()).reshape(n, n)[:2, :2][::-1, ::-1]
    if not np.allclose(in_plane @ in_plane.T, np.eye(2), atol=1e-3):
        in_plane = np.eye(2)
    notes: tuple[str, ...] = ()
    columns_mm, rows_mm = image.GetSpacing()[:2]
    if spacing_known and not is_plausible_spacing((rows_mm, columns_mm)):
        spacing_known = False
        notes = (f"{path.name}: a pixel of {rows_mm:g} x {columns_mm:g} mm is not plausible, spacing unknown",)
    x, y = image.GetOrigin()[:2]
    grid = Grid(
        shape=(int(shape[0]), int(shape[1])),
        spacing_mm=(rows_mm, columns_mm) if spacing_known else None,
        origin_mm=(y, x),
        direction=((float(in_plane[0, 0]), float(in_plane[0, 1])), (float(in_plane[1, 0]), float(in_plane[1, 1]))),
    )
    if grid.spacing_mm == (1.0, 1.0):
        notes = (f"{path.name}: spacing is 1 x 1 mm, which some programs write where it is not known",)
    return Raster(pixels, grid, is_clip=bool(longer), notes=notes)
