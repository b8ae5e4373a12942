"""Phantom clips in the files that scanners and laboratories give out: ultrasound DICOM and MP4.

DICOM is an Ultrasound Multi-frame Image (PS3.3 A.7) with a calibrated tissue region, frame time and heart
rate, in any of five transfer syntaxes.
"""

from __future__ import annotations

import io
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apical.errors import OutputError
from apical.files import atomic_write, refuse_existing
from apical.study import Clip

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MULTI_FRAME_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.3.1"
_UID_ROOT = "2.25."
_MM_PER_CM = 10.0


class ClipSyntax(StrEnum):
    """How the pixels of a DICOM clip are coded; the value is the transfer syntax UID."""

    RAW = "1.2.840.10008.1.2.1"
    RLE = "1.2.840.10008.1.2.5"
    JPEG = "1.2.840.10008.1.2.4.50"
    JPEG_LS = "1.2.840.10008.1.2.4.80"
    JPEG_2000 = "1.2.840.10008.1.2.4.90"

    @property
    def is_lossless(self) -> bool:
        """Whether the pixels come back as they were."""
        return self is not ClipSyntax.JPEG


def write_clip_dicom(
    path: Path | str,
    clip: Clip,
    syntax: ClipSyntax = ClipSyntax.RAW,
    *,
    colour: bool = False,
    patient_id: str = "PHANTOM",
    overwrite: bool = False,
) -> None:
    """Write a clip as one multi-frame ultrasound object.

    Parameters
    ----------
    clip
        Its region, or the whole image, becomes the calibrated tissue region where the spacing is known; frame
        times become FrameTime when equal, else FrameTimeVector; the view is put into SeriesDescription.
    syntax
        JPEG is baseline at quality 95, the others are lossless.
    colour
        Write grey as RGB, as many scanners do; JPEG then holds YBR_FULL_422.

    Raises
    ------
    OutputError
        `path` exists and `overwrite` is false, or its folder cannot be written to.
    """
    from pydicom import dcmwrite
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    refuse_existing(path, overwrite=overwrite)
    pixels = np.repeat(clip.images[..., None], 3, axis=-1) if colour else clip.images
    dataset = _header(clip, syntax, pixels, patient_id)
    if syntax in (ClipSyntax.JPEG, ClipSyntax.JPEG_2000):
        frames = [_coded(frame, syntax) for frame in pixels]
        dataset.PixelData = encapsulate(frames)
        dataset.file_meta.TransferSyntaxUID = UID(syntax.value)
        if not syntax.is_lossless:
            dataset.LossyImageCompression = "01"
            dataset.LossyImageCompressionRatio = f"{pixels.nbytes / sum(map(len, frames)):.2f}"
            dataset.LossyImageCompressionMethod = "ISO_10918_1"
    else:
        raw = pixels.tobytes()
        dataset.PixelData = raw + b"\0" * (len(raw) % 2)
        if syntax is not ClipSyntax.RAW:
            dataset.compress(syntax.value, generate_instance_uid=False)
    dataset["PixelData"].VR = "OB"
    with atomic_write(path, overwrite=overwrite) as temporary:
        dcmwrite(temporary, dataset, enforce_file_format=True)


def write_clip_mp4(path: Path | str, clip: Clip, *, overwrite: bool = False) -> None:
    """Write a clip as an MP4 film of grey frames; spacing, heart rate and view do not survive.

    Raises
    ------
    OutputError
        `path` exists and `overwrite` is false, its folder cannot be written to, or the clip has no frame times.
    """
    from apical.report.video import write_mp4

    if clip.frame_times_ms is None or len(clip.frame_times_ms) < 2:
        raise OutputError(f"{path}: {clip.name} has no frame times, a film needs a rate; give the clip times")
    interval_ms = float(np.median(np.diff(clip.frame_times_ms)))
    write_mp4(path, clip.images, 1000.0 / interval_ms, quality=10, overwrite=overwrite)


def _header(clip: Clip, syntax: ClipSyntax, pixels: NDArray[np.uint8], patient_id: str) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    def uid(what: str) -> str:
        # From the content, so that the same phantom is the same object.
        return _UID_ROOT + str(int.from_bytes(_digest(f"{what} {patient_id}".encode(), clip.images)[:15], "big"))

    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = _MULTI_FRAME_ULTRASOUND, uid(f"{clip.name} {syntax} {pixels.ndim}")
    dataset.StudyInstanceUID = _UID_ROOT + str(int.from_bytes(_digest(patient_id.encode(), None)[:15], "big"))
    dataset.SeriesInstanceUID = uid(f"series {clip.name}")
    dataset.PatientName = dataset.PatientID = patient_id
    dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyDate = dataset.StudyTime = ""
    dataset.StudyID = dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.Modality, dataset.Manufacturer, dataset.ImageType = "US", "apical phantom", ["ORIGINAL", "PRIMARY"]
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.PatientOrientation = ""
    if clip.view is not None:
        dataset.SeriesDescription = f"Apical {clip.view}"
    _add_timing(dataset, clip)
    if clip.grid.spacing_mm is not None:
        dataset.SequenceOfUltrasoundRegions = [_region(clip)]
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = pixels.shape[:3]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 3 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2"
    if pixels.ndim == 4:
        dataset.PlanarConfiguration = 0
        dataset.PhotometricInterpretation = "YBR_FULL_422" if syntax is ClipSyntax.JPEG else "RGB"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.LossyImageCompression = "00"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(ClipSyntax.RAW.value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _digest(what: bytes, images: NDArray[np.uint8] | None) -> bytes:
    import hashlib

    return hashlib.sha256(what + (b"" if images is None else images.tobytes())).digest()


def _add_timing(dataset: Dataset, clip: Clip) -> None:
    from pydicom.datadict import tag_for_keyword

    if clip.heart_rate_bpm is not None:
        dataset.HeartRate = round(clip.heart_rate_bpm)
    if clip.frame_times_ms is None or len(clip.frame_times_ms) < 2:
        return
    steps = np.diff(clip.frame_times_ms)
    equal = np.allclose(steps, steps[0], rtol=1e-6)
    keyword = "FrameTime" if equal else "FrameTimeVector"
    value = f"{steps[0]:.6f}" if equal else ["0", *(f"{step:.6f}" for step in steps)]
    setattr(dataset, keyword, value)
    dataset.FrameIncrementPointer = tag_for_keyword(keyword)
    dataset.CineRate = round(1000.0 / float(np.median(steps)))


def _region(clip: Clip) -> Dataset:
    from pydicom.dataset import Dataset

    assert clip.grid.spacing_mm is not None
    rows, columns = clip.grid.shape
    top, left, bottom, right = clip.region or (0, 0, rows, columns)
    item = Dataset()
    item.RegionSpatialFormat = item.RegionDataType = 1  # two-dimensional, tissue
    item.RegionFlags = 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right - 1, bottom - 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3  # cm
    item.PhysicalDeltaY, item.PhysicalDeltaX = (s / _MM_PER_CM for s in clip.grid.spacing_mm)
    return item


def _coded(frame: NDArray[np.uint8], syntax: ClipSyntax) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.fromarray(frame)
    if syntax is ClipSyntax.JPEG:
        picture.save(buffer, "JPEG", quality=95, subsampling="4:2:2" if frame.ndim == 3 else -1)
    else:
        # A bare codestream, as DICOM asks; without the colour transform the header may say RGB.
        picture.save(buffer, "JPEG2000", irreversible=False, mct=0, no_jp2=True)
    return buffer.getvalue()
