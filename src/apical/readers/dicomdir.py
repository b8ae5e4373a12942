"""DICOMDIR: the table of contents of a disc or export, which names the files of its studies (PS3.10, 8).

It may name files in its own folder and below only; one that leads elsewhere is refused as a whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apical.errors import InputError
from apical.readers.dicom_guard import check_structure
from apical.readers.dicom_pixels import quiet


def is_dicomdir(path: Path) -> bool:
    """Tell a DICOMDIR by its name, which the standard fixes."""
    return path.name.upper() == "DICOMDIR"


def files_in_dicomdir(path: Path) -> list[Path]:
    """List the files that a DICOMDIR names, sorted, whether they are there or not.

    Raises
    ------
    InputError
        Damaged, empty, or it names a file outside its folder.
    """
    from pydicom import dcmread

    try:
        check_structure(path)
        with quiet():
            records = dcmread(path).get("DirectoryRecordSequence") or ()
            files = sorted({_resolve(path, parts) for parts in map(_parts, records) if parts})
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # pydicom raises many kinds on a damaged data set
        raise InputError(f"{path}: the DICOMDIR is damaged; give the folder instead") from error
    if not files:
        raise InputError(f"{path}: names no file; give the folder instead")
    return files


def _parts(record: Any) -> tuple[str, ...]:
    """Return the folders and the name of a record's file; a record of a patient or series has none."""
    value = record.get("ReferencedFileID") or ()
    return (value,) if isinstance(value, str) else tuple(str(part) for part in value)


def _resolve(dicomdir: Path, parts: tuple[str, ...]) -> Path:
    top = dicomdir.parent.resolve()
    found = dicomdir.parent
    for part in parts:
        # The table is in capitals; what copied the disc may have written small letters.
        spellings = [found / p for p in (part, part.lower(), part.upper())]
        found = next((p for p in spellings if p.exists()), found / part)
    if not found.resolve().is_relative_to(top):
        raise InputError(f"{dicomdir}: names a file outside its folder, which is refused; give the folder instead")
    return found
