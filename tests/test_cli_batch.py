"""Runs of `segment` and `measure`: stopped, resumed, replaced, kept from their input, and saying what made them."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import apical as package
from apical.cli.mask_source import MaskSource, mask_source
from apical.errors import ApicalError, ExitCode, InterruptedRunError
from apical.models import DEFAULT
from apical.study import Frame, Grid, Patient, Segmentation, Study
from cli_runs import EXPERT, Stub, contents, summary
from commands import Run

MADE_BY = {"model": "stub", "model_sha256": "abc", "runtime": "abacus", "apical_version": package.__version__}


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


@pytest.mark.parametrize("command", [("segment", "--no-overlay"), ("measure", "--no-report")])
def test_a_patient_whose_image_changed_meanwhile_is_done_again(
    apical: Run, use: Callable[[Stub], None], tree: Path, tmp_path: Path, command: tuple[str, str]
):
    def stop(study: Study) -> None:
        if study.patient.id == "patient0003":
            raise InterruptedRunError("stop")

    name, option = command
    use(Stub(before=stop))
    assert apical(name, tree, "-o", tmp_path / "out", option).code == ExitCode.INTERRUPTED
    Image.fromarray(np.full((24, 24), 9, np.uint8)).save(tree / "patient0002" / "4CH_ED.png")
    done: list[str] = []
    use(Stub(before=lambda study: done.append(study.patient.id)))
    assert apical(name, tree, "-o", tmp_path / "out", option).code == ExitCode.OK
    assert done == ["patient0002", "patient0003"]
    assert apical(name, tree, "-o", tmp_path / "whole", option).code == ExitCode.OK
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_given_masks_that_changed_are_another_input(tmp_path: Path):
    image = np.zeros((24, 24), np.uint8)
    study = Study(Patient("patient0001"), (Frame("patient0001_4CH_ED", image, Grid(image.shape)),))
    hashes = set()
    for label in (85, 170):
        Image.fromarray(image + np.uint8(label)).save(tmp_path / "patient0001_4CH_ED.png")
        hashes.add(mask_source(str(tmp_path), DEFAULT, "auto", "float32").made_of(study))
    assert len(hashes) == 2


def test_of_dicom_the_header_counts_where_it_is_written_on(tmp_path: Path):
    image = np.zeros((24, 24), np.uint8)
    frame = Frame("a", image, Grid(image.shape), source=tmp_path / "a.dcm")
    source = MaskSource(lambda study: Segmentation({"a": image}), "a tool")
    hashes: dict[bool, set[str]] = {False: set(), True: set()}
    for header in (b"one name", b"another name"):
        (tmp_path / "a.dcm").write_bytes(header)
        for with_files, found in hashes.items():
            found.add(source.made_of(Study(Patient("p"), (frame,)), with_files=with_files))
    assert {with_files: len(found) for with_files, found in hashes.items()} == {False: 1, True: 2}


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
