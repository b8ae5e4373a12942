"""De-identify ultrasound DICOM: PS3.15 basic profile, pixels of the sector only, all by one key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from apical.errors import InputError
from apical.files import refuse_inside
from apical.study import Region

if TYPE_CHECKING:
    from apical.deidentify.pseudonyms import Pseudonyms

__all__ = ["deidentify", "read_key"]

_ULTRASOUND_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.6.1",
    "1.2.840.10008.5.1.4.1.1.3.1",
    # Retired, and still in archives.
    "1.2.840.10008.5.1.4.1.1.6",
    "1.2.840.10008.5.1.4.1.1.3",
}


def deidentify(
    source: Path | str,
    out: Path | str,
    key: bytes,
    *,
    region: Region | None = None,
    keep_characteristics: bool = False,
    on_error: Callable[[Path, InputError], None] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write de-identified copies of ultrasound images, and return their paths.

    Copies lie in `out/<new patient number>/<new SOP instance UID>.dcm`. The same key gives the same numbers,
    UIDs and dates, so that studies of one patient stay together; without the key nothing leads back.

    Parameters
    ----------
    source
        A DICOM file, or a folder that is searched with all its sub-folders.
    out
        Folder for the copies, outside of `source`.
    key
        Secret of 16 bytes or more; see `read_key`.
    region
        (first row, first column, end row, end column) to keep of every picture, where neither tags nor
        picture show the ultrasound; everything outside becomes black.
    keep_characteristics
        Whether sex, age, height and weight stay.
    on_error
        Called with the path and error of each file that has to be left out: no ultrasound image, damaged, or
        a picture whose writing cannot be told from its ultrasound. When absent, the first is raised.
    overwrite
        Whether earlier copies may be replaced.

    Raises
    ------
    InputError
        The key is too short, `source` is not there or holds nothing; without `on_error` also any file
        that has to be left out.
    OutputError
        A copy exists already, `out` lies inside `source` or cannot be written to.
    """
    from apical.deidentify.pseudonyms import Pseudonyms
    from apical.readers.dicom_pixels import damage_of, quiet

    source, out = Path(source), Path(out)
    pseudonyms = Pseudonyms(key)
    refuse_inside(out, source)
    written = []
    for path in _files(source):
        try:
            with quiet(), damage_of(path):
                written.append(_copy(path, out, pseudonyms, region, keep_characteristics, overwrite))
        except InputError as error:
            if on_error is None:
                raise
            on_error(path, error)
    return written


def read_key(path: Path | str) -> bytes:
    """Read the secret key from a file; a key on a command line would stay in the shell's history.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    try:
        return Path(path).read_bytes().strip()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _files(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
        return
    found = sorted(p for p in source.rglob("*") if p.is_file() and not p.is_symlink() and p.name != "DICOMDIR")
    if not found:
        raise InputError(f"{source}: no such file, or a folder without files")
    yield from found


def _copy(
    path: Path, out: Path, pseudonyms: Pseudonyms, region: Region | None, keep_characteristics: bool, overwrite: bool
) -> Path:
    from pydicom import dcmread

    from apical.deidentify.pixels import blacken, decode, kept_pixels, set_pixels
    from apical.deidentify.profile import clean_attributes
    from apical.grid import Box
    from apical.readers.dicom_guard import check_structure
    from apical.readers.dicom_tags import view_of
    from apical.readers.limits import refuse_foreign_name
    from apical.report.dicom_codes import VIEWS
    from apical.report.dicom_object import code_item, save

    refuse_foreign_name(path)
    try:
        check_structure(path)
        dataset = dcmread(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if str(dataset.get("SOPClassUID")) not in _ULTRASOUND_CLASSES or "PixelData" not in dataset:
        raise InputError(f"{path}: no ultrasound image; only those are de-identified")
    pixels = decode(path, dataset)
    kept = kept_pixels(path, dataset, pixels, None if region is None else Box(*region))
    clean = clean_attributes(dataset, pseudonyms, keep_characteristics=keep_characteristics)
    if (view := view_of(dataset)) is not None:
        # Read from texts that are dropped themselves.
        clean.ViewCodeSequence = [code_item(*VIEWS[view])]
    set_pixels(clean, blacken(pixels, kept), int(dataset.get("BitsStored") or 8))
    target = out / str(clean.PatientID) / f"{clean.SOPInstanceUID}.dcm"
    save(target, clean, overwrite=overwrite)
    return target
