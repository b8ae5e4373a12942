"""MetaImage (.mhd with .raw or .zraw, .mha): CAMUS's older release and apical's own masks.

The header names the file that holds the pixels, and SimpleITK would open whatever it names. So the
header is checked first, by a grammar strict enough to be understood in one way only: no key twice,
`ElementDataFile` last, LOCAL or a bare name beside the header, its size exactly as stated.
"""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from typing import TypeVar

from apical.errors import InputError
from apical.readers.limits import check_size
from apical.readers.raster import Raster, load_with_simpleitk, raster_from_simpleitk

_N = TypeVar("_N", int, float)

_LONGEST_HEADER = 2**16
_LINE = re.compile(r"^\s*([A-Za-z][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")
_KEYS = {
    key.lower(): key
    for key in (
        *("ObjectType", "NDims", "DimSize", "HeaderSize", "CompressedData", "ElementType", "ElementSpacing"),
        *("ElementSize", "ElementNumberOfChannels", "ElementDataFile"),
    )
}
"""What is understood here must be what SimpleITK understands, which knows one spelling."""
_BYTES = {
    "MET_UCHAR": 1,
    "MET_CHAR": 1,
    "MET_USHORT": 2,
    "MET_SHORT": 2,
    "MET_UINT": 4,
    "MET_INT": 4,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}


def read_metaimage(path: Path) -> Raster:
    """Read a MetaImage; without ElementSpacing in its header the spacing is unknown, not 1 mm.

    Raises
    ------
    InputError
        The header is not understood, or the pixel file is missing, of another size, or elsewhere.
    """
    fields, header_bytes = _parse_header(path)
    expected = _expected_bytes(path, fields)
    data_file, start = _locate_data(path, fields["elementdatafile"], header_bytes)
    _check_data(path, data_file, start, expected, compressed=fields.get("compresseddata", "").lower() == "true")
    spacing = fields.get("elementspacing", fields.get("elementsize"))
    if spacing is not None:
        values = _numbers(path, "ElementSpacing", spacing, float)
        if len(values) != len(fields["dimsize"].split()) or not all(math.isfinite(v) and v > 0 for v in values):
            raise InputError(f"{path}: ElementSpacing = {spacing} is not a spacing; correct it or remove the line")
    image = load_with_simpleitk(path, "MetaImageIO")
    return raster_from_simpleitk(path, image, spacing_known=spacing is not None)


def _parse_header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields by lower-case key, and the length of the header in bytes."""
    with path.open("rb") as handle:
        text = handle.read(_LONGEST_HEADER)
    fields: dict[str, str] = {}
    position = 0
    for raw_line in text.splitlines(keepends=True):
        position += len(raw_line)
        line = _decoded(raw_line)
        if not line.strip():
            continue
        match = _LINE.match(line)
        if match is None or not line.strip().isprintable():
            raise InputError(f"{path}: not a MetaImage header ('Key = value' lines)")
        key, value = match[1].lower(), match[2]
        if key in fields:
            raise InputError(f"{path}: the header states {match[1]} twice; keep one")
        if (usual := _KEYS.get(key, match[1])) != match[1]:
            raise InputError(f"{path}: the header's {match[1]} must be spelled {usual}, or other programs pass over it")
        fields[key] = value
        if key == "elementdatafile":
            return fields, position
    raise InputError(f"{path}: not a complete MetaImage header (no ElementDataFile)")


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _expected_bytes(path: Path, fields: dict[str, str]) -> int:
    if fields.get("objecttype", "Image").lower() != "image":
        raise InputError(f"{path}: ObjectType is {fields['objecttype']}, not Image")
    if fields.get("headersize", "0") not in ("0", "-1"):
        raise InputError(f"{path}: HeaderSize = {fields['headersize']} is not read; remove the foreign header")
    for key in ("dimsize", "elementtype"):
        if key not in fields:
            raise InputError(f"{path}: the MetaImage header lacks {key}")
    size = _numbers(path, "DimSize", fields["dimsize"], int)
    if not 2 <= len(size) <= 4 or fields.get("ndims", str(len(size))) != str(len(size)):
        raise InputError(f"{path}: DimSize = {fields['dimsize']} does not fit an image of 2 to 4 axes (NDims)")
    if min(size) < 1:
        raise InputError(f"{path}: DimSize = {fields['dimsize']} states an empty image")
    check_size(path, size[1], size[0], math.prod(size[2:]))
    pixel_bytes = _BYTES.get(fields["elementtype"].upper())
    channels = _numbers(path, "ElementNumberOfChannels", fields.get("elementnumberofchannels", "1"), int)
    if pixel_bytes is None:
        raise InputError(f"{path}: ElementType = {fields['elementtype']} is not read; store MET_UCHAR")
    if len(channels) != 1 or not 1 <= channels[0] <= 4:
        raise InputError(f"{path}: ElementNumberOfChannels is not read beyond 4; store grey frames")
    return math.prod(size) * pixel_bytes * channels[0]


def _locate_data(path: Path, name: str, header_bytes: int) -> tuple[Path, int]:
    """Return the file that holds the pixels, and the byte they start at."""
    if name == "LOCAL":
        return path, header_bytes
    if name.upper().startswith(("LIST", "LOCAL", ".")) or not re.fullmatch(r"[^/\\%:]+", name):
        raise InputError(f"{path}: ElementDataFile = {name!r} is refused; LOCAL or a plain file name beside it is read")
    data_file = path.parent / name
    # A link beside the header must not lead out of the folder either.
    if data_file.resolve().parent != path.parent.resolve() and data_file.resolve().parent != path.resolve().parent:
        raise InputError(f"{path}: its pixel file {name} is a link that leads out of the folder; copy the file there")
    if not data_file.is_file():
        raise InputError(f"{path}: its pixel file {name} is missing; copy it beside the header")
    return data_file, 0


def _check_data(path: Path, data_file: Path, start: int, expected: int, *, compressed: bool) -> None:
    found = _inflated_bytes(data_file, start, expected) if compressed else data_file.stat().st_size - start
    if found != expected:
        what = "too short" if found < expected else "longer than the header says"
        raise InputError(f"{path}: its pixels in {data_file.name} are {what} ({expected} bytes); copy both again")


def _inflated_bytes(data_file: Path, start: int, expected: int) -> int:
    """Count the bytes that come out, stopping one past `expected` however much more there is."""
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    found = 0
    try:
        with data_file.open("rb") as handle:
            handle.seek(start)
            while found <= expected and not inflate.eof:
                block = inflate.unconsumed_tail or handle.read(2**16)
                if not block:
                    break
                found += len(inflate.decompress(block, min(2**20, expected + 1 - found)))
    except zlib.error:
        return -1
    return found


def _numbers(path: Path, key: str, text: str, kind: type[_N]) -> list[_N]:
    try:
        return [kind(word) for word in text.split()]
    except ValueError as error:
        raise InputError(f"{path}: {key} = {text} is not a list of numbers") from error
