"""Beats on area curves: closed forms, beating phantoms' true curves, and what must be refused."""

from __future__ import annotations

import numpy as np
import pytest

from apical.anatomy import View
from apical.cycle import Beat, Cycle, cavity_areas, find_beats, find_cycle, plausible_frames
from apical.cycle.smoothing import temporal_smoother
from apical.errors import InputError
from apical.measure.results import Reason, Severity
from apical.phantom.beating import BeatingPhantom, make_beating

VIEW = View.A4C


def cosine(
    interval_ms: float, rate_hz: float, duration_ms: float, start_ms: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Areas that are largest at multiples of the interval, and their times."""
    times = np.arange(0.0, duration_ms, 1000.0 / rate_hz)
    return 20.0 + 6.0 * np.cos(2 * np.pi * (times + start_ms) / interval_ms), times


def areas_of(phantom: BeatingPhantom, noise: float = 0.0) -> np.ndarray:
    """Area-like curve of a phantom: its turning points are the volume's. Lost frames have no mask."""
    areas = phantom.volumes_ml(VIEW) ** (2 / 3)
    areas *= 1.0 + noise * np.random.default_rng(phantom.patient.seed).standard_normal(areas.size)
    areas[list(phantom.recordings[VIEW].dropout)] = 0.0
    return areas


def worst_error_frames(phantom: BeatingPhantom, cycle: Cycle) -> float:
    """Largest distance of ED and ES from the spans of the true beats, in frames; every beat must be there."""
    recording = phantom.recordings[VIEW]
    times, interval = recording.frame_times_ms, 1000.0 / recording.frame_rate_hz
    complete = [b for b in cycle.beats if b.complete]
    true = phantom.beats(VIEW)
    assert len(complete) == len(true)
    worst = 0.0
    for beat, truth in zip(complete, true, strict=True):
        for index, (low, high) in (
            (beat.ed_index, truth.ed_ms),
            (beat.es_index, truth.es_ms),
            (beat.next_ed_index, truth.next_ed_ms),
        ):
            worst = max(worst, (low - times[index]) / interval, (times[index] - high) / interval)
    return worst


@pytest.mark.parametrize(("interval_ms", "rate_hz"), [(500.0, 20.0), (500.0, 120.0), (1000.0, 50.0), (2000.0, 120.0)])
def test_turning_points_of_a_cosine(interval_ms: float, rate_hz: float):
    areas, times = cosine(interval_ms, rate_hz, 3.4 * interval_ms, start_ms=0.3 * interval_ms)
    cycle = find_beats(areas, times)
    found = np.array([(times[b.ed_index], times[b.es_index], times[b.next_ed_index]) for b in cycle.beats])
    expected = interval_ms * np.array([(0.7, 1.2, 1.7), (1.7, 2.2, 2.7)])
    assert np.abs(found - expected).max() <= 0.51 * 1000.0 / rate_hz
    assert cycle.heart_rate_bpm == pytest.approx(60_000 / interval_ms, rel=0.03)
    assert cycle.beats[0].fractional_area_change_percent == pytest.approx(100 * 12 / 26, abs=1.5)
    assert not any(b.rejected for b in cycle.beats)


def test_smoothing_keeps_a_parabola_and_halves_noise():
    times = np.cumsum(np.random.default_rng(0).uniform(10.0, 30.0, 200))
    parabola = 1e-4 * (times - 2000.0) ** 2
    smoother = temporal_smoother(times, 60.0)
    assert np.allclose(smoother @ parabola, parabola, atol=0.01 * np.ptp(parabola))
    noise = np.random.default_rng(1).standard_normal(times.size)
    assert (smoother @ noise)[10:-10].std() < 0.6
    with pytest.raises(ValueError, match="width above 0"):
        temporal_smoother(times, 0.0)


def test_smoothing_fills_a_gap_from_both_sides():
    times, valid = np.arange(40.0), np.ones(40, dtype=bool)
    valid[10:20] = False
    line = 3.0 * times + 1.0
    filled = temporal_smoother(times, 1.5, valid) @ np.where(valid, line, 1e6)
    assert np.abs(filled - line).max() < 6.0


@pytest.mark.parametrize("rhythm", ["regular", "irregular", "premature"])
@pytest.mark.parametrize(("bpm", "rate_hz"), [(30, 25), (45, 120), (70, 50), (120, 20), (120, 110)])
def test_phantom_beats_within_two_frames(rhythm: str, bpm: int, rate_hz: int):
    for seed in range(2):
        phantom = make_beating(
            seed, heart_rate_bpm=bpm, frame_rate_hz=rate_hz, n_beats=3, rhythm=rhythm, dropout_share=0.03
        )
        cycle = find_beats(areas_of(phantom), phantom.recordings[VIEW].frame_times_ms)
        assert worst_error_frames(phantom, cycle) <= 2.0


def test_noise_of_two_percent():
    errors = []
    for seed in range(12):
        phantom = make_beating(seed, n_beats=3)
        cycle = find_beats(areas_of(phantom, noise=0.02), phantom.recordings[VIEW].frame_times_ms)
        errors.append(worst_error_frames(phantom, cycle))
    assert np.mean(np.array(errors) <= 2.0) >= 0.9


def test_times_are_not_needed():
    phantom = make_beating(3, heart_rate_bpm=65, frame_rate_hz=60, n_beats=3)
    timed = find_beats(areas_of(phantom), phantom.recordings[VIEW].frame_times_ms)
    untimed = find_beats(areas_of(phantom))
    assert worst_error_frames(phantom, untimed) <= 2.0
    assert len(untimed.beats) == len(timed.beats) == 3
    assert untimed.heart_rate_bpm is None
    assert untimed.beats[0].duration_ms is None
    assert untimed.beats[0].n_frames == untimed.beats[0].next_ed_index - untimed.beats[0].ed_index
    assert [f.reason for f in untimed.findings] == [Reason.FRAME_TIMES_UNKNOWN]


def test_unequal_frame_times():
    areas, times = cosine(900.0, 50.0, 3000.0)
    keep = np.sort(np.random.default_rng(2).permutation(times.size)[: int(0.7 * times.size)])
    cycle = find_beats(areas[keep], times[keep])
    assert [round(times[keep][b.es_index] / 900.0, 1) for b in cycle.beats] == [0.5, 1.5, 2.5]


def test_one_beat_from_r_wave_to_r_wave():
    areas, times = cosine(1000.0, 50.0, 1001.0)
    (beat,) = find_beats(areas, times).beats
    assert (beat.ed_index, beat.es_index, beat.next_ed_index) == (0, 25, 50)


@pytest.mark.parametrize("ends_at", [0.5, 0.75])
def test_less_than_a_beat_is_flagged(ends_at: float):
    areas, times = cosine(1000.0, 50.0, 1000.0 * ends_at + 1)
    cycle = find_beats(areas, times)
    assert [(b.ed_index, b.es_index, b.next_ed_index) for b in cycle.beats] == [(0, 25, None)]
    assert cycle.good_beats
    assert not cycle.beats[0].complete
    assert (cycle.findings[0].reason, cycle.findings[0].severity) == (Reason.NO_COMPLETE_BEAT, Severity.CAUTION)


def test_a_beat_cut_in_diastasis_is_not_complete():
    phantom = make_beating(5, heart_rate_bpm=50, frame_rate_hz=60, n_beats=1)
    areas, times = areas_of(phantom), phantom.recordings[VIEW].frame_times_ms
    (truth,) = phantom.beats(VIEW)
    # From end-diastole into the plateau before the atrial kick.
    part = (times >= truth.ed_ms[0]) & (times < truth.next_ed_ms[0] - 150.0)
    assert find_beats(areas[part], times[part]).beats[0].next_ed_index is None


@pytest.mark.parametrize("areas", [np.full(60, 25.0), 25.0 + 0.1 * np.random.default_rng(0).standard_normal(60)])
def test_what_does_not_beat(areas: np.ndarray):
    cycle = find_beats(areas, np.arange(60) * 20.0)
    assert cycle.beats == ()
    assert cycle.representative is None
    assert cycle.heart_rate_bpm is None
    assert (cycle.findings[-1].reason, cycle.findings[-1].severity) == (Reason.NO_BEATING, Severity.REFUSAL)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_no_masks_at_all(n: int):
    cycle = find_beats(np.zeros(n), np.arange(n) * 20.0)
    assert cycle.beats == ()
    assert np.isnan(cycle.smoothed).all()
    assert {f.reason for f in cycle.findings} == {Reason.NO_BEATING, Reason.MASKS_IMPLAUSIBLE}
    assert cycle.as_dict()["smoothed_area"] == [None] * n


def test_noise_stronger_than_the_beat_is_no_beat():
    areas, times = cosine(800.0, 40.0, 4000.0)
    weak = 20.0 + 0.05 * (areas - 20.0)
    assert find_beats(weak, times).beats
    noisy = weak + 2.0 * np.random.default_rng(3).standard_normal(weak.size)
    assert not find_beats(noisy, times).beats


def test_premature_beat_is_rejected_with_a_reason():
    phantom = make_beating(2, heart_rate_bpm=70, frame_rate_hz=50, n_beats=5, rhythm="premature")
    cycle = find_beats(areas_of(phantom), phantom.recordings[VIEW].frame_times_ms)
    rejected = [b.rejected for b in cycle.beats if b.rejected]
    assert len(rejected) == 2
    assert "as long as" in rejected[0]
    assert "as strong as" in rejected[1]
    assert [f.reason for f in cycle.findings] == [Reason.BEAT_REJECTED] * 2
    changes = [b.fractional_area_change_percent for b in cycle.good_beats]
    assert np.ptp(changes) < 2.0


def test_beat_without_masks_is_rejected():
    areas, times = cosine(1000.0, 50.0, 4001.0)
    areas[60:85] = 0.0
    cycle = find_beats(areas, times)
    assert [bool(b.rejected) for b in cycle.beats] == [False, True, False, False]
    assert "missing or implausible" in str(cycle.beats[1].rejected)
    assert cycle.beats[1].rejected_because("another").rejected == cycle.beats[1].rejected


def test_marks_lie_on_frames_with_masks():
    areas, times = cosine(1000.0, 50.0, 3001.0)
    for index in (0, 25, 50, 51, 75, 100):
        areas[index] = 0.0
    cycle = find_beats(areas, times)
    assert len(cycle.good_beats) == 3
    marks = [k for b in cycle.beats for k in (b.ed_index, b.es_index, b.next_ed_index)]
    assert cycle.plausible[marks].all()
    assert max(abs(b.es_index - e) for b, e in zip(cycle.beats, (25, 75, 125), strict=True)) <= 2


def test_representative_is_the_lower_median():
    beats = tuple(Beat(0, 1, 2, change) for change in (40.0, 10.0, 30.0, 20.0))
    cycle = Cycle(np.ones(3), np.ones(3), np.ones(3, dtype=bool), None, "pixels", beats)
    assert cycle.representative == beats[3]


def test_areas_and_plausibility():
    masks = np.zeros((3, 10, 8), np.uint8)
    masks[0, :5, :4], masks[1, :5, :4], masks[1, 5:, :] = 1, 1, 3
    assert cavity_areas(masks).tolist() == [20.0, 20.0, 0.0]
    assert cavity_areas(masks, (2.0, 0.5)).tolist() == [0.2, 0.2, 0.0]
    curve = np.array([20.0, 20.5, np.nan, 21.0, 60.0, 21.5, 5.0, 22.0, 22.5])
    assert np.flatnonzero(~plausible_frames(curve)).tolist() == [2, 4, 6]
    # Every 60 ms a heart may do what it cannot do every 20 ms.
    fast = np.array([20.0, 20.0, 13.0, 20.0, 20.0, 20.0])
    assert not plausible_frames(fast, np.arange(6) * 20.0).all()
    assert plausible_frames(fast, np.arange(6) * 60.0).all()
    with pytest.raises(InputError, match="one mask per frame"):
        cavity_areas(masks[0])


def test_times_must_belong_to_the_masks():
    with pytest.raises(InputError, match="60 frames have 59 times"):
        find_beats(np.ones(60), np.arange(59.0))
    with pytest.raises(InputError, match="do not ascend"):
        find_cycle(np.ones((3, 4, 4), np.uint8), np.array([0.0, 20.0, 20.0]))


def test_a_piece_of_a_beat_is_no_beat():
    times = np.arange(31) * 20.0
    whole = 20 + 6 * np.cos(2 * np.pi * np.arange(51) * 20.0 / 1000)
    (beat,) = find_beats(whole, np.arange(51) * 20.0).beats
    assert (beat.ed_index, beat.next_ed_index) == (0, 50)
    piece = 20 + 6 * np.cos(2 * np.pi * (200 + times) / 1000)
    cycle = find_beats(piece, times)
    assert not cycle.beats[0].complete
    assert cycle.heart_rate_bpm is None
    assert Reason.NO_COMPLETE_BEAT in {f.reason for f in cycle.findings}


def test_without_a_complete_beat_both_instants_are_of_one():
    # A deep end-systole whose end-diastole is not seen whole, then a beat whose next one is not.
    corners, areas = [0, 3, 20, 29, 36], [21, 8, 24, 15, 20.8]
    curve = np.interp(np.arange(37), corners, areas)
    cycle = find_beats(curve, np.arange(37) * 20.0)
    (beat,) = cycle.beats
    assert not beat.complete
    assert beat.ed_index == pytest.approx(20, abs=2)
    assert beat.es_index == pytest.approx(29, abs=2)
    assert any("smallest after it" in f.sentence for f in cycle.findings)
