"""Whom `segment` and `measure` go through: who is left out of many, who is asked for, what is known of one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from apical.cli.options import parse_patients
from apical.errors import ExitCode, InputError
from apical.phantom import make_patient, write_camus_nifti
from apical.study import Study
from cli_runs import EXPERT, Stub, patient, summary
from commands import Run

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


def test_an_image_without_a_name_of_its_own_leads_nowhere(apical: Run, stub: None, tree: Path, tmp_path: Path):
    """'...png' would be the patient '..', whose folder is the one above."""
    odd = tmp_path / "odd" / "...png"
    odd.parent.mkdir()
    shutil.copy(tree / "patient0001" / "4CH_ED.png", odd)
    result = apical("segment", odd, tree / "patient0001", "-o", tmp_path / "deep" / "out", "--no-overlay")
    assert result.code == ExitCode.PARTIAL
    assert "is no name of a patient" in summary(tmp_path / "deep" / "out")["left_out"][0]["reason"]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


def test_a_circle_of_links_is_an_input_error(apical: Run, tmp_path: Path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    result = apical("measure", tmp_path / "circle", "-o", tmp_path / "out", *EXPERT)
    assert (result.code, result.one_line) == (ExitCode.INPUT, True)


def test_a_pixel_size_by_option_is_noted_and_where_it_is_not_used(apical: Run, tree: Path, tmp_path: Path):
    given = ("--spacing", "0.5,0.4")
    assert apical("measure", tree / "patient0001", "-o", tmp_path / "a", *EXPERT, *given).code == ExitCode.OK
    record = json.loads((tmp_path / "a" / "patient0001" / "measurements.json").read_text())
    assert "pixel size 0.5 x 0.4 mm by option" in record["notes"]
    write_camus_nifti(tmp_path / "nifti", make_patient(1, id="patient0009"))
    assert apical("measure", tmp_path / "nifti", "-o", tmp_path / "b", *EXPERT, *given).code == ExitCode.OK
    record = json.loads((tmp_path / "b" / "patient0009" / "measurements.json").read_text())
    (note,) = [note for note in record["notes"] if "by option" in note]
    assert note.startswith("pixel size 0.5 x 0.4 mm by option, not of patient0009_2CH_ED, ")


@pytest.mark.parametrize("sides", ["30.8,0.308", "50,0.01", "0.001", "6"])
def test_a_pixel_size_that_no_scanner_has_is_refused(apical: Run, tree: Path, tmp_path: Path, sides: str):
    result = apical("measure", tree, "-o", tmp_path / "out", *EXPERT, "--spacing", sides)
    assert result.code == ExitCode.INPUT
    assert result.one_line


def test_masks_and_a_model_at_once_are_refused(apical: Run, tree: Path, tmp_path: Path):
    (tmp_path / "masks").mkdir()
    for option in (("--runtime", "onnxruntime"), ("--precision", "bfloat16"), ("--model", "apical-unet-small")):
        result = apical("measure", tree, "-o", tmp_path / "out", *EXPERT, *option)
        assert (result.code, result.one_line) == (ExitCode.INPUT, True)
        if option[0] != "--model":
            result = apical("evaluate", tmp_path / "masks", tree, "-o", tmp_path / "e", *option)
            assert (result.code, result.one_line) == (ExitCode.INPUT, True)
            assert "is no model" in result.err


def test_an_image_called_as_the_overlay_is_leaves_its_patient_out(apical: Run, stub: None, tree: Path, tmp_path: Path):
    (tmp_path / "odd").mkdir()
    shutil.copy(tree / "patient0001" / "4CH_ED.png", tmp_path / "odd" / "overlay.png")
    given = ("segment", tree / "patient0001", tmp_path / "odd" / "overlay.png", "--format", "png")
    assert apical(*given, "-o", tmp_path / "out").code == ExitCode.PARTIAL
    assert "rename the image" in summary(tmp_path / "out")["left_out"][0]["reason"]
    assert apical(*given, "-o", tmp_path / "bare", "--no-overlay").code == ExitCode.OK


def test_names_that_a_spreadsheet_would_compute_are_text_in_the_table(
    apical: Run, stub: None, tree: Path, tmp_path: Path
):
    odd = tmp_path / "odd" / "=1+1.png"
    odd.parent.mkdir()
    shutil.copy(tree / "patient0001" / "4CH_ED.png", odd)
    assert apical("segment", odd, "-o", tmp_path / "out", "--no-overlay").code == ExitCode.OK
    assert "\n'=1+1,'=1+1," in (tmp_path / "out" / "summary.csv").read_text()
    assert summary(tmp_path / "out")["patients"][0]["patient"] == "=1+1"


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
