"""Running a released model: the same masks however the work is shared out, and a precision that is what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from apical.anatomy import View
from apical.errors import ModelError
from apical.phantom import as_study, make_patient
from apical.phantom.beating import as_clip_study, make_beating
from apical.repair import repair_mask
from apical.runtime import Precision, import_openvino
from apical.segment import Segmenter
from apical.study import Study
from commands import Run

if find_spec("openvino") is None:
    pytest.skip("OpenVINO is not installed: pip install apical[openvino]", allow_module_level=True)
openvino = import_openvino()

has_bfloat16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bfloat16 = pytest.mark.skipif(not has_bfloat16, reason="this processor has no bfloat16")


@pytest.fixture(scope="module")
def clip() -> Study:
    """Seven frames: no multiple of what is done at once."""
    study = as_clip_study(make_beating(3, n_beats=1, frame_rate_hz=25, spacing_mm=(1.0, 1.0)), views=(View.A4C,))
    (whole,) = study.clips
    times = None if whole.frame_times_ms is None else whole.frame_times_ms[:7]
    return replace(study, clips=(replace(whole, images=whole.images[:7], frame_times_ms=times),))


def test_openvino_comes_without_its_telemetry():
    script = """
import sys
from apical.segment import Segmenter
Segmenter.load(runtime="openvino")
assert "openvino.tools.ovc" in sys.modules, "no longer imported by OpenVINO: the test shows nothing"
print([name for name, module in sys.modules.items() if "openvino_telemetry" in name and module])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_masks_do_not_depend_on_what_runs_side_by_side(clip: Study):
    one, two = (Segmenter.load(runtime="openvino", threads=n) for n in (1, 2))
    done: list[int] = []
    alone, shared = one.segment(clip), two.segment(clip, done.append)
    (name,) = shared
    assert sum(done) == len(shared[name]) == 7
    np.testing.assert_array_equal(alone[name], shared[name])
    assert alone.doubts == shared.doubts
    assert alone.repairs == shared.repairs


def test_a_clip_is_repaired_frame_by_frame(clip: Study):
    segmenter = Segmenter.load()
    raw = segmenter.segment(clip, repair=False, steady=False)
    repaired = segmenter.segment(clip, steady=False)
    (name,) = raw
    assert raw.repairs == {}
    expected = [repair_mask(mask) for mask in raw[name]]
    np.testing.assert_array_equal(repaired[name], [mask for mask, _ in expected])
    pixels = sum(r.pixels for _, repairs in expected for r in repairs)
    assert sum(r.pixels for r in repaired.repairs.get(name, ())) == pixels


def test_a_precision_that_cannot_be_had_is_refused():
    with pytest.raises(ModelError, match="no precision 'half': choose float32 or bfloat16"):
        Segmenter.load(precision="half")
    pytest.importorskip("onnxruntime")
    with pytest.raises(ModelError, match="float32 only"):
        Segmenter.load(runtime="onnxruntime", precision="bfloat16")


@pytest.mark.skipif(has_bfloat16, reason="this processor has bfloat16")
def test_a_processor_without_bfloat16_is_told_of():
    with pytest.raises(ModelError, match="this processor does not compute in bfloat16"):
        Segmenter.load(runtime="openvino", precision="bfloat16")


@needs_bfloat16
def test_bfloat16_is_named_and_near_float32():
    study = as_study(make_patient(1))
    exact, reduced = (Segmenter.load(precision=precision) for precision in Precision)
    assert exact.runtime.endswith(", float32")
    assert reduced.runtime.endswith(", bfloat16")
    assert (exact.name, reduced.name) == ("apical-unet", "apical-unet in bfloat16")
    masks = [segmenter.segment(study) for segmenter in (exact, reduced)]
    assert masks[0].doubts != masks[1].doubts
    assert all((masks[0][name] != masks[1][name]).mean() < 0.002 for name in masks[0])


@needs_bfloat16
def test_records_and_evaluations_say_in_what_was_computed(apical: Run, phantoms: Path, tmp_path: Path):
    reduced = ("--precision", "bfloat16")
    assert apical("segment", phantoms / "patient0001", "-o", tmp_path / "s", "--no-overlay", *reduced).code == 0
    record = json.loads((tmp_path / "s" / "patient0001" / "segmentation.json").read_text())
    assert record["runtime"].endswith(", bfloat16")
    assert apical("evaluate", "apical-unet", phantoms, "-o", tmp_path / "e", "--all", *reduced).code == 0
    assert json.loads((tmp_path / "e" / "summary.json").read_text())["name"].startswith("apical-unet in bfloat16")


def test_two_first_calls_at_once_do_not_lock_up():
    """OpenVINO's own first look at NumPy does, in one of four processes that import something meanwhile."""
    code = """
import threading
import numpy as np
from apical.segment import Segmenter
segmenter = Segmenter.load(runtime="openvino")
size = segmenter.model.size
images = np.zeros((1, segmenter.model.frames, size, size), np.float32)
calls = [threading.Thread(target=segmenter._runtime, args=(images,)) for _ in range(2)]
beside = threading.Thread(target=__import__, args=("matplotlib.figure",))
for thread in (beside, *calls):
    thread.start()
for thread in (beside, *calls):
    thread.join()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
