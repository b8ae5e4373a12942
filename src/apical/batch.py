"""Many studies into one output folder: nothing overwritten unasked, interrupted runs go on.

Each study has its own folder, complete when its record lies in it. While a run is under way the output
folder holds a marker with the run's settings; the summary is written last and takes the marker away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apical.errors import OutputError
from apical.files import make_folder, refuse_existing, write_text

SUMMARY = "summary.json"
_MARKER = ".apical-run.json"


class OutputFolder:
    """Where a run over many studies writes.

    Parameters
    ----------
    job
        Settings of the run, as JSON values: only a run with the same ones may go on in the folder.

    Raises
    ------
    OutputError
        When the folder holds a finished run or one with other settings and `overwrite` is not set,
        or cannot be written to.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any], *, record: str, overwrite: bool = False) -> None:
        self.folder = folder
        self._record = record
        refuse_existing(folder / SUMMARY, overwrite=overwrite)
        make_folder(folder)
        marker = folder / _MARKER
        job = json.loads(json.dumps(job))
        self.resumed = False
        if marker.exists():
            same = json.loads(marker.read_text(encoding="utf-8")) == job
            if not same and not overwrite:
                raise OutputError(
                    f"{folder}: holds an interrupted run with other settings; name another folder or add --overwrite"
                )
            self.resumed = same
        # Half-written studies of our own interrupted run may be replaced, anything else not.
        self.overwrite = overwrite or self.resumed
        (folder / SUMMARY).unlink(missing_ok=True)
        write_text(marker, json.dumps(job), overwrite=True)

    def study_folder(self, patient: str) -> Path:
        """Folder of one study."""
        return self.folder / patient

    def finished(self, patient: str) -> dict[str, Any] | None:
        """Return the record of a study that the interrupted run had finished, or None."""
        path = self.study_folder(patient) / self._record
        if not (self.resumed and path.is_file()):
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def record(self, patient: str, values: Mapping[str, Any]) -> None:
        """Mark a study as finished."""
        path = self.study_folder(patient) / self._record
        write_text(path, json.dumps(values, indent=1), overwrite=self.overwrite)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary and close the run."""
        write_text(self.folder / SUMMARY, json.dumps(summary, indent=1), overwrite=self.overwrite)
        (self.folder / _MARKER).unlink(missing_ok=True)
