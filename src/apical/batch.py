"""Many studies into one output folder: nothing overwritten unasked, interrupted runs go on.

Each study has its own folder, complete when its record lies in it. A study is written apart and put into
its folder when it is whole, so that one that fails leaves nothing. While a run is under way the output
folder holds a marker with the run's settings; the summary is written last and takes the marker away.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from apical.errors import OutputError
from apical.files import FolderLock, csv_text, make_folder, refuse_existing, write_text

SUMMARY = "summary.json"
_RUN = ".apical-run.json"
_UNFINISHED = ".apical-unfinished"
_FILES = "files"
_MADE_IN = "run"
_MADE_OF = "input"


class OutputFolder:
    """Where a run over many studies writes, one at a time; use as a context manager.

    What is there stays as it is until the first study is whole: a run that comes to nothing takes nothing away.

    Parameters
    ----------
    job
        Settings of the run, as JSON values: only a run with the same ones may go on in the folder.
    record
        Name of the file that makes a study's folder complete.
    table
        Name of the CSV file over all studies.

    Raises
    ------
    OutputError
        When the folder holds a finished run or one with other settings and `overwrite` is not set,
        or cannot be written to; or another run is writing into it.
    """

    def __init__(
        self, folder: Path, job: Mapping[str, Any], *, record: str, table: str, overwrite: bool = False
    ) -> None:
        self.folder = folder
        self._job, self._record, self._table, self._overwrite = json.dumps(job), record, table, overwrite
        # In every record: tells the studies of this run from those that another one left in the folder.
        self._made_in = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
        # Names what a study's folder holds of an earlier run, or of this one while it is being put there.
        self._replaced = f".apical-replaced-{record}"
        self._begun, self._tried = False, set[str]()
        refuse_existing(folder / SUMMARY, overwrite=overwrite)
        make_folder(folder)
        self._lock = FolderLock(folder)
        try:
            self._resumed = self._goes_on()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def _goes_on(self) -> bool:
        """Whether this run goes on with an interrupted one; refuses what may not be replaced."""
        refuse_existing(self.folder / SUMMARY, overwrite=self._overwrite)
        marker = self.folder / _RUN
        if not marker.exists():
            refuse_existing(self.folder / self._table, overwrite=self._overwrite)
            return False
        same: bool = _read(marker) == json.loads(self._job)
        if not same and not self._overwrite:
            raise OutputError(
                f"{self.folder}: holds an interrupted run with other settings; name another folder or add --overwrite"
            )
        return same

    def add(
        self, patient: str, write: Callable[[Path], Mapping[str, Any]], *, made_of: Callable[[], str] = lambda: ""
    ) -> dict[str, Any]:
        """Return the record of a study; `write` makes it, and the study's files in the folder that it is given.

        Where the interrupted run had finished the study, its record is returned and nothing is written. An
        error of `write` or `made_of` goes on to the caller, and nothing of the study is kept.

        Parameters
        ----------
        made_of
            Gives a hash of what the study is made of. What the interrupted run had made of something else is made
            again.

        Raises
        ------
        OutputError
            A file exists that is not of this run and may not be replaced, or cannot be written.
        """
        place = self.folder / patient
        record, aside = place / self._record, place / self._replaced
        kept = _read(record) if self._finished_before(record) else None
        if kept:
            record.replace(aside)  # until it is known to be of the same
        self._tried.add(patient)
        content = made_of()
        if kept and kept.get(_MADE_OF) == content:
            aside.replace(record)
            self._tried.remove(patient)
            return {name: value for name, value in kept.items() if name not in (_FILES, _MADE_IN, _MADE_OF)}
        apart = self.folder / _UNFINISHED
        shutil.rmtree(apart, ignore_errors=True)  # of a run that was killed
        try:
            values = dict(write(make_folder(apart)))
            self._keep(place, apart, values, content)
        finally:
            shutil.rmtree(apart, ignore_errors=True)
        return values

    def finish(self, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
        """Write table and summary, and close the run."""
        for patient in self._tried:
            # Left where the study failed this time: what an earlier run made of it would be taken for this one's.
            place = self.folder / patient
            for name in _listed(place / self._replaced):
                (place / name).unlink(missing_ok=True)
            (place / self._replaced).unlink(missing_ok=True)
        for aside in self.folder.glob(f"*/{self._replaced}"):
            if _MADE_IN in _read(aside):
                # Of a study that this run was not asked for: it keeps what an earlier run made of it.
                aside.replace(aside.with_name(self._record))
                continue
            # What a killed run had put there of a study is none.
            for name in _listed(aside):
                (aside.parent / name).unlink(missing_ok=True)
            aside.unlink()
        write_text(self.folder / self._table, csv_text(rows), overwrite=True)
        write_text(self.folder / SUMMARY, json.dumps(summary, indent=1), overwrite=True)
        (self.folder / _RUN).unlink(missing_ok=True)
        self._lock.release()

    def _keep(self, place: Path, apart: Path, values: Mapping[str, Any], made_of: str) -> None:
        """Put a whole study into its folder, its record last."""
        files = {path.name for path in apart.iterdir()}
        # An earlier run's record is looked at too: it is only set aside when this run begins.
        set_aside = _listed(place / self._replaced) if self._overwrite or self._resumed else set()
        ours = set_aside | _listed(place / self._record)
        refuse_existing(place / self._record, overwrite=self._overwrite)
        for name in sorted(files - ours):
            if self._overwrite and (place / name).is_file():
                raise OutputError(
                    f"{place / name}: was not written by an earlier run, and --overwrite replaces nothing else; "
                    "choose another output folder"
                )
            refuse_existing(place / name, overwrite=False)
        self._begin()
        make_folder(place)
        # First: after a kill between two files, the same command may go on with what is there.
        write_text(place / self._replaced, json.dumps({_FILES: sorted(ours | files)}), overwrite=True)
        try:
            for name in files:
                (apart / name).replace(place / name)
        except OSError as error:
            raise OutputError(f"{place}: cannot be written to ({error.strerror or error})") from error
        for name in ours - files:
            (place / name).unlink(missing_ok=True)
        record = {**values, _FILES: sorted(files), _MADE_IN: self._made_in, _MADE_OF: made_of}
        write_text(place / self._record, json.dumps(record, indent=1), overwrite=True)
        (place / self._replaced).unlink()

    def _begin(self) -> None:
        """Take the folder for this run."""
        if self._begun:
            return
        self._begun = True
        if self._overwrite:
            # Else an interruption would leave records of the earlier run to be taken for this one's.
            for old in self.folder.glob(f"*/{self._record}"):
                if not self._finished_before(old):
                    old.rename(old.with_name(self._replaced))
        (self.folder / SUMMARY).unlink(missing_ok=True)
        write_text(self.folder / _RUN, self._job, overwrite=True)

    def _finished_before(self, record: Path) -> bool:
        """Whether this run had made the record before it was interrupted."""
        return self._resumed and _read(record).get(_MADE_IN) == self._made_in


def _listed(record: Path) -> set[str]:
    """Names of the files in a study's folder that an earlier run, or a killed one, had put there."""
    names = _read(record).get(_FILES)
    if not isinstance(names, list):
        return set()
    # A list that was tampered with leads nowhere.
    return {name for name in names if isinstance(name, str) and Path(name).name == name not in ("", "..")}


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON object of our own; anything else is as if it were empty."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
