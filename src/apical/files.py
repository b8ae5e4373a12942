"""Writing: a crash leaves the old file or the new one, never half of one, and nothing is replaced unasked."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from apical.errors import InputError, OutputError


@contextmanager
def atomic_write(target: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `target`, which takes its place when the block ends well.

    Parameters
    ----------
    target
        File to make. Missing parent folders are made. The temporary path has the same suffixes
        (`.nii.gz`), because writers choose the format by them.
    overwrite
        Whether an existing `target` may be replaced.

    Raises
    ------
    OutputError
        `target` exists and `overwrite` is false, or its folder cannot be written to.
    """
    target = Path(target)
    refuse_existing(target, overwrite=overwrite)
    temporary = _temporary_beside(target)
    try:
        yield temporary
        # Asked again: another process may have made it while this one was writing.
        refuse_existing(target, overwrite=overwrite)
        _keep_usual_permissions(temporary)
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def refuse_existing(target: Path | str, *, overwrite: bool) -> None:
    """Raise OutputError when `target` is there and may not be replaced."""
    target = Path(target)
    try:
        is_folder, exists = target.is_dir(), target.exists()
    except OSError as error:  # such as a name too long
        raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error
    if is_folder:
        raise OutputError(f"{target}: is a folder; name a file")
    if not overwrite and exists:
        raise OutputError(f"{target}: exists already; choose another place or ask to overwrite")


def refuse_inside(target: Path | str, source: Path | str) -> None:
    """Raise OutputError when `target` lies inside the folder `source`, where it would be read as input next time."""
    target, source = Path(target), Path(source)
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise OutputError(f"{target}: lies inside the input {source}; choose another place")


def plain_name(name: str, path: Path) -> str:
    """Return the name of a patient or frame; results are named after it, so it must not lead out of their folder.

    Raises
    ------
    InputError
        It is empty, begins with a dot, or holds a slash.
    """
    if not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise InputError(f"{path}: {name!r} is no name of a patient or frame; refused")
    return name


def make_folder(folder: Path | str) -> Path:
    """Make `folder` with its parents and see that it can be written to, before any work is done.

    Raises
    ------
    OutputError
        It is a file, or read-only.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # os.access knows nothing of read-only mounts and network shares: try it.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written to ({error.strerror or error}); choose another folder"
        ) from error
    return folder


class FolderLock:
    """Keeps other runs out of a folder until `release`, or until this process ends, however it ends.

    Where a file system has no locks, nobody is kept out.

    Raises
    ------
    OutputError
        Another run is writing into the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = FileLock(folder / ".apical-lock", fallback_to_soft=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(
                f"{folder}: another run is writing into it; wait for it to end or choose another folder"
            ) from error
        except (OSError, NotImplementedError):
            self._remove()

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others in, and leave nothing behind."""
        if self._lock.is_locked:
            self._remove()  # while it is still held: a run that comes now must not find the file and lose it
        self._lock.release()

    def _remove(self) -> None:
        with suppress(OSError):
            Path(self._lock.lock_file).unlink()


def _temporary_beside(target: Path) -> Path:
    suffix = "".join(target.suffixes[-2:]) if target.name.endswith(".gz") else target.suffix
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".writing-", suffix=suffix, dir=target.parent)
    except OSError as error:
        raise OutputError(
            f"{target.parent}: cannot be written to ({error.strerror or error}); choose another folder"
        ) from error
    os.close(handle)
    return Path(name)


def _keep_usual_permissions(path: Path) -> None:
    """Replace the 0600 of temporary files by what the umask grants to any new file."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def write_text(target: Path | str, text: str, *, overwrite: bool = False) -> None:
    """Write UTF-8 text atomically; same errors as `atomic_write`."""
    with atomic_write(target, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV under one header: every column of any row, None and what is missing as an empty cell.

    Text that a spreadsheet would take for a formula begins with an apostrophe; `read_csv` takes it away.

    Examples
    --------
    >>> print(csv_text([{"patient": "p1", "edv_ml": 120.5}, {"patient": "p2", "edv_ml": None}]), end="")
    patient,edv_ml
    p1,120.5
    p2,
    """
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read rows that `csv_text` has written, every value as text."""
    with path.open(newline="", encoding="utf-8") as handle:
        return [{name: _text(cell) for name, cell in row.items()} for row in csv.DictReader(handle)]


def _cell(value: Any) -> Any:
    return f"'{value}" if _is_formula(value) else value


def _text(cell: Any) -> Any:
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and _is_formula(cell) else cell


def _is_formula(value: Any) -> bool:
    """Whether this is a formula, or one that has an apostrophe already."""
    return isinstance(value, str) and value.lstrip("'").startswith(("=", "+", "-", "@", "\t", "\r"))
