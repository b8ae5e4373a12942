"""What `segment` and `measure` share: going through patients, each one kept or left out with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apical.cli.console import LeftOut, progress_bar
from apical.errors import InputError, OutputError
from apical.files import plain_name

if TYPE_CHECKING:
    from apical.batch import OutputFolder
    from apical.study import Study

Record = dict[str, Any]
"""What is known of one patient when its files are written, as JSON values."""

_UNITS = {"sex": "", "height_cm": " cm", "weight_kg": " kg"}


def each_study(
    inputs: list[Path], left_out: LeftOut, spacing_mm: tuple[float, float] | None, patients: set[str] | None = None
) -> Iterator[Study]:
    """Go through all inputs with a bar; what cannot be used, or is not there, is left out with its reason."""
    from apical.inputs import count_inputs, open_inputs

    missing = set(patients or ())
    with progress_bar("patients", count_inputs(inputs, patients)) as bar:
        for study in open_inputs(inputs, left_out, patients):
            missing.discard(study.patient.id)
            yield _with_spacing(study, spacing_mm)
            bar.advance(bar.task_ids[0])
    for patient in sorted(missing):
        left_out(Path(patient), InputError(f"{patient}: named by --patients, and not among those read"))


def keep_each(
    studies: Iterable[Study],
    folder: OutputFolder,
    left_out: LeftOut,
    make: Callable[[Study, Path], Record],
    made_of: Callable[[Study], str],
) -> list[Record]:
    """Write every study by `make`, into the folder that it is given; a study that it cannot use is left out.

    What an interrupted run has made of the same, as `made_of` tells, is taken from it.

    Raises
    ------
    InputError
        Nothing could be used; with the reason where there is only one.
    OutputError
        A study's images lie where its files would go.
    """
    records = []
    for study in studies:
        try:
            plain_name(study.patient.id, next((item.source for item in study.items if item.source), Path()))
            _refuse_own_images(study, folder.folder / study.patient.id)
            records.append(folder.add(study.patient.id, partial(make, study), made_of=partial(made_of, study)))
        except InputError as error:
            left_out(next((item.source for item in study.items if item.source), Path(study.patient.id)), error)
    if records:
        return records
    if len(left_out.items) == 1:
        raise InputError(left_out.items[0]["reason"])
    raise InputError(f"none of the inputs could be used ({len(left_out.items)} left out, reasons above)")


def refuse_several(inputs: list[Path], patients: set[str] | None, known: dict[str, Any]) -> None:
    """Raise InputError when what is known of one patient would be said of several."""
    from apical.inputs import count_inputs

    if known and (n := count_inputs(inputs, patients)) > 1:
        raise InputError(
            f"--sex, --height and --weight are one patient's, and {n} are given; choose one by --patients or as input"
        )


def with_known(study: Study, known: dict[str, Any]) -> Study:
    """Take what was given of the patient by option, and note what it stands in place of."""
    notes = []
    for name, value in known.items():
        told = getattr(study.patient, name)
        note = f"{name.split('_')[0]} {value:g}" if isinstance(value, float) else f"{name} {value}"
        note += f"{_UNITS[name]} by option"
        notes.append(note if told in (None, value) else f"{note}, where the file says {told}")
    return replace(study, patient=replace(study.patient, **known), notes=(*study.notes, *notes))


def _refuse_own_images(study: Study, place: Path) -> None:
    """Raise OutputError when masks, named as the images are, would be written among the images themselves."""
    real = place.resolve()
    for item in study.items:
        if item.source and item.source.resolve().is_relative_to(real):
            raise OutputError(f"{place}: holds the images of {study.patient.id}; choose another output folder")


def _with_spacing(study: Study, spacing_mm: tuple[float, float] | None) -> Study:
    """Fill in the spacing where files do not tell it; what a file says is never replaced."""
    if spacing_mm is None:
        return study

    stated = [item.name for item in study.items if item.grid.spacing_mm]
    size = f"pixel size {spacing_mm[0]:g} x {spacing_mm[1]:g} mm by option"
    notes = [size + (f", not of {', '.join(stated)}: the file states its own" if stated else "")]

    def known(item: Any) -> Any:
        return item if item.grid.spacing_mm else replace(item, grid=replace(item.grid, spacing_mm=spacing_mm))

    frames, clips = tuple(map(known, study.frames)), tuple(map(known, study.clips))
    return replace(study, frames=frames, clips=clips, notes=(*study.notes, *notes))
