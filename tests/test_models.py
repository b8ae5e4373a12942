"""Finding a model: by name, by folder, and never one for another."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apical.anatomy import View
from apical.errors import ExitCode, ModelError
from apical.models import DEFAULT, find_model, installed_folder, installed_models, seen_patients
from apical.phantom import as_study, make_patient
from apical.segment import Segmenter
from commands import Run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model's folder that bears the name of the installed one."""
    monkeypatch.chdir(tmp_path)
    installed = installed_folder(DEFAULT)
    assert installed is not None
    shutil.copytree(installed, tmp_path / DEFAULT)
    return tmp_path


def test_a_bare_name_of_two_models_is_refused_and_both_can_be_named(here: Path) -> None:
    installed = installed_folder(DEFAULT)
    with pytest.raises(ModelError, match=f"write ./{DEFAULT} for the folder, or {installed} for the installed") as told:
        find_model(DEFAULT)
    assert "\n" not in str(told.value)
    for name in (f"./{DEFAULT}", str(here / DEFAULT), Path(DEFAULT)):
        assert find_model(name).folder.resolve() == here / DEFAULT
    assert find_model(str(installed)).folder == installed


def test_a_bare_name_that_only_one_bears_is_that_one(here: Path) -> None:
    (here / DEFAULT).rename(here / "mine")
    assert find_model(DEFAULT).folder == installed_folder(DEFAULT)
    assert find_model("mine").folder == Path("mine")
    (here / DEFAULT).mkdir()  # masks, say: no model
    assert find_model(DEFAULT).folder == installed_folder(DEFAULT)
    with pytest.raises(ModelError, match=f"no model './{DEFAULT}'"):
        find_model(f"./{DEFAULT}")
    for name in ("", ".", "..", "unheard-of"):
        with pytest.raises(ModelError, match="no model"):
            find_model(name)


def test_evaluate_asks_whether_the_model_or_the_masks_are_meant(apical: Run, phantoms: Path, here: Path) -> None:
    (here / DEFAULT / "config.json").unlink()
    result = apical("evaluate", DEFAULT, phantoms, "-o", here / "e")
    assert (result.code, result.one_line) == (ExitCode.MODEL, True)
    assert f"write ./{DEFAULT} for the folder" in result.err
    result = apical("evaluate", f"./{DEFAULT}", phantoms, "-o", here / "e")
    assert result.code == ExitCode.INPUT
    assert "no masks" in result.err


def test_seen_are_those_learned_from_and_watched_also_in_the_run_before() -> None:
    split = {"train": ["a"], "validation": ["b"], "test": ["c"]}
    assert seen_patients({"split": split}) == seen_patients({"split": split, "start": None}) == {"a", "b"}
    assert seen_patients({"split": split, "start": {"learned": ["d"], "watched": ["e"]}}) == {"a", "b", "d", "e"}


def test_a_model_of_one_view_recognises_none() -> None:
    """Its answer is the same whatever the picture shows."""
    segmenter = Segmenter.load(DEFAULT)
    study = as_study(make_patient(1))
    nameless = replace(study, frames=tuple(replace(f, view=None) for f in study.frames if f.view is View.A4C))
    assert segmenter.segment(nameless).views.keys() == {f.name for f in nameless.frames}
    segmenter.model = replace(segmenter.model, views=(View.A2C,))
    segmented = segmenter.segment(nameless)
    assert segmented.views == {}
    assert all(np.any(mask) for mask in segmented.values())


def test_the_cards_of_the_installed_models_say_what_their_configs_say() -> None:
    pytest.importorskip("torch", reason="training needs `pip install apical[train]`")
    from apical.network.card import model_card

    for model in installed_models():
        card = (model.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        made = model_card(model.config, "# Report\n@")
        for part in made.split("@"):
            assert part in card, model.name
