"""The commands as a person types them, and what they leave behind."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from apical.anatomy import Phase, View
from apical.cli.console import say
from apical.errors import ExitCode
from apical.models import DEFAULT, installed_models
from apical.phantom import make_patient, write_camus_png
from commands import Run

FRAMES = [f"{view}_{phase}" for view in View for phase in Phase]


def test_segment_writes_native_masks_a_picture_and_a_summary(apical: Run, phantoms: Path, tmp_path: Path):
    result = apical("segment", phantoms, "-o", tmp_path / "out", "--json")
    assert result.code == ExitCode.OK
    summary = json.loads(result.out)
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert "float32" in summary["runtime"]
    for patient in ("patient0001", "patient0002"):
        for frame in FRAMES:
            image = sitk.ReadImage(str(phantoms / patient / f"{patient}_{frame}.nii.gz"))
            mask = sitk.ReadImage(str(tmp_path / "out" / patient / f"{patient}_{frame}.mhd"))
            assert mask.GetSize() == image.GetSize()
            assert mask.GetSpacing() == pytest.approx(image.GetSpacing())
            assert mask.GetOrigin() == pytest.approx(image.GetOrigin())
            assert mask.GetPixelID() == sitk.sitkUInt8
            assert set(np.unique(sitk.GetArrayViewFromImage(mask))) <= {0, 1, 2, 3}
        assert (tmp_path / "out" / patient / "overlay.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "out" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert all(int(row["lv_cavity_pixels"]) > 1000 for row in rows)


@pytest.mark.parametrize("suffix", ["nii.gz", "png"])
def test_other_mask_formats_hold_the_same_labels(apical: Run, phantoms: Path, tmp_path: Path, suffix: str):
    patient = phantoms / "patient0001"
    assert apical("segment", patient, "-o", tmp_path / "a", "--no-overlay").code == 0
    assert apical("segment", patient, "-o", tmp_path / "b", "--no-overlay", "--format", suffix).code == 0
    one = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a" / "patient0001" / "patient0001_4CH_ED.mhd")))
    other = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "b" / "patient0001" / f"patient0001_4CH_ED.{suffix}")))
    np.testing.assert_array_equal(one, other // 85 if suffix == "png" else other)


def test_both_runtimes_give_the_same_masks(apical: Run, phantoms: Path, tmp_path: Path):
    if find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed: pip install apical[openvino]")
    for runtime in ("openvino", "onnxruntime"):
        command = ("segment", phantoms / "patient0001", "-o", tmp_path / runtime, "--runtime", runtime, "--no-overlay")
        assert apical(*command).code == 0
    for frame in FRAMES:
        a, b = (
            np.fromfile(tmp_path / runtime / "patient0001" / f"patient0001_{frame}.raw", np.uint8)
            for runtime in ("openvino", "onnxruntime")
        )
        assert (a != b).mean() < 1e-4


def test_measure_gives_both_definitions_and_a_report(apical: Run, phantoms: Path, tmp_path: Path):
    result = apical("measure", phantoms / "patient0001", "-o", tmp_path / "out", "--masks", "reference")
    assert result.code == ExitCode.OK
    with (tmp_path / "out" / "measurements.csv").open() as file:
        rows = list(csv.DictReader(file))
    first = ["patient", "definition", "method", "edv_ml", "esv_ml", "ef_percent", "status", "findings"]
    assert list(rows[0])[:8] == first
    assert [row["definition"] for row in rows] == ["ase", "camus"]
    truth = make_patient(1, id="patient0001").truth
    assert float(rows[0]["edv_ml"]) == pytest.approx(truth.edv_ml, rel=0.03)
    assert float(rows[0]["ef_percent"]) == pytest.approx(truth.ef_percent, abs=1.5)
    page = (tmp_path / "out" / "patient0001" / "report.html").read_text()
    assert "not a medical device" in page.lower()


def test_saved_masks_are_those_there_are(apical: Run, tmp_path: Path):
    write_camus_png(tmp_path / "png", make_patient(1, id="patient0001"))
    (tmp_path / "png" / "patient0001" / "2CH_ED_gt.png").unlink()
    command = ("measure", tmp_path / "png", "--masks", "reference", "--no-report", "--save-masks", "-o")
    assert apical(*command, tmp_path / "out").code == ExitCode.OK
    assert len(list((tmp_path / "out").rglob("*.mhd"))) == 3


def test_a_png_has_an_ejection_fraction_but_no_millilitres(apical: Run, tmp_path: Path):
    write_camus_png(tmp_path / "png", make_patient(1, id="patient0001"))
    command = ("measure", tmp_path / "png", "--masks", "reference", "--no-report", "-o")
    assert apical(*command, tmp_path / "a").code == 0
    with (tmp_path / "a" / "measurements.csv").open() as file:
        row = next(csv.DictReader(file))
    assert (row["edv_ml"], row["esv_ml"]) == ("", "")
    assert 30 < float(row["ef_percent"]) < 90
    assert "aspect unknown" in row["method"]
    assert apical(*command, tmp_path / "b", "--spacing", "0.59,0.72").code == 0
    with (tmp_path / "b" / "measurements.csv").open() as file:
        assert float(next(csv.DictReader(file))["edv_ml"]) > 20


def test_prepare_then_evaluate_from_a_store(apical: Run, phantoms: Path, tmp_path: Path):
    store = tmp_path / "s.h5"
    assert apical("prepare", phantoms, "-o", store).code == 0
    assert apical("prepare", phantoms, "-o", store).code == ExitCode.OUTPUT
    result = apical("evaluate", DEFAULT, store, "-o", tmp_path / "e", "--all", "--json")
    assert result.code == 0
    scores = json.loads(result.out)
    assert (scores["n_patients"], scores["n_frames"], scores["n_missing"]) == (2, 8, 0)
    assert apical("compare", tmp_path / "e", tmp_path / "e", "-o", tmp_path / "t.md").code == 0
    assert "| model |" in (tmp_path / "t.md").read_text()


def test_a_model_is_scored_on_unseen_patients_only_unless_asked(apical: Run, phantoms: Path, tmp_path: Path):
    # patient0001 and 0002 of the phantoms bear names that may lie on either side of the model's own split
    for model in installed_models():
        unseen = {"patient0001", "patient0002"} & set(model.config["training"]["split"]["test"])
        result = apical("evaluate", model.name, phantoms, "-o", tmp_path / model.name, "--json")
        if unseen:
            assert json.loads(result.out)["n_patients"] == len(unseen)
        else:
            assert (result.code, result.one_line) == (ExitCode.INPUT, True)


def test_an_existing_output_is_kept(apical: Run, phantoms: Path, tmp_path: Path):
    out = tmp_path / "out"
    assert apical("segment", phantoms / "patient0001", "-o", out, "--no-overlay").code == 0
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    result = apical("segment", phantoms / "patient0001", "-o", out, "--no-overlay")
    assert result.code == ExitCode.OUTPUT
    assert result.one_line
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    assert apical("segment", phantoms / "patient0001", "-o", out, "--no-overlay", "--overwrite").code == 0


def test_a_mask_of_somebody_else_is_not_overwritten(apical: Run, phantoms: Path, tmp_path: Path):
    mine = tmp_path / "out" / "patient0001" / "patient0001_4CH_ED.mhd"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    for _ in range(2):  # the first refusal must not make the folder ours
        assert apical("segment", phantoms / "patient0001", "-o", tmp_path / "out").code == ExitCode.OUTPUT
        assert mine.read_text() == "precious"


def test_a_table_of_somebody_else_is_not_overwritten(apical: Run, phantoms: Path, tmp_path: Path):
    mine = tmp_path / "out" / "summary.csv"
    mine.parent.mkdir()
    mine.write_text("precious")
    for _ in range(2):
        assert apical("segment", phantoms / "patient0001", "-o", tmp_path / "out").code == ExitCode.OUTPUT
        assert mine.read_text() == "precious"


def test_a_wrong_option_is_a_usage_error(apical: Run):
    assert apical("segment", "--no-such-option").code == ExitCode.USAGE


def test_info_and_models_speak_json(apical: Run, phantoms: Path):
    images = json.loads(apical("info", phantoms, "--json").out)["images"]
    assert {i["name"] for i in images} >= {"patient0001_2CH_ED", "patient0002_4CH_ES"}
    models = json.loads(apical("models", "--json").out)
    assert [m["name"] for m in models if m["default"]] == [DEFAULT]


@pytest.mark.parametrize(
    "command", ["segment", "measure", "evaluate", "compare", "info", "prepare", "train", "export", "demo"]
)
def test_every_command_has_help(apical: Run, command: str):
    result = apical(command, "--help")
    assert result.code == ExitCode.OK
    assert "Usage" in result.out


def test_help_tells_the_defaults(apical: Run):
    for command, default in (("measure", "predicted"), ("train", "50"), ("export", "the folder's")):
        text = " ".join(apical(command, "--help").out.replace("│", " ").split())
        assert f"(default: {default})" in text, command


def test_a_reader_that_goes_away_is_no_error():
    for command in ("models", "models --json"):
        script = f'"{sys.executable}" -m apical {command} | true; exit ${{PIPESTATUS[0]}}'
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), command


def test_paths_are_said_as_they_are(capfd: pytest.CaptureFixture[str]):
    say("out:heart:[red]")
    assert capfd.readouterr().err == "out:heart:[red]\n"


def test_a_real_clip_is_deidentified_by_key(apical: Run, tmp_path: Path):
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    source = Path(str(get_testdata_file("examples_ybr_color.dcm", download=False)))
    key = tmp_path / "key"
    key.write_bytes(b"a secret of sixteen bytes or more")
    result = apical("deidentify", source, "-o", tmp_path / "out", "--key", key, "--json")
    assert result.code == ExitCode.OK
    (copy,) = json.loads(result.out)["written"]
    assert dcmread(copy).PatientID != dcmread(source).PatientID
    assert apical("deidentify", source, "-o", tmp_path / "out", "--key", key).code == ExitCode.OUTPUT
    assert apical("deidentify", source, "-o", tmp_path / "b", "--key", tmp_path / "gone").code == ExitCode.INPUT


def test_a_store_becomes_an_nnunet_dataset(apical: Run, phantoms: Path, tmp_path: Path):
    assert apical("prepare", phantoms, "-o", tmp_path / "s.h5").code == 0
    result = apical("nnunet", tmp_path / "s.h5", "-o", tmp_path / "Dataset101_PHANTOM", "--json")
    assert result.code == ExitCode.OK
    assert json.loads(result.out)["cases"] == 8
    assert (tmp_path / "Dataset101_PHANTOM" / "dataset.json").is_file()


def test_a_real_clip_gives_beats_and_a_film_but_no_millilitres(apical: Run, tmp_path: Path):
    pytest.importorskip("av", reason="films need `pip install apical[clinic]`")
    pytest.importorskip("highdicom", reason="DICOM SR needs `pip install apical[clinic]`")
    from pydicom.data import get_testdata_file

    source = get_testdata_file("examples_ybr_color.dcm", download=False)
    result = apical("measure", source, "-o", tmp_path / "out", "--film", "--dicom")
    assert result.code == ExitCode.OK
    with (tmp_path / "out" / "measurements.csv").open() as file:
        row = next(csv.DictReader(file))
    assert (row["edv_ml"], row["esv_ml"], row["status"]) == ("", "", "caution")
    assert 30 < float(row["ef_percent"]) < 80
    assert "spacing_unknown" in row["findings"]
    written = {p.name for p in (tmp_path / "out" / "examples_ybr_color").iterdir()}
    stem = "examples_ybr_color"
    assert written >= {"report.html", "beats.csv", f"{stem}_curve.png", f"{stem}.mp4", f"{stem}.gif"}
    assert written >= {f"{stem}_seg.dcm", "measurements_sr.dcm", "echo_report_sr.dcm", "report_pdf.dcm"}


def test_a_clips_masks_are_one_volume(apical: Run, tmp_path: Path):
    from pydicom.data import get_testdata_file

    source = get_testdata_file("examples_ybr_color.dcm", download=False)
    assert apical("segment", source, "-o", tmp_path / "out").code == ExitCode.OK
    command = ("measure", source, "-o", tmp_path / "measured", "--no-report", "--save-masks")
    assert apical(*command).code == ExitCode.OK
    raw = "examples_ybr_color/examples_ybr_color.raw"
    assert (tmp_path / "measured" / raw).read_bytes() == (tmp_path / "out" / raw).read_bytes()
    mask = sitk.ReadImage(str(tmp_path / "out" / "examples_ybr_color" / "examples_ybr_color.mhd"))
    assert mask.GetSize() == (320, 240, 30)
    assert "ElementSpacing" not in (tmp_path / "out" / "examples_ybr_color" / "examples_ybr_color.mhd").read_text()
