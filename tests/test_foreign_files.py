"""Whatever pydicom and pydicom-data carry goes through the commands: a result or a reason, never a traceback.

And what is no apical echocardiogram is told to be unlike what the released network learned from.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from apical.errors import ExitCode
from apical.measure.quality import LIMITS
from apical.readers import read_study
from apical.segment import Segmenter
from apical.study import Frame, Grid, Patient, Study
from commands import Run

EXPECTED = {ExitCode.OK, ExitCode.INPUT, ExitCode.PARTIAL}


@pytest.fixture(scope="module")
def folders() -> list[Path]:
    """Folders with real DICOM files of all modalities."""
    found = importlib.util.find_spec("data_store")
    if found is None or not found.submodule_search_locations:
        pytest.skip("pydicom-data is not installed: pip install pydicom-data")
    return [Path(found.submodule_search_locations[0]) / "data", Path(pydicom.__file__).parent / "data"]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load()


@pytest.mark.slow
def test_every_file_gives_a_result_or_a_reason(folders: list[Path], tmp_path: Path, apical: Run) -> None:
    files = [p for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()]
    assert len(files) > 150
    segmented = 0
    for number, path in enumerate(files):
        for command in (("info", path), ("segment", path, "-o", tmp_path / str(number))):
            result = apical(*command)
            assert result.code in EXPECTED, (command, result)
            assert "Traceback" not in result.out + result.err, command
            # Whatever could not be done is told, by the file's name; a DICOMDIR's files are beside or below it.
            named = path.parent.name if path.name == "DICOMDIR" else path.name
            assert result.code == ExitCode.OK or named in result.err.replace("\n", ""), (command, result)
        segmented += result.code == ExitCode.OK
    assert segmented >= 8


def doubted(segmenter: Segmenter, study: Study) -> list[float]:
    short = replace(
        study, clips=tuple(replace(clip, images=clip.images[:2], frame_times_ms=None) for clip in study.clips)
    )
    return [doubt.unlike for doubt in segmenter.segment(short, repair=False, steady=False).doubts.values()]


@pytest.mark.slow
def test_ultrasound_of_another_kind_is_unlike_what_was_learned(folders: list[Path], segmenter: Segmenter) -> None:
    other = {"OBXXXX1A.dcm", "OBXXXX1A_2frame.dcm", "OBXXXX1A_expb.dcm", "OBXXXX1A_rle.dcm", "examples_palette.dcm"}
    other |= {"JPGLosslessP14SV1_1s_1f_8b.dcm"}
    paths = [p for folder in folders for p in sorted(folder.rglob("*.dcm")) if p.name in other]
    assert {p.name for p in paths} == other
    for path in paths:
        assert min(doubted(segmenter, read_study(path))) > LIMITS.unlike_caution, path.name


def test_photographs_and_noise_are_unlike_what_was_learned(segmenter: Segmenter) -> None:
    data = pytest.importorskip("skimage.data", reason="photographs come with scikit-image")
    random = np.random.default_rng(0)
    pictures = {name: getattr(data, name)() for name in ("astronaut", "camera", "coffee", "cat", "page", "moon")}
    pictures |= {
        "noise": random.integers(0, 256, (256, 256)),
        "speckle": np.clip(random.rayleigh(40, (300, 400)), 0, 255),
        "black": np.zeros((256, 256)),
        "gradient": np.tile(np.linspace(0, 255, 256), (256, 1)),
    }
    frames = []
    for name, picture in pictures.items():
        grey = (picture[..., :3].mean(axis=-1) if picture.ndim == 3 else picture).astype(np.uint8)
        frames.append(Frame(name, grey, Grid(grey.shape, None)))
    found = segmenter.segment(Study(Patient("p"), tuple(frames)), repair=False).doubts
    assert {name for name, doubt in found.items() if doubt.unlike <= LIMITS.unlike_caution} == set()


@pytest.mark.slow
def test_apical_views_of_another_scanner_are_not_refused(shared: Path, segmenter: Segmenter) -> None:
    assert max(doubted(segmenter, read_study(shared / "dicom" / "a4c_cine.dcm"))) < LIMITS.unlike_refusal


@pytest.mark.slow
def test_frames_of_unseen_patients_are_like_what_was_learned(camus: Path) -> None:
    segmenter = Segmenter.load("apical-unet-small")  # which kept patients unseen
    unseen = segmenter.model.config["training"]["split"]["test"]
    folder = camus / "nifti"
    unlike = [u for p in unseen if (folder / p).is_dir() for u in doubted(segmenter, read_study(folder / p))]
    assert len(unlike) > 90
    assert np.mean(np.array(unlike) > LIMITS.unlike_caution) <= 0.05
