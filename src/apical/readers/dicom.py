"""Ultrasound DICOM, single and multi-frame, of every syntax that pydicom's decoders read.

Spacing comes from SequenceOfUltrasoundRegions only (PS3.3 C.8.5.5): of the two-dimensional tissue
regions the largest, in cm per pixel. SimpleITK would say 1 mm. A region that does not fit into the
image shows that the picture was resized after its tags were written, so its spacing is unknown.
Nothing that names a person is kept: a patient is called after the file or folder.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from apical.errors import InputError
from apical.readers.dicom_guard import check_structure
from apical.readers.dicom_pixels import UnsuitableError, damage_of, decode_grey, quiet
from apical.readers.dicom_tags import find_region, frame_times, heart_rate, read_patient, refuse_other_view, view_of
from apical.readers.limits import check_size, refuse_foreign_name
from apical.readers.names import parse_name
from apical.readers.tree import OnError, StudyFiles, dicom_stem
from apical.study import Clip, Frame, Grid, Patient, Study

_SINGLE_FRAME = 1


def read_dicom_study(files: StudyFiles, on_error: OnError) -> Study | None:
    """Read all DICOM files of one study.

    Among several, what is no apical echocardiogram (colour Doppler, M-mode, reports) is set aside
    and noted with the reason. Alone, or when nothing else is left, it is an error.
    """
    frames: list[Frame] = []
    clips: list[Clip] = []
    notes = list(files.notes)
    patient = Patient(id=files.label)
    aside: UnsuitableError | None = None
    names = _unique_names(files.dicoms)
    failed = False
    for path in files.dicoms:
        try:
            item, item_notes, found = read_dicom(path, names[path])
        except UnsuitableError as error:
            aside = aside or error
            notes.append(f"{names[path]}: set aside, {error.reason}")
            continue
        except InputError as error:
            failed = True
            on_error(path, error)
            continue
        notes += item_notes
        patient = found if patient == Patient(id=files.label) else patient
        (clips if isinstance(item, Clip) else frames).append(item)  # type: ignore[arg-type]
    if not frames and not clips:
        if aside is not None and not failed:
            on_error(files.dicoms[0] if len(files.dicoms) == 1 else files.folder, aside)
        return None
    patient = Patient(files.label, patient.sex, patient.age_years, patient.height_cm, patient.weight_kg)
    return Study(patient, tuple(frames), tuple(clips), tuple(notes))


def read_dicom(path: Path, name: str) -> tuple[Frame | Clip, list[str], Patient]:
    """Read one file: its frame or clip, notes on what was decided, and the patient without a name.

    Raises
    ------
    InputError
        Damaged, hostile, too large, or (`UnsuitableError`) not an echocardiogram.
    """
    refuse_foreign_name(path)
    with quiet(), damage_of(path):
        return _read(path, name)


def _read(path: Path, name: str) -> tuple[Frame | Clip, list[str], Patient]:
    dataset = _load(path)
    rows, columns, n_frames = _stated_size(path, dataset)
    refuse_other_view(dataset)
    region, spacing, notes = find_region(dataset, (rows, columns))
    images, seen = decode_grey(path, dataset, n_frames, region)
    grid = Grid((rows, columns), spacing)
    parsed = parse_name(Path(f"{name}.dcm"))
    stated = view_of(dataset)
    view = parsed.view or stated
    if parsed.view and stated and parsed.view != stated:
        view = None
        notes.append(f"its name says {parsed.view} and its tags {stated}: neither is believed")
    patient = read_patient(dataset, name)
    notes = [f"{name}: {note}" for note in (*notes, *seen)]
    n_frames = len(images)
    if n_frames == _SINGLE_FRAME:
        return Frame(name, images[0], grid, view, parsed.phase, source=path, region=region), notes, patient
    times, time_note = frame_times(dataset, n_frames)
    if time_note:
        notes.append(f"{name}: {time_note}")
    clip = Clip(name, images, grid, times, heart_rate(dataset), view, path, tuple(notes), region=region)
    return clip, notes, patient


def _load(path: Path) -> Any:
    from pydicom import dcmread

    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty; copy it again")
        syntax = check_structure(path)
        dataset = dcmread(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    modality = str(dataset.get("Modality", ""))
    kind = _object_kind(dataset)
    if modality != "US":
        raise UnsuitableError(path, f"modality {modality or 'unstated'}{kind}, not ultrasound (US)")
    if "PixelData" not in dataset:
        raise UnsuitableError(path, f"it holds no image{kind}")
    if not syntax:
        raise InputError(f"{path}: states no transfer syntax; export it again")
    return dataset


def _object_kind(dataset: Any) -> str:
    """Return the standard's name of the object, such as ' (Encapsulated PDF)', or nothing where it has none."""
    kind = dataset.get("SOPClassUID")
    return f" ({str(kind.name).removesuffix(' Storage')})" if kind and kind != kind.name else ""


def _stated_size(path: Path, dataset: Any) -> tuple[int, int, int]:
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        n_frames = int(dataset.get("NumberOfFrames") or 1)
        samples = int(dataset.get("SamplesPerPixel") or 1)
    except Exception as error:
        raise InputError(f"{path}: Rows, Columns or NumberOfFrames is missing or no number; export it again") from error
    check_size(path, rows, columns, n_frames)
    if samples not in (1, 3):
        raise InputError(f"{path}: {samples} samples per pixel; 1 or 3 is read")
    return rows, columns, n_frames


def _unique_names(paths: tuple[Path, ...]) -> dict[Path, str]:
    """Name each file by its stem, with as many of its folders in front as tell it from the others."""
    places = Counter((path.parent, dicom_stem(path)) for path in paths)
    # Beside `1.dcm` there may be `1`: then the whole name.
    stems = {p: stem if places[p.parent, stem := dicom_stem(p)] == 1 else p.name for p in paths}
    names = stems
    for depth in range(1, 1 + max(len(p.absolute().parts) for p in paths)):
        count = Counter(names.values())
        names = {
            p: name if count[name] == 1 else "_".join((*p.absolute().parts[1:-1][-depth:], stems[p]))
            for p, name in names.items()
        }
    return names
