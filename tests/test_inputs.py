"""Several inputs at once: each path once, files of one patient together, nobody twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.sequence import Sequence

from apical.inputs import count_inputs, open_inputs
from apical.study import Study
from dicom_checks import region, save, ultrasound_dataset


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.random.default_rng(seed).integers(0, 256, (24, 32)).astype(np.uint8)
    Image.fromarray(grey).save(path)
    return path


def clip(path: Path, study: str, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = np.random.default_rng(number).integers(0, 256, (3, 24, 32)).astype(np.uint8)
    made = ultrasound_dataset(frames, number=number)
    made.StudyInstanceUID, made.SeriesInstanceUID = study, f"{study}.{number}"
    made.SequenceOfUltrasoundRegions = Sequence([region(2, 4, 23, 31)])
    save(made, path)
    return path


def read(*paths: Path, patients: set[str] | None = None) -> tuple[list[Study], list[str]]:
    told: list[str] = []
    studies = list(open_inputs(list(paths), lambda _path, error: told.append(str(error)), patients))
    return studies, told


def ids(studies: list[Study]) -> list[str]:
    return [study.patient.id for study in studies]


def test_the_same_path_twice_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    picture(tmp_path / "patient0001" / "4CH_ED.png")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "patient0001"
    for twice in ((folder, folder), (folder, Path("patient0001")), (folder, folder / ".." / "patient0001")):
        studies, told = read(*twice)
        assert ids(studies) == ["patient0001"]
        assert told == []
        assert count_inputs(twice) == 1
    studies, told = read(folder / "4CH_ED.png", Path("patient0001") / "4CH_ED.png")
    assert [len(s.frames) for s in studies] == [1]
    assert told == []


def test_a_patient_of_two_trees_is_left_out_and_the_rest_goes_on(tmp_path: Path):
    for tree in ("a", "b"):
        for n in (1, 2, 3) if tree == "b" else (2,):
            picture(tmp_path / tree / f"patient000{n}" / "4CH_ED.png")
    studies, told = read(tmp_path / "a", tmp_path / "b")
    assert ids(studies) == ["patient0002", "patient0001", "patient0003"]
    assert len(told) == 1
    assert "patient0002 was given before" in told[0]


def test_a_patient_twice_in_one_tree_is_left_out_and_the_rest_goes_on(tmp_path: Path):
    clip(tmp_path / "x" / "4CH.dcm", "1.2.3.1", 1)
    picture(tmp_path / "x" / "screen.png")
    picture(tmp_path / "y" / "4CH_ED.png")
    studies, told = read(tmp_path)
    assert ids(studies) == ["x", "y"]
    assert len(studies[0].clips) == 1  # the film, not the shot of the screen
    assert len(told) == 1
    assert "x was found in" in told[0]
    assert "two folders" in told[0]


def test_dicom_files_of_one_study_are_read_together(tmp_path: Path):
    files = [clip(tmp_path / "exam" / f"{view}.dcm", "1.2.3.1", n) for n, view in enumerate(("2CH", "4CH"))]
    other = clip(tmp_path / "exam" / "other.dcm", "1.2.9.1", 7)
    (together,), told = read(*files)
    (folder,), _ = read(tmp_path / "exam" / "2CH.dcm")
    assert told == []
    assert [c.name for c in together.clips] == ["2CH", "4CH"]
    assert [str(c.view) for c in together.clips] == ["2CH", "4CH"]
    assert folder.patient.id == "2CH"
    studies, told = read(*files, other)
    assert told == []
    assert [len(s.clips) for s in studies] == [2, 1]
    assert ids(studies) == ["2CH", "other"]
    assert count_inputs([*files, other]) == 2


def test_files_of_two_studies_are_called_after_themselves(tmp_path: Path):
    studies, told = read(clip(tmp_path / "a" / "one.dcm", "1.2.3.1", 1), clip(tmp_path / "b" / "two.dcm", "1.2.9.1", 2))
    assert ids(studies) == ["one", "two"]
    assert told == []


def test_files_from_here_and_from_the_root_are_one_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clip(tmp_path / "exam" / "2CH.dcm", "1.2.3.1", 1)
    clip(tmp_path / "exam" / "4CH.dcm", "1.2.3.1", 2)
    monkeypatch.chdir(tmp_path)
    (study,), told = read(Path("exam") / "2CH.dcm", tmp_path / "exam" / "4CH.dcm")
    assert len(study.clips) == 2
    assert told == []


def test_camus_files_of_one_patient_are_one_study_with_masks(tmp_path: Path):
    names = [f"patient000{n}_4CH_{phase}" for n in (1, 2) for phase in ("ED", "ES")]
    files = [picture(tmp_path / f"{name}.png", n) for n, name in enumerate(names)]
    for name in names:
        Image.fromarray(np.zeros((24, 32), np.uint8)).save(tmp_path / f"{name}_gt.png")
    studies, told = read(*files[:3])
    assert ids(studies) == ["patient0001", "patient0002"]
    assert [[f.name for f in s.frames] for s in studies] == [names[:2], names[2:3]]
    assert all(f.reference is not None for s in studies for f in s.frames)
    assert told == []
    # as a shell writes out `folder/*`
    studies, told = read(*sorted(tmp_path.iterdir()))
    assert [len(s.frames) for s in studies] == [2, 2]
    assert told == []


def test_what_cannot_be_used_is_named_and_the_rest_goes_on(tmp_path: Path):
    good = picture(tmp_path / "a" / "4CH_ED.png")
    mask = picture(tmp_path / "b" / "4CH_ED_gt.png")
    text = tmp_path / "notes.txt"
    text.write_text("nothing here")
    studies, told = read(tmp_path / "gone", mask, text, good, Path("x" * 5000))
    assert len(studies) == 1
    assert len(told) == 4
    for what in ("gone: no such file", "an expert mask, not an image", "notes.txt: not a format", "File name too long"):
        assert any(what in line for line in told), what


def test_numbered_pictures_named_one_by_one_are_a_clip(tmp_path: Path):
    files = [picture(tmp_path / "beat" / f"frame_{n:03d}.png", n) for n in range(9)]
    (study,), told = read(*files)
    assert told == []
    assert [len(c.images) for c in study.clips] == [9]


def test_only_the_patients_asked_for(tmp_path: Path):
    for n in (1, 2):
        picture(tmp_path / f"patient000{n}" / "4CH_ED.png")
    studies, _ = read(tmp_path, patients={"patient0002"})
    assert ids(studies) == ["patient0002"]
    assert count_inputs([tmp_path], {"patient0002"}) == 1
    assert count_inputs([tmp_path]) == 2


def test_files_of_different_people_in_one_folder_are_studies_of_their_own(tmp_path: Path):
    folder = tmp_path / "clips"
    names = ("anna_4CH", "bob_2CH", "carl_4CH")
    files = [picture(folder / f"{name}.png", n) for n, name in enumerate(names)]
    studies, told = read(*files)
    assert ids(studies) == list(names)
    assert told == []
    assert count_inputs(files) == 3
    files += [picture(folder / f"anna_{name}.png", 7) for name in ("2CH", "4CH_ED", "A2C-end-systole")]
    studies, told = read(*files)
    assert ids(studies) == ["anna", "bob_2CH", "carl_4CH"]
    assert [len(s.frames) for s in studies] == [4, 1, 1]
    assert told == []
    # Numbers may count people: they do not join.
    files = [picture(folder / f"heart_{n}_4CH.png", n) for n in (1, 2)]
    assert ids(read(*files)[0]) == ["heart_1_4CH", "heart_2_4CH"]


def test_a_folder_with_names_of_several_people_says_that_it_is_read_as_one(tmp_path: Path):
    for n, name in enumerate(("anna_2CH_ED", "anna_2CH_ES", "bob_4CH_ED")):
        picture(tmp_path / "exam" / f"{name}.png", n)
    (study,), told = read(tmp_path / "exam")
    assert "names of 2 subjects in one folder, which is read as one patient" in study.notes
    assert told == []


def test_files_named_alike_but_for_view_and_phase_are_one_study(tmp_path: Path):
    for names in (("x_2CH", "x_4CH", "x_4CH_ED"), ("2CH", "4CH"), ("A2C_lab", "A4C_lab")):
        folder = tmp_path / f"exam{names[0]}"
        (study,), told = read(*(picture(folder / f"{name}.png", n) for n, name in enumerate(names)))
        assert study.patient.id == folder.name
        assert {f.name for f in study.frames} == set(names)
        assert told == []


def test_two_numbered_clips_of_different_names_are_two_studies(tmp_path: Path):
    files = [picture(tmp_path / f"{who}_4CH_{n:02d}.png", n) for who in ("anna", "bob") for n in range(9)]
    studies, told = read(*files)
    assert ids(studies) == ["anna_4CH", "bob_4CH"]
    assert [[len(c.images) for c in s.clips] for s in studies] == [[9], [9]]
    assert told == []


def test_nothing_is_told_of_patients_not_asked_for(tmp_path: Path):
    wanted = picture(tmp_path / "patient0002" / "4CH_ED.png")
    damaged = picture(tmp_path / "patient0001" / "4CH_ED.png")
    damaged.write_bytes(b"no picture")
    for paths in ((tmp_path,), (damaged, wanted)):
        assert len(read(*paths)[1]) == 1
        studies, told = read(*paths, patients={"patient0002"})
        assert ids(studies) == ["patient0002"]
        assert told == []
    assert len(read(tmp_path, patients={"patient0001"})[1]) == 1
