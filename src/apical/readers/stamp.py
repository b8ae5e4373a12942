"""Whether a patient's files are still those that were read before, told without decoding them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from apical.readers.assemble import is_png_edition
from apical.readers.camus import find_table, table_key
from apical.readers.tree import StudyFiles

_RAW_SUFFIXES = (".raw", ".zraw")


def stamp_of(files: StudyFiles) -> str:
    """Return a hash over a patient's files: names, sizes, times of change, and its row of `patients.csv`.

    Raises
    ------
    InputError
        `patients.csv` is damaged.
    """
    # Only the PNG edition needs the table: a damaged one beside other data is no matter.
    table = find_table(files.folder) if is_png_edition(files) else None
    entry = table.get(table_key(files.folder)) if table else None
    parts = [files.label, repr(entry), *map(_state, _paths(files))]
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()


def _paths(files: StudyFiles) -> Iterator[Path]:
    yield from (*files.dicoms, *files.infos)
    for image in files.images:
        for path in (image.path, *image.pictures, *([image.mask] if image.mask else [])):
            yield path
            if path.suffix.lower() == ".mhd":
                # The pixels lie beside the header.
                yield from (path.with_suffix(suffix) for suffix in _RAW_SUFFIXES)


def _state(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return f"{path.resolve()} absent"
    return f"{path.resolve()} {found.st_size} {found.st_mtime_ns}"
