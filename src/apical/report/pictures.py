"""What is drawn of a frame, apart from how: the grey image and the curves upon it, in pixels.

`figures` draws these pictures with matplotlib, `svg` as vector graphics in a page. Only the ultrasound
sector and what the mask covers are shown: the margins of a frame can hold a person's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from apical.anatomy import Label
from apical.grid import Box, find_sector
from apical.measure.contour import Points, trace_outline
from apical.measure.results import ViewGeometry
from apical.study import Clip, Frame, Grid, Image, Mask, Region, Spacing

ASPECT_UNKNOWN = "pixel aspect unknown"

_SMOOTHING_PX = 1.0
_LARGEST_PIECES = 100
"""Pieces of one structure that are outlined; a mask with more is noise, and drawing it all takes seconds."""


class CurveKind(StrEnum):
    """What a curve is; the value is its name in a legend, which lists them in this order."""

    ENDOCARDIUM = "endocardium"
    EPICARDIUM = "epicardium"
    ATRIUM = "left atrium"
    AXIS = "long axis"
    ANNULUS = "mitral annulus"
    APEX = "apex"
    DISKS = "20 disks"


@dataclass(frozen=True)
class Style:
    """Colour as #rrggbb, width in points, and opacity of a kind of curve."""

    colour: str
    width: float
    opacity: float = 1.0


STYLES: Mapping[CurveKind, Style] = {
    # Okabe and Ito's palette: told apart with any colour vision, on black and on grey.
    CurveKind.ENDOCARDIUM: Style("#f0e442", 1.2),
    CurveKind.EPICARDIUM: Style("#56b4e9", 1.2),
    CurveKind.ATRIUM: Style("#d55e00", 1.2),
    CurveKind.AXIS: Style("#ffffff", 0.9),
    CurveKind.ANNULUS: Style("#ffffff", 1.5),
    CurveKind.APEX: Style("#ffffff", 0.9),
    CurveKind.DISKS: Style("#ffffff", 0.5, 0.6),
}
OUTLINES = (CurveKind.ENDOCARDIUM, CurveKind.EPICARDIUM, CurveKind.ATRIUM)


@dataclass(frozen=True, eq=False)
class Curve:
    """Lines of one kind: each (K, 2) points (row, column) in pixels; a closed line does not repeat its first point."""

    kind: CurveKind
    lines: tuple[Points, ...]
    closed: bool = False


@dataclass(frozen=True, eq=False)
class FramePicture:
    """One frame to be drawn.

    Attributes
    ----------
    image
        Part of the frame that is shown, uint8 (row, column); `curves` count pixels from its first one.
    pixel_size
        (row, column) size of a pixel, of which only the ratio matters for drawing; (1, 1) where unknown.
    title, caption
        What it is and what must be said about it; the caption may be empty.
    """

    image: Image
    pixel_size: Spacing
    title: str
    caption: str
    curves: tuple[Curve, ...] = ()

    @property
    def size(self) -> tuple[float, float]:
        """(height, width) in the unit of `pixel_size`."""
        return self.image.shape[0] * self.pixel_size[0], self.image.shape[1] * self.pixel_size[1]


def outlined_picture(image: Image, grid: Grid, mask: Mask | None, title: str, box: Box) -> FramePicture:
    """Picture the part `box` of a frame with the outlines of its mask as it is, every piece and hole of it."""
    remarks = [] if grid.spacing_mm else [ASPECT_UNKNOWN]
    curves: tuple[Curve, ...] = ()
    if mask is None:
        remarks.append("no mask")
    elif not mask.any():
        remarks.append("the mask is empty")
    else:
        curves, left_out = mask_curves(mask)
        if left_out:
            remarks.append(f"{left_out} smaller pieces are not outlined")
    return _picture(image, box, grid.spacing_mm, title, remarks, curves)


def measured_picture(
    frame: Frame, mask: Mask | None, geometry: ViewGeometry | None, box: Box | None = None
) -> FramePicture:
    """Picture a frame with what was measured on it; where nothing could be, with the outlines of its mask."""
    title = f"{frame.view} {frame.phase}"
    shown = box or shown_box((frame.image, mask), region=frame.region)
    if geometry is None:
        picture = outlined_picture(frame.image, frame.grid, mask, title, shown)
        remarks = [*filter(None, [picture.caption]), "not measured"]
        return FramePicture(picture.image, picture.pixel_size, title, "; ".join(remarks), picture.curves)
    remarks = [f"long axis {geometry.long_axis_mm:.1f} mm"] if geometry.in_mm else [ASPECT_UNKNOWN]
    # Without a common unit everything is measured in pixels, but this frame's own shape may be known all the same.
    return _picture(frame.image, shown, frame.grid.spacing_mm, title, remarks, geometry_curves(geometry))


def clip_instants(clip: Clip, masks: NDArray[np.uint8] | None, count: int = 6) -> dict[int, str]:
    """Choose frames of a clip to show, evenly spread, with what each is: marked or likely ED and ES, or nothing.

    Without marks the largest cavity stands for ED and the smallest for ES.
    """
    n = len(clip.images)
    names: dict[int, str] = {index: str(phase) for phase, index in clip.marked.items() if 0 <= index < n}
    if not names and masks is not None and n > 1:
        areas = (masks == Label.LV_CAVITY).sum(axis=(1, 2))
        if areas.any():
            names = {int(areas.argmin()): "ES-like", int(areas.argmax()): "ED-like"}
    spread = np.linspace(0, n - 1, min(n, count)).round().astype(int).tolist()
    for index in sorted(names):
        # It takes the place of the nearest sample, so that the count stays.
        free = [k for k in spread if k not in names]
        if index not in spread and free:
            spread.remove(min(free, key=lambda k: abs(k - index)))
        spread = sorted({*spread, index})
    return {index: names.get(index, "") for index in spread}


def mask_curves(mask: Mask) -> tuple[tuple[Curve, ...], int]:
    """Outline cavity, epicardium and atrium of a mask at sub-pixel level, in pixels.

    Returns
    -------
    The curves, and how many pieces were left out because there were too many.
    """
    if not mask.any():
        return (), 0
    # Only the labelled part is looked through, with a margin in which holes differ from the outside.
    box = labelled_box(mask)
    start = np.array([max(0, box.top - 1), max(0, box.left - 1)])
    part = mask[start[0] : box.bottom + 1, start[1] : box.right + 1]
    cavity = part == Label.LV_CAVITY
    regions = {
        CurveKind.ATRIUM: part == Label.LEFT_ATRIUM,
        CurveKind.EPICARDIUM: cavity | (part == Label.MYOCARDIUM),
        CurveKind.ENDOCARDIUM: cavity,
    }
    curves, left_out = [], 0
    for kind, region in regions.items():
        if kind is CurveKind.EPICARDIUM and not (part == Label.MYOCARDIUM).any():
            continue
        pieces = _pieces(region)
        shown = [
            trace_outline(piece, (1.0, 1.0), _SMOOTHING_PX) + (corner + start)
            for piece, corner in islice(pieces, _LARGEST_PIECES)
        ]
        left_out += sum(1 for _ in pieces)
        if shown:
            curves.append(Curve(kind, tuple(shown), closed=True))
    return tuple(curves), left_out


def geometry_curves(geometry: ViewGeometry) -> tuple[Curve, ...]:
    """Return contours, long axis, annulus, apex and disks of a measured ventricle, in pixels."""
    spacing = np.asarray(geometry.spacing_mm)
    lines: list[tuple[CurveKind, list[Points], bool]] = [
        (CurveKind.DISKS, list(np.stack([geometry.disks.left_mm, geometry.disks.right_mm], axis=1)), False),
        (CurveKind.ATRIUM, [] if geometry.atrium_mm is None else [geometry.atrium_mm], True),
        (CurveKind.EPICARDIUM, [] if geometry.epicardium_mm is None else [geometry.epicardium_mm], True),
        (CurveKind.ENDOCARDIUM, [geometry.endocardium_mm], False),
        (CurveKind.AXIS, [np.stack([geometry.annulus_midpoint_mm, geometry.apex_mm])], False),
        (CurveKind.ANNULUS, [geometry.annulus_mm], False),
        (CurveKind.APEX, [geometry.apex_mm[None]], False),
    ]
    return tuple(Curve(kind, tuple(line / spacing for line in some), closed) for kind, some, closed in lines if some)


def _pieces(region: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.int_]]]:
    """Yield components and holes, the largest box first, each cut out without holes, and its first pixel."""
    if not region.any():
        return
    holes = ndimage.binary_fill_holes(region) & ~region
    found = []
    for part in (region, holes):
        labelled, _ = ndimage.label(part)
        found += [(labelled, k, box) for k, box in enumerate(ndimage.find_objects(labelled), start=1)]
    for labelled, k, box in sorted(found, key=lambda piece: -np.prod([s.stop - s.start for s in piece[2]])):
        yield ndimage.binary_fill_holes(labelled[box] == k), np.array([s.start for s in box])


def _picture(
    image: Image,
    box: Box,
    spacing_mm: Spacing | None,
    title: str,
    remarks: list[str],
    curves: tuple[Curve, ...],
) -> FramePicture:
    corner = np.array([box.top, box.left])
    moved = tuple(Curve(c.kind, tuple(line - corner for line in c.lines), c.closed) for c in curves)
    return FramePicture(image[box.slices], spacing_mm or (1.0, 1.0), title, "; ".join(remarks), moved)


def shown_box(*frames: tuple[Image, Mask | None], region: Region | None = None) -> Box:
    """Return the part to be shown of frames of one size: the sectors of all, and all that their masks cover.

    `region` is where the file itself says that the ultrasound lies: beside it may stand a person's name.
    """
    boxes = [find_sector(image, region) for image, _ in frames]
    boxes += [labelled_box(mask) for _, mask in frames if mask is not None and mask.any()]
    return around(*boxes)


def clip_box(clip: Clip, masks: NDArray[np.uint8] | None) -> Box:
    """Return the part to be shown of a clip: the sector over all of its frames, and all that its masks cover."""
    box = find_sector(clip.images, clip.region)
    covered = None if masks is None else np.asarray(masks.any(axis=0))
    return box if covered is None or not covered.any() else around(box, labelled_box(covered))


def around(*boxes: Box) -> Box:
    """Return the box that holds all of these."""
    return Box(
        min(b.top for b in boxes), min(b.left for b in boxes), max(b.bottom for b in boxes), max(b.right for b in boxes)
    )


def labelled_box(mask: NDArray[np.uint8 | np.bool_]) -> Box:
    """Return the box of all that a mask (row, column) labels, which must be something."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
