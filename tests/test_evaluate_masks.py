"""The masks of any tool from a folder: which file is of which frame."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from apical.errors import InputError
from apical.evaluate import masks_from_folder
from apical.study import Frame, Grid, Mask, Patient, Study
from evaluated_hearts import heart, study


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace the file reader: which file is taken for which frame is the question here."""
    asked: list[Path] = []

    def read_mask(path: Path) -> tuple[Mask, Grid]:
        asked.append(path)
        return heart(10), Grid((48, 40))

    monkeypatch.setitem(sys.modules, "apical.readers", SimpleNamespace(read_mask=read_mask))
    return asked


@pytest.mark.parametrize(
    "name",
    [
        "patient0001_4CH_ED.mhd",
        "patient0001_4CH_ED.nii.gz",
        "deep/er/patient0001_4CH_ED_prediction.png",
        "seg-patient0001_4CH_ED_0000.nii",
        "patient0001/4CH_ED_gt.png",
        "Patient0001_4ch_ed.PNG",
    ],
)
def test_masks_are_found_by_frame_name(tmp_path: Path, reader: list[Path], name: str):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    (tmp_path / "patient0001_4CH_ED.raw").touch()
    assert list(masks_from_folder(tmp_path)(study(1))) == ["patient0001_4CH_ED"]
    assert reader == [path]


def test_the_mask_is_taken_where_the_image_lies_beside_it(tmp_path: Path, reader: list[Path]):
    for name in ("patient0001_2CH_ES.nii.gz", "patient0001_2CH_ES_gt.nii.gz", "patient0002_2CH_ES_gt.nii.gz"):
        (tmp_path / name).touch()
    masks_from_folder(tmp_path)(study(1))
    assert [path.name for path in reader] == ["patient0001_2CH_ES_gt.nii.gz"]


def test_two_masks_of_one_frame_are_refused(tmp_path: Path, reader: list[Path]):
    for name in ("patient0001_2CH_ES.nii.gz", "patient0001_2CH_ES.png"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"both name frame patient0001_2CH_ES: keep one"):
        masks_from_folder(tmp_path)(study(1))
    assert masks_from_folder(tmp_path)(study(2)) == {}
    assert reader == []


def test_frames_of_other_names_are_found_by_their_whole_name(tmp_path: Path, reader: list[Path]):
    (tmp_path / "clip_a.nii.gz").touch()
    (tmp_path / "clip_ab.nii.gz").touch()
    frame = Frame("clip_a", np.zeros((48, 40), np.uint8), Grid((48, 40)))
    assert list(masks_from_folder(tmp_path)(Study(Patient("x"), (frame,)))) == ["clip_a"]
    assert [path.name for path in reader] == ["clip_a.nii.gz"]


def test_folders_of_the_png_release_keep_their_own_numbers(tmp_path: Path, reader: list[Path]):
    # patient0300 of the PNG tree is another patient than CAMUS patient0300.
    for folder in ("patient0007", "patient0300"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "4CH_ED.png").touch()
    picture = Frame(
        "patient0300_4CH_ED",
        np.zeros((48, 40), np.uint8),
        Grid((48, 40)),
        source=Path("Training/patient0007/4CH_ED.png"),
    )
    assert list(masks_from_folder(tmp_path)(Study(Patient("patient0300"), (picture,)))) == ["patient0300_4CH_ED"]
    assert reader == [tmp_path / "patient0007" / "4CH_ED.png"]
    del reader[:]
    native = Frame(
        "patient0300_4CH_ED",
        np.zeros((48, 40), np.uint8),
        Grid((48, 40)),
        source=Path("nifti/patient0300/patient0300_4CH_ED.nii.gz"),
    )
    masks_from_folder(tmp_path)(Study(Patient("patient0300"), (native,)))
    assert reader == [tmp_path / "patient0300" / "4CH_ED.png"]


def test_other_files_are_not_taken_for_frames(tmp_path: Path, reader: list[Path]):
    for name in ("patient0001_4CH_half_sequence.nii.gz", "patient0001_4CH_edges.png"):
        (tmp_path / name).touch()
    assert masks_from_folder(tmp_path)(study(1)) == {}
    assert reader == []


def test_folders_without_masks_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no masks; expected"):
        masks_from_folder(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        masks_from_folder(tmp_path / "nowhere")
