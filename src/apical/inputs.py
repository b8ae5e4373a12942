"""Studies from anywhere: image files through the readers, or a prepared store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from apical.errors import InputError
from apical.readers import OnError, count_studies, read_files, read_studies
from apical.readers.dicomdir import is_dicomdir
from apical.study import Study


def is_store(path: Path) -> bool:
    """Whether the path names an HDF5 store."""
    return path.suffix.lower() in {".h5", ".hdf5"}


def count(path: Path, patients: Iterable[str] | None = None) -> int:
    """Return how many studies `open_studies` will give, at most."""
    if patients is not None:
        return len(set(patients))
    if not is_store(path):
        return count_studies(path)
    from apical.store import Store

    with Store(path) as store:
        return len(store.patients)


def open_studies(path: Path, on_error: OnError | None = None, patients: Iterable[str] | None = None) -> Iterator[Study]:
    """Yield the studies at a path one by one; only the named patients where they are given.

    The files of other patients are not decoded, and nothing is told of them.

    Raises
    ------
    InputError
        As `read_studies` and `Store`.
    """
    wanted = None if patients is None else set(patients)
    if is_store(path):
        from apical.store import Store

        with Store(path) as store:
            for patient in (p for p in store.patients if wanted is None or p in wanted):
                try:
                    study = store.study(patient)
                except InputError as error:
                    if on_error is None:
                        raise
                    on_error(path, error)
                    continue
                yield study
    else:
        yield from read_studies(path, on_error, patients=wanted)


def count_inputs(paths: Sequence[Path], patients: Iterable[str] | None = None) -> int:
    """Return how many studies `open_inputs` will give, at most; what cannot be used counts for none."""
    total = 0
    for source in _sources(paths):
        try:
            total += count(source) if isinstance(source, Path) else count_studies(source)
        except InputError:
            continue
    return total if patients is None else min(total, len(set(patients)))


def open_inputs(paths: Sequence[Path], on_error: OnError, patients: Iterable[str] | None = None) -> Iterator[Study]:
    """Yield the studies of several inputs one by one; what cannot be used is told of, and the rest goes on.

    A path given twice is taken once. Files of one patient that are given one by one are read together, as
    `read_files` says. A patient who was given before is left out.
    """
    wanted = None if patients is None else set(patients)
    first: dict[str, Path] = {}
    for source in _sources(paths):
        place = source if isinstance(source, Path) else source[0].parent
        try:
            for study in _open(source, on_error, wanted):
                patient = study.patient.id
                if earlier := first.get(patient):
                    again = f"patient {patient} was given before ({earlier}); run it into another folder"
                    on_error(place, InputError(f"{place}: {again}"))
                    continue
                first[patient] = place
                yield study
        except InputError as error:
            on_error(place, error)


def _open(source: Path | list[Path], on_error: OnError, wanted: set[str] | None) -> Iterator[Study]:
    if isinstance(source, Path):
        return open_studies(source, on_error, wanted)
    return read_files(source, on_error, patients=wanted)


def _sources(paths: Sequence[Path]) -> list[Path | list[Path]]:
    """Inputs in their order, each once; image files given one by one are one input, where the first stands."""
    sources: list[Path | list[Path]] = []
    files: list[Path] = []
    once: dict[str, Path] = {}
    for path in paths:
        once.setdefault(os.path.realpath(path), path)  # resolve() fails on a circle of links
    for path in once.values():
        if not _is_image(path):
            sources.append(path)
            continue
        if not files:
            sources.append(files)
        files.append(path)
    return [s[0] if isinstance(s, list) and len(s) == 1 else s for s in sources]


def _is_image(path: Path) -> bool:
    try:
        return path.is_file() and not is_store(path) and not is_dicomdir(path)
    except OSError:  # such as a name too long; why is said when its turn comes
        return False
