"""Numbered pictures that are the frames of one clip (`frame_0001.png`, `frame_0002.png`, ...).

They are one clip when all of this holds; else each stays a picture of its own:

- PNG, JPEG, BMP or TIFF, with equal names but for the number at the end, and of one size;
- at least eight, numbered without a gap or a double;
- the word before the number does not count people or examinations (`patient0001.png`);
- none of them has CAMUS's name, a phase (ED, ES) or an expert mask: those are single frames of a data set.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Container
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apical.errors import InputError
from apical.readers.limits import check_size
from apical.readers.names import FileName, parse_name
from apical.readers.pixels import grey_image
from apical.readers.raster import PICTURE_SUFFIXES, Raster, image_suffix, read_raster
from apical.study import Grid

MIN_PICTURES = 8
"""The fewest pictures that are taken as a clip; a beat at 10 frames a second."""

_NUMBERED = re.compile(r"^(.*?)[-_. (]*(\d+)\)?$")
_COUNTS_PEOPLE = re.compile(r"(patient|pat|pt|person|subject|subj|sub|case|study|exam|id)s?$|^[ps]$", re.IGNORECASE)
_SAYS_NOTHING = re.compile(r"^(frames?|images?|img|im|pictures?|pic|stills?|t|f)?$", re.IGNORECASE)


def find_sequences(
    images: list[tuple[Path, FileName]], masked: Container[str]
) -> tuple[list[tuple[FileName, tuple[Path, ...]]], list[str]]:
    """Find the clips among the pictures of one folder; `masked` are the stems with an expert mask.

    Returns
    -------
    list
        The name of each clip, and its pictures in order of their numbers.
    list
        Notes on pictures that look like a clip with frames missing.
    """
    series: dict[tuple[str, str | None], dict[Path, int]] = {}
    for path, name in images:
        match = _NUMBERED.match(name.stem)
        if match and not name.camus and name.phase is None and image_suffix(path) in PICTURE_SUFFIXES:
            series.setdefault((match[1], image_suffix(path)), {})[path] = int(match[2])
    found: list[tuple[FileName, tuple[Path, ...]]] = []
    notes = []
    for (prefix, _), numbers in series.items():
        if len(numbers) < MIN_PICTURES or _COUNTS_PEOPLE.search(prefix):
            continue
        if any(parse_name(path).stem in masked for path in numbers):
            continue
        pictures = tuple(sorted(numbers, key=lambda path: numbers[path]))
        first, last = numbers[pictures[0]], numbers[pictures[-1]]
        whole = len(numbers) == len(set(numbers.values())) == last - first + 1
        if whole:
            found.append((_clip_name(prefix, pictures[0]), pictures))
        else:
            span = f"{pictures[0].name} to {pictures[-1].name}"
            notes.append(f"{span}: numbers are missing or double, so read as single pictures")
    return found, notes


def _clip_name(prefix: str, first: Path) -> FileName:
    """Name the clip by what its pictures share, or by its folder where that says nothing."""
    folder = first.parent.resolve().name
    name = parse_name(Path(f"{folder if _SAYS_NOTHING.match(prefix) else prefix}.png"))
    view = name.view or parse_name(Path(f"{folder}.png")).view
    return FileName(stem=name.stem, view=view)


def are_of_one_size(pictures: tuple[Path, ...]) -> bool:
    """Compare the sizes that the headers state; a damaged file is left for the reader to name."""
    from PIL import Image

    sizes = set()
    for path in pictures:
        with contextlib.suppress(Exception), Image.open(path) as picture:
            sizes.add(picture.size)
    return len(sizes) <= 1


def read_sequence(pictures: tuple[Path, ...]) -> Raster:
    """Read the pictures of a clip, in their order, as grey frames.

    Raises
    ------
    InputError
        One of them cannot be read as grey ultrasound, or is of another size; together too large.
    """
    frames: NDArray[np.uint8] | None = None
    for i, path in enumerate(pictures):
        grey = grey_image(path, read_raster(path))
        if frames is None:
            check_size(path, grey.shape[0], grey.shape[1], len(pictures))
            frames = np.empty((len(pictures), *grey.shape), dtype=np.uint8)
        if grey.shape != frames.shape[1:]:
            raise InputError(f"{path}: of another size than {pictures[0].name}; frames of a clip are of one size")
        frames[i] = grey
    assert frames is not None
    note = f"{len(pictures)} numbered pictures ({pictures[0].name} to {pictures[-1].name}) taken as one clip"
    return Raster(frames, Grid((frames.shape[1], frames.shape[2])), True, (note, "no frame times in pictures"))
