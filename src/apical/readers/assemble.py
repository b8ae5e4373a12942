"""From a patient's files to a `Study`: pixels, masks, spacing, and what is known of the patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from apical.anatomy import Phase, View
from apical.errors import InputError
from apical.readers.camus import Info, TableEntry, find_table, read_info, table_key
from apical.readers.names import is_patient_folder, parse_name
from apical.readers.pixels import grey_image, label_mask
from apical.readers.raster import image_suffix, read_raster
from apical.readers.sequence import are_of_one_size, read_sequence
from apical.readers.tree import ImageFile, OnError, StudyFiles
from apical.study import Clip, Frame, Grid, Mask, Patient, Study

_SPACING_TOLERANCE = 1e-3


def assemble_study(files: StudyFiles, on_error: OnError) -> Study | None:
    """Read one patient's files, or return None when none of them could be used."""
    if files.dicoms:
        from apical.readers.dicom import read_dicom_study

        return read_dicom_study(files, on_error)
    of_png_edition = is_png_edition(files)
    entry, notes = _look_up(files) if of_png_edition else (None, [])
    label = entry.patient_id if entry else files.label
    infos = dict(_infos(files, on_error))
    frames: list[Frame] = []
    clips: list[Clip] = []
    notes = [*files.notes, *notes]
    seen: set[str] = set()
    for image in _split_unequal(files.images, notes):
        try:
            name = image.name.frame_name(label)
            if name in seen:
                raise InputError(f"{image.path}: a second file for {name}; keep one of them")
            item, item_notes = _read_image(image, name, entry, infos)
        except InputError as error:
            on_error(image.path, error)
            continue
        seen.add(name)
        notes += item_notes
        if isinstance(item, Clip):
            clips.append(item)
        else:
            frames.append(item)
    if not frames and not clips:
        return None
    patient = replace(_patient(label, infos, notes), renumbered=of_png_edition and entry is None)
    return Study(patient, tuple(frames), tuple(clips), tuple(notes))


def patient_of(files: StudyFiles) -> str:
    """Return the id that `assemble_study` gives the patient, told without decoding a file.

    Raises
    ------
    InputError
        `patients.csv` is damaged.
    """
    entry = _look_up(files)[0] if is_png_edition(files) else None
    return entry.patient_id if entry else files.label


def read_mask(path: Path | str) -> tuple[Mask, Grid]:
    """Read a mask file on its own: labels 0-3, (row, column) or (time, row, column), and its grid.

    Raises
    ------
    InputError
        Unreadable, or labels other than 0-3 (or 0, 85, 170, 255).
    """
    path = Path(path)
    raster = read_raster(path)
    return label_mask(path, raster), raster.grid


def is_png_edition(files: StudyFiles) -> bool:
    """Whether it is a folder of CAMUS's PNG edition, which numbers its patients in its own way."""
    return is_patient_folder(files.folder.resolve()) and any(
        i.name.camus and i.name.patient is None and image_suffix(i.path) == ".png" for i in files.images
    )


def _look_up(files: StudyFiles) -> tuple[TableEntry | None, list[str]]:
    """Find the true patient of a folder of CAMUS's PNG edition."""
    table = find_table(files.folder)
    if table is None:
        return None, [f"{files.folder.name}: no patients.csv beside the data, so this need not be its CAMUS number"]
    entry = table.get(table_key(files.folder))
    if entry is None:
        return None, [f"{files.folder.name}: not in patients.csv, so neither its CAMUS number nor its spacing is known"]
    return entry, [f"{table_key(files.folder)} is CAMUS {entry.patient_id} (patients.csv)"]


def _split_unequal(images: tuple[ImageFile, ...], notes: list[str]) -> Iterator[ImageFile]:
    """Take numbered pictures of different sizes for what they are: single pictures."""
    for image in images:
        if not image.pictures or are_of_one_size(image.pictures):
            yield image
            continue
        notes.append(f"{image.path.name} to {image.pictures[-1].name}: of different sizes, read as single pictures")
        yield from (ImageFile(path, parse_name(path)) for path in image.pictures)


def _read_image(
    image: ImageFile, name: str, entry: TableEntry | None, infos: Mapping[View, Info]
) -> tuple[Frame | Clip, list[str]]:
    raster = read_sequence(image.pictures) if image.pictures else read_raster(image.path)
    pixels, grid = grey_image(image.path, raster), raster.grid
    notes = list(raster.notes)
    view = image.name.view
    if entry and view is not None and view in entry.sizes and grid.spacing_mm is None:
        native = entry.sizes[view]
        grid = replace(grid, spacing_mm=native.spacing_for(grid.shape))
        notes.append(f"{name}: spacing from patients.csv ({native.source})")
    reference = _reference(image, pixels.shape, grid) if image.mask else None
    if not raster.is_clip:
        frame = Frame(name, pixels, grid, view, image.name.phase, reference, image.path)
        return frame, notes
    info = infos.get(view, Info()) if view else Info()
    marked, marked_notes = _marked(name, info, len(pixels))
    times = raster.frame_times_ms
    if info.frame_rate_hz:
        times = np.arange(len(pixels), dtype=np.float64) * (1000.0 / info.frame_rate_hz)
    clip = Clip(
        name, pixels, grid, frame_times_ms=times, view=view, source=image.path, notes=(*raster.notes, *marked_notes),
        reference=reference, marked=marked,
    )  # fmt: skip
    return clip, notes + marked_notes


def _reference(image: ImageFile, shape: tuple[int, ...], grid: Grid) -> Mask:
    assert image.mask is not None
    mask, mask_grid = read_mask(image.mask)
    if mask.shape != shape:
        raise InputError(
            f"{image.mask}: the mask is {_size(mask.shape)} and its image {_size(shape)}; they must be of one size"
        )
    if grid.spacing_mm and mask_grid.spacing_mm:
        ratio = np.divide(mask_grid.spacing_mm, grid.spacing_mm)
        if np.any(np.abs(ratio - 1) > _SPACING_TOLERANCE):
            raise InputError(
                f"{image.mask}: spacing {mask_grid.spacing_mm} mm differs from its image's {grid.spacing_mm} mm"
            )
    return mask


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _marked(name: str, info: Info, n_frames: int) -> tuple[Mapping[Phase, int], list[str]]:
    """Return the ED and ES frames of a sequence that lie inside it."""
    if not info.marked:
        return {}, []
    outside = [i for i in info.marked.values() if not 0 <= i < n_frames]
    if outside or (info.n_frames is not None and info.n_frames != n_frames):
        return {}, [f"{name}: ED and ES of its Info file do not fit its {n_frames} frames; the marks are left out"]
    es_first = info.marked.get(Phase.ES, n_frames) < info.marked.get(Phase.ED, 0)
    return info.marked, [f"{name}: the sequence lists ES before ED"] if es_first else []


def _infos(files: StudyFiles, on_error: OnError) -> Iterator[tuple[View, Info]]:
    for path in files.infos:
        view = View.A2C if "2CH" in path.name.upper() else View.A4C
        try:
            yield view, read_info(path)
        except InputError as error:
            on_error(path, error)


def _patient(label: str, infos: Mapping[View, Info], notes: list[str]) -> Patient:
    """Join what both views' Info files say; what they disagree on is left out and noted."""

    def agreed(key: str) -> object:
        values = {getattr(info, key) for info in infos.values()} - {None}
        if len(values) > 1:
            notes.append(f"the Info files of {label} disagree on {key.replace('_', ' ')}; left out")
        return values.pop() if len(values) == 1 else None

    return Patient(
        id=label,
        sex=agreed("sex"),  # type: ignore[arg-type]
        age_years=agreed("age_years"),  # type: ignore[arg-type]
        image_quality={view: info.image_quality for view, info in infos.items() if info.image_quality},
        published_ef_percent=agreed("ef_percent"),  # type: ignore[arg-type]
    )
