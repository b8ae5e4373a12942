"""One view at one instant: from a mask to contours, landmarks and disks, or the reasons why not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Label, Phase, View
from apical.measure.camus import CamusProfile, camus_profile
from apical.measure.contour import Points, largest_component, polygon_area, trace_outline, without_holes
from apical.measure.disks import disk_profile
from apical.measure.landmarks import Beyond, Landmarks, find_landmarks, smoothing_mm
from apical.measure.quality import LIMITS, Inspector, graded, percent, ultrasound_sector
from apical.measure.results import DiskProfile, Finding, Reason, Severity, ViewGeometry
from apical.study import Doubt, Frame, Mask, Spacing

_BEYOND = np.zeros(256, dtype=np.uint8)
_BEYOND[Label.MYOCARDIUM] = Beyond.WALL
_BEYOND[Label.LEFT_ATRIUM] = Beyond.ATRIUM
_OFF_IMAGE = 255
_BEYOND[_OFF_IMAGE] = Beyond.EDGE


@dataclass(frozen=True, eq=False)
class VentricleView:
    """What one mask gave: geometry and CAMUS profile, each None where a finding says why.

    `atrium_cut` tells whether the atrium reaches the edge of image or sector, `wall_cut` whether the wall reaches
    that of the image; `wall_off_sector` is the part of the wall outside the sector.
    """

    geometry: ViewGeometry | None
    camus: CamusProfile | None
    findings: tuple[Finding, ...]
    atrium_cut: bool = False
    wall_cut: bool = False
    wall_off_sector: float = 0.0


@dataclass(frozen=True, eq=False)
class CavityTrace:
    """The cavity of one mask: its part of the mask and where that lies, landmarks and disks where they were found."""

    labels: Mask
    offset: tuple[int, int]
    cavity: NDArray[np.bool_]
    landmarks: Landmarks | None = None
    disks: DiskProfile | None = None
    area_mm2: float = 0.0


def trace_cavity(mask: Mask, spacing_mm: Spacing, inspector: Inspector, *, in_mm: bool) -> CavityTrace | None:
    """Trace the cavity of one mask and check its shape; None without a cavity to trace.

    Whether the disks may be used `inspector.refused` tells. The image is not looked at.
    """
    if not (mask == Label.LV_CAVITY).any():
        inspector.note(Severity.REFUSAL, Reason.NO_LV, "the mask has no left-ventricular cavity.")
        return None
    labels, offset = _crop(mask)
    largest, stray = largest_component(labels == Label.LV_CAVITY)
    cavity = without_holes(largest)
    pixels = int(np.count_nonzero(cavity))
    holes = 1 - np.count_nonzero(largest) / pixels
    inspector.check_cavity(stray, holes, pixels, pixels * spacing_mm[0] * spacing_mm[1] if in_mm else None)
    if inspector.refused:
        return None
    landmarks = find_landmarks(cavity, _BEYOND[labels], spacing_mm, offset)
    if landmarks is None:
        inspector.note(Severity.REFUSAL, Reason.ANNULUS_NOT_FOUND, "no mitral annulus can be told from the mask.")
        return CavityTrace(labels, offset, cavity)
    inspector.check_landmarks(landmarks)
    disks = disk_profile(landmarks.endocardium_mm, landmarks.annulus_midpoint_mm, landmarks.apex_mm)
    area_mm2 = polygon_area(landmarks.endocardium_mm)
    inspector.check_shape(landmarks, disks, area_mm2)
    return CavityTrace(labels, offset, cavity, landmarks, disks, area_mm2)


def measure_view(
    frame: Frame,
    view: View,
    phase: Phase,
    mask: Mask,
    spacing_mm: Spacing,
    *,
    in_mm: bool,
    doubt: Doubt | None = None,
) -> VentricleView:
    """Measure the ventricle in one mask, in mm, or in pixels where `in_mm` is False and the spacing (1, 1).

    `doubt` is that of the network that made the mask.
    """
    inspector = Inspector(view, phase)
    if doubt is not None:
        inspector.check_doubt(doubt)
    trace = trace_cavity(mask, spacing_mm, inspector, in_mm=in_mm)
    if trace is None:
        return VentricleView(None, None, tuple(inspector.findings))
    labels, offset, cavity, landmarks = trace.labels, trace.offset, trace.cavity, trace.landmarks
    whole = _uncrop(cavity, offset, mask.shape)
    if landmarks is not None and landmarks.apex_mm[0] > landmarks.annulus_midpoint_mm[0]:
        whole = whole[::-1]  # the published algorithm looks for the annulus at the bottom
    profile = camus_profile(whole, spacing_mm)
    if landmarks is None or trace.disks is None:
        return VentricleView(None, profile, tuple(inspector.findings))
    sector = ultrasound_sector(frame.image)
    in_sector = _crop_like(sector, offset, labels.shape)
    off_sector = 1 - float(in_sector[cavity].mean())
    inspector.note(
        graded(off_sector, LIMITS.off_sector_caution, 1.0),
        Reason.CAVITY_CUT,
        f"{percent(off_sector)} of the cavity lies outside the ultrasound sector, where nothing was seen.",
    )
    sigma_mm = smoothing_mm(int(np.count_nonzero(cavity)), spacing_mm)
    shift_mm = np.array(offset) * spacing_mm
    wall = labels == Label.MYOCARDIUM
    epicardium = _outline(cavity | wall, spacing_mm, sigma_mm, shift_mm) if wall.any() else None
    atrium = _outline(labels == Label.LEFT_ATRIUM, spacing_mm, sigma_mm, shift_mm)
    geometry = ViewGeometry(
        view=view,
        phase=phase,
        frame=frame.name,
        spacing_mm=spacing_mm,
        in_mm=in_mm,
        endocardium_mm=landmarks.endocardium_mm,
        epicardium_mm=epicardium,
        annulus_mm=landmarks.annulus_mm,
        annulus_midpoint_mm=landmarks.annulus_midpoint_mm,
        apex_mm=landmarks.apex_mm,
        long_axis_mm=landmarks.long_axis_mm,
        disks=trace.disks,
        area_mm2=trace.area_mm2,
        endocardial_length_mm=landmarks.endocardial_length_mm,
        atrium_mm=atrium,
    )
    return VentricleView(
        geometry=None if inspector.refused else geometry,
        camus=None if inspector.refused else profile,
        findings=tuple(inspector.findings),
        atrium_cut=atrium is not None and _is_cut(atrium, sector, spacing_mm),
        wall_cut=_touches_edge(mask == Label.MYOCARDIUM),
        wall_off_sector=1 - float(in_sector[wall].mean()) if wall.any() else 0.0,
    )


def _crop(mask: Mask) -> tuple[Mask, tuple[int, int]]:
    """Return the labelled part of a mask with a margin of one pixel, and the position of its first pixel.

    Where the margin lies off the image it says so. The offset may therefore be -1.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    framed = np.pad(mask, 1, constant_values=_OFF_IMAGE)
    top, left = int(rows[0]), int(columns[0])
    return framed[top : rows[-1] + 3, left : columns[-1] + 3], (top - 1, left - 1)


def _uncrop(part: NDArray[np.bool_], offset: tuple[int, int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    whole = np.zeros((shape[0] + 2, shape[1] + 2), dtype=bool)
    top, left = offset[0] + 1, offset[1] + 1
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole[1:-1, 1:-1]


def _crop_like(whole: NDArray[np.bool_], offset: tuple[int, int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    framed = np.pad(whole, 1, mode="edge")
    top, left = offset[0] + 1, offset[1] + 1
    return framed[top : top + shape[0], left : left + shape[1]]


def _outline(
    region: NDArray[np.bool_], spacing_mm: Spacing, sigma_mm: float, shift_mm: NDArray[np.float64]
) -> Points | None:
    if not region.any():
        return None
    whole = without_holes(largest_component(region)[0])
    outline = trace_outline(whole, spacing_mm, sigma_mm)
    return outline + shift_mm if len(outline) else None


def _touches_edge(region: NDArray[np.bool_]) -> bool:
    return bool(region[[0, -1]].any() or region[:, [0, -1]].any())


def _is_cut(outline_mm: Points, sector: NDArray[np.bool_], spacing_mm: Spacing) -> bool:
    """Tell whether a structure runs along the edge of image or sector: a step outwards from it leaves them."""
    size_mm = np.sqrt(polygon_area(outline_mm))
    tangent = np.roll(outline_mm, -1, axis=0) - np.roll(outline_mm, 1, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    normal /= np.maximum(np.hypot(*normal.T), 1e-9)[:, None]
    reach_mm = max(0.03 * size_mm, *spacing_mm)
    # Outlines run with the inside on the right hand, so that this normal, seen along them, points out.
    outer = np.rint((outline_mm + reach_mm * normal) / spacing_mm).astype(int)
    height, width = sector.shape
    on_image = (outer >= 0).all(axis=1) & (outer[:, 0] < height) & (outer[:, 1] < width)
    seen = on_image & sector[np.clip(outer[:, 0], 0, height - 1), np.clip(outer[:, 1], 0, width - 1)]
    return bool(1 - seen.mean() > LIMITS.atrium_cut)
