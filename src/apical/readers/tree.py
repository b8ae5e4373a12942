"""Which files make up which patient; names only, no pixels, so a large tree costs little memory."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from apical.errors import InputError
from apical.readers.dicomdir import files_in_dicomdir, is_dicomdir
from apical.readers.names import FileName, is_patient_folder, parse_name, subject_of
from apical.readers.raster import image_suffix
from apical.readers.sequence import find_sequences

OnError = Callable[[Path, InputError], None]
"""Told of each file that cannot be used; where it returns, the rest goes on."""

FORMATS = "PNG, JPEG, BMP, TIFF, MetaImage, NIfTI, DICOM, AVI, MP4, MOV, MKV, GIF"

_INFO = re.compile(r"^Info_(2CH|4CH)\.cfg$", re.IGNORECASE)
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_DICOM_MAGIC = b"DICM"
_PREAMBLE_BYTES = 128


@dataclass(frozen=True)
class ImageFile:
    """An image and, where there is one, its expert mask; or the numbered `pictures` of a clip, `path` the first."""

    path: Path
    name: FileName
    mask: Path | None = None
    pictures: tuple[Path, ...] = ()


@dataclass(frozen=True)
class StudyFiles:
    """All files of one patient, in one folder.

    `label` is the folder's or the file's name, from which the patient's id is made.
    """

    folder: Path
    label: str
    images: tuple[ImageFile, ...] = ()
    dicoms: tuple[Path, ...] = ()
    infos: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def find_studies(path: Path) -> list[StudyFiles]:
    """List the patients at `path`, a file, a patient's folder or a tree of them, in sorted order.

    Raises
    ------
    InputError
        Nothing there, no echocardiogram in it, or one patient found twice.
    """
    try:
        if path.is_file() and is_dicomdir(path):
            return _by_study(files_in_dicomdir(path))
        if path.is_file():
            return [_single(path)]
        if not path.is_dir():
            raise InputError(f"{path}: no such file or folder")
        found, dicoms = [], []
        for folder in _folders(path):
            files = _files(folder, path)
            found += _studies_in(folder, files)
            dicoms += [p for p in files if not image_suffix(p) and not is_dicomdir(p) and is_dicom(p)]
        if dicoms:
            found += _by_study(dicoms)
            # Films before pictures, which are often only shots of the screen: of one name, the first is read.
            found.sort(key=lambda files: (files.folder, files.label, not files.dicoms))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not found:
        raise InputError(f"{path}: no echocardiogram in this folder ({FORMATS} are read)")
    return found


def find_studies_of(paths: Sequence[Path], on_error: OnError) -> list[StudyFiles]:
    """List the patients that files named one by one make up.

    Pictures and films are one patient's where a CAMUS name or folder says so, where their names are equal but
    for words of view and phase (`x_2CH.avi`, `x_4CH_ED.png`), or where they are the numbered pictures of a
    clip; that they lie in one folder says nothing. A patient of one file is called after it. Expert masks and
    Info files beside the images are found. A file that cannot be used is told of, with its error.
    """
    in_folder: dict[Path, list[Path]] = {}
    found: list[StudyFiles] = []
    dicoms: list[Path] = []
    for path in paths:
        if image_suffix(path):
            in_folder.setdefault(path.parent.resolve(), []).append(path)
        elif is_dicom(path):
            dicoms.append(path)
        elif not _INFO.match(path.name):
            on_error(path, _not_read(path))
    for given in in_folder.values():
        folder = given[0].parent
        try:
            found += _studies_of(folder, [folder / path.name for path in given], on_error)
        except OSError as error:
            on_error(folder, InputError(f"{folder}: cannot be read ({error.strerror or error})"))
    if dicoms:
        found += _by_study(dicoms, named_singly=True)
    return found


def is_dicom(path: Path) -> bool:
    """Tell a DICOM file by its suffix or its magic; exports often have no suffix, or a UID for a name."""
    if path.suffix.lower() in _DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as handle:
            return handle.read(_PREAMBLE_BYTES + 4)[_PREAMBLE_BYTES:] == _DICOM_MAGIC
    except OSError:
        return False


def dicom_stem(path: Path) -> str:
    """Return the name of a DICOM file without suffix; the dots of a UID are no suffix."""
    return path.name if path.suffix[1:].isdigit() else path.stem


def _by_study(dicoms: list[Path], *, named_singly: bool = False) -> list[StudyFiles]:
    from apical.readers.dicom_groups import group_by_study

    return group_by_study(dicoms, named_singly=named_singly)


def _not_read(path: Path) -> InputError:
    return InputError(f"{path}: not a format that is read ({FORMATS})")


def _only_a_mask(path: Path) -> InputError:
    return InputError(f"{path}: an expert mask, not an image; give the image or its folder")


def _studies_of(folder: Path, given: list[Path], on_error: OnError) -> Iterator[StudyFiles]:
    names = {path: parse_name(path) for path in given}
    stems = {name.stem for name in names.values() if not name.is_mask}
    for path, name in names.items():
        if name.is_mask and name.stem not in stems:
            on_error(path, _only_a_mask(path))
    beside = [p for p in _files(folder, folder) if _INFO.match(p.name) or _is_mask_of(p, stems)]
    for files in _studies_in(folder, sorted({p for p, name in names.items() if not name.is_mask} | set(beside))):
        by_subject: dict[str, list[ImageFile]] = {}
        for image in files.images:
            subject = _label(folder, image.name) or subject_of(image.name.stem)
            by_subject.setdefault(subject, []).append(image)
        for subject, images in by_subject.items():
            yield _named_singly(files, subject, tuple(images), alone=len(by_subject) == 1)


def _named_singly(files: StudyFiles, subject: str, images: tuple[ImageFile, ...], *, alone: bool) -> StudyFiles:
    """Make one study of images named one by one; `alone` where they are all that was named of their folder."""
    name = images[0].name
    label = files.label if alone else subject or files.label
    if len(images) == 1 and not (alone and images[0].pictures):
        label = _label(files.folder, name) or name.stem
    return replace(files, label=label, images=images, infos=files.infos if name.camus else ())


def _is_mask_of(path: Path, stems: Container[str]) -> bool:
    return image_suffix(path) is not None and (name := parse_name(path)).is_mask and name.stem in stems


def _single(path: Path) -> StudyFiles:
    folder = path.parent
    if image_suffix(path) is None:
        if not is_dicom(path):
            raise _not_read(path)
        return StudyFiles(folder, dicom_stem(path), dicoms=(path,))
    name = parse_name(path)
    if name.is_mask:
        raise _only_a_mask(path)
    siblings = _files(folder, folder)
    masks = [p for p in siblings if _is_mask_of(p, (name.stem,))]
    images, _ = _pair([path, *masks])
    infos = tuple(p for p in siblings if _INFO.match(p.name)) if name.camus else ()
    return StudyFiles(folder, _label(folder, name) or name.stem, images, infos=infos)


def _label(folder: Path, name: FileName) -> str | None:
    """Return the patient that a CAMUS name or folder states."""
    if name.patient:
        return name.patient
    resolved = folder.resolve()
    return resolved.name.lower() if is_patient_folder(resolved) else None


def _folders(root: Path) -> Iterator[Path]:
    """Yield `root` and all folders below it, sorted; links to folders are not followed."""
    for folder, children, _ in os.walk(root, followlinks=False):
        children[:] = sorted(c for c in children if not c.startswith((".", "__MACOSX")))
        yield Path(folder)


def _files(folder: Path, root: Path) -> list[Path]:
    """List the files of a folder; a link that leads out of `root` is not followed."""
    top = root.resolve()
    with os.scandir(folder) as entries:
        names = sorted(
            e.name
            for e in entries
            if not e.name.startswith(".")
            and e.is_file()
            and (not e.is_symlink() or Path(e.path).resolve().is_relative_to(top))
        )
    return [folder / name for name in names]


def _studies_in(folder: Path, files: list[Path]) -> list[StudyFiles]:
    """Group the pictures of one folder by patient."""
    infos = tuple(p for p in files if _INFO.match(p.name))
    by_label: dict[str, list[Path]] = {}
    default = folder.resolve().name
    for path in files:
        if image_suffix(path):
            by_label.setdefault(_label(folder, parse_name(path)) or default, []).append(path)
    studies = []
    for label, paths in sorted(by_label.items()):
        images, notes = _pair(paths, as_clips=True)
        # Numbers count pictures as well as people: they are no other subject.
        named = [subject_of(i.name.stem) for i in images if i.name.view and not i.name.camus]
        subjects = {re.sub(r"\d+", "", subject) for subject in named} - {""}
        if len(subjects) > 1:
            notes = (*notes, f"names of {len(subjects)} subjects in one folder, which is read as one patient")
        if images:
            studies.append(StudyFiles(folder, label, images, infos=infos, notes=notes))
    return studies


def _pair(paths: list[Path], *, as_clips: bool = False) -> tuple[tuple[ImageFile, ...], tuple[str, ...]]:
    """Join images and their masks by name, and numbered pictures to clips.

    A CAMUS folder's other pictures are left out and noted.
    """
    named = [(path, parse_name(path)) for path in paths]
    masks: dict[str, Path] = {name.stem: path for path, name in named if name.is_mask}
    images = [(path, name) for path, name in named if not name.is_mask]
    notes = []
    if any(name.camus for _, name in images):
        notes = [f"{path.name}: left out, its name is not CAMUS's" for path, name in images if not name.camus]
        images = [(path, name) for path, name in images if name.camus]
    stems = {name.stem for _, name in images}
    notes += [f"{path.name}: left out, a mask without its image" for stem, path in masks.items() if stem not in stems]
    clips: list[ImageFile] = []
    if as_clips:
        sequences, sequence_notes = find_sequences(images, masks)
        notes += sequence_notes
        clips = [ImageFile(pictures[0], name, pictures=pictures) for name, pictures in sequences]
        taken = {path for clip in clips for path in clip.pictures}
        images = [(path, name) for path, name in images if path not in taken]
    return (*(ImageFile(path, name, masks.get(name.stem)) for path, name in images), *clips), tuple(notes)
