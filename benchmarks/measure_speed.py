"""Pair the cost of measuring a patient with that of the published CAMUS algorithm.

    python benchmarks/measure_speed.py [--repeats 20]

Four masks of 500x600 pixels (2CH and 4CH, ED and ES) of a drawn heart. `measure` does everything: both
definitions, atrium, mass, strain and the quality gate. The published algorithm gives EDV and ESV alone; its
steps are written below as they are published, with scikit-image's outlines, point by point. Both take
turns, so that a busy machine is busy for both. Needs scikit-image, which apical itself does not.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apical.anatomy import Label, Phase, View
from apical.measure import measure
from apical.study import Frame, Grid, Patient, Study

SHAPE = (500, 600)
SPACING_MM = (0.308, 0.308)
HALF_AXES_MM = {Phase.ED: (52.0, 24.0), Phase.ES: (45.0, 18.0)}


def published_profile(
    cavity: NDArray[np.bool_], spacing_mm: tuple[float, float]
) -> tuple[NDArray[np.float64], float] | None:
    """Return diameters and disk height in mm as the published algorithm does, or None where it fails."""
    from skimage.measure import find_contours

    scale = min(spacing_mm)
    rows, columns = (np.array(cavity.shape) * np.array(spacing_mm) / scale).round().astype(int)
    resized = Image.fromarray(cavity.astype(np.uint8)).resize((int(columns), int(rows)), Image.Resampling.NEAREST)
    mask = np.asarray(resized)
    contours = find_contours(mask, 0.5) if min(mask.shape) > 1 else []
    if not contours:
        return None
    contour = contours[0]
    best, pair = 0.0, None
    for i in range(2, len(contour)):
        towards = contour[:i] - contour[i]
        angle = np.abs(np.degrees(np.arctan2(towards[:, 0], towards[:, 1])))
        for j in np.flatnonzero(angle <= 45):
            chord = contour[j] - contour[i]
            length = np.linalg.norm(chord)
            between = contour[i] - contour[j + 1 : i]
            if length == 0:
                continue
            off = np.abs(chord[0] * between[:, 1] - chord[1] * between[:, 0]) / length
            if np.all(off <= 8) and length > best:
                best, pair = float(length), (i, int(j))
    if pair is None:
        return None
    i, j = pair
    middle = contour[j + round((i - j) / 2)]
    lengths = [np.linalg.norm(middle - point) for point in contour]
    axis = contour[int(np.argmax(lengths))] - middle
    normal = np.array([-axis[1], axis[0]])
    normal /= np.linalg.norm(normal)
    diameters = [
        (march(mask, middle + axis * f, normal) + march(mask, middle + axis * f, -normal)) * scale
        for f in np.linspace(0, 1, 20, endpoint=False)
    ]
    return np.array(diameters), float(max(lengths) * scale / 20)


def march(mask: NDArray[np.uint8], start: NDArray[np.float64], direction: NDArray[np.float64]) -> float:
    """Return the distance in px at which the mask or the image ends."""
    distance = 8.0
    while True:
        row, column = np.round(start + distance * direction).astype(int)
        on_image = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
        if not on_image or mask[row, column] == 0:
            return distance
        distance += 0.5


def drawn_patient() -> tuple[Study, dict[str, NDArray[np.uint8]]]:
    """Return a study of four frames and its masks."""
    row = (np.arange(SHAPE[0])[:, None] - 230) * SPACING_MM[0]
    column = (np.arange(SHAPE[1])[None, :] - 300) * SPACING_MM[1]
    rng = np.random.default_rng(0)
    frames, masks = [], {}
    for view in View:
        for phase, (long, wide) in HALF_AXES_MM.items():
            inside = row <= long / 2
            mask = np.zeros(SHAPE, dtype=np.uint8)
            mask[((row / (long + 9)) ** 2 + (column / (wide + 9)) ** 2 <= 1) & inside] = Label.MYOCARDIUM
            mask[((row / long) ** 2 + (column / wide) ** 2 <= 1) & inside] = Label.LV_CAVITY
            mask[(((row - long / 2) / 35) ** 2 + (column / wide) ** 2 <= 1) & ~inside] = Label.LEFT_ATRIUM
            name = f"drawn_{view}_{phase}"
            masks[name] = mask
            image = rng.integers(0, 255, SHAPE, dtype=np.uint8)
            frames.append(Frame(name, image, Grid(SHAPE, SPACING_MM), view, phase))
    return Study(Patient("drawn"), tuple(frames)), masks


def seconds(call: Callable[[], object]) -> float:
    """Return how long one call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=int, default=20, help="calls of measure; the published algorithm gets a tenth"
    )
    repeats = parser.parse_args().repeats
    study, masks = drawn_patient()
    measure(study, masks)
    ours, published = [], []
    for turn in range(repeats):
        ours.append(seconds(lambda: measure(study, masks)))
        if turn % 10 == 0:
            published.append(
                seconds(lambda: [published_profile(m == Label.LV_CAVITY, SPACING_MM) for m in masks.values()])
            )
    mine, theirs = statistics.median(ours), statistics.median(published)
    print(f"measure, everything, four masks {SHAPE[0]}x{SHAPE[1]}: median {1000 * mine:.0f} ms of {repeats}")
    print(f"published algorithm, EDV and ESV alone: median {1000 * theirs:.0f} ms of {len(published)}")
    print(f"ratio {theirs / mine:.0f}")


if __name__ == "__main__":
    main()
