"""Overlap and surface distances: shapes that can be worked out by hand, on unequal spacing."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from apical.anatomy import Phase, Structure, View
from apical.errors import InputError
from apical.evaluate.geometry import compare_masks, score_frame
from apical.study import Frame, Grid, Mask

ROW_MM, COLUMN_MM = SPACING_MM = (0.308, 0.154)


def empty(rows: int = 12, columns: int = 14) -> Mask:
    return np.zeros((rows, columns), np.uint8)


def square(top: int, left: int, label: int = 1) -> Mask:
    mask = empty()
    mask[top : top + 4, left : left + 4] = label
    return mask


def endo(predicted: Mask | None, reference: Mask, spacing_mm: tuple[float, float] | None = SPACING_MM):
    return compare_masks(predicted, reference, spacing_mm)[0]


def test_shifted_square_has_its_closed_form():
    score = endo(square(2, 3), square(2, 2))
    assert score.dice == pytest.approx(2 * 12 / 32)
    # Of the 12 boundary pixels six lie one column off, the others on the reference's boundary.
    assert (score.hd, score.hd95) == (pytest.approx(COLUMN_MM), pytest.approx(COLUMN_MM))
    assert score.masd == pytest.approx(COLUMN_MM / 2)
    assert score.unit == "mm"


def test_row_spacing_belongs_to_the_first_axis():
    # Shifted by three rows only the first and last row of the squares meet.
    score = endo(square(5, 2), square(2, 2))
    assert score.dice == pytest.approx(2 * 4 / 32)
    assert score.hd == pytest.approx(3 * ROW_MM)


def test_two_pixels_are_their_distance_apart():
    a, b = empty(), empty()
    a[2, 3] = b[5, 7] = 1
    score = endo(a, b)
    expected = math.hypot(3 * ROW_MM, 4 * COLUMN_MM)
    assert score.dice == 0
    assert (score.hd, score.hd95, score.masd) == (pytest.approx(expected),) * 3


def test_a_speck_moves_hd_but_not_hd95():
    reference = empty(30, 50)
    reference[5, 5:45] = 1
    predicted = reference.copy()
    predicted[15, 20] = 1
    score = endo(predicted, reference)
    assert score.hd == pytest.approx(10 * ROW_MM)
    assert score.hd95 == 0
    assert score.masd == pytest.approx(10 * ROW_MM / 41 / 2)


def test_hd95_is_the_larger_of_both_directions():
    reference = empty(30, 50)
    reference[5, 5:45] = 1
    predicted = empty(30, 50)
    predicted[5, 5:25] = 1  # half of it: every predicted pixel is right, half of the reference is far
    d = np.concatenate([np.zeros(20), np.arange(1, 21) * COLUMN_MM])
    assert endo(predicted, reference).hd95 == pytest.approx(np.percentile(d, 95))
    assert endo(reference, predicted).hd95 == pytest.approx(np.percentile(d, 95))


def test_the_image_edge_is_boundary():
    everything, centre = np.ones((5, 5), np.uint8), np.zeros((5, 5), np.uint8)
    centre[2, 2] = 1
    assert endo(everything, centre).hd == pytest.approx(math.hypot(2 * ROW_MM, 2 * COLUMN_MM))


def test_a_hole_has_a_boundary():
    reference = np.ones((21, 21), np.uint8)
    predicted = reference.copy()
    predicted[10, 10] = 0
    # The four neighbours of the hole are boundary, nine pixels from the reference's rim.
    assert endo(predicted, reference, None).hd == 9


def test_without_spacing_distances_are_in_pixels_and_say_so():
    score = endo(square(5, 2), square(2, 2), None)
    assert (score.hd, score.unit) == (3, "pixel")


def test_structures_are_made_of_their_labels():
    reference = empty()
    reference[2:6, 2:6], reference[2:6, 6:8], reference[7:9, 2:6] = 1, 2, 3
    predicted = reference.copy()
    predicted[2:6, 2:6] = 2  # cavity called myocardium: the epicardium is still right
    scores = {s.structure: s.dice for s in compare_masks(predicted, reference, SPACING_MM)}
    assert scores == {
        Structure.ENDOCARDIUM: 0.0,
        Structure.EPICARDIUM: 1.0,
        Structure.LEFT_ATRIUM: 1.0,
        Structure.MYOCARDIUM: pytest.approx(2 * 8 / (24 + 8)),
    }


def test_both_empty_agree():
    score = endo(empty(), empty())
    assert (score.dice, score.hd, score.hd95, score.masd) == (1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("swap", [False, True])
def test_one_empty_has_no_distance(swap: bool):
    pair = (empty(), square(2, 2))
    score = endo(*(pair[::-1] if swap else pair))
    assert (score.dice, score.hd, score.hd95, score.masd) == (0.0, None, None, None)


def test_missing_prediction_scores_zero_even_where_the_structure_is_absent():
    scores = compare_masks(None, square(2, 2), SPACING_MM)
    assert [s.dice for s in scores] == [0.0] * 4
    assert {s.hd for s in scores} == {None}


@pytest.mark.parametrize(
    ("predicted", "words"),
    [
        (np.zeros((5, 6), np.uint8), "5 x 6 .* the reference 12 x 14.*own grid"),
        (np.full((12, 14), 4, np.uint8), "predicted mask holds 4: labels are"),
        (np.full((12, 14), 85, np.uint8), "holds 85"),
        (np.full((12, 14), np.nan), "holds nan"),
        (np.zeros((12, 14, 3), np.uint8), r"shape \(12, 14, 3\)"),
        (np.zeros((0, 0), np.uint8), r"shape \(0, 0\)"),
    ],
)
def test_unfit_masks_are_refused(predicted: Mask, words: str):
    with pytest.raises(InputError, match=words):
        compare_masks(predicted, empty(), SPACING_MM)


def frame(reference: Mask | None) -> Frame:
    grid = Grid((12, 14), SPACING_MM)
    return Frame("patient0001_4CH_ED", empty(), grid, View.A4C, Phase.ED, reference)


def test_pixel_accuracy_four_class_and_binary():
    reference = square(2, 2)
    predicted = reference.copy()
    predicted[2, 2:6] = 2  # four pixels of another heart label
    predicted[0, 0] = 3  # one of background called heart
    score = score_frame(frame(reference), predicted, "patient0001", "Good")
    assert score.accuracy == pytest.approx(1 - 5 / 168)
    assert score.heart_accuracy == pytest.approx(1 - 1 / 168)
    assert (score.n_pixels, score.quality, score.missing) == (168, "Good", False)
    assert (score.view, score.phase) == (View.A4C, Phase.ED)


def test_foreground_dice_is_the_mean_over_the_disjoint_structures():
    reference = square(2, 2)
    score = score_frame(frame(reference), square(2, 3), "patient0001")
    assert score.foreground_dice == pytest.approx((0.75 + 1 + 1) / 3)


def test_missing_frame_scores_zero_everywhere():
    score = score_frame(frame(square(2, 2)), None, "patient0001")
    assert (score.missing, score.accuracy, score.heart_accuracy, score.foreground_dice) == (True, 0, 0, 0)


def test_errors_name_patient_and_frame():
    with pytest.raises(InputError, match="patient0001 patient0001_4CH_ED: predicted mask has 3 x 3"):
        score_frame(frame(square(2, 2)), np.zeros((3, 3), np.uint8), "patient0001")
    with pytest.raises(InputError, match="no expert mask"):
        score_frame(frame(None), square(2, 2), "patient0001")


@pytest.fixture(scope="module")
def referee(shared: Path) -> ModuleType:
    path = shared / "referee" / "score.py"
    if not path.is_file():
        pytest.skip(f"no independent scorer at {path}")
    spec = importlib.util.spec_from_file_location("referee_score", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blobs(rng: np.random.Generator, shape: tuple[int, int]) -> Mask:
    """Smooth random regions of all four labels that touch the border, split and enclose one another."""
    fields = [gaussian_filter(rng.standard_normal(shape), rng.uniform(1, 5)) for _ in range(4)]
    return np.argmax([f / f.std() for f in fields], axis=0).astype(np.uint8)


def test_scores_equal_those_of_the_independent_referee(referee: ModuleType):
    rng = np.random.default_rng(7)
    for _ in range(25):
        shape = tuple(int(n) for n in rng.integers(20, 70, 2))
        spacing = tuple(float(s) for s in rng.uniform(0.1, 1.0, 2))
        predicted, reference = blobs(rng, shape), blobs(rng, shape)
        for score in compare_masks(predicted, reference, spacing):
            labels = referee.STRUCTURES[score.structure.value]
            expected = referee.compare(np.isin(predicted, labels), np.isin(reference, labels), spacing)
            assert (score.dice, score.hd, score.masd) == pytest.approx(expected, rel=1e-9)


def test_empty_cases_equal_those_of_the_referee(referee: ModuleType):
    for predicted, reference in ((empty(), empty()), (empty(), square(2, 2)), (square(2, 2), empty())):
        score = endo(predicted, reference)
        distances = [math.nan if d is None else d for d in (score.hd, score.masd)]
        expected = referee.compare(predicted == 1, reference == 1, SPACING_MM)
        assert (score.dice, *distances) == pytest.approx(expected, nan_ok=True)
