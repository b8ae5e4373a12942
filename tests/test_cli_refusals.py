"""What the commands refuse: one clear line for every problem, documented exit codes, nothing lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apical.errors import ExitCode
from commands import Run


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
    assert result.one_line, result.err
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
        assert result.one_line


@pytest.mark.parametrize(
    "command",
    [
        ("segment", "PHANTOM", "-o", "OUT", "--model", "unheard-of"),
        ("measure", "PHANTOM", "-o", "OUT", "--model", "unheard-of"),
        ("segment", "PHANTOM", "-o", "OUT", "--runtime", "abacus"),
        ("segment", "PHANTOM", "-o", "OUT", "--precision", "half"),
        ("measure", "PHANTOM", "-o", "OUT", "--precision", "bfloat16", "--runtime", "onnxruntime"),
    ],
)
def test_an_unknown_model_or_runtime_is_an_error(apical: Run, phantoms: Path, tmp_path: Path, command: tuple[str, ...]):
    named = {"PHANTOM": phantoms / "patient0001", "OUT": tmp_path / "out"}
    result = apical(*(named.get(word, word) for word in command))
    assert result.code == ExitCode.MODEL
    assert result.one_line


@pytest.mark.parametrize(
    "arguments",
    [
        ("segment", "PHANTOM", "-o", "OUT", "--format", "bmp"),
        ("segment", "PHANTOM", "-o", "OUT", "--spacing", "-1,2"),
        ("measure", "PHANTOM", "-o", "OUT", "--sex", "unknown"),
        ("train", "NOTHING", "-o", "OUT"),
        ("train", "NOTHING", "-o", "OUT", "--view", "PLAX"),
        ("train", "NOTHING", "-o", "OUT", "--phantom-share", "0.2"),
        ("restore", "apical-unet", "NOTHING", "-o", "OUT"),
        ("evaluate", "NOTHING", "PHANTOM", "-o", "OUT"),
        ("export", "NOTHING", "-o", "OUT"),
        ("info", "NOTHING"),
    ],
)
def test_a_wrong_value_is_explained(apical: Run, phantoms: Path, tmp_path: Path, arguments: tuple[str, ...]):
    named = {"PHANTOM": phantoms / "patient0001", "OUT": tmp_path / "out", "NOTHING": tmp_path / "nothing"}
    result = apical(*(named.get(word, word) for word in arguments))
    assert result.code == ExitCode.INPUT
    assert result.one_line
