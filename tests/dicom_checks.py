"""Ultrasound DICOM files for tests, and the independent programs that judge what apical writes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

ULTRASOUND, ULTRASOUND_CLIP = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"


def ultrasound_dataset(pixels: NDArray[np.uint8], *, number: int = 1) -> Dataset:
    """Return an uncompressed ultrasound image, (row, column[, 3]), or clip, (time, row, column[, 3])."""
    colour = pixels.shape[-1] == 3
    clip = pixels.ndim - colour == 3
    made = Dataset()
    made.SOPClassUID = ULTRASOUND_CLIP if clip else ULTRASOUND
    made.SOPInstanceUID = f"1.2.3.4.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "Doe^Jane", "12345", "19500101", "F"
    made.StudyDate, made.StudyTime, made.AccessionNumber, made.StudyID = "20200229", "101500", "A77", "1"
    made.ContentDate, made.ContentTime = "20200229", "101730.25"
    made.ReferringPhysicianName = "House^Gregory"
    made.Modality, made.Manufacturer = "US", "ScannerWorks"
    made.SeriesNumber, made.InstanceNumber = 1, number
    made.PatientOrientation = ""
    made.Rows, made.Columns = pixels.shape[clip : clip + 2]
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    if clip:
        made.NumberOfFrames, made.FrameTime, made.FrameIncrementPointer = len(pixels), "20.5", 0x00181063
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    made.PixelData = pixels.tobytes() + bytes(pixels.size % 2)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def save(dataset: Dataset, path: Path) -> Path:
    """Write a data set as a Part 10 file."""
    dataset.save_as(path, enforce_file_format=True)
    return path


def region(top: int, left: int, bottom: int, right: int, data_type: int = 1) -> Dataset:
    """Return an ultrasound region; its ends are the last row and column, as in the standard."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, data_type, 2
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = 0.05
    return item


def dciodvfy_errors(path: Path) -> list[str]:
    """Return the errors that dciodvfy finds; the test is skipped where it is not installed."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace", check=False)
    assert done.stderr.strip(), "dciodvfy names at least the kind of object"
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


def dcmdump_text(path: Path) -> str:
    """Return what dcmtk's dcmdump shows; the test is skipped where it is not installed."""
    program = shutil.which("dcmdump")
    if program is None:
        pytest.skip("dcmdump is not installed: apt-get install dcmtk")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def dsrdump_text(path: Path) -> str:
    """Return the content tree of an SR as dcmtk reads it, every code shown; skipped where it is not installed."""
    program = shutil.which("dsrdump")
    if program is None:
        pytest.skip("dsrdump is not installed: apt-get install dcmtk")
    done = subprocess.run([program, "+Pc", "+Pl", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Of Unicode its checker only says that it does not check it.
    complaints = [line for line in done.stderr.splitlines() if line.strip() and "Specific Character Set" not in line]
    assert not complaints, done.stderr
    return done.stdout
