"""Patients from files: the only place that knows file names, layouts and tags.

`read_study` reads one patient; `read_studies` goes through a tree of them, one in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path

from apical.errors import InputError
from apical.readers.assemble import assemble_study, patient_of, read_mask
from apical.readers.stamp import stamp_of
from apical.readers.tree import OnError, StudyFiles, find_studies, find_studies_of
from apical.study import Study

__all__ = [
    "OnError",
    "StudyFiles",
    "count_studies",
    "read_files",
    "read_mask",
    "read_studies",
    "read_study",
    "stamp_of",
]


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


def read_studies(
    path: Path | str,
    on_error: OnError | None = None,
    *,
    patients: Container[str] | None = None,
    finished: Callable[[StudyFiles], str | None] | None = None,
) -> Iterator[Study]:
    """Yield the patients at `path` one by one, sorted by folder and name.

    Parameters
    ----------
    on_error
        Called with the path and the error of each file that cannot be used, whose patient goes on
        without it. When absent, the first such error is raised.
    patients
        Ids of the only patients to read; the files of others are not decoded, and their errors not told.
    finished
        Asked before the files of each patient are decoded; they are passed over where it returns the
        patient's id, as whom an earlier run has read them.

    Raises
    ------
    InputError
        No echocardiogram at `path`; without `on_error`, also any unusable file, and a patient that is
        found twice.
    """
    yield from _read(find_studies(Path(path)), on_error or _raise, patients, finished)


def read_files(
    paths: Sequence[Path], on_error: OnError | None = None, *, patients: Container[str] | None = None
) -> Iterator[Study]:
    """Yield the patients that files named one by one make up; only those of `patients` where it is given.

    Files are read together where DICOM, CAMUS's names, or names that are equal but for view and phase say that
    they are one patient's, and numbered pictures of a clip; a patient of one file is called after it.

    Raises
    ------
    InputError
        Without `on_error`, any unusable file, and a patient that is found twice.
    """
    tell = on_error or _raise
    yield from _read(find_studies_of(paths, tell), tell, patients)


def _read(
    found: Iterable[StudyFiles],
    tell: OnError,
    wanted: Container[str] | None = None,
    finished: Callable[[StudyFiles], str | None] | None = None,
) -> Iterator[Study]:
    folder_of: dict[str, Path] = {}
    for files in found:
        if wanted is not None and patient_of(files) not in wanted:
            continue
        patient = finished(files) if finished else None
        study = None if patient else assemble_study(files, tell)
        if study:
            patient = study.patient.id
        if patient is None:
            continue
        if first := folder_of.get(patient):
            where = "give one of the two trees" if first != files.folder else "put pictures and DICOM into two folders"
            tell(files.folder, InputError(f"{files.folder}: {patient} was found in {first} already; {where}"))
            continue
        folder_of[patient] = files.folder
        if study:
            yield study


def count_studies(path: Path | Sequence[Path] | str) -> int:
    """Return how many patients `read_studies`, or of several files `read_files`, goes through.

    It goes by names alone (for a progress bar).

    Raises
    ------
    InputError
        No echocardiogram at `path`.
    """
    if isinstance(path, (str, Path)):
        return len(find_studies(Path(path)))
    return len(find_studies_of(path, lambda _path, _error: None))


def _raise(_path: Path, error: InputError) -> None:
    raise error
