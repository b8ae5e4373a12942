"""Film files: AVI, MP4, MOV, Matroska and GIF. None of them knows its spacing, so it stays unknown.

The content says which container it is, not the suffix; playlists and all other formats of FFmpeg are
refused. Containers are walked first, because FFmpeg plays what is left of a file that was cut short.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from apical.errors import InputError
from apical.readers.film import decode_film
from apical.readers.raster import Raster
from apical.study import Grid

_MOV_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_SIZE_FOLLOWS, _TO_THE_END = 1, 0
_AVI_SLACK_BYTES = 8
"""Some writers count the first eight bytes twice."""
_TAIL_BYTES = 1024


def read_video(path: Path) -> Raster:
    """Read a film as a clip; a film of one frame is a picture.

    Raises
    ------
    InputError
        Not one of the containers, cut short, damaged, coloured, or too large.
    """
    with path.open("rb") as handle:
        demuxer = _container(path, handle)
        handle.seek(0)
        colour = InputError(f"{path}: a colour film, not a grey-scale echocardiogram")
        film = decode_film(path, handle, demuxer, colour=colour)
    grid = Grid((film.images.shape[1], film.images.shape[2]))
    notes, times = film.notes, film.frame_times_ms
    if demuxer == "gif" and not _gif_states_time(path, len(film.images)):
        notes, times = (*notes, "no frame times in the file"), None
    if len(film.images) == 1:
        return Raster(film.images[0], grid, notes=film.notes)
    return Raster(film.images, grid, True, tuple(f"{path.name}: {note}" for note in notes), times)


def _container(path: Path, handle: BinaryIO) -> str:
    """Return FFmpeg's name of the container, once all of it is known to be there."""
    head = handle.read(12)
    size = path.stat().st_size
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        name, whole = "avi", struct.unpack("<I", head[4:8])[0] + 8 <= size + _AVI_SLACK_BYTES
    elif head[4:8] in _MOV_BOXES:
        name, whole = "mov", _mov_is_whole(handle, size)
    elif head[:4] == _EBML:
        name, whole = "matroska", _matroska_is_whole(handle, size)
    elif head[:6] in (b"GIF87a", b"GIF89a"):
        handle.seek(max(0, size - _TAIL_BYTES))
        name, whole = "gif", handle.read().rstrip(b"\0").endswith(b";")
    else:
        raise InputError(f"{path}: not an AVI, MP4, MOV, Matroska or GIF film; convert it to MP4")
    if not whole:
        raise InputError(f"{path}: the film is cut short; copy it again")
    return name


def _gif_states_time(path: Path, n_frames: int) -> bool:
    """Tell a stated time from FFmpeg's 100 ms for a GIF that states none.

    Raises
    ------
    InputError
        There are more pictures than FFmpeg takes for frames: those without a time it draws into one.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=("GIF",)) as picture:
            pictures, states_time = getattr(picture, "n_frames", 1), bool(picture.info.get("duration"))
    except Exception as error:  # Pillow's plug-ins raise whatever a damaged file makes them raise
        raise InputError(f"{path}: the GIF is damaged; copy it again") from error
    if pictures != n_frames:
        raise InputError(f"{path}: {pictures} pictures, of which {n_frames} can be told apart; convert it to MP4")
    return states_time


def _mov_is_whole(handle: BinaryIO, size: int) -> bool:
    """Walk the boxes of the top level: all fit into the file, and one is the table of frames."""
    position, kinds = 0, set()
    while position + 8 <= size:
        handle.seek(position)
        length, kind = struct.unpack(">I4s", handle.read(8))
        if length == _SIZE_FOLLOWS:
            length = int.from_bytes(handle.read(8))
        elif length == _TO_THE_END:
            length = size - position
        if length < 8 or position + length > size:
            return False
        kinds.add(kind)
        position += length
    return b"moov" in kinds


def _matroska_is_whole(handle: BinaryIO, size: int) -> bool:
    position = 4
    for identifier in (_EBML, _SEGMENT):
        handle.seek(position - 4)
        if handle.read(4) != identifier:
            return False
        first = handle.read(1)
        width = 9 - first[0].bit_length() if first and first[0] else 0
        rest = handle.read(width - 1) if width else b""
        if not width or len(rest) != width - 1:
            return False
        length = int.from_bytes(first + rest) & ((1 << 7 * width) - 1)
        if identifier == _SEGMENT and length == (1 << 7 * width) - 1:
            return True  # written live: its length was not known
        position += width + length + 4
    return position - 4 <= size
