"""Steady masks: what is still stays, what flickers is calmed, real motion is kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from apical.anatomy import Label, View
from apical.cycle import Stability, cavity_areas, measure_stability, stabilise, stabilise_scores
from apical.phantom.beating import make_beating


def flicker(masks: np.ndarray, sd_px: float, seed: int = 0) -> np.ndarray:
    """Move the cavity's border by another smooth random amount in every frame."""
    rng = np.random.default_rng(seed)
    result = masks.copy()
    for mask in result:
        cavity = mask == Label.LV_CAVITY
        depth = ndimage.distance_transform_edt(cavity) - ndimage.distance_transform_edt(~cavity)
        off = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 6)
        moved = depth + sd_px * (off / off.std() + rng.standard_normal()) > 0
        mask[(mask == Label.LV_CAVITY) & ~moved] = Label.MYOCARDIUM
        mask[moved] = Label.LV_CAVITY
    return result


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, np.ndarray]:
    phantom = make_beating(4, heart_rate_bpm=75, frame_rate_hz=50, n_beats=2, spacing_mm=(1.0, 1.0))
    return phantom.masks(View.A4C), phantom.recordings[View.A4C].frame_times_ms


def test_a_still_clip_comes_back_as_it_is(clip: tuple[np.ndarray, np.ndarray]):
    still = np.repeat(clip[0][:1], 12, axis=0)
    assert np.array_equal(stabilise(still), still)
    assert measure_stability(still) == Stability(0.0, 1.0)


def test_flicker_is_measured_and_halved(clip: tuple[np.ndarray, np.ndarray]):
    masks, times = clip
    noisy = flicker(masks, 0.6)
    calm = stabilise(noisy, times)
    before, after, real = (measure_stability(m) for m in (noisy, calm, masks))
    assert before.area_jitter_percent > 2 * real.area_jitter_percent
    assert after.area_jitter_percent < 0.6 * before.area_jitter_percent
    assert before.neighbour_dice < after.neighbour_dice <= 1.0
    # Nearer to the truth, not only smoother.
    wrong = [np.mean((m == Label.LV_CAVITY) != (masks == Label.LV_CAVITY)) for m in (noisy, calm)]
    assert wrong[1] < 0.75 * wrong[0]


def test_jitter_is_the_noise_on_the_area():
    rng = np.random.default_rng(0)
    masks = np.zeros((400, 100, 110), np.uint8)
    for mask in masks:
        mask[:, : int(np.rint(100 + 2.0 * rng.standard_normal()))] = Label.LV_CAVITY
    assert measure_stability(masks).area_jitter_percent == pytest.approx(2.0, rel=0.2)


@pytest.mark.parametrize(("bpm", "rate_hz"), [(50, 30), (70, 50), (100, 25), (120, 20), (120, 60)])
def test_systolic_amplitude_is_kept_within_two_percent(bpm: int, rate_hz: int):
    phantom = make_beating(6, heart_rate_bpm=bpm, frame_rate_hz=rate_hz, n_beats=2, spacing_mm=(1.2, 1.2))
    masks = phantom.masks(View.A4C)
    calm = stabilise(masks, phantom.recordings[View.A4C].frame_times_ms)
    raw, smooth = (np.ptp(cavity_areas(m)) for m in (masks, calm))
    assert smooth / raw == pytest.approx(1.0, abs=0.02)


def test_missing_frames_stay_missing_and_harm_no_neighbour(clip: tuple[np.ndarray, np.ndarray]):
    masks, times = clip
    holed = masks.copy()
    holed[10] = 0
    calm = stabilise(holed, times)
    assert not calm[10].any()
    whole = stabilise(masks, times)
    assert np.mean(calm[[9, 11]] != whole[[9, 11]]) < 0.003
    assert measure_stability(holed).neighbour_dice == pytest.approx(measure_stability(masks).neighbour_dice, abs=0.002)


def test_all_labels_are_kept(clip: tuple[np.ndarray, np.ndarray]):
    masks, times = clip
    calm = stabilise(masks, times)
    assert calm.dtype == np.uint8
    for label in Label:
        assert (calm == label).sum() == pytest.approx((masks == label).sum(), rel=0.01)


def test_too_little_to_smooth():
    empty = np.zeros((5, 6, 7), np.uint8)
    assert np.array_equal(stabilise(empty), empty)
    assert measure_stability(empty) == Stability(None, None)
    full = np.ones((4, 6, 7), np.uint8)
    assert np.array_equal(stabilise(full), full)


def test_scores_are_smoothed_by_the_same_weights():
    times = np.arange(9.0) * 20.0
    scores = np.zeros((9, 2, 3, 4), np.float32)
    scores[:, 0] = (0.5 * times - 3.0)[:, None, None]
    scores[4, 1] = 1.0
    smooth = stabilise_scores(scores, times)
    assert smooth.shape == scores.shape
    assert smooth.dtype == np.float32
    assert np.allclose(smooth[:, 0], scores[:, 0], atol=0.1)
    assert 0.3 < smooth[4, 1, 0, 0] < 0.9
    assert smooth[3, 1, 0, 0] > 0.05
