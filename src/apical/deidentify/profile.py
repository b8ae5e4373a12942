"""Which attributes of an ultrasound image survive de-identification, and how.

The Basic Application Level Confidentiality Profile (PS3.15 annex E) lists what to remove. Here it is the
other way round: what is not listed below is dropped, private and unknown attributes with it, so that a tag
that nobody thought of cannot leak. Everything kept is either needed to show and measure the picture, or is
a replacement. Kept values must also look like what their type allows: a code string is no place for a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from apical.deidentify.pseudonyms import Pseudonyms
from apical.errors import InputError
from apical.report.dicom_object import code_item, source_name

_KEPT = frozenset(
    [
        "SOPClassUID",
        "Modality",
        "ImageType",
        "Manufacturer",
        "ManufacturerModelName",
        "SoftwareVersions",
        "SeriesNumber",
        "InstanceNumber",
        "NumberOfStages",
        "StageNumber",
        "NumberOfViewsInStage",
        "ViewNumber",
        "NumberOfFrames",
        "FrameIncrementPointer",
        "FrameTime",
        "FrameTimeVector",
        "CineRate",
        "RecommendedDisplayFrameRate",
        "PreferredPlaybackSequencing",
        "EffectiveDuration",
        "ActualFrameDuration",
        "FrameDelay",
        "StartTrim",
        "StopTrim",
        "HeartRate",
        "TriggerTime",
        "NominalInterval",
        "LowRRValue",
        "HighRRValue",
        "TransducerType",
        "TransducerFrequency",
        "DepthOfScanField",
        "MechanicalIndex",
        "SoftTissueThermalIndex",
        "SoftTissueFocusThermalIndex",
        "SoftTissueSurfaceThermalIndex",
        "BoneThermalIndex",
        "CranialThermalIndex",
        "SequenceOfUltrasoundRegions",
        "UltrasoundColorDataPresent",
        "PixelAspectRatio",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    ]
)
"""Kept as they are. The pixel module is written anew, with the pixels."""

_NUMERIC_VRS = frozenset({"US", "SS", "UL", "SL", "FL", "FD", "IS", "DS", "AT"})
_CODE_STRING = re.compile(r"[A-Z0-9 _]{0,16}")
_FREE_TEXT = frozenset({"Manufacturer", "ManufacturerModelName", "SoftwareVersions"})
_FRAME_TIMES = (0x00181063, 0x00181065)
"""What the frame increment may point at: FrameTime and FrameTimeVector, both kept."""
_UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_DATED = ("Study", "Series", "Acquisition", "Content")
_EMPTIED = (
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
    "PatientOrientation",
    "Laterality",
)
"""Type 2: present, and empty (action Z)."""
_CHARACTERISTICS = ("PatientSex", "PatientAge", "PatientSize", "PatientWeight")
_OLDEST_AGE_YEARS = 89
"""Above it an age alone may tell who it is; such ages become 90 years."""

_IDENTIFYING_GROUP = 0x0010
_IDENTIFYING = frozenset(
    {"AccessionNumber", "InstitutionName", "InstitutionAddress", "StationName", "DeviceSerialNumber"},
)
_SHORTEST_WORD = 3

_METHODS = {
    "113100": "Basic Application Confidentiality Profile",
    "113101": "Clean Pixel Data Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
}
_RETAIN_CHARACTERISTICS = ("113108", "Retain Patient Characteristics Option")


def clean_attributes(source: Dataset, pseudonyms: Pseudonyms, *, keep_characteristics: bool) -> Dataset:
    """Return the attributes of an image that may leave the house, without its pixels.

    Parameters
    ----------
    source
        The image's data set; it is not changed.
    keep_characteristics
        Whether sex, age, height and weight stay (PS3.15, Retain Patient Characteristics Option).

    Raises
    ------
    InputError
        The image lacks one of the UIDs that name it.
    """
    clean = Dataset()
    words = identifying_words(source)
    for element in _elements(source):
        keyword = keyword_for_tag(element.tag)
        if keyword in _KEPT and _is_harmless(element, keyword, words):
            value = [_numbers_only(item) for item in element.value] if element.VR == "SQ" else element.value
            clean[keyword] = DataElement(element.tag, element.VR, value)
    # The pixels are no longer those that were acquired.
    clean.ImageType = ["DERIVED", "PRIMARY", *list(clean.get("ImageType") or ())[2:]]
    clean.setdefault("Manufacturer", "")
    if clean.get("FrameIncrementPointer") not in _FRAME_TIMES:
        clean.pop("FrameIncrementPointer", None)
    person = pseudonyms.person(source)
    clean.PatientID = pseudonyms.patient_id(person)
    clean.PatientName = clean.PatientID
    for keyword in _EMPTIED:
        setattr(clean, keyword, "")
    for keyword in _UIDS:
        setattr(clean, keyword, pseudonyms.uid(_required(source, keyword)))
    for kind in _DATED:
        if f"{kind}Date" in source or kind == "Study":
            date, time = pseudonyms.shifted(person, source.get(f"{kind}Date"), source.get(f"{kind}Time"))
            setattr(clean, f"{kind}Date", date)
            setattr(clean, f"{kind}Time", time)
    if keep_characteristics:
        _keep_characteristics(clean, source)
    _state_methods(clean, keep_characteristics=keep_characteristics)
    return clean


def _required(source: Dataset, keyword: str) -> str:
    value = str(source.get(keyword) or "")
    if not value:
        # The stand-in for nothing would be one and the same for all such files.
        raise InputError(f"{source_name(source)}: has no {keyword}; export it again from the archive")
    return value


def identifying_words(source: Dataset) -> frozenset[str]:
    """Return every word, lower case, of the names, numbers and places that a data set holds anywhere."""
    words: set[str] = set()
    for element in _walk(source):
        keyword = keyword_for_tag(element.tag)
        names = element.VR == "PN" or element.tag.group == _IDENTIFYING_GROUP or keyword in _IDENTIFYING
        # Sex, age, height and weight are words of other places too.
        if names and keyword not in _CHARACTERISTICS:
            words.update(_words(element.value))
    return frozenset(words)


def _words(value: Any) -> Iterable[str]:
    return (w.lower() for w in re.findall(r"\w+", str(value)) if len(w) >= _SHORTEST_WORD)


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    """Yield the elements that can be read; a damaged one cannot be judged, so it is dropped."""
    for tag in sorted(dataset.keys()):
        if tag.is_private or tag.group >= 0x7FE0:
            continue
        try:
            yield dataset[tag]
        except Exception:
            continue


def _walk(dataset: Dataset) -> Iterator[DataElement]:
    for element in _elements(dataset):
        if element.VR == "SQ":
            for item in element.value:
                yield from _walk(item)
        else:
            yield element


def _is_harmless(element: DataElement, keyword: str, words: frozenset[str]) -> bool:
    vr = dictionary_VR(element.tag)
    # A file may state another type than the dictionary, and hide a sentence where a number belongs.
    if vr != element.VR:
        return False
    if vr in ("SQ", "UI"):
        return True
    if vr in _NUMERIC_VRS:
        return _is_number(element.value)
    values = element.value if isinstance(element.value, list | tuple) or element.VM > 1 else [element.value]
    texts = [str(v or "") for v in values]
    if any(w in words for text in texts for w in _words(text)):
        return False
    return keyword in _FREE_TEXT or all(_CODE_STRING.fullmatch(text) for text in texts)


def _is_number(value: Any) -> bool:
    try:
        for v in value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]:
            if v not in (None, ""):
                float(v)
    except (TypeError, ValueError):
        return False
    return True


def _numbers_only(item: Dataset) -> Dataset:
    """Return the numbers of an ultrasound region; its attributes are all numeric (PS3.3 C.8.5.5)."""
    clean = Dataset()
    for element in _elements(item):
        keyword = keyword_for_tag(element.tag)
        if keyword and element.VR == dictionary_VR(element.tag) in _NUMERIC_VRS and _is_number(element.value):
            clean[keyword] = DataElement(element.tag, element.VR, element.value)
    return clean


def _keep_characteristics(clean: Dataset, source: Dataset) -> None:
    if (sex := str(source.get("PatientSex") or "")) in ("F", "M", "O"):
        clean.PatientSex = sex
    if age := re.fullmatch(r"(\d{3})([YMWD])", str(source.get("PatientAge") or "")):
        old = age[2] == "Y" and int(age[1]) > _OLDEST_AGE_YEARS
        clean.PatientAge = "090Y" if old else age[0]
    for keyword in ("PatientSize", "PatientWeight"):
        if source.get(keyword) and _is_number(source.get(keyword)):
            setattr(clean, keyword, f"{float(source.get(keyword)):.4g}")


def _state_methods(clean: Dataset, *, keep_characteristics: bool) -> None:
    clean.PatientIdentityRemoved = "YES"
    clean.LongitudinalTemporalInformationModified = "MODIFIED"
    clean.BurnedInAnnotation = "NO"
    clean.DeidentificationMethod = "apical: PS3.15 basic profile, sector only, dates shifted"
    methods = dict([*_METHODS.items(), *([_RETAIN_CHARACTERISTICS] if keep_characteristics else [])])
    clean.DeidentificationMethodCodeSequence = [code_item(value, "DCM", name) for value, name in methods.items()]
