"""A store opened for reading: nothing in the file is believed before it was looked at."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Label, Phase, View
from apical.errors import InputError
from apical.files import plain_name
from apical.readers.limits import check_size
from apical.store.schema import FORMAT, SCHEMA_VERSION, group_patients
from apical.study import Frame, Grid, Patient, Study, is_plausible_spacing

_DEPTH = 5
"""Groups and data sets from the root to a frame's image: patients, patient, view, phase, image."""


class Store:
    """A store opened for reading; use as a context manager.

    Every method raises InputError, naming the store and the patient or frame, where the file is damaged.

    Raises
    ------
    InputError
        When the file is no store, is of another schema, is damaged, or holds links that lead out of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise InputError(f"{path}: not a readable HDF5 file; make one with `apical prepare`") from error
        try:
            with _readable(str(self.path)):
                self._check()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _check(self) -> None:
        attrs = self._file.attrs
        if attrs.get("format") != FORMAT:
            raise InputError(f"{self.path}: HDF5, but not an apical store; make one with `apical prepare`")
        version = int(attrs["schema_version"])
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{self.path}: schema version {version}, this apical reads {SCHEMA_VERSION}; prepare it again"
            )
        _refuse_links(self._file, self.path)
        self._patients = self._file.get("patients")
        if not isinstance(self._patients, h5py.Group):
            raise InputError(f"{self.path}: holds no patients, so it is damaged; prepare it again")
        for patient in self._patients:
            plain_name(patient, self.path)
            if not isinstance(self._patients[patient], h5py.Group):
                raise InputError(f"{self.path}: {patient} is no patient, so the store is damaged; prepare it again")

    @property
    def content_sha256(self) -> str:
        """Hash of all patients, images and masks: the same data give the same hash."""
        with _readable(str(self.path)):
            return str(self._file.attrs["content_sha256"])

    @property
    def patients(self) -> tuple[str, ...]:
        """Patient ids, sorted."""
        return tuple(sorted(self._patients))

    @property
    def renumbered(self) -> bool:
        """Whether patients bear numbers of CAMUS's bare PNG tree instead of CAMUS's own (`Patient.renumbered`)."""
        with _readable(str(self.path)):
            return any(bool(group.attrs.get("renumbered", False)) for group in self._patients.values())

    @property
    def folds(self) -> dict[str, int]:
        """CAMUS fold in which each patient is tested, where the store knows it."""
        with _readable(str(self.path)):
            return {p: int(g.attrs["camus_fold"]) for p, g in self._patients.items() if "camus_fold" in g.attrs}

    @property
    def split(self) -> dict[str, str]:
        """Part of the default split (train, validation or test) of each patient; empty in a store too small for one."""
        with _readable(str(self.path)):
            return {p: str(g.attrs["split"]) for p, g in self._patients.items() if "split" in g.attrs}

    def groups(self) -> list[tuple[str, ...]]:
        """Patients that share an identical image, and so must stay on one side of a split."""
        with _readable(str(self.path)):
            return group_patients(self._patients)

    def study(self, patient: str) -> Study:
        """Read one patient back, frames in the order 2CH ED, 2CH ES, 4CH ED, 4CH ES.

        Raises
        ------
        InputError
            The store has no such patient, or one of its frames is damaged: pixels that cannot be unpacked, an
            image that is not uint8 (row, column), a mask of another size or with labels other than 0-3, or a
            spacing that is none.
        """
        if patient not in self._patients:
            raise InputError(f"{self.path}: no patient {patient} in this store")
        with _readable(f"{self.path}: {patient}"):
            group = self._patients[patient]
            attrs = group.attrs
            quality: dict[View, str] = {}
            frames = []
            for view in View:
                if view not in group:
                    continue
                if "image_quality" in group[view].attrs:
                    quality[view] = str(group[view].attrs["image_quality"])
                frames += [self._frame(patient, view, phase) for phase in Phase if phase in group[view]]
            return Study(
                Patient(
                    patient,
                    sex=None if "sex" not in attrs else str(attrs["sex"]),
                    age_years=_optional_float(attrs, "age_years"),
                    height_cm=_optional_float(attrs, "height_cm"),
                    weight_kg=_optional_float(attrs, "weight_kg"),
                    published_ef_percent=_optional_float(attrs, "published_ef_percent"),
                    image_quality=quality,
                    renumbered=bool(attrs.get("renumbered", False)),
                ),
                frames=tuple(frames),
                notes=tuple(map(str, json.loads(attrs.get("notes", "[]")))),
            )

    def studies(self, patients: Iterable[str] | None = None) -> Iterator[Study]:
        """Read the named patients (all by default) one at a time."""
        for patient in self.patients if patients is None else patients:
            yield self.study(patient)

    def _frame(self, patient: str, view: View, phase: Phase) -> Frame:
        where = f"{self.path}: {patient} {view} {phase}"
        with _readable(where):
            group = self._patients[patient][view][phase]
            image = _pixels(group["image"], f"{where}, image")
            mask = _pixels(group["mask"], f"{where}, mask") if "mask" in group else None
            if mask is not None and mask.shape != image.shape:
                raise InputError(
                    f"{where}: the mask is {_size(mask.shape)} and its image {_size(image.shape)}; prepare it again"
                )
            if mask is not None and mask.max() > max(Label):
                raise InputError(f"{where}: the mask has label {mask.max()}, only 0-3 are known; prepare it again")
            name = plain_name(str(group.attrs["name"]), self.path)
            return Frame(name, image, _grid(group.attrs, image.shape), view, phase, mask)


@contextmanager
def _readable(where: str) -> Iterator[None]:
    """Turn whatever HDF5 and NumPy say of a damaged file into one line that names the place."""
    try:
        yield
    except (OSError, LookupError, RuntimeError, TypeError, ValueError, ArithmeticError, zlib.error) as error:
        reason = " ".join(str(error.args[0] if error.args else error).split())
        raise InputError(f"{where}: the store is damaged here ({reason}); prepare it again") from error


def _pixels(item: Any, where: str) -> NDArray[np.uint8]:
    if not isinstance(item, h5py.Dataset) or item.dtype != np.uint8 or len(item.shape or ()) != 2:
        found = f"{item.dtype} {_size(item.shape or ())}" if isinstance(item, h5py.Dataset) else "a group"
        raise InputError(f"{where}: should be uint8 (row, column) and is {found}; prepare it again")
    # Before anything is unpacked: a few bytes can stand for any number of pixels.
    check_size(Path(where), *item.shape)
    _refuse_swelling(item, where)
    pixels: NDArray[np.uint8] = item[()]
    return pixels


def _refuse_swelling(item: h5py.Dataset, where: str) -> None:
    """HDF5 unpacks a block to whatever it holds, and reads on where that is too little: look first."""
    if item.chunks is None:
        return
    settings = item.id.get_create_plist()
    filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
    if filters not in ([], [h5py.h5z.FILTER_DEFLATE]):
        raise InputError(f"{where}: packed in a way that a store never is; prepare it again")
    size = math.prod(item.chunks)
    # A block may reach over the picture's edge, but none is larger than the picture.
    if any(block > max(side, 1) for block, side in zip(item.chunks, item.shape, strict=True)):
        raise InputError(f"{where}: its blocks are larger than itself; prepare it again")
    offsets: list[tuple[int, ...]] = []
    item.id.chunk_iter(lambda block: offsets.append(block.chunk_offset))
    for offset in offsets:
        unpacked, data = item.id.read_direct_chunk(offset)
        # Blocks at the picture's edge are as large as the others.
        if len(data if unpacked or not filters else zlib.decompressobj().decompress(data, size + 1)) != size:
            raise InputError(f"{where}: a block holds more or fewer pixels than it has; refused")


def _grid(attrs: Mapping[str, Any], shape: tuple[int, ...]) -> Grid:
    spacing = None if "spacing_mm" not in attrs else _numbers(attrs, "spacing_mm", (2,))
    if spacing is not None and not is_plausible_spacing((float(spacing[0]), float(spacing[1]))):
        raise ValueError(f"spacing_mm is {spacing.tolist()}, which no scanner has")
    (row, column), direction = _numbers(attrs, "origin_mm", (2,)).tolist(), _numbers(attrs, "direction", (2, 2))
    return Grid(
        (shape[0], shape[1]),
        None if spacing is None else (float(spacing[0]), float(spacing[1])),
        (row, column),
        ((direction[0, 0], direction[0, 1]), (direction[1, 0], direction[1, 1])),
    )


def _numbers(attrs: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    values = np.asarray(attrs[name], np.float64)
    if values.shape != shape or not np.isfinite(values).all():
        raise ValueError(f"{name} is {values.tolist()}")
    return values


def _optional_float(attrs: Mapping[str, Any], name: str) -> float | None:
    return float(attrs[name]) if name in attrs else None


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _refuse_links(group: Any, path: Path, depth: int = _DEPTH, known: set[int] | None = None) -> None:
    """HDF5 can point into other files, to itself, and to one thing many times; h5py follows. A store never does."""
    known = set() if known is None else known
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"{path}: '{name}' is a link to elsewhere, which a store never holds; refused")
        if not depth:
            raise InputError(f"{path}: '{name}' lies deeper than anything in a store; refused")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in known:
            raise InputError(f"{path}: '{name}' is a second name of something, which a store never has; refused")
        known.add(address)
        if isinstance(item, h5py.Group):
            _refuse_links(item, path, depth - 1, known)
        elif isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
            raise InputError(f"{path}: '{name}' keeps its pixels in another file, which a store never does; refused")
