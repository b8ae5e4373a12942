"""A store being written: one finished part per patient, put together at the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from apical import __version__
from apical.errors import InputError, OutputError
from apical.files import FolderLock, atomic_write, make_folder, plain_name, refuse_existing, write_text
from apical.split import DEFAULT_SEED, split_by_seed
from apical.store.schema import FORMAT, SCHEMA_VERSION, group_patients
from apical.study import Frame, Study

_RUN = ".apical-run.json"
"""Marker in the parts' folder: whose parts they are."""

_PART = ".apical-part"
"""Ending of a part, an HDF5 file. Nobody else's file has it: what has it may be deleted."""


@dataclass(frozen=True)
class Part:
    """A patient that an interrupted run has finished; `left_out` are path and reason of what it told."""

    patient: str
    path: Path
    stamp: str
    left_out: tuple[tuple[str, str], ...]


class StoreWriter:
    """Builds a store patient by patient; what was added survives a kill. Use as a context manager.

    Parameters
    ----------
    job
        What the store is made of (data set, folds), as JSON values: only a run of the same job, by the
        same version of apical, goes on with the parts of an interrupted one.
    overwrite
        Whether an existing store may be replaced, and parts of another job deleted.

    Raises
    ------
    OutputError
        When the store exists already, or parts of another job lie beside it, and `overwrite` is not set; or another
        run is making it.
    """

    def __init__(self, path: Path, *, job: Mapping[str, Any] | None = None, overwrite: bool = False) -> None:
        self.path = Path(path)
        refuse_existing(self.path, overwrite=overwrite)
        self._folder = make_folder(self.path.with_name(self.path.name + ".parts"))
        self._added: dict[str, Path] = {}
        self._overwrite = overwrite
        self._lock = FolderLock(self._folder)
        try:
            self._take_over(job or {})
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def _take_over(self, job: Mapping[str, Any]) -> None:
        """Look at the parts that an interrupted run has left."""
        refuse_existing(self.path, overwrite=self._overwrite)
        made_by = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "apical_version": __version__}
        marker = json.dumps({**made_by, **job}, sort_keys=True)
        if self._marker() != marker:
            if self._part_files() and not self._overwrite:
                raise OutputError(
                    f"{self._folder}: parts of an interrupted run on other data, folds or version of apical; go on "
                    "with that run, name another store, or add --overwrite to delete them"
                )
            for stale in self._part_files():
                stale.unlink()
            write_text(self._folder / _RUN, marker, overwrite=True)
        self._earlier = {part.stamp: part for part in map(_read_part, self._part_files()) if part and part.stamp}

    @property
    def n_earlier(self) -> int:
        """Number of patients that an earlier, interrupted run has finished."""
        return len(self._earlier)

    def keep(self, stamp: str) -> Part | None:
        """Take over the patient that the interrupted run made of the files of this stamp; None where it made none."""
        part = self._earlier.get(stamp)
        if part is not None:
            self._added[part.patient] = part.path
        return part

    def add(
        self,
        study: Study,
        camus_fold: int | None = None,
        *,
        stamp: str = "",
        left_out: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write one patient's frames.

        Parameters
        ----------
        camus_fold
            CAMUS fold in which the patient is tested.
        stamp
            Of the files that the study was read from; `keep` knows the part by it.
        left_out
            Path and reason of what could not be used of these files.

        Raises
        ------
        InputError
            A frame that no store holds, or none at all; see `storable`.
        """
        study = storable(study, _raise) or study
        path = self._folder / f"{study.patient.id}{_PART}"
        with atomic_write(path, overwrite=True) as temporary, _writing(path), h5py.File(temporary, "w") as file:
            file.attrs.update(stamp=stamp, left_out=json.dumps(left_out))
            _write_patient(file.create_group("patient"), study, camus_fold)
        self._added[study.patient.id] = path

    def close(self) -> int:
        """Put the parts of this run together into the store and return the number of patients.

        Raises
        ------
        InputError
            When no patient was added: an empty store helps nobody.
        OutputError
            It cannot be written, or somebody else has made one since, and `overwrite` is not set.
        """
        if not self._added:
            self._clear()
            raise InputError(f"no patient could be read, so {self.path} was not written")
        content = hashlib.sha256()
        place = atomic_write(self.path, overwrite=self._overwrite)
        with place as target, _writing(self.path), h5py.File(target, "w", libver="latest") as file:
            file.attrs.update(format=FORMAT, schema_version=SCHEMA_VERSION, apical_version=__version__)
            group = file.create_group("patients")
            for patient, path in sorted(self._added.items()):
                with h5py.File(path, "r") as part:
                    part.copy(part["patient"], group, name=patient)
                content.update(patient.encode())
                content.update("".join(group[patient].attrs["content_sha256"]).encode())
            file.attrs["content_sha256"] = content.hexdigest()
            _write_default_split(group)
        self._clear()
        return len(self._added)

    def _marker(self) -> str | None:
        try:
            return (self._folder / _RUN).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None

    def _part_files(self) -> list[Path]:
        # A part being written has a name with a leading dot (`atomic_write`).
        return sorted(p for p in self._folder.glob(f"*{_PART}") if not p.name.startswith("."))

    def _clear(self) -> None:
        """Delete our own files only; a folder that holds others stays."""
        for path in (*self._folder.glob(f"*{_PART}"), self._folder / _RUN):
            path.unlink(missing_ok=True)
        self._lock.release()
        with suppress(OSError):
            self._folder.rmdir()


def storable(study: Study, on_error: Callable[[Path, InputError], None]) -> Study | None:
    """Return the study with the frames that a store holds: one per view and phase, each named.

    `on_error` is told of each other frame, and of a study of which nothing is left (then None). Clips
    beside frames are not stored.
    """
    where = next((item.source for item in study.items if item.source), Path(study.patient.id))
    try:
        plain_name(study.patient.id, where)
    except InputError as error:
        on_error(where, error)
        return None
    frames: dict[tuple[str, str], Frame] = {}
    for frame in study.frames:
        path = frame.source or Path(frame.name)
        try:
            plain_name(frame.name, path)
            if frame.view is None or frame.phase is None:
                unknown = " and ".join(word for word in ("view", "phase") if getattr(frame, word) is None)
                raise InputError(f"{path}: {unknown} unknown, so it cannot be stored for training; say it in the name")
            if (first := frames.setdefault((frame.view, frame.phase), frame)) is not frame:
                raise InputError(
                    f"{path}: a second {frame.view} {frame.phase} of {study.patient.id} beside {first.name}; keep one"
                )
        except InputError as error:
            on_error(path, error)
    if not frames:
        if not study.frames:
            reason = "holds clips only, and a store holds single frames of ED and ES"
            on_error(where, InputError(f"{where}: {study.patient.id} {reason}; nothing was stored"))
        return None
    return replace(study, frames=tuple(frames.values()))


def _raise(_path: Path, error: InputError) -> None:
    raise error


def _read_part(path: Path) -> Part | None:
    """Read what a part says of itself; None where it cannot be read, so that its patient is read again."""
    try:
        with h5py.File(path, "r") as file:
            left_out = tuple((str(p), str(reason)) for p, reason in json.loads(file.attrs["left_out"]))
            return Part(path.stem, path, str(file.attrs["stamp"]), left_out) if "patient" in file else None
    except (OSError, LookupError, RuntimeError, TypeError, ValueError):
        return None


def _write_default_split(patients: Any) -> None:
    """Write down the split that training uses unless told otherwise, for readers that know HDF5 alone."""
    try:
        split = split_by_seed(group_patients(patients), DEFAULT_SEED)
    except InputError:
        return  # too few patients for one
    for part in ("train", "validation", "test"):
        for patient in getattr(split, part):
            patients[patient].attrs["split"] = part


def _write_patient(group: Any, study: Study, camus_fold: int | None) -> None:
    patient = study.patient
    known = {
        "sex": patient.sex,
        "age_years": patient.age_years,
        "height_cm": patient.height_cm,
        "weight_kg": patient.weight_kg,
        "published_ef_percent": patient.published_ef_percent,
        "renumbered": patient.renumbered or None,
        "camus_fold": camus_fold,
    }
    group.attrs.update({k: v for k, v in known.items() if v is not None})
    group.attrs["notes"] = json.dumps(study.notes)
    images, contents = [], []
    for frame in study.frames:
        assert frame.view is not None
        assert frame.phase is not None
        view = group.require_group(frame.view)
        if frame.view in patient.image_quality:
            view.attrs["image_quality"] = patient.image_quality[frame.view]
        place = view.create_group(frame.phase)
        place.attrs["name"] = frame.name
        place.attrs["origin_mm"] = frame.grid.origin_mm
        place.attrs["direction"] = frame.grid.direction
        if frame.grid.spacing_mm is not None:
            place.attrs["spacing_mm"] = frame.grid.spacing_mm
        # Level 1 halves the file at the speed of the disk; masks shrink fifty-fold.
        place.create_dataset("image", data=frame.image, compression="gzip", compression_opts=1)
        images.append(_digest(frame.image))
        contents.append(f"{frame.view}/{frame.phase}/{images[-1]}")
        if frame.reference is not None:
            place.create_dataset("mask", data=frame.reference, compression="gzip", compression_opts=1)
            contents.append(_digest(frame.reference))
    group.attrs["image_sha256"] = images
    group.attrs["content_sha256"] = contents


def _digest(array: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(str(array.shape).encode() + np.ascontiguousarray(array).tobytes()).hexdigest()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in one line what HDF5 says of a full or failing disk, also where it is no OSError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{path}: cannot be written ({' '.join(str(error).split())})") from error
