"""What is checked of a DICOM file before pydicom parses it and before a decoder sees its frames.

pydicom inflates without a limit and follows sequences as deep as they go; JPEG decoders allocate
what the codestream states, whatever Rows and Columns say.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from apical.errors import InputError
from apical.readers.limits import MAX_CLIP_PIXELS

MAX_DEPTH = 16
"""Sequences within sequences; structured reports reach about ten."""
MAX_ELEMENTS = 200_000
MAX_INFLATED_BYTES = 2**27
"""Of a deflated data set, 128 MiB; scanners do not deflate cine loops."""
MAX_FILE_BYTES = 3 * MAX_CLIP_PIXELS

_UNDEFINED = 0xFFFFFFFF
_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM, _ITEM_END, _SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD
_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_DEFLATED = "1.2.840.10008.1.2.1.99"
_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


@dataclass
class _Open:
    """A sequence or item that the walk is inside of; `end` is None where only a delimiter ends it."""

    end: int | None
    is_sequence: bool
    implicit: bool


def check_structure(path: Path) -> str:
    """Walk the data set without recursion, and return its transfer syntax UID.

    Raises
    ------
    InputError
        Not DICOM, damaged, too large, inflated or nested beyond the limits.
    """
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_file_meta_info, read_preamble

    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{path}: larger than is read ({MAX_FILE_BYTES >> 20} MiB)")
    try:
        syntax = str(read_file_meta_info(path).get("TransferSyntaxUID", ""))
        with path.open("rb") as handle:
            read_preamble(handle, force=False)
            start = _end_of_meta(handle)
            handle.seek(start)
            source: BinaryIO = _inflate(path, handle) if syntax == _DEFLATED else handle
            _walk(path, source, implicit=syntax == _IMPLICIT, order=">" if syntax == _BIG_ENDIAN else "<")
    except InvalidDicomError as error:
        raise InputError(f"{path}: not a DICOM file") from error
    except (InputError, OSError):
        raise
    except Exception as error:  # pydicom and struct raise many kinds on a damaged header
        raise InputError(f"{path}: the DICOM header is damaged; copy the file again") from error
    return syntax


def check_codestream_size(path: Path, frame: bytes, rows: int, columns: int) -> None:
    """Refuse a JPEG, JPEG-LS or JPEG 2000 frame whose own size is not the header's."""
    stated = _codestream_size(frame)
    if stated is not None and stated != (rows, columns):
        raise InputError(f"{path}: a frame holds {stated[0]} x {stated[1]} pixels, the header says {rows} x {columns}")


def _end_of_meta(handle: BinaryIO) -> int:
    """Return where group 2 ends; its own length element is optional in practice."""
    position = handle.tell()
    while True:
        head = handle.read(8)
        if len(head) < 8 or head[:2] != b"\x02\x00":
            return position
        length = struct.unpack("<I", handle.read(4))[0] if head[4:6] in _LONG_VRS else struct.unpack("<H", head[6:])[0]
        position = handle.seek(length, io.SEEK_CUR)


def _inflate(path: Path, handle: BinaryIO) -> BinaryIO:
    content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(handle.read(), MAX_INFLATED_BYTES + 1)
    if len(content) > MAX_INFLATED_BYTES:
        raise InputError(f"{path}: inflates to more than {MAX_INFLATED_BYTES >> 20} MiB; store it without deflate")
    return io.BytesIO(content)


def _walk(path: Path, handle: BinaryIO, *, implicit: bool, order: str) -> None:
    position = handle.tell()
    size = handle.seek(0, io.SEEK_END)
    handle.seek(position)
    opened: list[_Open] = []
    for _ in range(MAX_ELEMENTS):
        position = handle.tell()
        while opened and opened[-1].end is not None and position >= opened[-1].end:
            opened.pop()
        head = handle.read(8)
        if len(head) < 8 and opened:
            raise InputError(f"{path}: the DICOM file is cut short; copy it again")
        if len(head) < 8:
            return
        group, element = struct.unpack(f"{order}HH", head[:4])
        if group == 0xFFFE:
            _step_in_or_out(opened, element, struct.unpack(f"{order}I", head[4:])[0], handle.tell(), implicit)
            continue
        if (group, element) == _PIXEL_DATA and not opened:
            return
        here_implicit = opened[-1].implicit if opened else implicit
        vr, length = _vr_and_length(path, handle, head, (group, element), order, here_implicit)
        if group == _PIXEL_DATA[0] and length == _UNDEFINED:
            _skip_fragments(handle, order)
        elif vr == b"SQ" or length == _UNDEFINED:
            end = None if length == _UNDEFINED else handle.tell() + length
            # A sequence of unknown VR is written implicitly, whatever surrounds it (PS3.5, 6.2.2).
            opened.append(_Open(end, True, here_implicit or vr == b"UN"))
            if sum(o.is_sequence for o in opened) > MAX_DEPTH:
                raise InputError(f"{path}: sequences nested more than {MAX_DEPTH} deep; not from a scanner")
        elif handle.tell() + length > size:
            raise InputError(f"{path}: the DICOM file is cut short; copy it again")
        else:
            handle.seek(length, io.SEEK_CUR)
    raise InputError(f"{path}: more than {MAX_ELEMENTS} elements in the header; not from a scanner")


def _step_in_or_out(opened: list[_Open], element: int, length: int, position: int, implicit: bool) -> None:
    if element == _ITEM:
        inside = opened[-1].implicit if opened else implicit
        opened.append(_Open(None if length == _UNDEFINED else position + length, False, inside))
    elif element in (_ITEM_END, _SEQUENCE_END):
        while opened:
            closed = opened.pop()
            if closed.is_sequence == (element == _SEQUENCE_END):
                break


def _vr_and_length(
    path: Path, handle: BinaryIO, head: bytes, tag: tuple[int, int], order: str, implicit: bool
) -> tuple[bytes, int]:
    if implicit:
        from pydicom.datadict import dictionary_VR

        try:
            vr = dictionary_VR(tag).encode()
        except KeyError:
            vr = b"UN"
        return vr, struct.unpack(f"{order}I", head[4:])[0]
    vr = head[4:6]
    if not vr.isalpha():
        raise InputError(f"{path}: the DICOM header is damaged; copy the file again")
    if vr in _LONG_VRS:
        return vr, struct.unpack(f"{order}I", handle.read(4))[0]
    return vr, struct.unpack(f"{order}H", head[6:])[0]


def _skip_fragments(handle: BinaryIO, order: str) -> None:
    while True:
        _, element, length = struct.unpack(f"{order}HHI", handle.read(8))
        if element != _ITEM:
            return
        handle.seek(length, io.SEEK_CUR)


def _codestream_size(frame: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) from a JPEG SOF marker or a JPEG 2000 SIZ marker, or None."""
    if frame[:4] == b"\xff\x4f\xff\x51":
        columns, rows, x0, y0 = struct.unpack(">4I", frame[8:24])
        return rows - y0, columns - x0
    if frame[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            rows, columns = struct.unpack(">HH", frame[position + 5 : position + 9])
            return rows, columns
        # Fill bytes before a marker are allowed.
        position += 1 if marker == 0xFF else 2 + struct.unpack(">H", frame[position + 2 : position + 4])[0]
    return None
