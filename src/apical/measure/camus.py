"""The `camus` definition: the algorithm that the CAMUS authors distribute, reproduced exactly.

It exists for comparing with published CAMUS figures; `disks` holds the method of the guidelines, from
which it differs by 8 EF points on the same contours, mostly because one disk height, that of the longest
of the four views and instants, serves ED and ES alike. In pixels of isotropic size s:

1. mask resampled (nearest) to square pixels of the smaller spacing, first outline at level 0.5;
2. mitral plane: the longest chord from outline point i back to an earlier point j, within 45 degrees of
   the row axis' normal, that no outline point between them leaves by more than 8 px;
3. long axis: from outline point j + round((i - j) / 2) to the outline point farthest from it;
4. diameters at 0/20 .. 19/20 of it: along both normals, from 8 px on in steps of 0.5 px, to the first
   pixel off the mask or off the image;
5. V = pi/4 * h * sum(d_2ch * d_4ch), h the largest of the four long axes / 20, in whole mL;
   EF = round(100 (EDV - ESV) / EDV).

Leclerc et al., IEEE Trans Med Imaging 38(9):2198-2210, 2019, doi:10.1109/TMI.2019.2900516.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apical.measure.contour import first_contour
from apical.study import Spacing

N_DISKS = 20
_BAND_PX = 8
_STEP_PX = 0.5
# Pairs of outline points grow with the square of the outline: beyond this it is no ventricle.
_MAX_POINTS = 8000
_BLOCK = 256
_STRIDE = 8


@dataclass(frozen=True, eq=False)
class CamusProfile:
    """Diameters (20,) in mm from the annulus on, the height of one disk in mm, and how many diameters are the least.

    The march begins 8 px off the axis, so that no diameter is below 16 px, however narrow the cavity: on a coarse
    grid the volume at end-systole is too large by that.
    """

    diameters_mm: NDArray[np.float64]
    step_mm: float
    n_least: int = 0


def camus_profile(cavity: NDArray[np.bool_], spacing_mm: Spacing) -> CamusProfile | None:
    """Measure diameters and disk height, in mm, or None where the algorithm finds no mitral plane.

    Parameters
    ----------
    cavity
        (rows, columns), True in the LV cavity, uncleaned: the algorithm takes the mask as it is.
    spacing_mm
        (row, column) pixel spacing.
    """
    mask = _square_pixels(np.asarray(cavity, dtype=bool), spacing_mm)
    scale_mm = min(spacing_mm)
    crop, offset = _bounding_box(mask)
    contour = first_contour(crop) + offset
    if not 3 <= len(contour) <= _MAX_POINTS:
        return None
    chord = _mitral_chord(np.rint(2 * contour).astype(np.int32))
    if chord is None:
        return None
    i, j = chord
    # Half-way cases round to the even index, as Python's round does in the published code.
    midpoint = contour[j + round((i - j) / 2)]
    distance = np.sqrt(((contour - midpoint) ** 2).sum(axis=1))
    apex = int(np.argmax(distance))
    axis = contour[apex] - midpoint
    normal = np.array([-axis[1], axis[0]])
    normal = normal / np.linalg.norm(normal)
    levels = midpoint + np.linspace(0, 1, N_DISKS, endpoint=False)[:, None] * axis
    width = _distance_to_edge(crop, offset, levels, normal) + _distance_to_edge(crop, offset, levels, -normal)
    return CamusProfile(
        diameters_mm=width * scale_mm,
        step_mm=float(distance[apex] * scale_mm / N_DISKS),
        n_least=int(np.count_nonzero(width <= 2 * _BAND_PX)),
    )


def camus_volumes(
    a2c_ed: CamusProfile, a2c_es: CamusProfile, a4c_ed: CamusProfile, a4c_es: CamusProfile
) -> tuple[float, float]:
    """Return EDV and ESV in mL, each rounded to a whole number."""
    step_mm = max(p.step_mm for p in (a2c_ed, a2c_es, a4c_ed, a4c_es))
    return _volume_ml(a2c_ed, a4c_ed, step_mm), _volume_ml(a2c_es, a4c_es, step_mm)


def camus_ef(edv_ml: float, esv_ml: float) -> float:
    """Return the ejection fraction, in whole percent, of volumes rounded by `camus_volumes`.

    Examples
    --------
    >>> camus_ef(95.0, 45.0)
    53.0
    """
    return float(round(100 * (edv_ml - esv_ml) / edv_ml))


def _volume_ml(a2c: CamusProfile, a4c: CamusProfile, step_mm: float) -> float:
    # In metres and back, as published: the last bit decides how a half rounds.
    cubic_metres = np.sum((a2c.diameters_mm / 1000) * (a4c.diameters_mm / 1000)) * (step_mm / 1000) * np.pi / 4
    return float(round(float(cubic_metres) * 1e6))


def _square_pixels(mask: NDArray[np.bool_], spacing_mm: Spacing) -> NDArray[np.bool_]:
    """Resample (nearest) to square pixels of the smaller spacing, pixel for pixel as Pillow does."""
    scale = np.array(spacing_mm) / min(spacing_mm)
    size = (np.array(mask.shape) * scale).round().astype(int)
    for axis in (0, 1):
        if size[axis] != mask.shape[axis]:
            ratio = mask.shape[axis] / size[axis]
            # Pillow adds the ratio up pixel by pixel; so does cumsum, to the last bit.
            position = np.cumsum(np.concatenate([[ratio * 0.5], np.full(size[axis] - 1, ratio)]))
            mask = np.take(mask, np.minimum(position.astype(int), mask.shape[axis] - 1), axis=axis)
    return mask


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int_]]:
    """Return the part of a mask that is not empty, with a margin of one pixel where there is one, and its offset.

    The outline and the marches are the same on it as on the whole: there is nothing to meet outside.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return mask[:0, :0], np.zeros(2, dtype=int)
    top, left = max(rows[0] - 1, 0), max(columns[0] - 1, 0)
    return mask[top : rows[-1] + 2, left : columns[-1] + 2], np.array([top, left])


def _mitral_chord(doubled: NDArray[np.int32]) -> tuple[int, int] | None:
    """Return (i, j), j < i, of the longest valid chord; the first in (i, j) order among equals.

    `doubled` holds outline points in half pixels, so that every comparison is exact in integers.
    Nearly all long chords cut across the cavity: three points between their ends tell, for all pairs
    at once, and only the few that are left are checked point by point.
    """
    coarse = np.arange(0, len(doubled), _STRIDE)
    found = _longest_valid(doubled, *_candidates(doubled, coarse, 1))
    bound = 1 if found is None else _length2(doubled, *found)
    return _longest_valid(doubled, *_candidates(doubled, np.arange(len(doubled)), bound))


def _candidates(
    doubled: NDArray[np.int32], subset: NDArray[np.int_], bound: int
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return index pairs i > j of `subset`, at least sqrt(bound) long, that pass the cheap tests."""
    row, column = doubled[subset].T
    firsts, seconds = [], []
    for begin in range(0, len(subset), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        end = min(begin + _BLOCK, len(subset))
        across = column[None, :end] - column[block, None]
        down = row[None, :end] - row[block, None]
        # |angle| <= 45 degrees, seen from i, also says that j lies to the right.
        possible = (np.abs(down) <= across) & (across * across + down * down >= bound)
        i, j = np.divmod(np.flatnonzero(possible), end)
        i += begin
        keep = j < i
        i, j = subset[i[keep]], subset[j[keep]]
        keep = i >= 2
        i, j = i[keep], j[keep]
        for numerator in (4, 2, 6, 1, 7):
            keep = _within_band(doubled, i, j, j + (i - j) * numerator // 8)
            i, j = i[keep], j[keep]
        firsts.append(i)
        seconds.append(j)
    return np.concatenate(firsts), np.concatenate(seconds)


def _longest_valid(
    doubled: NDArray[np.int32], firsts: NDArray[np.int_], seconds: NDArray[np.int_]
) -> tuple[int, int] | None:
    """Return the longest of the candidate chords whose every point between lies within the band."""
    if firsts.size == 0:
        return None
    span = doubled[firsts] - doubled[seconds]
    for k in np.lexsort((seconds, firsts, -(span * span).sum(axis=1))):
        i, j = int(firsts[k]), int(seconds[k])
        if _within_band(doubled, i, j, np.arange(j + 1, i)).all():
            return i, j
    return None


def _within_band(
    doubled: NDArray[np.int32],
    i: NDArray[np.int_] | int,
    j: NDArray[np.int_] | int,
    between: NDArray[np.int_],
) -> NDArray[np.bool_]:
    """Tell which points lie within the band about the chord i, j: cross^2 <= (8 px)^2 * length^2."""
    end, start = doubled[i].astype(np.int64), doubled[j].astype(np.int64)
    chord, offset = start - end, end - doubled[between]
    cross = chord[..., 0] * offset[..., 1] - chord[..., 1] * offset[..., 0]
    within: NDArray[np.bool_] = cross * cross <= (2 * _BAND_PX) ** 2 * (chord * chord).sum(axis=-1)
    return within


def _length2(doubled: NDArray[np.int32], i: int, j: int) -> int:
    span = doubled[i].astype(np.int64) - doubled[j]
    return int((span * span).sum())


def _distance_to_edge(
    crop: NDArray[np.bool_], offset: NDArray[np.int_], levels: NDArray[np.float64], normal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """March from each level (n, 2) along the normal; return (n,) the distances, in px, to the first pixel off."""
    reach = float(np.hypot(*crop.shape)) + _BAND_PX + 1
    distance = np.arange(_BAND_PX, reach, _STEP_PX)
    # Rounded in the coordinates of the image, where the published code rounds.
    position = np.rint(levels[:, None, :] + distance[:, None] * normal).astype(np.int64) - offset
    row, column = position[..., 0], position[..., 1]
    height, width = crop.shape
    on_crop = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    on_mask = on_crop & crop.take(row * width + column, mode="clip")
    first_off: NDArray[np.float64] = distance[np.argmin(on_mask, axis=1)]
    return first_off
