"""What a model expected of itself against what it got, and the pictures of where it went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apical.anatomy import Label, Structure, View
from apical.evaluate import evaluate
from apical.evaluate.doubt import doubt_section, summarise_doubt, summarise_views
from apical.evaluate.saved import read_evaluation
from apical.phantom import as_study, make_patient
from apical.study import Doubt, Mask, Segmentation, Study


def shifted(study: Study, columns: int) -> Mapping[str, Mask]:
    return {name: np.roll(mask, columns, axis=1) for name, mask in study.references.items()}


def told(study: Study) -> Segmentation:
    """Masks that lie the more off the later their frame, of a model that says so."""
    masks, doubts = {}, {}
    for number, (name, mask) in enumerate(study.references.items()):
        masks[name] = np.roll(mask, 4 * number, axis=1)
        doubts[name] = Doubt(dict.fromkeys(Structure, 0.99 - 0.05 * number), unlike=0.5 + 0.2 * number)
    return Segmentation(masks, "told", views=dict.fromkeys(masks, (View.A4C, 0.9)), doubts=doubts)


@pytest.fixture(scope="module")
def studies() -> list[Study]:
    made = [as_study(make_patient(seed)) for seed in (1, 2)]
    return [replace(s, patient=replace(s.patient, id=f"patient{n:04d}")) for n, s in enumerate(made, 1)]


def test_a_model_that_knows_its_errors_has_a_high_rank_correlation(studies: list[Study]) -> None:
    result = evaluate(studies, told, name="told")
    for summary in summarise_doubt(result.frames):
        assert summary.n == 8
        assert summary.rank_correlation is not None
        assert summary.rank_correlation > 0.9
        assert summary.mean_expected == pytest.approx(0.99 - 0.05 * 1.5)
    (title, sentence, table) = doubt_section(result.frames)
    assert "25.0% of the frames count as unlike" in sentence  # .5, .7, .9 and 1.1 of the limit
    assert table.count("\n") >= 1 + len(Structure)
    assert title in "\n\n".join(doubt_section(result.frames))


def test_how_many_views_a_model_recognised(studies: list[Study], tmp_path: Path) -> None:
    result = evaluate(studies, told, name="told")
    assert summarise_views(result.frames) == {"n": 8, "right": 4}
    assert "it names the view of 4 of 8 frames rightly" in doubt_section(result.frames)[1]
    result.write(tmp_path)
    assert read_evaluation(tmp_path).as_dict()["view_recognition"] == {"n": 8, "right": 4}


def test_a_recognised_view_gives_no_plane_that_the_expert_has_not(studies: list[Study]) -> None:
    def recognising(study: Study) -> Segmentation:
        return Segmentation(study.references, views={f.name: (View.A4C, 0.9) for f in study.frames if not f.view})

    nameless = [
        replace(s, frames=tuple(f if f.view is View.A2C else replace(f, view=None) for f in s.frames)) for s in studies
    ]
    for pair in evaluate(nameless, recognising).volumes:
        assert pair.predicted == pair.reference


def test_masks_of_a_tool_that_tells_nothing_have_no_doubt(studies: list[Study]) -> None:
    result = evaluate(studies, lambda study: study.references)
    assert summarise_doubt(result.frames) == []
    assert doubt_section(result.frames) == []
    assert summarise_views(result.frames) is None


def test_constant_expectations_have_no_rank(studies: list[Study]) -> None:
    def sure(study: Study) -> Segmentation:
        doubt = Doubt(dict.fromkeys(Structure, 0.95), 0.5)
        return Segmentation(shifted(study, 3), doubts=dict.fromkeys(study.references, doubt))

    assert {s.rank_correlation for s in summarise_doubt(evaluate(studies, sure).frames)} == {None}


def test_doubts_are_read_back(studies: list[Study], tmp_path: Path) -> None:
    result = evaluate(studies, told, name="told")
    result.write(tmp_path / "e")
    again = read_evaluation(tmp_path / "e")
    assert [f.unlike for f in again.frames] == pytest.approx([f.unlike for f in result.frames])
    for a, b in zip(again.frames, result.frames, strict=True):
        assert a[Structure.ENDOCARDIUM].expected_dice == pytest.approx(b[Structure.ENDOCARDIUM].expected_dice)


def test_the_worst_frame_of_each_patient_is_drawn_worst_first(studies: list[Study], tmp_path: Path) -> None:
    def one_bad(study: Study) -> dict[str, Mask]:
        masks = dict(shifted(study, 6 if study.patient.id == "patient0001" else 2))
        last = list(masks)[-1]
        masks[last] = np.where(masks[last] == Label.LEFT_ATRIUM, 0, masks[last]).astype(np.uint8)
        return masks

    result = evaluate(studies, one_bad, name="bad")
    assert [w.score.patient for w in result.worst] == ["patient0001", "patient0002"]
    assert {w.frame.name for w in result.worst} == {list(s.references)[-1] for s in studies}
    paths = result.write(tmp_path / "e")
    assert (tmp_path / "e" / "worst.png").read_bytes().startswith(b"\x89PNG")
    assert tmp_path / "e" / "worst.png" in paths
    assert "![worst](worst.png)" in (tmp_path / "e" / "report.md").read_text()
