"""How large an input may be, and how it may be called: checked before any pixel is decoded."""

from __future__ import annotations

from pathlib import Path

from apical.errors import InputError

MAX_SIDE = 8192
"""Rows or columns of one frame. Scanners write up to about 1,500."""

MAX_FRAME_PIXELS = 2**25
"""Pixels of one frame (33.5 million)."""

MAX_CLIP_PIXELS = 2**29
"""Pixels of all frames of a clip together: half a GiB of grey values, some 1,700 frames of 640 x 480."""

MAX_CLIP_FRAMES = 20_000
"""Frames of a clip: five minutes at 60 a second. Tiny frames would pass the limit on pixels in millions."""


def check_size(path: Path, rows: int, columns: int, frames: int = 1) -> None:
    """Refuse a size that no echocardiogram has.

    Raises
    ------
    InputError
        A dimension is not positive, or a limit of this module is passed.
    """
    if min(rows, columns, frames) < 1:
        raise InputError(f"{path}: the header states an empty image ({rows} x {columns} x {frames} frames)")
    too_large = max(rows, columns) > MAX_SIDE or rows * columns > MAX_FRAME_PIXELS
    if too_large or frames > MAX_CLIP_FRAMES or rows * columns * frames > MAX_CLIP_PIXELS:
        size = f"{rows} x {columns} pixels" + (f" x {frames} frames" if frames > 1 else "")
        raise InputError(
            f"{path}: {size} is larger than is read (side {MAX_SIDE}, {MAX_FRAME_PIXELS} pixels a frame, "
            f"{MAX_CLIP_PIXELS} in a clip of at most {MAX_CLIP_FRAMES} frames); crop, resize or cut it"
        )


def refuse_foreign_name(path: Path) -> None:
    """Refuse a file whose name is not UTF-8 (as from an old zip): libraries abort on it, results are named after it.

    Raises
    ------
    InputError
        The name is not UTF-8.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        readable = str(path).encode("utf-8", "replace").decode("utf-8")
        raise InputError(f"{readable}: its name or a folder's is not UTF-8; rename it") from error
