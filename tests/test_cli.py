"""The commands as a person types them: results, one clear line for every problem, documented exit codes."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from apical.anatomy import Phase, View
from apical.cli import main
from apical.errors import ExitCode
from apical.models import DEFAULT, installed_models
from apical.phantom import make_patient, write_camus_nifti, write_camus_png

pytestmark = pytest.mark.skipif(
    DEFAULT not in {m.name for m in installed_models()}, reason="the released model is not in this checkout"
)


class Result(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def apical(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run one command in this process; whatever C libraries print is captured as well."""
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["apical", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return Result(int(stopped.value.code or 0), *capfd.readouterr())

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    for seed in (1, 2):
        write_camus_nifti(folder, make_patient(seed, id=f"patient{seed:04d}"))
    return folder


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
    pytest.importorskip("openvino")
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
    split = next(m for m in installed_models() if m.name == DEFAULT).config["training"]["split"]
    unseen = {"patient0001", "patient0002"} & set(split["test"])
    result = apical("evaluate", DEFAULT, phantoms, "-o", tmp_path / "e", "--json")
    if unseen:
        assert json.loads(result.out)["n_patients"] == len(unseen)
    else:
        assert result.code == ExitCode.INPUT


def test_an_interrupted_segmentation_goes_on(apical: Run, phantoms: Path, tmp_path: Path):
    out = tmp_path / "out"
    command = ("segment", phantoms, "-o", out, "--no-overlay")
    assert apical(*command).code == 0
    summary = json.loads((out / "summary.json").read_text())
    # what a kill between the two patients leaves behind: the marker, one whole patient, half of another
    job = {"model": summary["model_sha256"], "format": "mhd", "spacing_mm": None, "overlay": False}
    (out / ".apical-run.json").write_text(json.dumps(job))
    (out / "summary.json").unlink()
    (out / "patient0002" / "segmentation.json").unlink()
    kept = out / "patient0001" / "patient0001_4CH_ED.raw"
    stamp = kept.stat().st_mtime_ns
    assert apical(*command).code == 0
    assert kept.stat().st_mtime_ns == stamp
    assert json.loads((out / "summary.json").read_text()) == summary


def test_an_existing_output_is_kept(apical: Run, phantoms: Path, tmp_path: Path):
    out = tmp_path / "out"
    assert apical("segment", phantoms / "patient0001", "-o", out, "--no-overlay").code == 0
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    result = apical("segment", phantoms / "patient0001", "-o", out, "--no-overlay")
    assert result.code == ExitCode.OUTPUT
    assert one_line(result)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    assert apical("segment", phantoms / "patient0001", "-o", out, "--no-overlay", "--overwrite").code == 0


def test_a_mask_of_somebody_else_is_not_overwritten(apical: Run, phantoms: Path, tmp_path: Path):
    mine = tmp_path / "out" / "patient0001" / "patient0001_4CH_ED.mhd"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    assert apical("segment", phantoms / "patient0001", "-o", tmp_path / "out").code == ExitCode.OUTPUT
    assert mine.read_text() == "precious"


def one_line(result: Result) -> bool:
    """Whether a person is told once, in one line, without a traceback."""
    lines = [line for line in result.err.splitlines() if line.strip()]
    return "Traceback" not in result.err and len([line for line in lines if line.startswith("apical:")]) == 1


def empty(folder: Path) -> Path:
    (folder / "patient0001_4CH_ED.png").touch()
    return folder / "patient0001_4CH_ED.png"


def truncated(folder: Path) -> Path:
    path = folder / "patient0001_4CH_ED.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    return path


def header(folder: Path, raw: str, size: str = "8 8") -> Path:
    path = folder / "patient0001_4CH_ED.mhd"
    path.write_text(
        f"ObjectType = Image\nNDims = 2\nDimSize = {size}\nElementType = MET_UCHAR\nElementDataFile = {raw}\n"
    )
    return path


def raw_missing(folder: Path) -> Path:
    return header(folder, "gone.raw")


def raw_short(folder: Path) -> Path:
    (folder / "short.raw").write_bytes(b"1234")
    return header(folder, "short.raw")


def raw_outside(folder: Path) -> Path:
    (folder.parent / "outside.raw").write_bytes(bytes(64))
    return header(folder, "../outside.raw")


def raw_absolute(folder: Path) -> Path:
    return header(folder, "/etc/passwd")


def pair(folder: Path, mask: np.ndarray) -> Path:
    image = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(image).save(folder / "patient0001_4CH_ED.png")
    Image.fromarray(mask.astype(np.uint8)).save(folder / "patient0001_4CH_ED_gt.png")
    return folder / "patient0001_4CH_ED.png"


def mask_of_another_size(folder: Path) -> Path:
    return pair(folder, np.zeros((32, 64)))


def labels_outside(folder: Path) -> Path:
    return pair(folder, np.full((64, 64), 7))


def no_echo(folder: Path) -> Path:
    (folder / "notes.txt").write_text("nothing here")
    return folder


def photograph(folder: Path) -> Path:
    rows, columns = np.indices((200, 300))
    colour = np.stack([rows, columns % 256, 255 - rows], axis=-1).astype(np.uint8)
    Image.fromarray(colour).save(folder / "holiday.png")
    return folder / "holiday.png"


def huge(folder: Path) -> Path:
    path = folder / "patient0001_4CH_ED.png"
    Image.new("L", (20_000, 20_000)).save(path)
    return path


HOSTILE = [empty, truncated, raw_missing, raw_short, raw_outside, raw_absolute, mask_of_another_size, labels_outside]
HOSTILE += [no_echo, photograph, huge]


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("command", ["segment", "measure"])
def test_bad_input_gets_one_line_and_a_code(apical: Run, tmp_path: Path, command: str, make: Callable[[Path], Path]):
    folder = tmp_path / "in"
    folder.mkdir()
    path = make(folder)
    result = apical(command, path, "-o", tmp_path / "out")
    assert result.code == ExitCode.INPUT
    assert one_line(result), result.err
    assert path.stem.split(".")[0] in result.err
    assert not list((tmp_path / "out").rglob("*.mhd"))


def test_a_broken_patient_is_named_and_the_others_are_done(apical: Run, phantoms: Path, tmp_path: Path):
    tree = tmp_path / "tree"
    shutil.copytree(phantoms, tree)
    broken = tree / "patient0001" / "patient0001_2CH_ED.nii.gz"
    broken.write_bytes(b"rubbish")
    result = apical("segment", tree, "-o", tmp_path / "out", "--no-overlay")
    assert result.code == ExitCode.PARTIAL
    assert "patient0001_2CH_ED" in result.err
    assert (tmp_path / "out" / "patient0002" / "patient0002_4CH_ES.mhd").is_file()
    left_out = json.loads((tmp_path / "out" / "summary.json").read_text())["left_out"]
    assert [Path(item["path"]).name for item in left_out] == [broken.name]
    strict = ("prepare", tree, "--strict", "-o")
    assert apical(*strict, tmp_path / "a.h5").code == ExitCode.PARTIAL
    assert apical("prepare", tree, "-o", tmp_path / "b.h5").code == ExitCode.OK


def test_an_output_that_cannot_be_written_is_refused_first(apical: Run, phantoms: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    for command in (("segment", phantoms), ("prepare", phantoms)):
        result = apical(*command, "-o", tmp_path / "file" / "out.h5")
        assert result.code == ExitCode.OUTPUT
        assert one_line(result)


@pytest.mark.parametrize(
    "command",
    [
        ("segment", "PHANTOM", "-o", "OUT", "--model", "unheard-of"),
        ("measure", "PHANTOM", "-o", "OUT", "--model", "unheard-of"),
        ("segment", "PHANTOM", "-o", "OUT", "--runtime", "abacus"),
    ],
)
def test_an_unknown_model_or_runtime_is_an_error(apical: Run, phantoms: Path, tmp_path: Path, command: tuple[str, ...]):
    named = {"PHANTOM": phantoms / "patient0001", "OUT": tmp_path / "out"}
    result = apical(*(named.get(word, word) for word in command))
    assert result.code == ExitCode.MODEL
    assert one_line(result)


@pytest.mark.parametrize(
    "arguments",
    [
        ("segment", "PHANTOM", "-o", "OUT", "--format", "bmp"),
        ("segment", "PHANTOM", "-o", "OUT", "--spacing", "-1,2"),
        ("measure", "PHANTOM", "-o", "OUT", "--sex", "unknown"),
        ("train", "NOTHING", "-o", "OUT"),
        ("train", "NOTHING", "-o", "OUT", "--view", "PLAX"),
        ("evaluate", "NOTHING", "PHANTOM", "-o", "OUT"),
        ("export", "NOTHING", "-o", "OUT"),
        ("info", "NOTHING"),
    ],
)
def test_a_wrong_value_is_explained(apical: Run, phantoms: Path, tmp_path: Path, arguments: tuple[str, ...]):
    named = {"PHANTOM": phantoms / "patient0001", "OUT": tmp_path / "out", "NOTHING": tmp_path / "nothing"}
    result = apical(*(named.get(word, word) for word in arguments))
    assert result.code == ExitCode.INPUT
    assert one_line(result)


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
    assert written >= {f"{stem}_seg.dcm", "measurements_sr.dcm", "report_pdf.dcm"}


def test_a_clips_masks_are_one_volume(apical: Run, tmp_path: Path):
    from pydicom.data import get_testdata_file

    source = get_testdata_file("examples_ybr_color.dcm", download=False)
    assert apical("segment", source, "-o", tmp_path / "out").code == ExitCode.OK
    mask = sitk.ReadImage(str(tmp_path / "out" / "examples_ybr_color" / "examples_ybr_color.mhd"))
    assert mask.GetSize() == (320, 240, 30)
    assert "ElementSpacing" not in (tmp_path / "out" / "examples_ybr_color" / "examples_ybr_color.mhd").read_text()
