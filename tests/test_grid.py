"""Native <-> network grid: closed forms, and the sector among text, marks and darkness."""

from __future__ import annotations

import numpy as np
import pytest

from apical import grid
from apical.grid import Box


def sector_picture(shape: tuple[int, int], top: int, height: int, level: int = 90) -> np.ndarray:
    """A 70 degree fan whose tip is in row `top` at the middle of the picture."""
    rows, columns = np.indices(shape)
    depth = np.hypot(rows - top, columns - shape[1] / 2)
    angle = np.abs(np.arctan2(columns - shape[1] / 2, rows - top))
    inside = (depth < height) & (angle < np.radians(35)) & (rows >= top)
    noise = np.random.default_rng(0).integers(0, 30, shape)
    return np.where(inside, level + noise, 0).astype(np.uint8)


@pytest.mark.parametrize("target", [(7, 5), (64, 48), (200, 331)])
def test_resampling_keeps_a_constant(target: tuple[int, int]):
    np.testing.assert_allclose(grid.resample(np.full((50, 41), 7, np.float32), target), 7, rtol=1e-6)


@pytest.mark.parametrize("target", [(30, 20), (120, 80)])
def test_resampling_keeps_a_ramp_at_pixel_centres(target: tuple[int, int]):
    ramp = np.repeat(np.arange(60, dtype=np.float32)[:, None], 40, axis=1)
    expected = (np.arange(target[0]) + 0.5) * 60 / target[0] - 0.5
    got = grid.resample(ramp, target)[:, 0]
    np.testing.assert_allclose(got[2:-2], expected[2:-2], atol=1e-4)


def test_shrinking_averages_instead_of_picking():
    chequers = (np.indices((64, 64)).sum(axis=0) % 2 * 200).astype(np.float32)
    inner = grid.resample(chequers, (16, 16))[2:-2, 2:-2]
    np.testing.assert_allclose(inner, 100, atol=1)


def test_a_disk_survives_the_way_there_and_back():
    rows, columns = np.indices((480, 600))
    disk = (((rows - 240) ** 2 + (columns - 300) ** 2) < 120**2).astype(np.uint8)
    box = Box(20, 60, 470, 560)
    scores = np.stack([1 - grid.to_network(disk, box, 256), grid.to_network(disk, box, 256)])
    back = grid.to_native(scores, box, (480, 600))
    assert 2 * (back & disk).sum() / (back.sum() + disk.sum()) > 0.998
    assert back.dtype == np.uint8


def test_outside_the_box_is_background():
    scores = np.stack([np.zeros((8, 8)), np.ones((8, 8)), *np.zeros((2, 8, 8))]).astype(np.float32)
    mask = grid.to_native(scores, Box(2, 3, 6, 9), (10, 12))
    assert mask[2:6, 3:9].all()
    assert mask.sum() == 24


def test_masks_are_resampled_without_inventing_labels():
    mask = np.zeros((10, 10), np.uint8)
    mask[:, 5:] = 3
    assert set(np.unique(grid.resample_mask(mask, (37, 23)))) == {0, 3}
    np.testing.assert_array_equal(grid.resample_mask(mask, (10, 10)), mask)
    np.testing.assert_array_equal(grid.resample_mask(mask, (20, 20))[::2, ::2], mask)


def test_a_cropped_frame_is_its_own_sector():
    assert grid.find_sector(sector_picture((400, 460), 0, 400)) == Box(0, 0, 400, 460)


@pytest.mark.parametrize("level", [12, 40, 150])
def test_the_sector_is_found_among_text_and_marks(level: int):
    picture = sector_picture((480, 640), 50, 340, level)
    truth = np.argwhere(picture)
    for row in range(60, 440, 40):
        picture[row : row + 2, 600:608] = 255  # depth scale
    picture[12:22, 10:90:6] = 200  # text
    picture[455:475, 80:560] = 60  # tool bar
    box = grid.find_sector(picture)
    for found, true in zip((box.top, box.left), truth.min(axis=0), strict=True):
        assert abs(found - true) < 15
    for found, true in zip((box.bottom, box.right), truth.max(axis=0), strict=True):
        assert abs(found - true) < 15


def test_in_a_clip_what_never_moves_is_left_out():
    random = np.random.default_rng(1)
    sector = sector_picture((240, 320), 30, 180)
    clip = np.stack([np.where(sector, sector + random.integers(0, 40, sector.shape), 0) for _ in range(12)])
    clip[:, 0:60, 0:100] = 255  # a large logo
    box = grid.find_sector(clip.astype(np.uint8))
    assert box.top > 20
    assert box.left > 40


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (50, 50)])
def test_darkness_has_no_sector_and_the_whole_image_is_used(shape: tuple[int, int]):
    assert grid.find_sector(np.zeros(shape, np.uint8)) == Box.whole(shape)


@pytest.mark.parametrize("shape", [(480, 640), (97, 131)])
def test_looking_where_the_heart_is_gives_the_same_mask_as_looking_everywhere(shape: tuple[int, int]):
    random = np.random.default_rng(3)
    row, column = np.mgrid[:64, :64]
    distance = np.hypot(row - 20, 1.3 * (column - 40))
    scores = np.stack([distance - 18, 9 - distance, 9 - np.abs(distance - 12), 22 - np.hypot(row - 42, column - 40)])
    scores = (scores + random.normal(0, 0.5, scores.shape)).astype(np.float32)
    box = Box(5, 7, shape[0] - 3, shape[1])
    expected = np.zeros(shape, np.uint8)
    expected[box.slices] = grid.resample(scores, box.shape).argmax(axis=0)
    assert set(np.unique(expected)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(grid.to_native(scores, box, shape), expected)
