"""Studies from anywhere: image files through the readers, or a prepared store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from apical.readers import OnError, count_studies, read_studies
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

    Raises
    ------
    InputError
        As `read_studies` and `Store`.
    """
    wanted = None if patients is None else set(patients)
    if is_store(path):
        from apical.store import Store

        with Store(path) as store:
            yield from store.studies(p for p in store.patients if wanted is None or p in wanted)
    else:
        yield from (s for s in read_studies(path, on_error) if wanted is None or s.patient.id in wanted)
