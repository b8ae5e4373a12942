"""Study <-> HDF5: the one file that training and evaluation read.

Layout, schema version 1 (attributes in brackets; lengths in mm; drawn in docs/store.md)::

    / [format = "apical store", schema_version, content_sha256, apical_version]
      patients/
        patient0001/ [sex, age_years, height_cm, weight_kg, published_ef_percent, notes, camus_fold, split]
          4CH/ [image_quality]
            ED/ [name, spacing_mm (row, column), origin_mm, direction]
              image  uint8 (row, column), native size
              mask   uint8 (row, column), labels 0-3

What is not known is absent. A store is put together from one finished part per patient, so that a
kill at any moment leaves the old store or the new one, and the next run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from apical import __version__
from apical.anatomy import Phase, View
from apical.errors import InputError
from apical.files import atomic_write, make_folder, refuse_existing
from apical.split import DEFAULT_SEED, split_by_seed
from apical.study import Frame, Grid, Patient, Study

SCHEMA_VERSION = 1
FORMAT = "apical store"


class Store:
    """A store opened for reading; use as a context manager.

    Raises
    ------
    InputError
        When the file is no store, is of a later schema, or holds links that lead out of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise InputError(f"{path}: not a readable HDF5 file; make one with `apical prepare`") from error
        if self._file.attrs.get("format") != FORMAT:
            raise InputError(f"{path}: HDF5, but not an apical store; make one with `apical prepare`")
        version = int(self._file.attrs["schema_version"])
        if version != SCHEMA_VERSION:
            raise InputError(f"{path}: schema version {version}, this apical reads {SCHEMA_VERSION}; prepare it again")
        _refuse_links(self._file, self.path)
        for patient in self._file["patients"]:
            _plain_name(patient, self.path)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def content_sha256(self) -> str:
        """Hash of all patients, images and masks: the same data give the same hash."""
        return str(self._file.attrs["content_sha256"])

    @property
    def patients(self) -> tuple[str, ...]:
        """Patient ids, sorted."""
        return tuple(sorted(self._file["patients"]))

    @property
    def folds(self) -> dict[str, int]:
        """CAMUS fold in which each patient is tested, where the store knows it."""
        groups = self._file["patients"]
        return {p: int(groups[p].attrs["camus_fold"]) for p in groups if "camus_fold" in groups[p].attrs}

    @property
    def split(self) -> dict[str, str]:
        """Part of the default split (train, validation or test) of each patient; empty in a store too small for one."""
        groups = self._file["patients"]
        return {p: str(groups[p].attrs["split"]) for p in groups if "split" in groups[p].attrs}

    def groups(self) -> list[tuple[str, ...]]:
        """Patients that share an identical image, and so must stay on one side of a split."""
        return _groups(self._file["patients"])

    def study(self, patient: str) -> Study:
        """Read one patient back, frames in the order 2CH ED, 2CH ES, 4CH ED, 4CH ES."""
        group = self._file["patients"][patient]
        attrs = group.attrs
        quality: dict[View, str] = {}
        frames = []
        for view in View:
            if view not in group:
                continue
            if "image_quality" in group[view].attrs:
                quality[view] = str(group[view].attrs["image_quality"])
            frames += [_read_frame(group[view][p], view, p, self.path) for p in Phase if p in group[view]]
        return Study(
            Patient(
                patient,
                sex=attrs.get("sex"),
                age_years=_optional_float(attrs, "age_years"),
                height_cm=_optional_float(attrs, "height_cm"),
                weight_kg=_optional_float(attrs, "weight_kg"),
                published_ef_percent=_optional_float(attrs, "published_ef_percent"),
                image_quality=quality,
            ),
            frames=tuple(frames),
            notes=tuple(json.loads(attrs.get("notes", "[]"))),
        )

    def studies(self, patients: Iterable[str] | None = None) -> Iterator[Study]:
        """Read the named patients (all by default) one at a time."""
        for patient in self.patients if patients is None else patients:
            yield self.study(patient)


def _groups(patients: Any) -> list[tuple[str, ...]]:
    owner: dict[str, str] = {}
    parent = {p: p for p in sorted(patients)}

    def root(p: str) -> str:
        while parent[p] != p:
            p = parent[p]
        return p

    for patient in parent:
        for digest in patients[patient].attrs["image_sha256"]:
            parent[root(patient)] = root(owner.setdefault(str(digest), patient))
    members: dict[str, list[str]] = {}
    for patient in parent:
        members.setdefault(root(patient), []).append(patient)
    return [tuple(m) for m in members.values()]


def _write_default_split(patients: Any) -> None:
    """Write down the split that training uses unless told otherwise, for readers that know HDF5 alone."""
    try:
        split = split_by_seed(_groups(patients), DEFAULT_SEED)
    except InputError:
        return  # too few patients for one
    for part in ("train", "validation", "test"):
        for patient in getattr(split, part):
            patients[patient].attrs["split"] = part


def _optional_float(attrs: Mapping[str, Any], name: str) -> float | None:
    return float(attrs[name]) if name in attrs else None


def _read_frame(group: Any, view: View, phase: Phase, path: Path) -> Frame:
    image = group["image"][()]
    attrs = group.attrs
    spacing = attrs.get("spacing_mm")
    direction = np.asarray(attrs["direction"], float)
    grid = Grid(
        image.shape,
        None if spacing is None else (float(spacing[0]), float(spacing[1])),
        (float(attrs["origin_mm"][0]), float(attrs["origin_mm"][1])),
        ((direction[0, 0], direction[0, 1]), (direction[1, 0], direction[1, 1])),
    )
    reference = group["mask"][()] if "mask" in group else None
    return Frame(_plain_name(str(attrs["name"]), path), image, grid, view, phase, reference)


def _plain_name(name: str, path: Path) -> str:
    """Results are named after patients and frames: a name must not lead out of the output folder."""
    if name.startswith(".") or set(name) & set("/\\\0"):
        raise InputError(f"{path}: {name!r} is no name of a patient or frame; refused")
    return name


def _refuse_links(group: Any, path: Path) -> None:
    """HDF5 can point into other files; h5py follows. A store never does."""
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"{path}: '{name}' is a link to elsewhere, which a store never holds; refused")
        item = group[name]
        if isinstance(item, h5py.Group):
            _refuse_links(item, path)
        elif item.is_virtual or item.external:
            raise InputError(f"{path}: '{name}' keeps its pixels in another file, which a store never does; refused")


class StoreWriter:
    """Builds a store patient by patient; what was added survives a kill.

    Raises
    ------
    OutputError
        When the store exists already and `overwrite` is not set.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        refuse_existing(self.path, overwrite=overwrite)
        self._parts = self.path.with_name(self.path.name + ".parts")
        make_folder(self._parts)

    def done(self) -> set[str]:
        """Patients that an earlier, interrupted run has finished."""
        return {p.stem for p in self._finished()}

    def add(self, study: Study, camus_fold: int | None = None) -> None:
        """Write one patient's frames; frames without view or phase are no training data and are refused."""
        with atomic_write(self._parts / f"{study.patient.id}.h5", overwrite=True) as part, h5py.File(part, "w") as file:
            _write_patient(file, study, camus_fold)

    def _finished(self) -> list[Path]:
        # A part being written has a name with a leading dot (`atomic_write`).
        return sorted(p for p in self._parts.glob("*.h5") if not p.name.startswith("."))

    def close(self) -> int:
        """Put the parts together into the store and return the number of patients.

        Raises
        ------
        InputError
            When no patient was added: an empty store helps nobody.
        """
        parts = self._finished()
        if not parts:
            shutil.rmtree(self._parts, ignore_errors=True)
            raise InputError(f"no patient could be read, so {self.path} was not written")
        content = hashlib.sha256()
        with atomic_write(self.path, overwrite=True) as target, h5py.File(target, "w", libver="latest") as file:
            file.attrs.update(format=FORMAT, schema_version=SCHEMA_VERSION, apical_version=__version__)
            group = file.create_group("patients")
            for path in parts:
                with h5py.File(path, "r") as part:
                    part.copy(part["/"], group, name=path.stem)
                content.update(path.stem.encode())
                content.update("".join(group[path.stem].attrs["content_sha256"]).encode())
            file.attrs["content_sha256"] = content.hexdigest()
            _write_default_split(group)
        shutil.rmtree(self._parts, ignore_errors=True)
        return len(parts)


def _write_patient(group: Any, study: Study, camus_fold: int | None) -> None:
    patient = study.patient
    known = {
        "sex": patient.sex,
        "age_years": patient.age_years,
        "height_cm": patient.height_cm,
        "weight_kg": patient.weight_kg,
        "published_ef_percent": patient.published_ef_percent,
        "camus_fold": camus_fold,
    }
    group.attrs.update({k: v for k, v in known.items() if v is not None})
    group.attrs["notes"] = json.dumps(study.notes)
    images, contents = [], []
    for frame in study.frames:
        if frame.view is None or frame.phase is None:
            raise InputError(
                f"{frame.source or frame.name}: view and phase unknown, so it cannot be stored for training"
            )
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
