"""Many studies into one output folder: nothing overwritten unasked, interrupted runs go on.

Each study has its own folder, complete when its record lies in it. While a run is under way the output
folder holds a marker with the run's settings; the summary is written last and takes the marker away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apical.errors import OutputError
from apical.files import csv_text, make_folder, refuse_existing, write_text

SUMMARY = "summary.json"
_RUN = ".apical-run.json"
_UNFINISHED = ".apical-unfinished"


class OutputFolder:
    """Where a run over many studies writes.

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
        or cannot be written to.
    """

    def __init__(
        self, folder: Path, job: Mapping[str, Any], *, record: str, table: str, overwrite: bool = False
    ) -> None:
        self.folder = folder
        self._record, self._table, self._overwrite = record, table, overwrite
        refuse_existing(folder / SUMMARY, overwrite=overwrite)
        make_folder(folder)
        marker = folder / _RUN
        job = json.loads(json.dumps(job))
        self._resumed = False
        if marker.exists():
            self._resumed = json.loads(marker.read_text(encoding="utf-8")) == job
            if not self._resumed and not overwrite:
                raise OutputError(
                    f"{folder}: holds an interrupted run with other settings; name another folder or add --overwrite"
                )
        else:
            refuse_existing(folder / table, overwrite=overwrite)
        if not self._resumed and overwrite:
            # Else an interruption would leave records of the earlier run to be taken for this one's.
            for old in folder.glob(f"*/{record}"):
                old.unlink()
        (folder / SUMMARY).unlink(missing_ok=True)
        write_text(marker, json.dumps(job), overwrite=True)

    def finished(self, patient: str) -> dict[str, Any] | None:
        """Return the record of a study that the interrupted run had finished, or None."""
        path = self.folder / patient / self._record
        if not (self._resumed and path.is_file()):
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def begin(self, patient: str) -> tuple[Path, bool]:
        """Return a study's folder, and whether files in it may be replaced.

        They may where this run, or the interrupted one that it goes on with, made the folder: a folder of
        somebody else's keeps what is in it.
        """
        place = self.folder / patient
        if not place.exists():
            make_folder(place)
            (place / _UNFINISHED).touch()
        return place, self._overwrite or (place / _UNFINISHED).exists()

    def record(self, patient: str, values: Mapping[str, Any]) -> None:
        """Mark a study as finished."""
        place, replace = self.begin(patient)
        write_text(place / self._record, json.dumps(values, indent=1), overwrite=replace)
        (place / _UNFINISHED).unlink(missing_ok=True)

    def finish(self, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
        """Write table and summary, and close the run."""
        write_text(self.folder / self._table, csv_text(rows), overwrite=True)
        write_text(self.folder / SUMMARY, json.dumps(summary, indent=1), overwrite=True)
        self.abandon()

    def abandon(self) -> None:
        """Leave no run to go on with."""
        (self.folder / _RUN).unlink(missing_ok=True)
