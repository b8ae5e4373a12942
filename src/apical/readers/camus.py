"""What CAMUS keeps beside its images: `Info_*.cfg` and the table that maps its two numberings.

Leclerc et al., IEEE TMI 38(9):2198-2210, 2019, doi:10.1109/TMI.2019.2900516.
The folders of the squashed PNG edition are numbered by a split list, not as CAMUS numbers its
patients, and their pixels have lost their size. `patients.csv` gives both back.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from apical.anatomy import Phase, View
from apical.errors import InputError
from apical.study import Spacing

TABLE = "patients.csv"
_TABLE_COLUMNS = {"patient", "view", "height", "width", "spacing_y", "spacing_x", "dims_source", "png256_folder"}
_LEVELS_ABOVE_PATIENT = 3
_LARGEST_TEXT = 2**24


@dataclass(frozen=True)
class NativeSize:
    """Size of a frame before it was squashed, its pixel spacing, and where the figures come from."""

    shape: tuple[int, int]
    spacing_mm: Spacing
    source: str

    def spacing_for(self, shape: tuple[int, int]) -> Spacing:
        """Return the (row, column) spacing in mm of the same field of view on `shape` pixels."""
        return (
            self.spacing_mm[0] * self.shape[0] / shape[0],
            self.spacing_mm[1] * self.shape[1] / shape[1],
        )


@dataclass(frozen=True)
class TableEntry:
    """CAMUS's own patient number of a PNG folder, and its native sizes by view."""

    patient_id: str
    sizes: Mapping[View, NativeSize] = field(default_factory=dict)


def find_table(patient_folder: Path) -> Mapping[str, TableEntry] | None:
    """Return the entries of the nearest `patients.csv`, by PNG folder (`Training/patient0001`).

    It is looked for in the patient's folder and three levels above (Training, png, the data set). A
    table with other columns is not CAMUS's, and is passed over.
    """
    folder = patient_folder.resolve()
    for place in (folder, *folder.parents[:_LEVELS_ABOVE_PATIENT]):
        table = place / TABLE
        if table.is_file():
            entries = _read_table(table, table.stat().st_mtime_ns)
            if entries is not None:
                return entries
    return None


def table_key(patient_folder: Path) -> str:
    """Return how `patients.csv` names a PNG folder: its parent's name and its own."""
    folder = patient_folder.resolve()
    return f"{folder.parent.name}/{folder.name}"


@lru_cache(maxsize=8)
def _read_table(table: Path, _changed: int) -> Mapping[str, TableEntry] | None:
    if table.stat().st_size > _LARGEST_TEXT:
        return None
    try:
        with table.open(newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle)
            if not _TABLE_COLUMNS.issubset(reader.fieldnames or ()):
                return None
            return _entries(reader)
    except (ValueError, TypeError, csv.Error, OSError) as error:
        raise InputError(f"{table}: a damaged row ({error}); correct or remove the table") from error


def _entries(reader: csv.DictReader[str]) -> dict[str, TableEntry]:
    entries: dict[str, TableEntry] = {}
    for row in reader:
        size = NativeSize(
            shape=(int(row["height"]), int(row["width"])),
            spacing_mm=(float(row["spacing_y"]), float(row["spacing_x"])),
            source=row["dims_source"],
        )
        if not all(0 < value < math.inf for value in (*size.shape, *size.spacing_mm)):
            raise ValueError(f"size or spacing of {row['patient']} is not a positive number")
        entry = entries.setdefault(row["png256_folder"], TableEntry(row["patient"], {}))
        if entry.patient_id != row["patient"]:
            raise ValueError(f"{row['png256_folder']} belongs to two patients")
        entries[row["png256_folder"]] = TableEntry(entry.patient_id, {**entry.sizes, View(row["view"]): size})
    return entries


@dataclass(frozen=True)
class Info:
    """Content of one view's `Info_2CH.cfg` or `Info_4CH.cfg`.

    `marked` holds the zero-based frames of the sequence that the experts took as ED and ES (the
    file counts from 1; some list ES before ED, which is how the beat was stored).
    """

    sex: str | None = None
    age_years: float | None = None
    image_quality: str | None = None
    ef_percent: float | None = None
    frame_rate_hz: float | None = None
    n_frames: int | None = None
    marked: Mapping[Phase, int] = field(default_factory=dict)


def read_info(path: Path) -> Info:
    """Read one `Info_*.cfg` (`Key: value` lines); keys that are absent or 'NA' stay None.

    Raises
    ------
    InputError
        Unreadable, or a number that is none.
    """
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            raise InputError(f"{path}: too large for an Info file")
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip().lower(): value.strip() for key, value in pairs}
    fields = {key: value for key, value in fields.items() if value.lower() not in ("", "na", "n/a", "none", "nan")}
    try:
        sex = fields.get("sex", "").upper()[:1]
        marked = {phase: int(fields[phase.lower()]) - 1 for phase in Phase if phase.lower() in fields}
        return Info(
            sex=sex if sex in ("F", "M") else None,
            age_years=_number(fields, "age"),
            image_quality=fields.get("imagequality"),
            ef_percent=_number(fields, "ef", "lvef"),
            frame_rate_hz=_number(fields, "framerate"),
            n_frames=int(fields["nbframe"]) if "nbframe" in fields else None,
            marked=marked,
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}; correct the Info file") from error


def _number(fields: Mapping[str, str], *keys: str) -> float | None:
    return next((float(fields[key]) for key in keys if key in fields), None)
