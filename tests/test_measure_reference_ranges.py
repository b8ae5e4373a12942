"""Classes at their edges, as printed in the guidelines."""

from __future__ import annotations

import pytest

from apical.measure import reference_ranges as ranges


@pytest.mark.parametrize(
    ("ef", "men", "women"),
    [
        (29.9, "severe", "severe"),
        (30, "moderate", "moderate"),
        (40.9, "moderate", "moderate"),
        (41, "mild", "mild"),
        (51.9, "mild", "mild"),
        (52, "normal", "mild"),
        (54, "normal", "normal"),
        (72, "normal", "normal"),
        (72.1, "above normal", "normal"),
        (74.1, "above normal", "above normal"),
    ],
)
def test_ef(ef: float, men: str, women: str) -> None:
    for sex, grade in (("M", men), ("male", men), ("F", women), ("Female", women)):
        reference = ranges.grade_ef(ef, sex)
        assert reference is not None
        assert reference.grade == grade
        assert reference.is_normal == (grade == "normal")
    assert ranges.grade_ef(ef, None) is None
    assert ranges.grade_ef(ef, "O") is None


@pytest.mark.parametrize(
    ("index", "grade"),
    [
        (15, "below normal"),
        (16, "normal"),
        (34, "normal"),
        (34.1, "mild"),
        (41, "mild"),
        (42, "moderate"),
        (48, "moderate"),
        (49, "severe"),
    ],
)
def test_left_atrium(index: float, grade: str) -> None:
    assert ranges.grade_la_index(index).grade == grade


def test_indexed_volumes() -> None:
    limits = {ranges.grade_edv_index: {"M": 74, "F": 61}, ranges.grade_esv_index: {"M": 31, "F": 24}}
    for grade, by_sex in limits.items():
        for sex, limit in by_sex.items():
            normal, above = grade(limit, sex), grade(limit + 0.1, sex)
            assert normal is not None
            assert above is not None
            assert (normal.grade, above.grade) == ("normal", "above normal")
            assert str(limit) in normal.range
        assert grade(50, "") is None


def test_body_surface_area() -> None:
    assert ranges.body_surface_area_m2(170, 70) == pytest.approx(1.818, abs=0.001)


def test_of_a_lower_bound_only_the_highest_class_is_known() -> None:
    assert ranges.grade_la_index(9.7, at_least=True) is None
    assert ranges.grade_la_index(30.0, at_least=True) is None
    severe = ranges.grade_la_index(50.0, at_least=True)
    assert severe is not None
    assert severe.grade == "severe"
