"""Hearts shown mirrored or upside down: how the display is told, and that the picture is turned for the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from apical import measure
from apical.anatomy import Orientation, Phase, View
from apical.calibration import Calibration
from apical.cycle import measure_clips
from apical.grid import Box, reverse
from apical.measure.results import Reason, Severity, Status, VolumeDefinition
from apical.models import Model
from apical.phantom.beating import as_clip_study, make_beating
from apical.runtime import Outputs, Precision
from apical.segment import SURE_OF_ORIENTATION, Segmenter
from apical.study import Clip, Frame, Grid, Patient, Segmentation, Study
from measure_hearts import examination, heart_masks

SIZE = 64
LABELS = {1: 200, 2: 160, 3: 120}
"""Grey levels of cavity, myocardium and atrium in a drawn heart."""
RIGHT_HEART = 60

Picture = NDArray[np.uint8]
others = pytest.mark.parametrize("shown", [o for o in Orientation if o is not Orientation.STANDARD])


def drawn() -> tuple[Picture, Picture]:
    """A heart as the stub network knows it, and its mask: cavity above, atrium below, the right heart at the left."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[6:40, 26:44] = 2
    mask[10:38, 30:40] = 1
    mask[40:54, 28:42] = 3
    image = np.full_like(mask, 8)
    for label, grey in LABELS.items():
        image[mask == label] = grey
    image[14:40, 12:22] = RIGHT_HEART
    return image, mask


class Stub:
    """Knows drawn hearts by their greys, tells the display by where atrium and right heart lie, surely or not."""

    name, calls = "stub", 1

    def __init__(self, sure: float = 0.99, *, tells: bool = True, knows_others: bool = True) -> None:
        self.sure, self.tells, self.knows_others = sure, tells, knows_others
        self.n_calls = 0

    def __call__(self, images: NDArray[np.float32]) -> Outputs:
        self.n_calls += 1
        frame, other = images[:, 0], images[:, 1]
        found = [np.abs(frame - grey) < 20 for grey in LABELS.values()]
        scores = np.stack([~np.any(found, axis=0), *found], axis=1).astype(np.float32)
        shown = [self.shown(f) for f in frame]
        # A turned picture whose other phase was left as it was would be told from it.
        assert all(not o.any() or self.shown(o) is s for o, s in zip(other, shown, strict=True))
        left = [(1 - self.sure) / (len(Orientation) - 1)] * len(Orientation)
        probability = np.array(
            [[self.sure if s is o else p for o, p in zip(Orientation, left, strict=True)] for s in shown]
        )
        strange = [0.5 if self.knows_others or s is Orientation.STANDARD else 1.2 for s in shown]
        outputs = {
            "scores": scores,
            "views": np.tile([0.0, 5.0], (len(frame), 1)),
            "confidence": np.full((len(frame), 4), 0.97),
            "unlike": np.array(strange),
        }
        if self.tells:
            outputs["orientation"] = np.log(probability)
        return {name: values.astype(np.float32) for name, values in outputs.items()}

    @staticmethod
    def shown(frame: NDArray[np.float32]) -> Orientation:
        rows, columns = np.indices(frame.shape)
        cavity, atrium, right = (np.abs(frame - grey) < 20 for grey in (LABELS[1], LABELS[3], RIGHT_HEART))
        upright = rows[atrium].mean() > rows[cavity].mean()
        usual = columns[right].mean() < columns[cavity].mean()
        wanted = tuple(axis for axis, right_way in ((0, upright), (1, usual)) if not right_way)
        return next(o for o in Orientation if o.axes == wanted)


def segmenter(stub: Stub) -> Segmenter:
    model = Model("stub", Path("stub"), SIZE, tuple(View), 2, {}, Calibration())
    return Segmenter(model, stub, Precision.FLOAT32)


def study_of(image: Picture) -> Study:
    grid = Grid((SIZE, SIZE), (2.0, 2.0))
    frames = tuple(Frame(f"p_4CH_{phase}", image, grid, View.A4C, phase) for phase in Phase)
    return Study(Patient("p"), frames, (Clip("p_4CH", np.stack([image] * 5), grid, view=View.A4C),))


@pytest.mark.parametrize("shown", Orientation)
def test_reversing_twice_is_nothing_and_a_box_goes_with_its_picture(shown: Orientation):
    image = np.random.default_rng(0).integers(0, 255, (30, 41)).astype(np.uint8)
    turned = reverse(image, shown.axes)
    np.testing.assert_array_equal(reverse(turned, shown.axes), image)
    box = Box(3, 5, 20, 37)
    inside = turned[box.reversed((30, 41), shown.axes).slices]
    np.testing.assert_array_equal(reverse(inside, shown.axes), image[box.slices])


@pytest.mark.parametrize("shown", Orientation)
def test_a_heart_shown_another_way_gets_the_mask_it_would_have_had(shown: Orientation):
    image, mask = drawn()
    stub = Stub()
    found = segmenter(stub).segment(study_of(reverse(image, shown.axes)))
    for name, made in found.items():
        for one in made.reshape(-1, SIZE, SIZE):
            np.testing.assert_array_equal(one, reverse(mask, shown.axes), err_msg=name)
    assert set(found.orientations.values()) == {shown}
    assert found.orientations.keys() == {"p_4CH_ED", "p_4CH_ES", "p_4CH"}
    assert found.repairs == {}  # of an upside-down mask the atrium would have been taken away
    looks = 1 if shown is Orientation.STANDARD else 2
    assert stub.n_calls == looks * (1 + 2)  # both frames in one call, five of a clip in two


@others
def test_a_picture_is_left_as_it_is_where_the_second_look_is_not_sure(shown: Orientation):
    image, _ = drawn()
    turned = study_of(reverse(image, shown.axes))
    unsure = segmenter(Stub(SURE_OF_ORIENTATION - 0.05)).segment(turned)
    assert set(unsure.orientations.values()) == {Orientation.STANDARD}
    # But where it was strange as it was shown, and no longer is when turned, that is enough.
    strange = segmenter(Stub(SURE_OF_ORIENTATION - 0.05, knows_others=False)).segment(turned)
    assert set(strange.orientations.values()) == {shown}
    assert {doubt.unlike for doubt in strange.doubts.values()} == {0.5}


def test_a_model_that_cannot_tell_says_nothing():
    image, _ = drawn()
    stub = Stub(tells=False)
    found = segmenter(stub).segment(study_of(reverse(image, (1,))))
    assert found.orientations == {}
    assert stub.n_calls == 1 + 2


def test_frames_of_one_view_are_decided_together():
    """A frame that looks mirrored by itself stays as it is beside its other phase, which surely is not."""
    image, _ = drawn()
    study = study_of(image)

    class OneDoubtful(Stub):
        def __call__(self, images: NDArray[np.float32]) -> Outputs:
            outputs = dict(super().__call__(images))
            if len(images) == 2:
                outputs["orientation"][0] = np.log([0.4, 0.6, 1e-9, 1e-9])
            return outputs

    found = segmenter(OneDoubtful()).segment(replace(study, clips=()))
    assert set(found.orientations.values()) == {Orientation.STANDARD}


@others
@pytest.mark.parametrize("definition", VolumeDefinition)
def test_volumes_do_not_depend_on_the_display(shown: Orientation, definition: VolumeDefinition):
    masks = heart_masks()
    expected = measure(*examination(masks)).volumes[definition]
    turned = {key: reverse(mask, shown.axes) for key, mask in masks.items()}
    found = measure(*examination(turned)).volumes[definition]
    assert found.status is Status.MEASURED
    # The published algorithm rounds and walks in one direction: a pixel more or less.
    allowed = 0.001 if definition is VolumeDefinition.ASE else 0.03
    assert found.edv_ml == pytest.approx(expected.edv_ml, rel=allowed)
    assert found.esv_ml == pytest.approx(expected.esv_ml, rel=allowed)


@others
def test_a_turned_picture_is_noted_once(shown: Orientation):
    study, masks = examination(heart_masks())
    told: Mapping[str, Orientation] = {f.name: Orientation.STANDARD for f in study.frames} | {"p_4CH_ED": shown}
    result = measure(study, Segmentation(masks, "model", orientations=told))
    (finding,) = result.findings
    assert (finding.reason, finding.severity) == (Reason.PICTURE_TURNED, Severity.NOTE)
    assert finding.sentence.startswith(f"4CH ED: the heart is shown {shown.words}")
    assert result.default.status is Status.MEASURED


def test_a_turned_clip_is_noted_once():
    beating = make_beating(3, n_beats=2, frame_rate_hz=25, spacing_mm=(1.0, 1.0))
    study = as_clip_study(beating, views=(View.A4C,), with_images=False)
    (clip,) = study.clips
    assert clip.reference is not None
    told = {clip.name: Orientation.MIRRORED}
    result = measure_clips(study, Segmentation({clip.name: clip.reference}, orientations=told))
    (found,) = [f for f in result.measurements.findings if f.reason is Reason.PICTURE_TURNED]
    assert found.sentence.startswith(f"4CH, {clip.name}: the heart is shown mirrored, left and right exchanged;")
