"""Volumes of every beat of a study's clips, against beating phantoms."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from apical.anatomy import Phase, View
from apical.calibration import Calibration, ErrorBound
from apical.cycle import frame_volumes_ml, measure_clips
from apical.errors import InputError
from apical.measure import Reason, Status, VolumeDefinition
from apical.phantom.beating import BeatingPhantom, Recording, as_clip_study, make_beating
from apical.phantom.rhythm import Rhythm
from apical.study import Clip, Patient, Repair, Segmentation, Study


@pytest.fixture(scope="module")
def phantom() -> BeatingPhantom:
    return make_beating(
        11, heart_rate_bpm=80, frame_rate_hz=30, n_beats=3, ef_percent=58.0, edv_ml=130.0, spacing_mm=(0.8, 0.8)
    )


@pytest.fixture(scope="module")
def study(phantom: BeatingPhantom) -> Study:
    return as_clip_study(phantom, with_images=False)


@pytest.fixture(scope="module")
def masks(study: Study) -> dict[str, np.ndarray]:
    return {c.name: c.reference for c in study.clips}


def reasons(result) -> set[str]:
    return {f.reason.value for f in result.findings}


def test_biplane_over_all_beats(study: Study, masks: dict[str, np.ndarray], phantom: BeatingPhantom):
    result = measure_clips(study, masks)
    truth = phantom.patient.truth
    assert len(result.beats) == result.summary.n_beats == 3
    assert result.summary.ef_percent == pytest.approx(truth.ef_percent, abs=1.0)
    assert result.summary.edv_ml == pytest.approx(truth.edv_ml, rel=0.02)
    assert result.summary.esv_ml == pytest.approx(truth.esv_ml, rel=0.03)
    assert result.summary.ef_sd_points < 0.5
    assert result.summary.ef_range_percent[0] <= result.summary.ef_percent <= result.summary.ef_range_percent[1]
    assert result.summaries[VolumeDefinition.CAMUS].ef_percent < result.summary.ef_percent
    assert {view: len(beats) for view, beats in result.single_plane.items()} == {View.A2C: 3, View.A4C: 3}
    # Beside the views at hand nothing is to be remarked.
    assert result.findings == ()


def test_representative_beat_is_an_ordinary_measurement(study: Study, masks: dict[str, np.ndarray]):
    result = measure_clips(study, masks)
    shown = result.measurements
    assert "biplane" in shown.default.method
    assert shown.status is Status.MEASURED
    assert shown.ef_percent == sorted(b.measurements.ef_percent for b in result.beats)[1]
    assert result.representative in result.beats
    beat = result.representative.beats[View.A4C]
    assert shown.geometry[View.A4C, Phase.ES].frame == f"{study.clips[1].name}_{beat.es_index:04d}"
    assert shown.value("cardiac_output_l_min") == pytest.approx(80 * shown.default.sv_ml / 1000, rel=0.05)
    json.dumps(result.as_dict(), allow_nan=False)
    assert result.as_dict()["beats"][0]["4ch_es_index"] is not None


def test_one_view_is_single_plane(study: Study, masks: dict[str, np.ndarray]):
    result = measure_clips(replace(study, clips=study.clips[1:]), masks)
    assert "single plane (4CH)" in result.measurements.default.method
    assert result.measurements.status is Status.CAUTION
    assert [b.measurements for b in result.beats] == [b.measurements for b in result.single_plane[View.A4C]]
    assert result.beats[0].as_row()["2ch_ed_index"] is None


def test_view_recognised_by_the_model(study: Study, masks: dict[str, np.ndarray]):
    nameless = replace(study, clips=tuple(replace(c, view=None) for c in study.clips))
    result = measure_clips(nameless, masks)
    assert result.measurements.status is Status.REFUSED
    assert reasons(result) == {"view_unknown"}
    seen = {study.clips[0].name: (View.A2C, 0.99), study.clips[1].name: (View.A4C, 0.6)}
    result = measure_clips(nameless, Segmentation(masks, views=seen))
    assert result.measurements.ef_percent is not None
    recognised = [f for f in result.measurements.findings if f.reason == Reason.VIEW_RECOGNISED]
    assert [(f.view, f.severity.value) for f in recognised] == [(View.A2C, "note"), (View.A4C, "caution")]
    assert result.measurements.status is Status.CAUTION


def test_the_interval_is_that_of_stills_and_says_so(study: Study, masks: dict[str, np.ndarray]):
    plain = measure_clips(study, masks)
    assert "do not come from a model" in plain.measurements.default.ef_interval.reason
    bounds = (ErrorBound(plain.measurements.default.method, "ef_percent", 50, 8.0, 1.5),)
    carried = Calibration(0.9, "CAMUS", (), bounds, "a remark")
    interval = measure_clips(study, Segmentation(masks, calibration=carried)).measurements.default.ef_interval
    assert interval.ends[1] - interval.ends[0] == pytest.approx(16.0)
    assert interval.method.startswith(
        "split conformal, 50 patients of CAMUS; a remark; found on single ED and ES frames"
    )
    # What a clip gives cause for caution by widens it, too.
    unsure = {clip.name: (clip.view, 0.6) for clip in study.clips}
    nameless = replace(study, clips=tuple(replace(c, view=None) for c in study.clips))
    result = measure_clips(nameless, Segmentation(masks, views=unsure, calibration=carried))
    wide = result.measurements.default.ef_interval
    assert wide.ends[1] - wide.ends[0] == pytest.approx(24.0)


def test_without_spacing_there_are_no_millilitres(study: Study, masks: dict[str, np.ndarray], phantom: BeatingPhantom):
    blind = replace(study, clips=tuple(replace(c, grid=replace(c.grid, spacing_mm=None)) for c in study.clips))
    result = measure_clips(blind, masks)
    assert result.summary.edv_ml is None
    assert result.summary.esv_ml is None
    assert result.measurements.edv_ml is None
    assert result.summary.ef_percent == pytest.approx(phantom.patient.truth.ef_percent, abs=1.0)
    assert any(f.reason is Reason.SPACING_UNKNOWN for f in result.measurements.findings)
    assert result.views[View.A4C].cycle.unit == "pixels"
    with pytest.raises(InputError, match="spacing is unknown"):
        frame_volumes_ml(blind.clips[0], masks[blind.clips[0].name], View.A2C)


def test_less_than_a_beat_asks_for_caution(study: Study, masks: dict[str, np.ndarray]):
    whole = measure_clips(study, masks).views[View.A4C]
    beat = whole.cycle.beats[0]
    part = slice(beat.ed_index, beat.es_index + 3)
    clip = whole.clip
    short = replace(clip, images=clip.images[part], frame_times_ms=clip.frame_times_ms[part], reference=None)
    result = measure_clips(Study(study.patient, clips=(short,)), {clip.name: masks[clip.name][part]})
    assert "no_complete_beat" in reasons(result)
    assert result.measurements.status is Status.CAUTION
    assert any(f.reason == Reason.NO_COMPLETE_BEAT for f in result.measurements.default.findings)
    assert result.measurements.ef_percent is not None


def test_nothing_to_measure_is_refused(study: Study, masks: dict[str, np.ndarray]):
    still = {name: np.repeat(m[:1], len(m), axis=0) for name, m in masks.items()}
    for result in (measure_clips(study, still), measure_clips(study, {}), measure_clips(Study(Patient("p")), {})):
        assert result.measurements.status is Status.REFUSED
        assert result.beats == ()
        assert result.representative is None
        assert result.summary.ef_percent is None
        assert result.summary.n_beats == 0
        assert result.measurements.default.absent_because
    assert reasons(measure_clips(study, still)) == {"no_beating"}
    assert reasons(measure_clips(study, {})) == {"clip_not_used"}


def test_median_is_not_led_astray_by_a_premature_beat():
    phantom = make_beating(5, heart_rate_bpm=70, frame_rate_hz=30, n_beats=5, rhythm="premature", spacing_mm=(1.2, 1.2))
    study = as_clip_study(phantom, with_images=False)
    result = measure_clips(study, {c.name: c.reference for c in study.clips})
    assert result.summary.ef_percent == pytest.approx(phantom.patient.truth.ef_percent, abs=1.5)
    assert len(result.beats) == 3
    assert "beat_rejected" in reasons(result)


def test_the_beat_of_median_ef_is_shown():
    patient = make_beating(3, spacing_mm=(1.2, 1.2)).patient
    rhythm = Rhythm((850.0,) * 5, (1.0, 0.9, 1.0, 0.8, 1.0, 1.0), (0.0, 0.0, 0.1, 0.0, 0.0))
    phantom = BeatingPhantom(patient, {View.A4C: Recording(rhythm, 600.0, 90, 30.0)})
    study = as_clip_study(phantom, with_images=False)
    result = measure_clips(study, {c.name: c.reference for c in study.clips})
    fractions = sorted(b.measurements.ef_percent for b in result.beats)
    assert len(fractions) == 3
    assert fractions[0] < fractions[1] - 1 < fractions[2] - 2
    assert result.measurements.ef_percent == result.summary.ef_percent == fractions[1]


def test_beats_are_paired_by_length(phantom: BeatingPhantom, study: Study, masks: dict[str, np.ndarray]):
    # The 4CH clip loses its first beat: two pairs are left, and the beat over is named.
    first = measure_clips(study, masks).views[View.A4C].cycle.beats[0]
    part = slice(first.es_index, None)
    clips = [
        study.clips[0],
        replace(
            study.clips[1],
            images=study.clips[1].images[part],
            frame_times_ms=study.clips[1].frame_times_ms[part],
            reference=None,
        ),
    ]
    fewer = {clips[0].name: masks[clips[0].name], clips[1].name: masks[clips[1].name][part]}
    result = measure_clips(replace(study, clips=tuple(clips)), fewer)
    assert len(result.beats) == 2
    assert reasons(result) == {"beats_unpaired"}
    # At half the heart rate no beat of one view is like any of the other.
    slow = replace(clips[1], frame_times_ms=clips[1].frame_times_ms * 2, heart_rate_bpm=None)
    result = measure_clips(replace(study, clips=(clips[0], slow)), fewer)
    assert "beats_differ" in reasons(result)
    assert result.measurements.status is Status.CAUTION


def test_heart_rates_that_disagree(study: Study, masks: dict[str, np.ndarray]):
    wrong = replace(study, clips=tuple(replace(c, heart_rate_bpm=40.0) for c in study.clips))
    assert reasons(measure_clips(wrong, masks)) == {"heart_rates_differ"}


def test_of_two_clips_the_one_with_more_beats(study: Study, masks: dict[str, np.ndarray]):
    long = study.clips[1]
    short: Clip = replace(long, name="short", images=long.images[:30], frame_times_ms=long.frame_times_ms[:30])
    result = measure_clips(
        Study(study.patient, clips=(short, long)), {"short": masks[long.name][:30], long.name: masks[long.name]}
    )
    assert result.views[View.A4C].clip.name == long.name
    assert "clip_not_used" in reasons(result)


def test_flickering_masks_ask_for_caution(study: Study, masks: dict[str, np.ndarray]):
    clip = study.clips[1]
    flickering = masks[clip.name].copy()
    rows = np.flatnonzero((flickering[0] == 1).any(axis=1))
    flickering[::2, rows[0] : rows[0] + 14] = 2
    result = measure_clips(Study(study.patient, clips=(clip,)), {clip.name: flickering})
    assert "masks_unstable" in reasons(result)


def test_masks_of_another_clip(study: Study, masks: dict[str, np.ndarray]):
    clip = study.clips[0]
    with pytest.raises(InputError, match=r"p.*one mask per frame"):
        measure_clips(study, {clip.name: masks[clip.name][:-1]})


def test_volume_of_every_frame(study: Study, masks: dict[str, np.ndarray], phantom: BeatingPhantom):
    clip = study.clips[1]
    holed = masks[clip.name][:20].copy()
    holed[4] = 0
    part = replace(clip, images=clip.images[:20], frame_times_ms=clip.frame_times_ms[:20])
    volumes = frame_volumes_ml(part, holed, View.A4C)
    assert np.flatnonzero(np.isnan(volumes)).tolist() == [4]
    # One plane of a ventricle that is not quite round: proportional to the true curve.
    ratio = volumes / phantom.volumes_ml(View.A4C)[:20]
    assert np.nanmax(ratio) / np.nanmin(ratio) < 1.1


def torn(mask: np.ndarray) -> np.ndarray:
    """A cavity in two halves: of a ventricle's area, but no outline to measure."""
    rows = np.flatnonzero((mask == 1).any(axis=1))
    result = mask.copy()
    result[int(rows.mean()) : int(rows.mean()) + 2] = 0
    return result


def test_a_neighbour_stands_for_a_frame_that_cannot_be_measured(study: Study, masks: dict[str, np.ndarray]):
    whole = measure_clips(study, masks)
    view, clip = View.A4C, study.clips[1].name
    es = whole.single_plane[view][0].beats[view].es_index
    broken = masks | {clip: masks[clip].copy()}
    broken[clip][es] = torn(broken[clip][es])
    result = measure_clips(study, broken)
    beat = result.single_plane[view][0]
    assert abs(beat.frames[view][Phase.ES] - beat.beats[view].es_index) == 1
    assert beat.frames[view][Phase.ED] == beat.beats[view].ed_index
    assert beat.measurements.esv_ml == pytest.approx(whole.single_plane[view][0].measurements.esv_ml, rel=0.06)
    assert beat.as_row()["4ch_measured_es_index"] == beat.frames[view][Phase.ES]
    (found,) = [f for f in result.findings if f.reason is Reason.NEIGHBOUR_FRAME]
    assert f"frame {beat.beats[view].es_index + 1} (ES)" in found.sentence
    assert found.severity.value == "caution"


def test_no_frame_farther_than_two_stands_for_another(study: Study, masks: dict[str, np.ndarray]):
    view, clip = View.A4C, study.clips[1].name
    es = measure_clips(study, masks).single_plane[view][0].beats[view].es_index
    broken = masks | {clip: masks[clip].copy()}
    for frame in range(es - 4, es + 5):
        broken[clip][frame] = torn(broken[clip][frame])
    beat = measure_clips(study, broken).single_plane[view][0]
    assert beat.frames[view][Phase.ES] == beat.beats[view].es_index
    assert beat.measurements.esv_ml is None


def test_a_repair_of_a_measured_frame_is_found(study: Study, masks: dict[str, np.ndarray]):
    clip = study.clips[0]
    whole = measure_clips(study, masks)
    beat = whole.representative
    assert beat is not None
    frame = clip.frame_name(beat.frames[View.A2C][Phase.ES])
    repaired = Segmentation(masks, repairs={frame: (Repair("second cavity removed", 10**6),)})
    findings = [f for b in measure_clips(study, repaired).beats for f in b.measurements.findings]
    assert sum(f.reason is Reason.MASK_REPAIRED for f in findings) == 1


def test_a_median_is_of_beats_of_one_method(study: Study, masks: dict[str, np.ndarray]):
    clip = study.clips[0].name
    es = measure_clips(study, masks).single_plane[View.A2C][0].beats[View.A2C].es_index
    broken = masks | {clip: masks[clip].copy()}
    for frame in range(es - 4, es + 5):
        broken[clip][frame] = torn(broken[clip][frame])
    result = measure_clips(study, broken)
    assert result.single_plane[View.A2C][0].measurements.ef_percent is None
    assert len(result.beats) == 2
    assert all(b.measurements.default.method.startswith("biplane") for b in result.beats)
    assert "beats_unpaired" in reasons(result)


def test_a_view_whose_beats_cannot_be_measured_leaves_all_beats_of_the_other(
    study: Study, masks: dict[str, np.ndarray]
):
    clip = study.clips[0].name
    broken = masks | {clip: np.stack([torn(mask) for mask in masks[clip]])}
    result = measure_clips(study, broken)
    assert len(result.beats) == result.summary.n_beats == 3
    assert all(b.measurements.default.method.startswith("single plane (4CH)") for b in result.beats)


def test_heart_rates_of_two_views_without_times(study: Study, masks: dict[str, np.ndarray]):
    a2c, a4c = study.clips
    for rate, differs in ((82.0, False), (160.0, True)):
        timeless = replace(study, clips=(replace(a2c, frame_times_ms=None, heart_rate_bpm=rate), a4c))
        assert ("heart_rates_differ" in reasons(measure_clips(timeless, masks))) == differs
