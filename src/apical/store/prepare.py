"""From a data set's files to a store; interrupted, the same call goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from apical.errors import InputError
from apical.readers import OnError, StudyFiles, read_studies, stamp_of
from apical.store.writing import StoreWriter, storable


def prepare_store(
    dataset: Path,
    output: Path,
    folds: Mapping[str, int],
    on_error: OnError,
    *,
    on_start: Callable[[int], None] = lambda n_earlier: None,
    on_patient: Callable[[], None] = lambda: None,
    overwrite: bool = False,
) -> int:
    """Read a data set into one store and return its number of patients.

    Parameters
    ----------
    folds
        CAMUS fold in which each patient is tested, as far as known.
    on_error
        Called with the path and the error of each file, frame or patient that has to be left out; also of
        those that the interrupted run has left out.
    on_start
        Called once with the number of patients that an interrupted run has finished. Those whose files have
        not changed since are not decoded again.
    on_patient
        Called as each patient's turn comes.

    Raises
    ------
    InputError
        No echocardiogram in the data set, or nothing of it can be stored.
    OutputError
        The store exists, parts of another run lie beside it, or it cannot be written.
    """
    folds_sha256 = hashlib.sha256(json.dumps(sorted(folds.items())).encode()).hexdigest()
    job = {"dataset": str(dataset.resolve()), "folds_sha256": folds_sha256}
    stamp, left_out = "", list[tuple[str, str]]()

    def tell(path: Path, error: InputError) -> None:
        left_out.append((str(path), str(error)))
        on_error(path, error)

    def finished(files: StudyFiles) -> str | None:
        nonlocal stamp
        on_patient()
        left_out.clear()
        stamp = stamp_of(files)
        part = writer.keep(stamp)
        for path, reason in part.left_out if part else ():
            on_error(Path(path), InputError(reason))
        return part.patient if part else None

    with StoreWriter(output, job=job, overwrite=overwrite) as writer:
        on_start(writer.n_earlier)
        for study in read_studies(dataset, tell, finished=finished):
            kept = storable(study, tell)
            if kept is not None:
                # CAMUS's lists name its own numbers, which those of the bare PNG tree are not.
                fold = None if kept.patient.renumbered else folds.get(kept.patient.id)
                writer.add(kept, fold, stamp=stamp, left_out=left_out)
        return writer.close()
