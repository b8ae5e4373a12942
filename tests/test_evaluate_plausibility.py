"""How many masks are anatomically impossible, as they were scored and before a model repaired them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apical.anatomy import Label
from apical.evaluate import evaluate, read_evaluation, read_frames
from apical.evaluate.geometry import score_frame
from apical.evaluate.plausibility import plausibility_section, summarise_plausibility
from apical.phantom import as_study, make_patient
from apical.study import Maker, Mask, Repair, Segmentation, Study


@pytest.fixture(scope="module")
def studies() -> list[Study]:
    made = [as_study(make_patient(seed)) for seed in (1, 2)]
    return [replace(s, patient=replace(s.patient, id=f"patient{n:04d}")) for n, s in enumerate(made, 1)]


def with_a_second_cavity(study: Study) -> Mapping[str, Mask]:
    """The expert's masks; the first frame's has a cavity more, in a corner."""
    masks = {name: mask.copy() for name, mask in study.references.items()}
    next(iter(masks.values()))[:5, :5] = Label.LV_CAVITY
    return masks


def repaired(study: Study) -> Segmentation:
    """The expert's masks, of a model that says it has filled a hole in the first."""
    name = next(iter(study.references))
    return Segmentation(
        study.references, "m", maker=Maker.MODEL, repairs={name: (Repair("hole in the cavity filled", 7),)}
    )


def test_a_tool_s_impossible_masks_are_counted(studies: list[Study], tmp_path: Path) -> None:
    result = evaluate(studies, with_a_second_cavity, name="tool")
    told = summarise_plausibility(result.frames)
    assert told["before_repair"] is None
    assert told["scored"] == {"n": 8, "share": 0.25, "frames": {"any": 2, "second cavity removed": 2}}
    _, _, table = plausibility_section(result.frames)
    assert "| second cavity removed | 2 of 8 (25.0%) |" in table
    assert "before repair" not in table
    result.write(tmp_path)
    assert "## Anatomy" in (tmp_path / "report.md").read_text()
    assert read_evaluation(tmp_path).as_dict()["anatomy"] == result.as_dict()["anatomy"] == told
    assert read_frames(tmp_path / "frames.csv")[0].impossible == (Repair("second cavity removed", 25),)


def test_a_model_tells_what_it_repaired(studies: list[Study], tmp_path: Path) -> None:
    result = evaluate(studies, repaired, name="model")
    told = summarise_plausibility(result.frames)
    assert told["before_repair"] == {"n": 8, "share": 0.25, "frames": {"any": 2, "hole in the cavity filled": 2}}
    assert told["scored"] == {"n": 8, "share": 0.0, "frames": {"any": 0}}
    _, _, table = plausibility_section(result.frames)
    assert "| any | 2 of 8 (25.0%) | 0 of 8 (0.0%) |" in table
    assert "| hole in the cavity filled | 2 of 8 (25.0%) | – |" in table
    result.write(tmp_path)
    first, second, *_ = read_evaluation(tmp_path).frames
    assert (first.repaired, second.repaired) == ((Repair("hole in the cavity filled", 7),), ())


def test_a_frame_without_a_mask_is_neither_possible_nor_impossible(studies: list[Study]) -> None:
    def some(study: Study) -> Mapping[str, Mask]:
        return dict(list(study.references.items())[1:])

    assert summarise_plausibility(evaluate(studies, some).frames)["scored"]["n"] == 6


def test_an_evaluation_of_an_earlier_version_tells_nothing(studies: list[Study], tmp_path: Path) -> None:
    evaluate(studies, lambda study: study.references).write(tmp_path)
    with (tmp_path / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["impossible"] for row in rows} == {"none"}
    earlier = [name for name in rows[0] if name not in ("impossible", "repaired", "view_recognised")]
    with (tmp_path / "frames.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, earlier, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    frames = read_frames(tmp_path / "frames.csv")
    assert all(f.impossible is None and f.repaired is None for f in frames)
    assert plausibility_section(frames) == []


def test_a_heart_shown_upside_down_is_possible(studies: list[Study]) -> None:
    for frame in studies[0].frames:
        turned = replace(frame, image=frame.image[::-1], reference=frame.reference[::-1])
        assert score_frame(turned, turned.reference, "a").impossible == ()
        (fault,) = score_frame(turned, frame.reference, "a").impossible
        assert fault.what == "atrium beside the apex removed"


def test_a_mask_of_background_alone_is_no_fault(studies: list[Study]) -> None:
    def nothing(study: Study) -> Mapping[str, Mask]:
        return {name: np.zeros_like(mask) for name, mask in study.references.items()}

    assert summarise_plausibility(evaluate(studies, nothing).frames)["scored"]["share"] == 0
