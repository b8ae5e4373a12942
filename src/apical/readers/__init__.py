"""Patients from files: the only place that knows file names, layouts and tags.

`read_study` reads one patient; `read_studies` goes through a tree of them, one in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from apical.errors import InputError
from apical.readers.assemble import assemble_study, read_mask
from apical.readers.tree import OnError, find_studies
from apical.study import Study

__all__ = ["OnError", "count_studies", "read_mask", "read_studies", "read_study"]


def read_study(path: Path | str) -> Study:
    """Read one patient: a patient's folder, or a single frame or clip.

    Parameters
    ----------
    path
        A folder in any layout of CAMUS (PNG, NIfTI, MHD), a folder of other pictures, films or DICOM
        files, a DICOMDIR, or one image or film file. Expert masks beside the images are read as
        `reference`; eight or more numbered pictures (`frame_0001.png`, ...) are one clip, by the rule
        at the head of `readers/sequence.py`.

    Raises
    ------
    InputError
        Nothing that can be used, a damaged or hostile file, or several patients.
    """
    path = Path(path)
    found = find_studies(path)
    if len(found) > 1:
        labels = ", ".join(files.label for files in found[:3])
        raise InputError(f"{path}: holds {len(found)} patients ({labels}, ...); give one of them, or use read_studies")
    study = assemble_study(found[0], _raise)
    if study is None:
        raise InputError(f"{path}: no echocardiogram in this folder")
    return study


def read_studies(path: Path | str, on_error: OnError | None = None) -> Iterator[Study]:
    """Yield the patients at `path` one by one, sorted by folder and name.

    Parameters
    ----------
    on_error
        Called with the path and the error of each file that cannot be used, whose patient goes on
        without it. When absent, the first such error is raised.

    Raises
    ------
    InputError
        No echocardiogram at `path`; without `on_error`, also any unusable file, and two folders that
        are one patient.
    """
    path = Path(path)
    tell = on_error or _raise
    folder_of: dict[str, Path] = {}
    for files in find_studies(path):
        study = assemble_study(files, tell)
        if study is None:
            continue
        first = folder_of.setdefault(study.patient.id, files.folder)
        if first != files.folder:
            error = f"{files.folder}: {study.patient.id} was found in {first} already; give one of the two trees"
            tell(files.folder, InputError(error))
            continue
        yield study


def count_studies(path: Path | str) -> int:
    """Return how many patients `read_studies` goes through, from file names alone (for a progress bar).

    Raises
    ------
    InputError
        No echocardiogram at `path`.
    """
    return len(find_studies(Path(path)))


def _raise(_path: Path, error: InputError) -> None:
    raise error
