"""Frames to write into files, and what reading such a file gives or says."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from apical.errors import InputError
from apical.readers import read_study


def speckle(shape: tuple[int, ...] = (24, 32), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def refusal(path: Path) -> str:
    """Read what must be refused and return the message, one line that names the file."""
    with pytest.raises(InputError) as caught:
        read_study(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def image_of(path: Path) -> np.ndarray:
    return read_study(path).frames[0].image


def nifti_header(size: tuple[int, ...], units: int = 2, spacing: tuple[float, float] = (0.3, 0.2)) -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into(f"<{len(size) + 1}h", header, 40, len(size), *size)
    struct.pack_into("<hh", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, *spacing, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[123] = units
    header[344:348] = b"n+1\x00"
    return bytes(header)
