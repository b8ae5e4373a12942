"""Masks as DICOM Segmentation (BINARY): one segment per structure, one frame per segment and instant.

An ultrasound clip has no frame of reference, so a segmentation of it is tied to its source by
reference: every frame names the source frame that it lies on, pixel for pixel (PS3.3 A.51, C.8.20).
Nothing is said of positions in the patient, which nobody knows. That is all that the standard asks, and
highdicom, dcmtk and archives want no more; but 3D Slicer (dcmqi) refuses a segmentation without planes.
For it, `stacked` adds a frame of reference of the object's own, in which the clip is a pile of frames
1 mm apart, as Slicer also lays out the clip itself. Distances within a frame are true, along the pile not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from apical import __version__
from apical.anatomy import Label
from apical.errors import InputError, OutputError
from apical.report.dicom_object import (
    ObjectKind,
    code_item,
    derived_uid,
    encoded_sequence,
    new_object,
    read_header,
    reference_item,
    save,
    source_name,
)
from apical.study import Maker, Spacing

_KIND = ObjectKind("1.2.840.10008.5.1.4.1.1.66.4", "SEG", 9001, "apical: LV cavity, myocardium, left atrium")


@dataclass(frozen=True)
class _Segment:
    """How a label is named to other programs; `lab` is its display colour in DICOM's 16-bit CIELab."""

    label: Label
    name: str
    code: tuple[str, str, str]
    lab: tuple[int, int, int]


# CID 7152 and CID 12305; SNOMED CT has no concept in use for the cavity alone, so the description says it.
# The colours are those of the report's contours.
_SEGMENTS = (
    _Segment(Label.LV_CAVITY, "LV cavity", ("87878005", "SCT", "Left ventricle"), (58401, 29472, 52287)),
    _Segment(Label.MYOCARDIUM, "Myocardium", ("49848007", "SCT", "Left Ventricle Myocardium"), (45760, 29806, 23961)),
    _Segment(Label.LEFT_ATRIUM, "Left atrium", ("82471001", "SCT", "Left atrium"), (35515, 44016, 49158)),
)
_CATEGORY = ("91723000", "SCT", "Anatomical Structure")
_TEMPORAL_POSITION, _FRAME_CONTENT = 0x00209128, 0x00209111
_SEGMENT_NUMBER, _SEGMENT_IDENTIFICATION = 0x0062000B, 0x0062000A


def write_dicom_seg(
    path: Path | str,
    mask: NDArray[np.uint8],
    source: Path | str | Dataset,
    *,
    algorithm: str | None,
    maker: Maker = Maker.MODEL,
    stacked_spacing_mm: Spacing | None = None,
    frames: Sequence[int] | None = None,
    created: datetime | None = None,
    overwrite: bool = False,
) -> None:
    """Write the masks of one ultrasound image or clip as a DICOM Segmentation.

    Structures that occur in no frame get no segment; the others have a frame for every instant, so
    that 'looked at and empty' differs from 'not looked at'.

    Parameters
    ----------
    path
        File to write, usually `.dcm`.
    mask
        Labels 0-3, uint8, (row, column), or (time, row, column) for a clip.
    source
        The DICOM file that was segmented, or its header.
    algorithm
        Name of the model that made the mask; None for an expert's.
    maker
        Of masks whose maker is unknown nothing is said but that; the standard has no word for it, so that they
        are called semi-automatic.
    stacked_spacing_mm
        (row, column) pixel spacing in mm, to lay the frames out as a pile for 3D Slicer; by default
        no geometry is stated.
    frames
        Zero-based source frame of each mask; by default all frames of the source, in order.
    created
        Date and time of the content; by default the source's, so that the same input gives the same file.

    Raises
    ------
    InputError
        The source cannot be referred to, or has another size than the mask.
    OutputError
        No structure occurs in any frame, a file exists already, or the folder cannot be written to.
    """
    header = read_header(source) if isinstance(source, str | Path) else source
    labels = np.ascontiguousarray(mask if mask.ndim == 3 else mask[None], dtype=np.uint8)
    numbers = _source_frames(header, labels, frames)
    segments = [s for s in _SEGMENTS if any((frame == s.label).any() for frame in labels)]
    if not segments:
        raise OutputError(f"{path}: no structure occurs in any frame, so there is no segmentation to write")
    content = b"".join([repr((algorithm, maker, stacked_spacing_mm, numbers, labels.shape)).encode(), labels.data])
    seg = new_object(header, _KIND, content, created)
    _describe(seg, header, labels.shape)
    seg.SegmentSequence = [_segment_item(i + 1, s, algorithm, maker) for i, s in enumerate(segments)]
    _add_frames(seg, header, len(segments), numbers)
    if stacked_spacing_mm is not None:
        _stack(seg, stacked_spacing_mm)
    seg.PixelData = _packed(labels, segments)
    seg["PixelData"].VR = "OB"
    save(path, seg, overwrite=overwrite)


def _source_frames(header: Dataset, labels: NDArray[np.uint8], frames: Sequence[int] | None) -> list[int]:
    """Return the source frame of each mask, counted from 1 as DICOM does."""
    size = (int(header.get("Rows") or 0), int(header.get("Columns") or 0))
    n_source = int(header.get("NumberOfFrames") or 1)
    if labels.shape[1:] != size:
        raise InputError(
            f"{source_name(header)}: {size[0]} x {size[1]} pixels, the mask {labels.shape[1]} x {labels.shape[2]}; "
            "give masks on the source's own grid"
        )
    chosen = list(range(n_source)) if frames is None else [int(f) for f in frames]
    if len(chosen) != len(labels) or len(set(chosen)) != len(chosen) or not all(0 <= f < n_source for f in chosen):
        raise InputError(
            f"{source_name(header)}: {n_source} frames, the mask {len(labels)}; say which frames were segmented"
        )
    return [f + 1 for f in chosen]


def _describe(seg: Dataset, header: Dataset, shape: tuple[int, ...]) -> None:
    seg.ImageType = ["DERIVED", "PRIMARY"]
    # Type 2C: present because the image has no orientation in the patient, empty for the same reason.
    seg.PatientOrientation = ""
    seg.ContentLabel = "APICAL"
    seg.ContentDescription = "Left ventricle and left atrium in apical views"
    seg.ContentCreatorName = ""
    seg.SamplesPerPixel = 1
    seg.PhotometricInterpretation = "MONOCHROME2"
    seg.Rows, seg.Columns = shape[1], shape[2]
    seg.BitsAllocated, seg.BitsStored, seg.HighBit, seg.PixelRepresentation = 1, 1, 0, 0
    # The source's own history: a mask of a lossy picture is as good as that picture.
    seg.LossyImageCompression = str(header.get("LossyImageCompression") or "00")
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if seg.LossyImageCompression == "01" and keyword in header:
            seg[keyword] = header[keyword]
    seg.SegmentationType = "BINARY"
    seg.SegmentsOverlap = "NO"
    series = Dataset()
    series.SeriesInstanceUID = header.SeriesInstanceUID
    series.ReferencedInstanceSequence = [reference_item(header)]
    seg.ReferencedSeriesSequence = [series]


def _segment_item(number: int, segment: _Segment, algorithm: str | None, maker: Maker) -> Dataset:
    item = Dataset()
    item.SegmentNumber = number
    item.SegmentLabel = segment.name
    item.SegmentDescription = f"{segment.name} in an apical view"
    item.SegmentedPropertyCategoryCodeSequence = [code_item(*_CATEGORY)]
    item.SegmentedPropertyTypeCodeSequence = [code_item(*segment.code)]
    item.RecommendedDisplayCIELabValue = list(segment.lab)
    if maker is Maker.UNKNOWN:
        item.SegmentAlgorithmType, item.SegmentAlgorithmName = "SEMIAUTOMATIC", "masks as given, maker unknown"
        return item
    if algorithm is None or maker is Maker.EXPERT:
        item.SegmentAlgorithmType = "MANUAL"
        return item
    item.SegmentAlgorithmType = "AUTOMATIC"
    item.SegmentAlgorithmName = f"apical, {algorithm}"[:64]
    identification = Dataset()
    identification.AlgorithmFamilyCodeSequence = [code_item("123110", "DCM", "Artificial Intelligence")]
    identification.AlgorithmName = item.SegmentAlgorithmName
    identification.AlgorithmVersion = __version__
    item.SegmentationAlgorithmIdentificationSequence = [identification]
    return item


def _add_frames(seg: Dataset, header: Dataset, n_segments: int, numbers: Sequence[int]) -> None:
    organization = Dataset()
    organization.DimensionOrganizationUID = derived_uid("dimensions", seg.SOPInstanceUID)
    seg.DimensionOrganizationSequence = [organization]
    seg.DimensionIndexSequence = []
    for pointer, group, name in (
        (_SEGMENT_NUMBER, _SEGMENT_IDENTIFICATION, "Segment number"),
        (_TEMPORAL_POSITION, _FRAME_CONTENT, "Temporal position"),
    ):
        index = Dataset()
        index.DimensionOrganizationUID = organization.DimensionOrganizationUID
        index.DimensionIndexPointer, index.FunctionalGroupPointer = pointer, group
        index.DimensionDescriptionLabel = name
        seg.DimensionIndexSequence.append(index)
    seg.SharedFunctionalGroupsSequence = [Dataset()]
    derivations = [encoded_sequence("DerivationImageSequence", _derivation(header, number)) for number in numbers]
    segments = [encoded_sequence("SegmentIdentificationSequence", _identification(k + 1)) for k in range(n_segments)]
    seg.PerFrameFunctionalGroupsSequence = [
        _frame_item(derivation, identification, segment + 1, position + 1)
        for segment, identification in enumerate(segments)
        for position, derivation in enumerate(derivations)
    ]
    seg.NumberOfFrames = n_segments * len(numbers)


def _stack(seg: Dataset, spacing_mm: Spacing) -> None:
    """State a frame of reference in which the instants lie 1 mm behind each other."""
    seg.FrameOfReferenceUID = derived_uid("frame of reference", seg.SOPInstanceUID)
    seg.PositionReferenceIndicator = ""
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing = [f"{s:.10g}" for s in spacing_mm]
    measures.SliceThickness = measures.SpacingBetweenSlices = "1"
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared = seg.SharedFunctionalGroupsSequence[0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        plane = Dataset()
        plane.ImagePositionPatient = [0, 0, frame.FrameContentSequence[0].TemporalPositionIndex - 1]
        frame.PlanePositionSequence = [plane]


def _derivation(header: Dataset, number: int) -> Dataset:
    """Return the reference to one source frame, which the frames of all segments share."""
    image = reference_item(header)
    if "NumberOfFrames" in header:
        image.ReferencedFrameNumber = number
    image.PurposeOfReferenceCodeSequence = [
        code_item("121322", "DCM", "Source image for image processing operation"),
    ]
    image.SpatialLocationsPreserved = "YES"
    derivation = Dataset()
    derivation.DerivationCodeSequence = [code_item("113076", "DCM", "Segmentation")]
    derivation.SourceImageSequence = [image]
    return derivation


def _identification(segment: int) -> Dataset:
    """Return the reference to a segment, which all of its frames share."""
    identification = Dataset()
    identification.ReferencedSegmentNumber = segment
    return identification


def _frame_item(derivation: RawDataElement, identification: RawDataElement, segment: int, position: int) -> Dataset:
    content = Dataset()
    content.DimensionIndexValues = [segment, position]
    content.TemporalPositionIndex = position
    item = Dataset()
    for shared in (derivation, identification):
        item[shared.tag] = shared
    item.FrameContentSequence = [content]
    return item


def _packed(labels: NDArray[np.uint8], segments: Sequence[_Segment]) -> bytes:
    """Return one bit per pixel, frame after frame without gaps, the first pixel in the lowest bit (PS3.5, 8.1.1)."""
    bits = np.empty((len(segments), *labels.shape), dtype=bool)
    for segment, place in zip(segments, bits, strict=True):
        np.equal(labels, segment.label, out=place)
    packed = np.packbits(bits, axis=None, bitorder="little").tobytes()
    return packed + bytes(len(packed) % 2)
