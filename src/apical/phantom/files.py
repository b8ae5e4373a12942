"""Phantom patients written in CAMUS's own files, byte layouts and key names included.

A patient's folder appears whole or not at all: it is written beside its place and then renamed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from apical.anatomy import Phase, View
from apical.errors import OutputError
from apical.phantom.patient import PhantomPatient, as_study
from apical.study import Frame, Image, Spacing

MHD_SPACING_MM: Spacing = (0.154, 0.308)
"""(row, column) pixel spacing of the older CAMUS release."""

PNG_SIZE = 256
PNG_MASK_STEP = 85


def write_camus_nifti(folder: str | Path, patient: PhantomPatient, *, overwrite: bool = False) -> Path:
    """Write a patient as the current CAMUS release does and return the patient's folder.

    `patientNNNN/patientNNNN_{2CH,4CH}_{ED,ES}{,_gt}.nii.gz`, two-dimensional, and `Info_{2CH,4CH}.cfg`.

    Raises
    ------
    OutputError
        If the patient's folder is there already and `overwrite` is not set, or cannot be written.
    """
    with _whole_folder(Path(folder) / patient.id, overwrite) as place:
        for frame in as_study(patient).frames:
            for name, pixels in _image_and_mask(frame):
                _write_image(place / f"{name}.nii.gz", pixels, patient.spacing_mm)
        for view in View:
            info = _info(patient, view)
            info |= {"EF": f"{patient.truth.ef_percent:.0f}", "FrameRate": f"{patient.frame_rate_hz:.1f}"}
            _write_info(place / f"Info_{view}.cfg", info)
    return Path(folder) / patient.id


def write_camus_mhd(folder: str | Path, patient: PhantomPatient, *, overwrite: bool = False) -> Path:
    """Write a patient as the older CAMUS release does and return the patient's folder.

    `.mhd` + `.raw` of one slice, pixels of 0.154 x 0.308 mm over the same field of view, and the old keys
    `LVedv`, `LVesv`, `LVef`.

    Raises
    ------
    OutputError
        If the patient's folder is there already and `overwrite` is not set, or cannot be written.
    """
    patient = resampled(patient, MHD_SPACING_MM)
    with _whole_folder(Path(folder) / patient.id, overwrite) as place:
        for frame in as_study(patient).frames:
            for name, pixels in _image_and_mask(frame):
                _write_image(place / f"{name}.mhd", pixels[None], MHD_SPACING_MM)
        truth = patient.truth
        for view in View:
            volumes = {
                "LVedv": f"{truth.edv_ml:.1f}",
                "LVesv": f"{truth.esv_ml:.1f}",
                "LVef": f"{truth.ef_percent:.0f}",
            }
            _write_info(place / f"Info_{view}.cfg", _info(patient, view) | volumes)
    return Path(folder) / patient.id


def write_camus_png(folder: str | Path, patient: PhantomPatient, *, overwrite: bool = False) -> Path:
    """Write a patient as CAMUS circulates in PNG and return the patient's folder.

    `patientNNNN/{2CH,4CH}_{ED,ES}{,_gt}.png`, RGBA, squashed to 256 x 256, masks 0/85/170/255: neither
    spacing nor aspect survives.

    Raises
    ------
    OutputError
        If the patient's folder is there already and `overwrite` is not set, or cannot be written.
    """
    from PIL import Image as Pillow

    with _whole_folder(Path(folder) / patient.id, overwrite) as place:
        for frame in as_study(patient).frames:
            for name, pixels in _image_and_mask(frame):
                is_mask = name.endswith("_gt")
                rule = Pillow.Resampling.NEAREST if is_mask else Pillow.Resampling.BILINEAR
                grey = Pillow.fromarray(pixels * np.uint8(PNG_MASK_STEP) if is_mask else pixels)
                rgba = grey.resize((PNG_SIZE, PNG_SIZE), rule).convert("RGBA")
                rgba.save(place / f"{name.removeprefix(patient.id + '_')}.png")
    return Path(folder) / patient.id


def resampled(patient: PhantomPatient, spacing_mm: Spacing) -> PhantomPatient:
    """Return the same patient seen on a grid of another (row, column) spacing, same field of view."""
    span = zip(patient.shape, patient.spacing_mm, spacing_mm, strict=True)
    rows, columns = (round((n - 1) * old / new) + 1 for n, old, new in span)
    return replace(patient, shape=(rows, columns), spacing_mm=spacing_mm)


def _image_and_mask(frame: Frame) -> Iterator[tuple[str, Image]]:
    yield frame.name, frame.image
    if frame.reference is not None:
        yield f"{frame.name}_gt", frame.reference


def _info(patient: PhantomPatient, view: View) -> dict[str, str]:
    """Keys that both releases have; frames are counted from 1, and the clip ends at end-systole."""
    return {
        Phase.ED.value: "1",
        Phase.ES.value: str(patient.n_frames),
        "NbFrame": str(patient.n_frames),
        "Sex": patient.sex,
        "Age": str(patient.age_years),
        "ImageQuality": patient.image_quality.get(view, "Good"),
    }


def _write_info(path: Path, info: dict[str, str]) -> None:
    path.write_text("".join(f"{key}: {value}\n" for key, value in info.items()), encoding="utf-8")


def _write_image(path: Path, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], spacing_mm: Spacing) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(pixels)
    in_plane = (spacing_mm[1], spacing_mm[0])  # SimpleITK speaks (x, y)
    image.SetSpacing(  # type: ignore[no-untyped-call]
        in_plane if pixels.ndim == 2 else (*in_plane, 1.0)
    )
    sitk.WriteImage(image, str(path), useCompression=path.suffix == ".gz")


@contextmanager
def _whole_folder(target: Path, overwrite: bool) -> Iterator[Path]:
    """Give a folder to fill that takes the target's place once it is complete."""
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists already: choose another folder or ask to overwrite it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as scratch:
            place = Path(scratch) / target.name
            place.mkdir()
            yield place
            if target.exists():
                os.replace(target, Path(scratch) / "old")  # goes away with the scratch folder
            os.replace(place, target)
    except (OSError, RuntimeError) as error:  # SimpleITK raises the latter
        raise OutputError(f"{target} cannot be written ({error}): check the folder's rights and free space") from error
