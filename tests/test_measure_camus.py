"""The `camus` definition: exact parity with the published algorithm, step by step and as a whole."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apical.anatomy import Label, View
from apical.measure.camus import _square_pixels, camus_ef, camus_profile, camus_volumes
from measure_hearts import DIASTOLE, SYSTOLE, draw

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from camus_parity import measure_row
from measure_speed import published_profile


@pytest.mark.parametrize("shape", [(60, 50), (61, 77), (256, 256)])
@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5), (0.154, 0.308), (0.308, 0.154), (0.47, 0.66), (0.3, 0.7)])
def test_square_pixels_are_pillows_nearest(shape: tuple[int, int], spacing_mm: tuple[float, float]) -> None:
    mask = np.random.default_rng(1).random(shape) < 0.5
    rows, columns = (np.array(shape) * np.array(spacing_mm) / min(spacing_mm)).round().astype(int)
    expected = Image.fromarray(mask.astype(np.uint8)).resize((columns, rows), Image.Resampling.NEAREST)
    assert np.array_equal(_square_pixels(mask, spacing_mm), np.asarray(expected).astype(bool))


@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5), (0.308, 0.616), (0.9, 0.6)])
@pytest.mark.parametrize("angle", [0, 20, -35])
def test_profile_is_the_published_one(spacing_mm: tuple[float, float], angle: int) -> None:
    pytest.importorskip("skimage")
    for heart in (DIASTOLE, SYSTOLE):
        cavity = draw(heart, View.A2C, spacing_mm, angle_degrees=angle, shift_mm=(1.3, 30.0)) == Label.LV_CAVITY
        expected = published_profile(cavity, spacing_mm)
        found = camus_profile(cavity, spacing_mm)
        assert found is not None
        assert expected is not None
        assert np.array_equal(found.diameters_mm, expected[0])
        assert found.step_mm == expected[1]


@pytest.mark.parametrize("seed", range(30))
def test_profile_of_random_blobs_is_the_published_one(seed: int) -> None:
    """Blobs cut by the border, in several pieces, ragged: whatever the algorithm makes of them."""
    pytest.importorskip("skimage")
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(seed)
    blob = ndimage.gaussian_filter(rng.normal(size=(70, 60)), 5) > rng.uniform(-0.02, 0.05)
    expected = published_profile(blob, (1.0, 1.0))
    found = camus_profile(blob, (1.0, 1.0))
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert np.array_equal(found.diameters_mm, expected[0])
        assert found.step_mm == expected[1]


@pytest.mark.parametrize(
    "cavity", [np.zeros((50, 50), bool), np.ones((50, 50), bool), np.eye(1, 1, dtype=bool), np.zeros((0, 0), bool)]
)
def test_no_mitral_plane_is_none(cavity: np.ndarray) -> None:
    assert camus_profile(cavity, (0.5, 0.5)) is None


def test_largest_disk_height_serves_all_four() -> None:
    long, short = (camus_profile(draw(h) == Label.LV_CAVITY, (0.5, 0.5)) for h in (DIASTOLE, SYSTOLE))
    assert long is not None
    assert short is not None
    edv, esv = camus_volumes(long, short, long, short)
    assert esv == round(math.pi / 4 * float((short.diameters_mm**2).sum()) * long.step_mm / 1000)
    assert edv == round(math.pi / 4 * float((long.diameters_mm**2).sum()) * long.step_mm / 1000)


def test_halves_round_to_even_as_in_python() -> None:
    assert camus_ef(200.0, 75.0) == 62.0  # 62.5
    assert camus_ef(200.0, 73.0) == 64.0  # 63.5


def test_oracle_rows(camus: Path, shared: Path) -> None:
    """Every 25th row here; all of them in `benchmarks/camus_parity.py`."""
    with (shared / "oracle" / "camus_definition_oracle.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::25]
    for row in rows:
        assert measure_row(camus, row) == tuple(float(row[k]) for k in ("edv_ml", "esv_ml", "ef_percent"))


@pytest.mark.slow
def test_whole_oracle(camus: Path, shared: Path) -> None:
    command = [sys.executable, BENCHMARKS / "camus_parity.py", shared / "oracle" / "camus_definition_oracle.csv", camus]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    total = done.stdout.split()[2]
    assert done.stdout.splitlines()[-1] == f"{total} of {total} rows equal"
