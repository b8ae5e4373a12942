"""What one examination is made of: frames, clips and the patient they belong to.

Axis convention of the whole project, stated here once: arrays are indexed (row, column), a clip
(time, row, column); the origin is the centre of the top-left pixel. Spacing, origin and points are
in the same order, in millimetres. Only file formats and JavaScript use (x, y); readers and writers
translate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Orientation, Phase, Structure, View
from apical.calibration import Calibration

Image = NDArray[np.uint8]
"""Grey image, uint8, (row, column)."""

Mask = NDArray[np.uint8]
"""Labels 0-3 of `anatomy.Label`, uint8, (row, column)."""

Spacing = tuple[float, float]
"""Pixel spacing (row, column) in mm."""

PLAUSIBLE_SPACING_MM = (0.01, 5.0)
PLAUSIBLE_SPACING_RATIO = 10.0
"""Between the sides of a pixel; 2 in CAMUS's first release."""

Region = tuple[int, int, int, int]
"""Where a file says its tissue picture lies: first row, first column, end row, end column (half-open)."""


def is_plausible_spacing(spacing_mm: Spacing) -> bool:
    """Tell whether an echocardiogram can have pixels of these sides in mm."""
    low, high = PLAUSIBLE_SPACING_MM
    least, most = min(spacing_mm), max(spacing_mm)
    return low <= least and most <= high and most <= PLAUSIBLE_SPACING_RATIO * least


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a frame lie.

    Attributes
    ----------
    shape
        (rows, columns).
    spacing_mm
        (row, column) pixel spacing in mm, or None where it is not known. Without it there are no
        millimetres and no millilitres; it is never invented.
    origin_mm
        (row, column) position of the first pixel in mm.
    direction
        2x2 axis cosines in (row, column) order; identity for nearly every echocardiogram.
    """

    shape: tuple[int, int]
    spacing_mm: Spacing | None = None
    origin_mm: tuple[float, float] = (0.0, 0.0)
    direction: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0))


@dataclass(frozen=True, eq=False)
class Frame:
    """One still image, with its expert mask where there is one.

    `name` is the file name without suffix (`patient0001_4CH_ED`), unique within its study: results
    are named after it. `reference` is the expert mask on the same grid.
    """

    name: str
    image: Image
    grid: Grid
    view: View | None = None
    phase: Phase | None = None
    reference: Mask | None = None
    source: Path | None = None
    region: Region | None = None
    view_probability: float | None = None
    """That of a view which the model recognised; None where name or tags say it."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A cine loop: `images` is uint8 (time, row, column); `frame_times_ms` is (time,) or None.

    `reference` is the expert mask of every frame, (time, row, column); `marked` holds the
    zero-based frames that the file itself names as ED and ES.
    """

    name: str
    images: NDArray[np.uint8]
    grid: Grid
    frame_times_ms: NDArray[np.float64] | None = None
    heart_rate_bpm: float | None = None
    view: View | None = None
    source: Path | None = None
    notes: tuple[str, ...] = ()
    reference: NDArray[np.uint8] | None = None
    marked: Mapping[Phase, int] = field(default_factory=dict)
    region: Region | None = None

    def frame_name(self, index: int) -> str:
        """Return the name of one frame, counted from 0, and padded so that names sort as frames do."""
        return f"{self.name}_{index:04d}"


@dataclass(frozen=True)
class Patient:
    """What is known of the patient beside the images; `id` is a folder or study name, never a person's."""

    id: str
    sex: str | None = None
    age_years: float | None = None
    height_cm: float | None = None
    weight_kg: float | None = None
    image_quality: Mapping[View, str] = field(default_factory=dict)
    published_ef_percent: float | None = None
    """EF that the data set itself states (CAMUS's `Info_*.cfg`); to compare with, never to report as measured."""
    renumbered: bool = False
    """Whether `id` is a folder's number in an edition with numbers of its own (CAMUS's PNG tree without its table).

    Such an id may be another patient's in the data set itself: it says nothing about who is in which split.
    """


@dataclass(frozen=True, eq=False)
class Study:
    """All images of one patient's examination; `notes` say what a reader had to decide or leave out."""

    patient: Patient
    frames: tuple[Frame, ...] = ()
    clips: tuple[Clip, ...] = ()
    notes: tuple[str, ...] = ()

    def frame(self, view: View, phase: Phase) -> Frame | None:
        """Return the frame of this view and phase, or None."""
        return next((f for f in self.frames if f.view == view and f.phase == phase), None)

    def other_phase(self, frame: Frame) -> Frame | None:
        """Return the frame of the same view, on the same grid, at the other phase of the beat.

        None where view or phase is unknown, or where it is not clear which frame that would be.
        """
        if frame.view is None or frame.phase is None:
            return None
        same = [f for f in self.frames if f.view == frame.view and f.image.shape == frame.image.shape]
        others = [f for f in same if f.phase not in (None, frame.phase)]
        alone = sum(f.phase == frame.phase for f in same) == 1
        return others[0] if alone and len(others) == 1 else None

    def with_views(self, recognised: Mapping[str, tuple[View, float]]) -> Study:
        """Return the study with the views that a model recognised (`Segmentation.views`) in stills of a known phase.

        A still stays without view, and a note says so, where another of that view and phase is there already; of
        several the surest is taken.
        """
        named: dict[str, Frame] = {}
        notes = []
        taken = {(frame.view, frame.phase) for frame in self.frames}
        unnamed = [f for f in self.frames if f.view is None and f.phase is not None and f.name in recognised]
        for frame in sorted(unnamed, key=lambda f: -recognised[f.name][1]):
            view, probability = recognised[frame.name]
            if (view, frame.phase) in taken:
                notes.append(f"{frame.name}: recognised as {view} {frame.phase}, of which there is one; not measured")
                continue
            taken.add((view, frame.phase))
            named[frame.name] = replace(frame, view=view, view_probability=probability)
        frames = tuple(named.get(frame.name, frame) for frame in self.frames)
        return replace(self, frames=frames, notes=(*self.notes, *(n for n in notes if n not in self.notes)))

    @property
    def items(self) -> tuple[Frame | Clip, ...]:
        """Everything that can be segmented: frames, then clips."""
        return (*self.frames, *self.clips)

    @property
    def content_sha256(self) -> str:
        """Hash of all that measurements depend on: pixels, grids and what is known; not of where the files lie."""
        digest = hashlib.sha256(repr((self.patient, self.notes)).encode())
        for item in self.items:
            for known in fields(item):
                if known.name != "source":
                    digest.update(f"\n{known.name} ".encode())
                    _add_to(digest, getattr(item, known.name))
        return digest.hexdigest()

    @property
    def references(self) -> dict[str, Mask]:
        """Expert masks by frame name."""
        return {f.name: f.reference for f in self.frames if f.reference is not None}


@dataclass(frozen=True)
class Repair:
    """One change that made a predicted mask anatomically possible, and the pixels that got another label."""

    what: str
    pixels: int


@dataclass(frozen=True)
class Doubt:
    """What the network knows of its own doubt about one picture, or on average about a clip's."""

    confidence: Mapping[Structure, float]
    """Dice that the mask would have on average if the network's probabilities were right; 0 for an absent structure."""
    unlike: float
    """Distance from the pictures that were learned from; above 1, farther than nearly all of their like."""


class Maker(StrEnum):
    """Who made masks: a model of apical, an expert, or nobody knows, as of masks that are given."""

    MODEL = "model"
    EXPERT = "expert"
    UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Segmentation(Mapping[str, NDArray[np.uint8]]):
    """Masks by frame or clip name, on the native grid, and who made them.

    A frame's mask is (row, column), a clip's (time, row, column). Behaves as a read-only mapping,
    so that a plain ``dict`` of masks from any other tool can stand in for it.
    """

    masks: Mapping[str, NDArray[np.uint8]]
    model: str = ""
    runtime: str = ""
    maker: Maker = Maker.UNKNOWN
    views: Mapping[str, tuple[View, float]] = field(default_factory=dict)
    """View recognised from the pixels alone and its probability, by frame or clip name."""
    repairs: Mapping[str, tuple[Repair, ...]] = field(default_factory=dict)
    """What had to be repaired, by name of frame, clip, or frame of a clip (`Clip.frame_name`); only with repairs."""
    doubts: Mapping[str, Doubt] = field(default_factory=dict)
    """What the network knows of its own doubt, by frame or clip name."""
    calibration: Calibration | None = None
    """What the model knows of its error on unseen patients; None where no model of apical made the masks."""
    orientations: Mapping[str, Orientation] = field(default_factory=dict)
    """How the heart is shown, by frame or clip name; another than the standard picture was turned for the model."""

    @property
    def content_sha256(self) -> str:
        """Hash of the names and masks."""
        digest = hashlib.sha256()
        for name, mask in sorted(self.masks.items()):
            digest.update(f"\n{name} ".encode())
            _add_to(digest, mask)
        return digest.hexdigest()

    def __getitem__(self, name: str) -> NDArray[np.uint8]:
        return self.masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.masks)

    def __len__(self) -> int:
        return len(self.masks)


def _add_to(digest: hashlib._Hash, value: Any) -> None:
    if isinstance(value, np.ndarray):
        digest.update(f"{value.shape} {value.dtype} ".encode())
        digest.update(np.ascontiguousarray(value).data)
    else:
        digest.update(repr(value).encode())
