"""Beating phantoms: clips of a patient's two views whose every beat is known.

The heart at each instant is the blend of the patient's end-diastolic and end-systolic hearts that has the
volume asked for, so that the volume curve is exact. Positions along the way are rounded to `STATES` steps:
frames that share one share mask and picture. The picture is the end-diastolic one carried along by
the tissue, so that speckle moves with the wall; noise that changes from frame to frame lies on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from apical.anatomy import Phase, View
from apical.errors import InputError
from apical.phantom.heart import Heart, Points, blend
from apical.phantom.patient import CAMUS_SPACING_MM, PhantomPatient, make_patient
from apical.phantom.rhythm import Rhythm, Times
from apical.phantom.scene import Pose, pixel_positions_mm, render
from apical.study import Clip, Frame, Mask, Patient, Spacing, Study

RhythmKind = Literal["regular", "irregular", "premature"]

STATES = 200
"""Steps from end-diastole to end-systole."""

HEART_RATE_BPM, FRAME_RATE_HZ = (30.0, 120.0), (20.0, 120.0)
"""What clips are drawn from."""

_REACH_MM = 25.0
"""Distance from the heart over which the tissue around it comes to rest."""


@dataclass(frozen=True)
class TrueBeat:
    """One complete beat of a clip, times in ms from its first frame.

    End-diastole and end-systole are spans: the volume stands still from the closing of one valve to the
    opening of the other, and every frame within is as right as any.
    """

    ed_ms: tuple[float, float]
    es_ms: tuple[float, float]
    next_ed_ms: tuple[float, float]
    edv_ml: float
    esv_ml: float

    @property
    def ef_percent(self) -> float:
        """Ejection fraction in percent."""
        return 100.0 * (self.edv_ml - self.esv_ml) / self.edv_ml


@dataclass(frozen=True)
class Recording:
    """How one clip was taken: rhythm, and the clock time of its first frame on it."""

    rhythm: Rhythm
    start_ms: float
    n_frames: int
    frame_rate_hz: float
    dropout: tuple[int, ...] = ()
    """Frames in which contact with the chest was lost: nearly black."""

    @property
    def frame_times_ms(self) -> Times:
        """(time,) from the first frame."""
        return np.asarray(np.arange(self.n_frames) * (1000.0 / self.frame_rate_hz), dtype=np.float64)

    @property
    def heart_rate_bpm(self) -> float:
        """Mean heart rate."""
        return 60_000 / float(np.mean(self.rhythm.intervals_ms))


@dataclass(frozen=True)
class BeatingPhantom:
    """A phantom patient with one recording per view; `noise` is in grey levels."""

    patient: PhantomPatient
    recordings: Mapping[View, Recording]
    noise: float = 6.0
    _states: dict[tuple[View, int], Mask] = field(default_factory=dict, repr=False, compare=False)

    def volumes_ml(self, view: View) -> NDArray[np.float64]:
        """Return the true cavity volume in every frame of a view's clip, (time,) in mL."""
        return np.array([self._heart(state).volume_ml for state in self._path(view)])

    def beats(self, view: View) -> tuple[TrueBeat, ...]:
        """Return the beats that lie whole within a view's clip."""
        recording, ed, es = self.recordings[view], self.patient.ed.volume_ml, self.patient.es.volume_ml
        rhythm, start = recording.rhythm, recording.start_ms
        last = float(recording.frame_times_ms[-1])
        found = []
        for beat, following, full, emptied in zip(
            rhythm.beats, (*rhythm.beats[1:], None), rhythm.full, rhythm.emptied, strict=False
        ):
            begin, end = beat.mitral_closing_ms - start, beat.next_mitral_closing_ms - start
            opening = beat.aortic_opening_ms - start
            # A clip that begins or ends within the standstill shows its end-diastole all the same.
            if opening < 0 or end > last:
                continue
            after = end if following is None else following.aortic_opening_ms - start
            found.append(
                TrueBeat(
                    (max(begin, 0.0), opening),
                    (beat.aortic_closing_ms - start, beat.mitral_opening_ms - start),
                    (end, min(after, last)),
                    es + full * (ed - es),
                    es + emptied * (ed - es),
                )
            )
        return tuple(found)

    def masks(self, view: View) -> NDArray[np.uint8]:
        """Return the exact masks of a view's clip, labels 0-3, uint8 (time, row, column)."""
        return np.stack([self._mask(view, state) for state in self._path(view)])

    def clip(self, view: View, *, with_images: bool = True) -> Clip:
        """Return a view's clip with its reference masks; the images are blank without `with_images`."""
        recording, masks = self.recordings[view], self.masks(view)
        return Clip(
            name=f"{self.patient.id}_{view}",
            images=self.pictures(view, self._path(view), recording.dropout) if with_images else np.zeros_like(masks),
            grid=self.patient.grid,
            frame_times_ms=recording.frame_times_ms,
            heart_rate_bpm=recording.heart_rate_bpm,
            view=view,
            reference=masks,
        )

    def _path(self, view: View) -> list[int]:
        """Return the state of the heart in every frame: 0 is end-diastole, `STATES` end-systole."""
        recording = self.recordings[view]
        fullness = recording.rhythm.fullness(recording.start_ms + recording.frame_times_ms)
        volumes = np.array([self._heart(state).volume_ml for state in range(STATES + 1)])
        share = (volumes - volumes[-1]) / (volumes[0] - volumes[-1])
        weight = np.interp(-fullness, -share, np.arange(STATES + 1))
        return [int(s) for s in np.rint(weight)]

    def _heart(self, state: int) -> Heart:
        return blend(self.patient.ed, self.patient.es, state / STATES)

    def _mask(self, view: View, state: int) -> Mask:
        key = view, state
        if key not in self._states:
            patient, heart = self.patient, self._heart(state)
            pose = patient.pose(view, heart)
            self._states[key] = render(heart, view, patient.shape, patient.spacing_mm, pose=pose)
        return self._states[key]

    def frame(self, view: View, phase: Phase) -> Frame:
        """Return the frame of a phase as it would be cut from the view's clip, with its reference."""
        state = 0 if phase == Phase.ED else STATES
        (picture,) = self.pictures(view, [state])
        name = f"{self.patient.id}_{view}_{phase}"
        return Frame(name, picture, self.patient.grid, view, phase, self._mask(view, state))

    def pictures(self, view: View, states: Sequence[int], lost: Sequence[int] = ()) -> NDArray[np.uint8]:
        """Return the picture at each state, uint8 (time, row, column); `lost` are positions without contact."""
        path, patient = list(states), self.patient
        rng = np.random.default_rng([patient.seed, list(View).index(view)])
        inside = patient.sector.contains(*pixel_positions_mm(patient.shape, patient.spacing_mm))
        # Beyond its edge the fan goes on as at the edge, so that nothing black is carried into it.
        nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
        still = patient.image(view, 0.0).astype(np.float32)[tuple(nearest)]
        moved = {state: self._moved(still, view, self._heart(state)) for state in set(path)}
        images = np.zeros((len(path), *patient.shape), dtype=np.uint8)
        for index, state in enumerate(path):
            grain = ndimage.gaussian_filter(rng.standard_normal(patient.shape, dtype=np.float32), 0.8)
            picture = moved[state] + self.noise / float(grain.std()) * grain
            if index in lost:
                picture = 0.1 * picture
            images[index] = np.where(inside, np.clip(np.rint(picture), 1, 255), 0)
        return images

    def _moved(self, still: NDArray[np.float32], view: View, heart: Heart) -> NDArray[np.float32]:
        """Carry the end-diastolic picture along to another heart."""
        patient = self.patient
        pose, still_pose = patient.pose(view, heart), patient.pose(view, patient.ed)
        tilt = pose.tilt_deg
        along, across = pose.to_heart(*pixel_positions_mm(patient.shape, patient.spacing_mm))
        length, was_length = (h.cavity.section_length_mm(view, tilt) for h in (heart, patient.ed))
        was_along = _height_before(along, heart, patient.ed, length, was_length)
        side = across - heart.axis_shift_mm(view, along)
        was_side = _distance_before(
            np.abs(side), _half_widths(heart, view, along, tilt), _half_widths(patient.ed, view, was_along, tilt)
        )
        was_across = np.copysign(was_side, side) + patient.ed.axis_shift_mm(view, was_along)
        where = np.stack(_to_image(still_pose, was_along, was_across)) / np.array(patient.spacing_mm)[:, None, None]
        return np.asarray(ndimage.map_coordinates(still, where, order=1, mode="nearest"), dtype=np.float32)


def _height_before(along: Points, now: Heart, before: Heart, length: float, was_length: float) -> Points:
    """Return the end-diastolic height of the tissue at each height: chambers and wall stretch, the rest follows."""
    roof, was_roof = -now.atrium.length_mm, -before.atrium.length_mm
    top, was_top = length + now.wall_mm, was_length + before.wall_mm
    # The apex stays put, and so does what lies far from the heart: there heights differ by the apex's.
    rest = was_length - length
    far_below, far_above = min(roof, was_roof - rest) - _REACH_MM, max(top, was_top - rest) + _REACH_MM
    heights = [far_below - 1e3, far_below, roof, 0.0, length, top, far_above, far_above + 1e3]
    was = [h + rest for h in heights]
    was[2:6] = [was_roof, 0.0, was_length, was_top]
    return np.asarray(np.interp(along, heights, was), dtype=np.float64)


def _half_widths(heart: Heart, view: View, along: Points, tilt_deg: float) -> tuple[Points, Points]:
    """Return the half-widths in mm of chamber and outer surface at each height; at least a little."""
    cavity = heart.cavity.squared_half_width(view, along, tilt_deg)
    atrium = heart.atrium.squared_half_width(view, -along, tilt_deg)
    inner = np.sqrt(np.clip(np.where(along >= 0, cavity, atrium), 1.0, None))
    outer = np.sqrt(np.clip(heart.epicardium.squared_half_width(view, along, tilt_deg), 1.0, None))
    return inner, np.maximum(np.where(along >= -3.0, outer, 0.0), inner + 2.0)


def _distance_before(side: Points, now: tuple[Points, Points], before: tuple[Points, Points]) -> Points:
    """Return the end-diastolic distance from the axis of the tissue at each distance."""
    (inner, outer), (was_inner, was_outer) = now, before
    in_wall = was_inner + (side - inner) * (was_outer - was_inner) / (outer - inner)
    beyond = side + (was_outer - outer) * np.clip(1.0 - (side - outer) / _REACH_MM, 0.0, 1.0)
    return np.where(side < inner, side * was_inner / inner, np.where(side < outer, in_wall, beyond))


def _to_image(pose: Pose, along: Points, across: Points) -> tuple[Points, Points]:
    """Return the (row, column) image positions in mm of heart coordinates: the inverse of `Pose.to_heart`."""
    turn = np.radians(pose.rotation_deg)
    across = -across if pose.mirrored else across
    row = pose.annulus_mm[0] - along * np.cos(turn) - across * np.sin(turn)
    return row, pose.annulus_mm[1] - along * np.sin(turn) + across * np.cos(turn)


def as_clip_study(phantom: BeatingPhantom, *, views: Sequence[View] = tuple(View), with_images: bool = True) -> Study:
    """Return the phantom's clips with their references as a study in memory."""
    patient = phantom.patient
    clips = tuple(phantom.clip(view, with_images=with_images) for view in views if view in phantom.recordings)
    return Study(Patient(patient.id, patient.sex, float(patient.age_years)), clips=clips)


def as_frame_study(phantom: BeatingPhantom, *, views: Sequence[View] = tuple(View)) -> Study:
    """Return the end-diastolic and end-systolic frames of the phantom's clips, with their references, as a study."""
    patient = phantom.patient
    frames = tuple(phantom.frame(view, phase) for view in views for phase in Phase)
    return Study(Patient(patient.id, patient.sex, float(patient.age_years)), frames)


def make_beating(
    seed: int,
    *,
    heart_rate_bpm: float | None = None,
    frame_rate_hz: float | None = None,
    n_beats: int | None = None,
    rhythm: RhythmKind = "regular",
    dropout_share: float = 0.0,
    noise: float = 6.0,
    edv_ml: float | None = None,
    ef_percent: float | None = None,
    spacing_mm: Spacing = CAMUS_SPACING_MM,
) -> BeatingPhantom:
    """Return a plausible patient's beating heart in two clips; the same seed gives the same one.

    Parameters
    ----------
    seed
        Draws everything that is not given, among them where in the cycle each clip begins.
    heart_rate_bpm, frame_rate_hz, n_beats
        Of both clips, by default 30-120 beats/min, 20-120 frames/s and 1-5 whole beats per clip.
    rhythm
        'premature' needs 3 beats or more.
    dropout_share
        Share of the frames that are lost.

    Raises
    ------
    InputError
        If the wanted clip is not that of a beating heart.
    """
    rng = np.random.default_rng([seed, 7])
    drawn = float(rng.uniform(*HEART_RATE_BPM)), float(rng.uniform(*FRAME_RATE_HZ)), int(rng.integers(1, 6))
    rate = drawn[0] if heart_rate_bpm is None else heart_rate_bpm
    frames_per_s = drawn[1] if frame_rate_hz is None else frame_rate_hz
    beats = drawn[2] if n_beats is None else n_beats
    if not (20 <= rate <= 200 and frames_per_s > 0 and beats >= 1 and 0 <= dropout_share < 1):
        raise InputError(
            f"no clip has {beats} beats at {rate} bpm, {frames_per_s} frames/s and {dropout_share} of its frames lost: "
            "give 20-200 bpm, a frame rate above 0, one beat or more and a share below 1"
        )
    if rhythm == "premature" and beats < 3:
        raise InputError(f"a premature beat among {beats} cannot be told from the others: give 3 beats or more")
    recordings = {}
    for view in View:
        made = _rhythm(rhythm, rate, beats, rng)
        first, last = made.intervals_ms[0], made.beats[-1]
        start = float(rng.uniform(0.3, 1.0)) * first
        # Through the standstill of the last end-diastole, then up to a third of the next beat.
        end = last.aortic_opening_ms + float(rng.uniform(0.0, 0.33)) * made.intervals_ms[-1]
        n_frames = int((end - start) * frames_per_s / 1000.0) + 1
        lost = np.flatnonzero(rng.uniform(size=n_frames) < dropout_share)
        recordings[view] = Recording(made, start, n_frames, frames_per_s, tuple(lost.tolist()))
    patient = make_patient(seed, edv_ml=edv_ml, ef_percent=ef_percent, spacing_mm=spacing_mm)
    return BeatingPhantom(patient, recordings, noise)


def _rhythm(kind: RhythmKind, rate: float, beats: int, rng: np.random.Generator) -> Rhythm:
    """Return the beats of the clip with one before, in which it begins, and one after, in which it ends."""
    if kind == "irregular":
        return Rhythm.irregular(rate, beats + 2, rng)
    if kind == "premature":
        return Rhythm.premature(rate, beats + 2, int(rng.integers(2, beats + 1)))
    return Rhythm.regular(rate, beats + 2)
