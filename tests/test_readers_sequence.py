"""Numbered pictures: when they are one clip, and when they stay single pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from apical.anatomy import View
from apical.errors import InputError
from apical.readers import read_study

N, ROWS, COLUMNS = 12, 24, 32


def speckle(n: int = N, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, rows, columns)).astype(np.uint8)


def save_pictures(folder: Path, names: list[str], frames: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in zip(names, frames, strict=True):
        Picture.fromarray(frame).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("pattern", "clip_name", "view"),
    [
        ("frame_{:04d}.png", "lab_A4C", View.A4C),
        ("{}.png", "lab_A4C", View.A4C),
        ("A2C-{}.bmp", "A2C", View.A2C),
        ("rest ({}).png", "rest", View.A4C),
    ],
)
def test_numbered_pictures_are_a_clip(tmp_path: Path, pattern: str, clip_name: str, view: View) -> None:
    names = [pattern.format(i) for i in range(5, 5 + N)]  # without zeros in front, 10 sorts before 5
    study = read_study(save_pictures(tmp_path / "lab_A4C", names, speckle()))
    (clip,) = study.clips
    np.testing.assert_array_equal(clip.images, speckle())
    assert (clip.name, clip.view, clip.frame_times_ms, clip.grid.spacing_mm) == (clip_name, view, None, None)
    assert study.frames == ()
    assert any("taken as one clip" in note for note in study.notes)


@pytest.mark.parametrize(
    ("names", "note"),
    [
        ([f"frame_{i}.png" for i in range(7)], None),
        ([f"frame_{i}.png" for i in (*range(6), *range(7, 13))], "missing"),
        ([f"frame_{i}.png" for i in (*range(11), "05")], "double"),
        ([f"patient{i:04d}.png" for i in range(1, 13)], None),
        ([f"lab_case-{i}.png" for i in range(12)], None),
        ([f"A4C_ED_{i}.png" for i in range(12)], None),
    ],
)
def test_numbered_pictures_that_are_no_clip(tmp_path: Path, names: list[str], note: str | None) -> None:
    study = read_study(save_pictures(tmp_path / "lab", names, speckle(len(names))))
    assert study.clips == ()
    assert {frame.name for frame in study.frames} == {Path(name).stem for name in names}
    assert [n for n in study.notes if note and note in n] == list(study.notes)


def test_pictures_with_masks_or_of_two_sizes_stay_pictures(tmp_path: Path) -> None:
    names = [f"frame_{i}.png" for i in range(N)]
    folder = save_pictures(tmp_path / "masked", names, speckle())
    save_pictures(folder, ["frame_0_gt.png"], np.zeros((1, ROWS, COLUMNS), np.uint8))
    study = read_study(folder)
    assert len(study.frames) == N
    assert list(study.references) == ["frame_0"]
    folder = save_pictures(tmp_path / "sizes", names, speckle())
    save_pictures(folder, names[3:4], speckle(1, 40, 40))
    study = read_study(folder)
    assert (len(study.frames), study.clips) == (N, ())
    assert "different sizes" in study.notes[0]


def test_one_of_the_numbered_pictures(tmp_path: Path) -> None:
    names = [f"frame_{i}.png" for i in range(N)]
    folder = save_pictures(tmp_path / "lab", names, speckle())
    (frame,) = read_study(folder / "frame_3.png").frames
    np.testing.assert_array_equal(frame.image, speckle()[3])
    (folder / "frame_5.png").write_bytes((folder / "frame_5.png").read_bytes()[:100])
    with pytest.raises(InputError, match=r"frame_5\.png: the PNG is damaged"):
        read_study(folder)


def test_films_and_pictures_of_one_folder(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "visit", [f"A4C_{i}.png" for i in range(N)], speckle())
    save_pictures(folder, ["A2C_ED.png"], speckle(1))
    stills = [Picture.fromarray(frame) for frame in speckle()]
    stills[0].save(folder / "A2C.gif", save_all=True, append_images=stills[1:], duration=40)
    study = read_study(folder)
    assert {(c.name, c.view) for c in study.clips} == {("A2C", View.A2C), ("A4C", View.A4C)}
    assert [f.name for f in study.frames] == ["A2C_ED"]
