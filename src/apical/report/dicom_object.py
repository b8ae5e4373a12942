"""What every DICOM object made from an echocardiogram shares: patient, study, UIDs, writing.

UIDs and dates follow from the source and the content, never from the clock: the same input gives the
same file, byte for byte, and a PACS that receives it twice keeps one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydicom import dcmread
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_sequence_item
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from apical import __version__
from apical.errors import InputError
from apical.files import atomic_write
from apical.readers.dicom_guard import check_structure

MANUFACTURER = "apical"
_CHARACTER_SET = "ISO_IR 192"

PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "StudyDescription",
    "TimezoneOffsetFromUTC",
)
_EMPTY_WHERE_UNKNOWN = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
"""Type 2 in the patient and study modules: a viewer expects the element, though it may be empty."""


@dataclass(frozen=True)
class ObjectKind:
    """One kind of object that apical makes: its SOP class, modality and place in the study."""

    sop_class: str
    modality: str
    series_number: int
    series_description: str


def read_header(path: Path | str) -> Dataset:
    """Read a source's tags without its pixels, after the structure check of the DICOM reader.

    Raises
    ------
    InputError
        Not DICOM, damaged or hostile, or without the UIDs by which a new object would refer to it.
    """
    path = Path(path)
    try:
        check_structure(path)
        header = dcmread(path, stop_before_pixels=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not header.get(keyword):
            raise InputError(f"{path}: has no {keyword}, so nothing can refer to it; export it again from the PACS")
    return header


def source_name(source: Dataset) -> str:
    """Return how an error message names a source: its file, never its patient."""
    return str(getattr(source, "filename", None) or "DICOM source")


def uid_from_digest(digest: bytes) -> str:
    """Return the UID that stands for a digest: 2.25 and its first 128 bits (PS3.5, B.2).

    >>> uid_from_digest(bytes(15) + b"\\x07")
    '2.25.7'
    """
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def derived_uid(*parts: str | bytes) -> str:
    """Return the UID that belongs to these parts; the same parts always give the same UID."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        # The length in front: ("ab", "c") is not ("a", "bc").
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return uid_from_digest(digest.digest())


def new_object(source: Dataset, kind: ObjectKind, content: bytes, created: datetime | None) -> Dataset:
    """Return a new object in the study of `source`, with its patient, equipment and UIDs.

    Parameters
    ----------
    source
        Header of the image that the object was made from.
    content
        What the object holds: with the source it decides the UIDs.
    created
        Date and time of its content; by default those of the source.
    """
    made = Dataset()
    source.decode()
    for keyword in PATIENT_AND_STUDY:
        if keyword in source:
            made[keyword] = source[keyword]
        elif keyword in _EMPTY_WHERE_UNKNOWN:
            setattr(made, keyword, "")
    made.SpecificCharacterSet = _CHARACTER_SET
    made.SOPClassUID = kind.sop_class
    made.SOPInstanceUID = derived_uid(kind.sop_class, source.SOPInstanceUID, __version__, content)
    made.Modality = kind.modality
    made.SeriesInstanceUID = derived_uid(kind.sop_class, source.StudyInstanceUID, __version__)
    made.SeriesNumber = kind.series_number
    made.SeriesDescription = kind.series_description
    made.InstanceNumber = str(source.get("InstanceNumber") or 1)
    made.Manufacturer = MANUFACTURER
    made.ManufacturerModelName = "apical"
    made.DeviceSerialNumber = "none"
    made.SoftwareVersions = __version__
    made.ContentDate, made.ContentTime = content_moment(source, created)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def content_moment(source: Dataset, created: datetime | None) -> tuple[str, str]:
    """Return DICOM date and time of `created`, or of the source where that is None."""
    if created is not None:
        return created.strftime("%Y%m%d"), created.strftime("%H%M%S")
    for kind in ("Content", "Acquisition", "Series", "Study"):
        if date := source.get(f"{kind}Date"):
            return str(date), str(source.get(f"{kind}Time") or "000000")
    return "19000101", "000000"


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """Return one item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def reference_item(source: Dataset) -> Dataset:
    """Return one item that refers to a source image."""
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return item


def encoded_sequence(keyword: str, item: Dataset) -> RawDataElement:
    """Return a sequence of one item as it is written, for objects that say the same many times."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    _state_encoding(item, default_encoding)
    write_sequence_item(buffer, item, convert_encodings(_CHARACTER_SET))
    value = buffer.getvalue()
    return RawDataElement(Tag(keyword), "SQ", len(value), value, 0, False, True)


def save(path: Path | str, made: Dataset, *, overwrite: bool) -> None:
    """Write an object as a Part 10 file with an empty preamble, atomically.

    Raises
    ------
    OutputError
        `path` exists and `overwrite` is false, or its folder cannot be written to.
    """
    meta = made.file_meta
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    meta.ImplementationClassUID = UID(derived_uid("apical"))
    meta.ImplementationVersionName = f"APICAL_{__version__}"[:16]
    made.preamble = bytes(128)
    _state_encoding(made, convert_encodings(_CHARACTER_SET))
    with atomic_write(path, overwrite=overwrite) as temporary:
        made.save_as(temporary, enforce_file_format=True)


def _state_encoding(made: Dataset, characters: str | list[str]) -> None:
    """Say that a dataset's elements are encoded as they will be written, as those of its items.

    Else pydicom looks for elements of ambiguous type, of which we have none, in every item of every depth again.
    """
    made.set_original_encoding(False, True, characters)
    for element in made.elements():
        if isinstance(element, DataElement) and element.VR == "SQ":
            for item in element.value or ():
                _state_encoding(item, default_encoding)
