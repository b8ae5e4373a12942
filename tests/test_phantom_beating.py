"""Beating phantoms: the volume curve against physiology and masks, and the files against the clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from apical.anatomy import Label, View
from apical.errors import InputError, OutputError
from apical.phantom.beating import BeatingPhantom, as_clip_study, make_beating
from apical.phantom.clip_files import ClipSyntax, write_clip_dicom, write_clip_mp4
from apical.phantom.rhythm import Rhythm
from apical.readers import read_study
from apical.study import Clip

VIEW = View.A4C


@pytest.fixture(scope="module")
def phantom() -> BeatingPhantom:
    return make_beating(4, heart_rate_bpm=70, frame_rate_hz=25, n_beats=1, dropout_share=0.1, spacing_mm=(1.5, 1.2))


@pytest.fixture(scope="module")
def clip(phantom: BeatingPhantom) -> Clip:
    return phantom.clip(VIEW)


def test_one_regular_beat():
    rhythm = Rhythm.regular(60.0, 2)
    beat = rhythm.beats[1]
    assert (beat.mitral_closing_ms, beat.next_mitral_closing_ms) == (1000.0, 2000.0)
    assert beat.aortic_closing_ms - beat.aortic_opening_ms == pytest.approx(413.0 - 1.7 * 60)
    assert beat.aortic_opening_ms - beat.mitral_closing_ms == 45.0
    assert beat.mitral_opening_ms - beat.aortic_closing_ms == pytest.approx(70.0)
    times = np.array(
        [1000.0, beat.aortic_opening_ms, beat.aortic_closing_ms, beat.mitral_opening_ms, 1999.999, -5.0, 2500.0]
    )
    assert rhythm.fullness(times) == pytest.approx([1, 1, 0, 0, 1, 1, 1], abs=1e-6)
    # Rapid filling, diastasis and atrial kick bring 70, 5 and 25 %.
    diastasis = rhythm.fullness(np.array([beat.mitral_opening_ms + 170.0, 2000.0 - 110.0]))
    assert diastasis[0] == pytest.approx(0.7, abs=0.03)
    assert diastasis[1] == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("bpm", [30.0, 75.0, 120.0, 190.0])
def test_the_curve_is_continuous_and_falls_and_rises_once(bpm: float):
    rhythm = Rhythm.regular(bpm, 3)
    curve = rhythm.fullness(np.arange(0.0, rhythm.duration_ms, 1.0))
    steps = np.diff(curve)
    assert np.abs(steps).max() < 0.03
    turns = np.count_nonzero(np.diff(np.sign(steps[steps != 0])))
    assert turns == 5


def test_premature_beat_ejects_less_after_a_short_interval():
    rhythm = Rhythm.premature(60.0, 4, 2)
    assert rhythm.intervals_ms == pytest.approx((1000.0, 620.0, 1380.0, 1000.0))
    start = rhythm.beats[2].mitral_closing_ms
    assert rhythm.fullness(np.array([start]))[0] == pytest.approx(0.7)
    assert rhythm.fullness(np.array([rhythm.beats[2].mitral_opening_ms]))[0] == pytest.approx(0.2)
    with pytest.raises(InputError, match="slower heart"):
        Rhythm.regular(300.0, 2)
    with pytest.raises(InputError, match="matching lists"):
        Rhythm((800.0,), (1.0,), (0.0,))


@pytest.mark.parametrize("seed", range(4))
def test_true_beats_lie_at_the_turns_of_the_volume_curve(seed: int):
    phantom = make_beating(seed, n_beats=2, heart_rate_bpm=60 + 10 * seed, frame_rate_hz=100)
    volumes, times = phantom.volumes_ml(VIEW), phantom.recordings[VIEW].frame_times_ms
    truth, beats = phantom.patient.truth, phantom.beats(VIEW)
    assert len(beats) == 2
    assert volumes.max() == pytest.approx(truth.edv_ml, rel=0.002)
    assert volumes.min() == pytest.approx(truth.esv_ml, rel=0.002)
    for beat in beats:
        assert beat.ef_percent == pytest.approx(truth.ef_percent)
        for (low, high), volume in ((beat.ed_ms, truth.edv_ml), (beat.es_ms, truth.esv_ml)):
            inside = volumes[(times >= low) & (times <= high)]
            assert inside == pytest.approx(volume, rel=0.005)
        outside = (times > beat.es_ms[1] + 40) & (times < beat.next_ed_ms[0] - 40)
        assert (volumes[outside] > truth.esv_ml + 0.01 * (truth.edv_ml - truth.esv_ml)).all()


@pytest.mark.parametrize("rhythm", ["regular", "irregular", "premature"])
def test_as_many_whole_beats_as_asked_for(rhythm: str):
    for seed in range(6):
        phantom = make_beating(seed, n_beats=3, rhythm=rhythm)
        for view in View:
            assert len(phantom.beats(view)) == 3


def test_masks_follow_the_volume(phantom: BeatingPhantom, clip: Clip):
    areas = (clip.reference == Label.LV_CAVITY).sum(axis=(1, 2))
    volumes = phantom.volumes_ml(VIEW)
    assert np.corrcoef(areas, volumes)[0, 1] > 0.99
    assert clip.images.shape == clip.reference.shape == (phantom.recordings[VIEW].n_frames, *phantom.patient.shape)
    assert np.array_equal(clip.frame_times_ms, np.arange(len(clip.images)) * 40.0)
    assert clip.heart_rate_bpm == pytest.approx(70.0)


def test_pictures_move_with_the_masks(phantom: BeatingPhantom, clip: Clip):
    seen = [k for k in range(len(clip.images)) if k not in phantom.recordings[VIEW].dropout]
    for k in (seen[0], min(seen, key=lambda k: phantom.volumes_ml(VIEW)[k])):
        image, mask = clip.images[k].astype(float), clip.reference[k]
        left = np.zeros_like(mask, dtype=bool)
        # The septum, on the left, is the bright wall.
        for row in np.flatnonzero((mask == Label.LV_CAVITY).any(axis=1))[10:-10]:
            left[row, : np.flatnonzero(mask[row] == Label.LV_CAVITY)[0]] = (
                mask[row, : np.flatnonzero(mask[row] == Label.LV_CAVITY)[0]] == Label.MYOCARDIUM
            )
        assert image[left].mean() > image[mask == Label.LV_CAVITY].mean() + 30


def test_lost_frames_are_dark(phantom: BeatingPhantom, clip: Clip):
    lost = phantom.recordings[VIEW].dropout
    assert lost
    brightness = clip.images.mean(axis=(1, 2))
    assert brightness[list(lost)].max() < 0.3 * np.median(brightness)


def test_same_seed_same_clip(phantom: BeatingPhantom, clip: Clip):
    again = make_beating(4, heart_rate_bpm=70, frame_rate_hz=25, n_beats=1, dropout_share=0.1, spacing_mm=(1.5, 1.2))
    assert np.array_equal(again.clip(VIEW).images, clip.images)
    assert make_beating(5).recordings != make_beating(6).recordings


def test_study_in_memory(phantom: BeatingPhantom):
    study = as_clip_study(phantom, with_images=False)
    assert [c.view for c in study.clips] == [View.A2C, View.A4C]
    assert [c.name for c in study.clips] == ["patient0004_2CH", "patient0004_4CH"]
    assert not study.clips[0].images.any()


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"heart_rate_bpm": 5.0}, "20-200 bpm"),
        ({"n_beats": 0}, "one beat or more"),
        ({"dropout_share": 1.0}, "share below 1"),
        ({"n_beats": 2, "rhythm": "premature"}, "3 beats or more"),
    ],
)
def test_impossible_wishes(wish: dict[str, object], words: str):
    with pytest.raises(InputError, match=words):
        make_beating(0, **wish)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("syntax", ClipSyntax)
def test_dicom_is_read_back(tmp_path: Path, clip: Clip, syntax: ClipSyntax, colour: bool):
    few = replace(clip, images=clip.images[:4], frame_times_ms=clip.frame_times_ms[:4])
    path = tmp_path / "clip.dcm"
    write_clip_dicom(path, few, syntax, colour=colour)
    (back,) = read_study(path).clips
    error = np.abs(back.images.astype(int) - few.images)
    assert error.max() <= (0 if syntax.is_lossless else 16)
    assert back.grid.spacing_mm == pytest.approx((1.5, 1.2))
    assert back.frame_times_ms == pytest.approx(few.frame_times_ms)
    assert back.heart_rate_bpm == 70.0
    assert back.view is VIEW
    assert back.region == (0, 0, *clip.grid.shape)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    assert header.file_meta.TransferSyntaxUID == syntax.value
    assert header.LossyImageCompression == ("00" if syntax.is_lossless else "01")
    assert header.SamplesPerPixel == (3 if colour else 1)


def test_dicom_with_a_frame_time_vector_and_without_spacing(tmp_path: Path, clip: Clip):
    times = np.array([0.0, 20.0, 45.0])
    few = replace(
        clip, images=clip.images[:3], frame_times_ms=times, grid=replace(clip.grid, spacing_mm=None), view=None
    )
    write_clip_dicom(tmp_path / "a.dcm", few)
    (back,) = read_study(tmp_path / "a.dcm").clips
    assert back.frame_times_ms == pytest.approx(times)
    assert back.grid.spacing_mm is None
    assert back.view is None
    assert "FrameTime" not in pydicom.dcmread(tmp_path / "a.dcm")


def test_dicom_is_the_same_each_time_and_not_overwritten(tmp_path: Path, clip: Clip):
    few = replace(clip, images=clip.images[:2], frame_times_ms=clip.frame_times_ms[:2])
    for name in ("a.dcm", "b.dcm"):
        write_clip_dicom(tmp_path / name, few)
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        write_clip_dicom(tmp_path / "a.dcm", few)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.dcm", "b.dcm"]


def test_mp4_is_read_back(tmp_path: Path, clip: Clip):
    import av

    write_clip_mp4(tmp_path / "clip.mp4", clip)
    with av.open(str(tmp_path / "clip.mp4")) as film:
        assert float(film.streams.video[0].average_rate) == pytest.approx(25.0)
        frames = np.stack([f.to_ndarray(format="gray") for f in film.decode(video=0)])
    rows, columns = clip.grid.shape
    assert frames.shape == (len(clip.images), rows + rows % 2, columns + columns % 2)
    assert np.abs(frames[:, :rows, :columns].astype(int) - clip.images).mean() < 4
    with pytest.raises(OutputError, match="no frame times"):
        write_clip_mp4(tmp_path / "other.mp4", replace(clip, frame_times_ms=None))
