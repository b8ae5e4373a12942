"""Where a released network computes: ONNX Runtime or OpenVINO, in the precision that was asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from apical.errors import ModelError

_STREAMS = 2
"""Calls of OpenVINO side by side: none waits while another brings frames to the network's grid and masks back."""


class Precision(StrEnum):
    """In what the network computes; the value is its name in options and results."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


Outputs = Mapping[str, NDArray[np.float32]]
"""What the network gives, by name, one entry per frame: scores, views, confidence, unlike, orientation.

A model that was exported before there was an orientation has none; its pictures are taken for standard.
"""


class Runtime(Protocol):
    """A network that is loaded; `images` are grey levels (N, frames, size, size)."""

    name: str
    calls: int
    """How many calls may run side by side."""

    def __call__(self, images: NDArray[np.float32]) -> Outputs: ...


def start_runtime(onnx: Path, runtime: str, threads: int | None, precision: str) -> Runtime:
    """Load a network into a runtime by its name; 'auto' takes OpenVINO where it is installed.

    Raises
    ------
    ModelError
        When the runtime is unknown or not installed, cannot load the network, or runtime or processor cannot compute
        in the precision.
    """
    if precision not in list(Precision):
        raise ModelError(f"no precision '{precision}': choose {' or '.join(Precision)}")
    if runtime == "auto":
        runtime = "openvino" if find_spec("openvino") else "onnxruntime"
    starters = {"openvino": _openvino, "onnxruntime": _onnxruntime}
    if runtime not in starters:
        raise ModelError(f"no runtime '{runtime}': choose from auto, {', '.join(starters)}")
    if find_spec(runtime) is None:
        raise ModelError(f"{runtime} is not installed: `pip install {runtime}`, or use --runtime auto")
    try:
        return starters[runtime](onnx, threads, Precision(precision))
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{onnx}: {runtime} cannot load it ({str(error).splitlines()[0]})") from error


def _onnxruntime(path: Path, threads: int | None, precision: Precision) -> Runtime:
    import onnxruntime

    if precision is not Precision.FLOAT32:
        raise ModelError(f"ONNX Runtime computes in float32 only: use --runtime openvino, or leave out {precision}")
    onnxruntime.disable_telemetry_events()  # of its builds for Windows
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    class Session:
        name = f"ONNX Runtime {onnxruntime.__version__}, {precision}"
        calls = 1

        def __call__(self, images: NDArray[np.float32]) -> Outputs:
            return dict(zip(names, session.run(names, {"images": images}), strict=True))

    return Session()


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    It tells its maker of every import, without being asked, and forks a process for it beside our threads, which
    has locked us up.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return import_module("openvino")


def _openvino(path: Path, threads: int | None, precision: Precision) -> Runtime:
    openvino = import_openvino()
    core = openvino.Core()
    hint = {Precision.FLOAT32: "f32", Precision.BFLOAT16: "bf16"}[precision]
    # Each stream has cores of its own, which wait for no other's; the sums, and so the masks, stay the same.
    streams = min(_STREAMS, threads or _STREAMS)
    hints = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": str(streams)}
    if threads:
        hints["INFERENCE_NUM_THREADS"] = str(threads)
    # Without a word OpenVINO computes in float32 on some processors that have no bfloat16, and slowly on others.
    if precision is Precision.BFLOAT16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ModelError(f"this processor does not compute in {precision}: use --precision {Precision.FLOAT32}")
    compiled = core.compile_model(core.read_model(path), "CPU", hints)
    version = openvino.__version__.split("-")[0]
    # Its first look at NumPy locks up when two threads have it at once, so it is had here.
    _ = openvino.Tensor(np.zeros(1, np.float32)).data
    free: SimpleQueue[Any] = SimpleQueue()
    for _ in range(streams):
        free.put(compiled.create_infer_request())

    class Session:
        name = f"OpenVINO {version}, {precision}"
        calls = streams

        def __call__(self, images: NDArray[np.float32]) -> Outputs:
            request = free.get()
            try:
                return {output.any_name: values for output, values in request.infer(images, share_inputs=True).items()}
            finally:
                free.put(request)

    return Session()
