"""Runs of `segment` and `measure` over many patients: what is left out, resumed, replaced, and said of the result."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import apical as package
from apical.anatomy import View
from apical.cli.options import parse_patients
from apical.errors import ApicalError, ExitCode, InputError, InterruptedRunError
from apical.phantom.beating import make_beating
from apical.phantom.clip_files import write_clip_dicom
from apical.segment import Segmenter
from apical.study import Segmentation, Study
from commands import Run

EXPERT = ("--masks", "reference", "--no-report")
MADE_BY = {"model": "stub", "model_sha256": "abc", "runtime": "abacus", "apical_version": package.__version__}


class Stub:
    """A model that outlines a square; `before` is called with every study."""

    def __init__(self, sha256: str = "abc", before: Callable[[Study], None] = lambda study: None) -> None:
        self.model = SimpleNamespace(name="stub", config={"sha256": sha256}, sha256=sha256, views=tuple(View))
        self.runtime, self._before = "abacus", before

    def segment(self, study: Study) -> Segmentation:
        self._before(study)
        masks = {f.name: np.zeros_like(f.image) for f in study.frames}
        masks |= {c.name: np.zeros_like(c.images) for c in study.clips}
        for mask in masks.values():
            mask[..., 4:9, 4:9] = 1
        return Segmentation(masks, "stub", self.runtime, dict.fromkeys(masks, (View.A4C, 0.9)))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stub], None]:
    return lambda stub: monkeypatch.setattr(Segmenter, "load", lambda *_arguments, **_options: stub)


@pytest.fixture
def stub(use: Callable[[Stub], None]) -> None:
    use(Stub())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for n in (1, 2, 3):
        patient(tmp_path / "in" / f"patient000{n}")
    return tmp_path / "in"


def patient(folder: Path, size: int = 24) -> Path:
    folder.mkdir(parents=True)
    mask = np.zeros((24, 24), np.uint8)
    mask[5:20, 6:18], mask[7:20, 8:16] = 170, 85
    for view in View:
        for phase in ("ED", "ES"):
            grey = np.random.default_rng(len(phase)).integers(0, 256, (24, 24)).astype(np.uint8)
            Image.fromarray(grey).save(folder / f"{view}_{phase}.png")
            Image.fromarray(mask[:size, :size]).save(folder / f"{view}_{phase}_gt.png")
    return folder


@pytest.fixture(scope="module")
def cine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A beating phantom's four-chamber clip, and its masks in the study's own words."""
    folder = tmp_path_factory.mktemp("cine")
    clip = make_beating(3, heart_rate_bpm=75, frame_rate_hz=20, n_beats=1, spacing_mm=(2.0, 2.0)).clip(View.A4C)
    write_clip_dicom(folder / "a4c.dcm", clip)
    np.save(folder / "masks.npy", clip.reference)
    return folder / "a4c.dcm"


def summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# Interruption


def test_no_handler_of_errors_takes_a_stop_for_a_damaged_file():
    assert not issubclass(InterruptedRunError, Exception)
    assert not issubclass(InterruptedRunError, ApicalError)


def test_a_stop_inside_a_decoder_stops_the_command(apical: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.fromarray(np.zeros((24, 24), np.uint8)).save(tmp_path / "4CH_ED.jpg")

    def stop(*_arguments: object, **_options: object) -> None:
        # What the command installed, called by hand: a library leaves this process, which runs many commands,
        # an alternate signal stack that is gone, and a real signal ends it.
        handler = signal.getsignal(signal.SIGTERM)
        assert callable(handler)
        handler(signal.SIGTERM, None)

    monkeypatch.setattr("PIL.Image.open", stop)  # called by a reader that takes any error for a damaged file
    result = apical("measure", tmp_path / "4CH_ED.jpg", "-o", tmp_path / "out", *EXPERT)
    assert result.code == ExitCode.INTERRUPTED
    assert result.one_line
    assert "damaged" not in result.err


def test_a_stopped_segmentation_goes_on(apical: Run, use: Callable[[Stub], None], tree: Path, tmp_path: Path):
    def stop(study: Study) -> None:
        if study.patient.id == "patient0002":
            raise InterruptedRunError("stop")

    command = ("segment", tree, "-o", tmp_path / "out", "--no-overlay")
    use(Stub(before=stop))
    assert apical(*command).code == ExitCode.INTERRUPTED
    kept = tmp_path / "out" / "patient0001" / "patient0001_4CH_ED.raw"
    stamp = kept.stat().st_mtime_ns
    assert not (tmp_path / "out" / "patient0002").exists()
    use(Stub(sha256="def"))
    refused = apical(*command)
    assert refused.code == ExitCode.OUTPUT
    assert "other settings" in refused.err
    use(Stub())
    assert apical(*command).code == ExitCode.OK
    assert kept.stat().st_mtime_ns == stamp
    assert apical(*command[:2], "-o", tmp_path / "whole", "--no-overlay").code == ExitCode.OK
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


# What every result says of its masks


def test_every_result_says_which_model_and_version_made_it(apical: Run, stub: None, tree: Path, tmp_path: Path):
    assert apical("segment", tree, "-o", tmp_path / "s", "--no-overlay").code == ExitCode.OK
    assert apical("measure", tree, "-o", tmp_path / "m", "--no-report").code == ExitCode.OK
    for result in (
        summary(tmp_path / "s"),
        summary(tmp_path / "m"),
        json.loads((tmp_path / "s" / "patient0002" / "segmentation.json").read_text()),
        json.loads((tmp_path / "m" / "patient0002" / "measurements.json").read_text()),
    ):
        assert {name: result[name] for name in MADE_BY} == MADE_BY
    assert apical("measure", tree, "-o", tmp_path / "e", *EXPERT).code == ExitCode.OK
    assert summary(tmp_path / "e")["masks"] == "expert masks"
    assert summary(tmp_path / "e")["model_sha256"] is None


def test_measuring_goes_on_with_the_same_model_only(
    apical: Run, use: Callable[[Stub], None], tree: Path, tmp_path: Path
):
    def stop(study: Study) -> None:
        if study.patient.id == "patient0002":
            raise InterruptedRunError("stop")

    command = ("measure", tree, "-o", tmp_path / "out", "--no-report")
    use(Stub(before=stop))
    assert apical(*command).code == ExitCode.INTERRUPTED
    use(Stub(sha256="def"))
    assert apical(*command).code == ExitCode.OUTPUT
    use(Stub())
    assert apical(*command).code == ExitCode.OK


# Places


@pytest.mark.parametrize("command", [("segment", "--no-overlay"), ("measure", *EXPERT)])
def test_an_output_inside_the_input_is_refused(apical: Run, stub: None, tree: Path, command: tuple[str, ...]):
    before = contents(tree)
    for place in (tree, tree / "out", tree / "patient0001" / "out"):
        result = apical(command[0], tree, "-o", place, *command[1:])
        assert result.code == ExitCode.OUTPUT
        assert result.one_line
        assert "lies inside" in result.err
    assert contents(tree) == before
    assert not (tree / "out").exists()


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize("linked", [False, True])
def test_masks_never_take_the_place_of_the_images(
    apical: Run, stub: None, tree: Path, tmp_path: Path, linked: bool, overwrite: tuple[str, ...]
):
    given = tree / "patient0001"
    if linked:  # the images of the output's folder, by another path
        given = tmp_path / "links" / "patient0001"
        given.parent.mkdir()
        given.symlink_to(tree / "patient0001", target_is_directory=True)
    before = contents(tree / "patient0001")
    result = apical("segment", given, "-o", tree, "--no-overlay", "--format", "png", *overwrite)
    assert result.code == ExitCode.OUTPUT
    assert result.one_line
    assert "holds the images of patient0001" in result.err
    assert contents(tree / "patient0001") == before


def test_a_wrong_path_takes_no_earlier_result_away(apical: Run, tree: Path, tmp_path: Path):
    command = ("-o", tmp_path / "out", *EXPERT)
    assert apical("measure", tree, *command).code == ExitCode.OK
    before = contents(tmp_path / "out")
    result = apical("measure", tmp_path / "gone", *command, "--overwrite")
    assert result.code == ExitCode.INPUT
    assert "gone: no such file" in result.err
    assert contents(tmp_path / "out") == before


def test_a_run_that_found_nothing_leaves_no_run_behind(apical: Run, tree: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    assert apical("measure", tmp_path / "empty", "-o", tmp_path / "out", *EXPERT).code == ExitCode.INPUT
    assert apical("measure", tree, "-o", tmp_path / "out", *EXPERT).code == ExitCode.OK


def test_an_interrupted_run_outlives_an_input_that_is_away(
    apical: Run, use: Callable[[Stub], None], tree: Path, tmp_path: Path
):
    def stop(study: Study) -> None:
        if study.patient.id == "patient0002":
            raise InterruptedRunError("stop")

    command = ("segment", tree, "-o", tmp_path / "out", "--no-overlay")
    use(Stub(before=stop))
    assert apical(*command).code == ExitCode.INTERRUPTED
    before = contents(tmp_path / "out")
    tree.rename(tmp_path / "away")
    assert apical(*command).code == ExitCode.INPUT
    assert contents(tmp_path / "out") == before


def test_overwriting_leaves_no_file_of_the_earlier_run(apical: Run, stub: None, tree: Path, tmp_path: Path):
    command = ("segment", tree, "-o", tmp_path / "out", "--no-overlay")
    assert apical(*command).code == ExitCode.OK
    (tmp_path / "out" / "patient0001" / "notes.txt").write_text("precious")
    assert apical(*command, "--format", "png", "--overwrite").code == ExitCode.OK
    suffixes = {p.suffix for p in (tmp_path / "out" / "patient0001").iterdir()}
    assert suffixes == {".png", ".json", ".txt"}


# One patient of many


def test_a_bad_mask_leaves_one_patient_out(apical: Run, tree: Path, tmp_path: Path):
    masks = tmp_path / "masks"
    for n in (1, 2, 3):
        for source in (tree / f"patient000{n}").glob("*_gt.png"):
            mask = Image.open(source)
            if n == 2:
                mask = mask.resize((12, 12), Image.Resampling.NEAREST)
            (masks / f"patient000{n}").mkdir(parents=True, exist_ok=True)
            mask.save(masks / f"patient000{n}" / source.name.replace("_gt", ""))
    result = apical("measure", tree, "-o", tmp_path / "out", "--masks", masks, "--no-report")
    assert result.code == ExitCode.PARTIAL
    (left_out,) = summary(tmp_path / "out")["left_out"]
    assert "patient0002" in left_out["reason"]
    assert "12 x 12" in left_out["reason"]
    assert not (tmp_path / "out" / "patient0002").exists()
    assert (tmp_path / "out" / "patient0003" / "measurements.json").is_file()


def test_a_patient_of_a_view_that_the_model_does_not_know_is_left_out(
    apical: Run, use: Callable[[Stub], None], tree: Path, tmp_path: Path
):
    def refuse(study: Study) -> None:
        if study.patient.id == "patient0001":
            raise InputError("2CH_ED.png: the model 'stub' knows 4CH only")

    for command in (("segment", "--no-overlay"), ("measure", "--no-report")):
        use(Stub(before=refuse))
        out = tmp_path / command[0]
        assert apical(command[0], tree, "-o", out, *command[1:]).code == ExitCode.PARTIAL
        assert [item["reason"] for item in summary(out)["left_out"]] == ["2CH_ED.png: the model 'stub' knows 4CH only"]
        assert sorted(p.name for p in out.iterdir() if p.is_dir()) == ["patient0002", "patient0003"]


def test_a_clip_among_pictures_is_left_out_of_png_masks(
    apical: Run, stub: None, tree: Path, tmp_path: Path, cine: Path
):
    result = apical("segment", tree, cine, "-o", tmp_path / "out", "--format", "png", "--no-overlay")
    assert result.code == ExitCode.PARTIAL
    (left_out,) = summary(tmp_path / "out")["left_out"]
    assert left_out["path"] == str(cine)
    assert "--per-frame" in left_out["reason"]
    assert not (tmp_path / "out" / "a4c").exists()


def test_the_same_folder_twice_and_a_double_do_not_stop_a_run(apical: Run, tree: Path, tmp_path: Path):
    assert apical("measure", tree, tree, "-o", tmp_path / "a", *EXPERT).code == ExitCode.OK
    patient(tmp_path / "other" / "patient0002")
    patient(tmp_path / "other" / "patient0004")
    result = apical("measure", tree, tmp_path / "other", "-o", tmp_path / "b", *EXPERT)
    assert result.code == ExitCode.PARTIAL
    assert len(list((tmp_path / "b").glob("*/measurements.json"))) == 4
    (left_out,) = summary(tmp_path / "b")["left_out"]
    assert "patient0002 was given before" in left_out["reason"]


# Options


def test_what_is_known_of_one_patient_is_not_said_of_several(apical: Run, tree: Path, tmp_path: Path):
    for option in (("--sex", "F"), ("--height", 170), ("--weight", 70)):
        result = apical("measure", tree, "-o", tmp_path / "out", *EXPERT, *option)
        assert result.code == ExitCode.INPUT
        assert result.one_line
        assert "3 are given" in result.err
    assert not (tmp_path / "out").exists()


def test_what_is_given_of_one_patient_stands_in_place_of_the_file(apical: Run, tree: Path, tmp_path: Path):
    (tree / "patient0001" / "Info_4CH.cfg").write_text("Sex: M\n")
    given = ("--sex", "F", "--height", 170)
    assert apical("measure", tree / "patient0001", "-o", tmp_path / "a", *EXPERT, *given).code == ExitCode.OK
    assert apical("measure", tree, "-o", tmp_path / "b", *EXPERT, *given, "--patients", "patient0001").code == 0
    for out in ("a", "b"):
        record = json.loads((tmp_path / out / "patient0001" / "measurements.json").read_text())
        assert "sex F by option, where the file says M" in record["notes"]
        assert "height 170 cm by option" in record["notes"]
    assert apical("measure", tree / "patient0001", "-o", tmp_path / "c", *EXPERT).code == ExitCode.OK
    record = json.loads((tmp_path / "c" / "patient0001" / "measurements.json").read_text())
    assert not any("by option" in note for note in record["notes"])


def test_a_list_of_patients_may_be_longer_than_a_file_name():
    many = [f"patient{n:04d}" for n in range(600)]
    assert parse_patients(",".join(many)) == set(many)


def test_a_list_of_patients_holds_one_id_per_line(tmp_path: Path):
    (tmp_path / "list").write_text("patient 1\n\n  Study B, second \r\npatient 3")
    assert parse_patients(str(tmp_path / "list")) == {"patient 1", "Study B, second", "patient 3"}


def test_a_list_of_patients_that_is_no_text_is_an_input_error(apical: Run, tree: Path, tmp_path: Path):
    (tmp_path / "list").write_bytes(b"patient0001\n\xff\xfe\x00")
    result = apical("measure", tree, "-o", tmp_path / "out", *EXPERT, "--patients", tmp_path / "list")
    assert result.code == ExitCode.INPUT
    assert result.one_line
    assert "UTF-8" in result.err
    (tmp_path / "list").write_text("\ufeffpatient0001\n", encoding="utf-8")
    assert parse_patients(str(tmp_path / "list")) == {"patient0001"}


def test_a_patient_asked_for_and_not_there_is_named(apical: Run, tree: Path, tmp_path: Path):
    command = ("measure", tree, *EXPERT, "--patients")
    nobody = apical(*command, "gone.txt", "-o", tmp_path / "a")
    assert nobody.code == ExitCode.INPUT
    assert nobody.one_line
    assert "gone.txt: named by --patients" in nobody.err
    assert apical(*command, "patient0002,patient0009", "-o", tmp_path / "b").code == ExitCode.PARTIAL
    assert [item["path"] for item in summary(tmp_path / "b")["left_out"]] == ["patient0009"]


# Clips


@pytest.mark.parametrize("file_format", ["mhd", "nii.gz", "png"])
def test_single_frames_hold_what_the_volume_holds(
    apical: Run, stub: None, tmp_path: Path, cine: Path, file_format: str
):
    import SimpleITK as sitk

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
    assert written == {"a4c.mp4", "a4c.gif", "a4c_seg.dcm", "measurements_sr.dcm", "measurements.json"}
