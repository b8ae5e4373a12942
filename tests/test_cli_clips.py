"""What `segment` and `measure` write of clips."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from apical.anatomy import View
from apical.errors import ExitCode
from apical.phantom.beating import make_beating
from apical.phantom.clip_files import write_clip_dicom
from apical.study import Segmentation
from cli_runs import Stub, summary
from commands import Run


@pytest.fixture(scope="module")
def cine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A beating phantom's four-chamber clip, and its masks in the study's own words."""
    folder = tmp_path_factory.mktemp("cine")
    clip = make_beating(3, heart_rate_bpm=75, frame_rate_hz=20, n_beats=1, spacing_mm=(2.0, 2.0)).clip(View.A4C)
    write_clip_dicom(folder / "a4c.dcm", clip)
    np.save(folder / "masks.npy", clip.reference)
    return folder / "a4c.dcm"


def test_a_clip_among_pictures_is_left_out_of_png_masks(
    apical: Run, stub: None, tree: Path, tmp_path: Path, cine: Path
):
    result = apical("segment", tree, cine, "-o", tmp_path / "out", "--format", "png", "--no-overlay")
    assert result.code == ExitCode.PARTIAL
    (left_out,) = summary(tmp_path / "out")["left_out"]
    assert left_out["path"] == str(cine)
    assert "--per-frame" in left_out["reason"]
    assert not (tmp_path / "out" / "a4c").exists()


def test_masks_of_a_clip_can_be_measured_again(apical: Run, tmp_path: Path):
    """Those that `--save-masks` wrote, and an expert's beside the clip."""
    half = tmp_path / "patient0007"
    half.mkdir()
    clip = make_beating(3, heart_rate_bpm=75, frame_rate_hz=20, n_beats=1, spacing_mm=(2.0, 2.0)).clip(View.A4C)
    for name, pixels in (("", clip.images), ("_gt", clip.reference)):
        image = sitk.GetImageFromArray(pixels)
        image.SetSpacing((2.0, 2.0, 1.0))
        sitk.WriteImage(image, str(half / f"patient0007_4CH_half_sequence{name}.nii.gz"))
    given = ("measure", half, "--masks")
    assert apical(*given, "reference", "--save-masks", "-o", tmp_path / "a").code == ExitCode.OK
    assert apical(*given, tmp_path / "a", "-o", tmp_path / "b").code == ExitCode.OK
    found = [json.loads((tmp_path / out / "patient0007" / "measurements.json").read_text()) for out in "ab"]
    assert found[0]["volumes"]["ase"]["edv_ml"] == found[1]["volumes"]["ase"]["edv_ml"] > 20
    assert "2.000 × 2.000 mm" in (tmp_path / "a" / "patient0007" / "report.html").read_text()


@pytest.mark.parametrize("file_format", ["mhd", "nii.gz", "png"])
def test_single_frames_hold_what_the_volume_holds(
    apical: Run, stub: None, tmp_path: Path, cine: Path, file_format: str
):
    frames = ("segment", cine, "--no-overlay", "--per-frame", "--format", file_format, "-o", tmp_path / "frames")
    assert apical(*frames).code == ExitCode.OK
    assert apical("segment", cine, "--no-overlay", "-o", tmp_path / "whole").code == ExitCode.OK
    whole = sitk.ReadImage(str(tmp_path / "whole" / "a4c" / "a4c.mhd"))
    masks = sitk.GetArrayFromImage(whole)
    found = sorted((tmp_path / "frames" / "a4c").glob(f"*.{file_format}"))
    assert [p.name for p in found] == [f"a4c_f{k:03d}.{file_format}" for k in range(len(masks))]
    one = sitk.ReadImage(str(found[-1]))
    assert one.GetDimension() == 2
    np.testing.assert_array_equal(sitk.GetArrayFromImage(one) // (85 if file_format == "png" else 1), masks[-1])
    if file_format != "png":
        assert one.GetSpacing() == pytest.approx(whole.GetSpacing()[:2])
    (row,) = summary(tmp_path / "frames")["patients"][0]["images"]
    assert row["images"] == len(masks)


def test_film_and_objects_need_no_report(
    apical: Run, use: Callable[[Stub], None], tmp_path: Path, cine: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("av", reason="films need `pip install apical[clinic]`")
    pytest.importorskip("highdicom", reason="DICOM SR needs `pip install apical[clinic]`")
    stub = Stub()
    masks = np.load(cine.parent / "masks.npy")
    stub.segment = lambda study: Segmentation(  # type: ignore[method-assign]
        {"a4c": masks}, "stub", "abacus", {"a4c": (View.A4C, 0.9)}
    )
    use(stub)
    # What is in a film is tested with the films; drawing one takes long.
    monkeypatch.setattr(
        "apical.report.clip_report.write_clip_film", lambda _seen, _masks, path, **_options: path.touch()
    )
    result = apical("measure", cine, "-o", tmp_path / "out", "--no-report", "--film", "--dicom")
    assert result.code == ExitCode.OK
    written = {p.name for p in (tmp_path / "out" / "a4c").iterdir()}
    assert written == {
        "a4c.mp4",
        "a4c.gif",
        "a4c_seg.dcm",
        "measurements_sr.dcm",
        "echo_report_sr.dcm",
        "measurements.json",
    }


@pytest.mark.parametrize("complete", [False, True])
def test_of_stills_and_clips_it_is_said_which_were_measured(
    apical: Run, stub: None, tree: Path, tmp_path: Path, cine: Path, complete: bool
):
    folder = tmp_path / "exam"
    folder.mkdir()
    clip = pydicom.dcmread(cine)
    clip.save_as(folder / "clip.dcm", enforce_file_format=True)
    for n, phase in enumerate(("ED", "ES")[: 1 + complete], 2):
        still = pydicom.dcmread(cine)
        still.SOPInstanceUID = f"{clip.SOPInstanceUID[:-2]}{n}"
        still.NumberOfFrames = 1
        still.PixelData = clip.pixel_array[0].tobytes()
        still.save_as(folder / f"a4c_{phase}.dcm", enforce_file_format=True)
    apical("measure", folder, "-o", tmp_path / "out", "--no-report")
    (record,) = (tmp_path / "out").rglob("measurements.json")
    notes = json.loads(record.read_text())["notes"]
    expected = "measured: the stills of ED and ES, not the clips" if complete else "measured: the clips, not the stills"
    assert expected in notes
