"""Video inside DICOM: MPEG-2, MPEG-4 AVC/H.264 and HEVC (PS3.5, 8.2.5 to 8.2.9 and A.4.5 to A.4.7).

All frames are one bit stream, in one fragment or cut into several. The stream is elementary or in an
MPEG transport or program stream or MP4; its first bytes say which.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.errors import InputError
from apical.readers.film import decode_film
from apical.study import Region

_ELEMENTARY = {
    **dict.fromkeys(("100", "101"), "mpegvideo"),
    **dict.fromkeys(("102", "103", "104", "105", "106"), "h264"),
    **dict.fromkeys(("107", "108"), "hevc"),
}
_ROOT = "1.2.840.10008.1.2.4."
_PACKET_BYTES = 188
_FRAME_COUNT_SLACK = 2
"""Encoders hold frames back at the ends of a stream, and some scanners state what they put in."""


def is_video(syntax: str) -> bool:
    """Tell a transfer syntax that holds one video stream; `.1` at its end means that it may be cut up."""
    return syntax.startswith(_ROOT) and syntax.removeprefix(_ROOT).removesuffix(".1") in _ELEMENTARY


def decode_video(
    path: Path, dataset: Any, n_frames: int, region: Region | None, colour: InputError
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Decode all frames to grey, uint8, (time, row, column), and say what was noticed.

    Raises
    ------
    InputError
        Damaged, cut short, of another size than the header says, or coloured (`colour` is raised).
    """
    from pydicom.encaps import generate_fragments

    syntax = str(dataset.file_meta.TransferSyntaxUID)
    try:
        fragments = list(generate_fragments(dataset.PixelData))
    except Exception as error:  # pydicom raises several kinds on a damaged item
        raise InputError(f"{path}: its frames are damaged or cut short; copy the file again") from error
    # The first item is the offset table, empty for video.
    stream = b"".join(fragments[1:])
    film = decode_film(path, io.BytesIO(stream), _demuxer(stream, syntax), colour=colour, region=region)
    stated = (int(dataset.Rows), int(dataset.Columns))
    n, *size = film.images.shape
    if tuple(size) != stated:
        raise InputError(f"{path}: the video is {size[0]} x {size[1]}, the header says {stated[0]} x {stated[1]}")
    if abs(n - n_frames) > _FRAME_COUNT_SLACK:
        raise InputError(f"{path}: the video holds {n} frames, the header says {n_frames}; copy the file again")
    # Time is the business of the tags, and whether the stream states it does not matter.
    notes = tuple(note for note in film.notes if "frame times" not in note)
    return film.images, notes if n == n_frames else (*notes, f"the video holds {n} frames, the header says {n_frames}")


def _demuxer(stream: bytes, syntax: str) -> str:
    if stream[4:8] == b"ftyp":
        return "mov"
    if stream[:4] == b"\x00\x00\x01\xba":
        return "mpeg"
    if stream[:1] == stream[_PACKET_BYTES : _PACKET_BYTES + 1] == b"\x47":
        return "mpegts"
    return _ELEMENTARY[syntax.removeprefix(_ROOT).removesuffix(".1")]
