"""Segmenter: runs a released model on the frames and clips of a study, without torch.

OpenVINO is used where it is installed, ONNX Runtime otherwise; the result says which, and at what
precision. Both run in float32, so that the masks don't depend on the machine; bfloat16, which takes half the
time on processors that have it, is used only when asked for.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from apical import grid
from apical.anatomy import Structure, View
from apical.errors import InputError, ModelError
from apical.models import DEFAULT, Model, find_model
from apical.repair import repair_mask
from apical.study import Doubt, Frame, Image, Maker, Mask, Repair, Segmentation, Study

BATCH = 4
"""Frames per call: enough to fill a core, few enough for calls side by side to end together."""

_STREAMS = 2
"""Calls of OpenVINO side by side: none waits while another brings frames to the network's grid and masks back."""


class Precision(StrEnum):
    """In what the network computes; the value is its name in options and results."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


Outputs = Mapping[str, NDArray[np.float32]]
"""What the network gives, by name, one entry per frame: scores, views, confidence, unlike."""


class _Runtime(Protocol):
    name: str
    calls: int
    """How many calls may run side by side."""

    def __call__(self, images: NDArray[np.float32]) -> Outputs: ...


class Segmenter:
    """A model ready to run.

    Examples
    --------
    >>> segmenter = Segmenter.load()  # doctest: +SKIP
    >>> masks = segmenter.segment(apical.read_study("patient0001/"))  # doctest: +SKIP
    """

    def __init__(self, model: Model, runtime: _Runtime, precision: Precision) -> None:
        self.model, self.precision = model, precision
        self._runtime = runtime

    @classmethod
    def load(
        cls,
        model: str | Path = DEFAULT,
        runtime: str = "auto",
        threads: int | None = None,
        precision: str = Precision.FLOAT32,
    ) -> Segmenter:
        """Load an installed model by name, or an exported one by its folder.

        Raises
        ------
        ModelError
            When the model or the runtime is unknown, not installed or damaged, or when runtime or processor
            cannot compute in the precision.
        """
        if precision not in list(Precision):
            raise ModelError(f"no precision '{precision}': choose {' or '.join(Precision)}")
        found = find_model(model)
        if runtime == "auto":
            runtime = "openvino" if find_spec("openvino") else "onnxruntime"
        starters = {"openvino": _openvino, "onnxruntime": _onnxruntime}
        if runtime not in starters:
            raise ModelError(f"no runtime '{runtime}': choose from auto, {', '.join(starters)}")
        if find_spec(runtime) is None:
            raise ModelError(f"{runtime} is not installed: `pip install {runtime}`, or use --runtime auto")
        try:
            precision = Precision(precision)
            return cls(found, starters[runtime](found.onnx, threads, precision), precision)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{found.onnx}: {runtime} cannot load it ({str(error).splitlines()[0]})") from error

    @property
    def name(self) -> str:
        """Name of the model, with the precision where that is another than the usual one."""
        return self.model.name + (f" in {self.precision}" if self.precision is not Precision.FLOAT32 else "")

    @property
    def runtime(self) -> str:
        """Runtime, its version and precision."""
        return self._runtime.name

    def segment(
        self,
        study: Study,
        on_image: Callable[[int], None] = lambda images: None,
        *,
        repair: bool = True,
        steady: bool = True,
    ) -> Segmentation:
        """Segment every frame and clip of a study.

        Parameters
        ----------
        on_image
            Called with the number of images just done, for a progress bar.
        repair
            Whether masks are made anatomically possible (`apical.repair`); what was changed is in the result.
        steady
            Whether the borders of a clip's masks are smoothed in time (`apical.cycle.stabilise`).

        Raises
        ------
        InputError
            When the model was not trained for a view of the study.
        """
        masks: dict[str, NDArray[np.uint8]] = {}
        doubts: dict[str, Doubt] = {}
        views: dict[str, tuple[View, float]] = {}
        repairs: dict[str, tuple[Repair, ...]] = {}
        for item in study.items:
            if item.view is not None and item.view not in self.model.views:
                known = ", ".join(self.model.views)
                raise InputError(f"{item.source or item.name}: the model '{self.model.name}' knows {known} only")
        if study.frames:
            boxes = [grid.find_sector(f.image, f.region) for f in study.frames]
            pairs = [(f.image, study.other_phase(f)) for f in study.frames]
            made, done, told = self._run(pairs, boxes, on_image, repair)
            for i, frame in enumerate(study.frames):
                masks[frame.name], repairs[frame.name] = made[i], done[i]
                views[frame.name], doubts[frame.name] = _told(told, slice(i, i + 1))
        for clip in study.clips:
            box = grid.find_sector(clip.images, clip.region)
            made, done, told = self._run([(i, None) for i in clip.images], [box] * len(clip.images), on_image, repair)
            masks[clip.name], repairs[clip.name] = np.stack(made), _added_up(done)
            repairs |= {clip.frame_name(k): of_frame for k, of_frame in enumerate(done)}
            views[clip.name], doubts[clip.name] = _told(told, slice(None))
        if steady and study.clips:
            from apical.cycle.stability import stabilise

            masks |= {clip.name: stabilise(masks[clip.name], clip.frame_times_ms) for clip in study.clips}
        if len(self.model.views) < 2:
            views = {}  # a model that knows one view finds it in every picture: that is no recognition
        repairs = {name: done for name, done in repairs.items() if done}
        return Segmentation(
            masks, self.model.name, self.runtime, Maker.MODEL, views, repairs, doubts, self.model.calibration
        )

    def _run(
        self,
        pairs: list[tuple[Image, Frame | None]],
        boxes: list[grid.Box],
        on_image: Callable[[int], None],
        repair: bool,
    ) -> tuple[list[Mask], list[tuple[Repair, ...]], Outputs]:
        told: dict[str, list[NDArray[np.float32]]] = {"views": [], "confidence": [], "unlike": []}

        def call(start: int) -> tuple[list[tuple[Mask, tuple[Repair, ...]]], Outputs]:
            part = list(zip(pairs[start : start + size], boxes[start : start + size], strict=True))
            batch = np.stack([grid.pair_to_network(*pair, box, self.model.size) for pair, box in part])
            outputs = self._runtime(np.ascontiguousarray(batch[:, : self.model.frames]))
            made = [
                grid.to_native(s, box, (image.shape[0], image.shape[1]))
                for s, ((image, _), box) in zip(outputs["scores"], part, strict=True)
            ]
            return [repair_mask(m) if repair else (m, ()) for m in made], {name: outputs[name] for name in told}

        masks: list[Mask] = []
        repairs: list[tuple[Repair, ...]] = []
        size = min(BATCH, -(-len(pairs) // self._runtime.calls))
        with ThreadPoolExecutor(self._runtime.calls) as pool:
            for made, outputs in pool.map(call, range(0, len(pairs), size)):
                masks += [mask for mask, _ in made]
                repairs += [done for _, done in made]
                for name, values in told.items():
                    values.append(outputs[name])
                on_image(len(made))
        return masks, repairs, {name: np.concatenate(values) for name, values in told.items()}


def _told(outputs: Outputs, part: slice) -> tuple[tuple[View, float], Doubt]:
    """View with its probability, and doubt, on average over a part of the pictures."""
    probability = _softmax(outputs["views"][part]).mean(axis=0)
    best = int(probability.argmax())
    confidence = outputs["confidence"][part].mean(axis=0)
    doubt = Doubt(
        {s: float(c) for s, c in zip(Structure, confidence, strict=True)}, float(np.median(outputs["unlike"][part]))
    )
    return (list(View)[best], float(probability[best])), doubt


def _added_up(repairs: Iterable[tuple[Repair, ...]]) -> tuple[Repair, ...]:
    """Return the repairs of a clip's frames, each kind once with all its pixels."""
    pixels: Counter[str] = Counter()
    for of_frame in repairs:
        pixels.update({r.what: r.pixels for r in of_frame})
    return tuple(Repair(what, n) for what, n in pixels.items())


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = raised / raised.sum(axis=1, keepdims=True)
    return result


def _onnxruntime(path: Path, threads: int | None, precision: Precision) -> _Runtime:
    import onnxruntime

    if precision is not Precision.FLOAT32:
        raise ModelError(f"ONNX Runtime computes in float32 only: use --runtime openvino, or leave out {precision}")
    onnxruntime.disable_telemetry_events()  # of its builds for Windows
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    class Runtime:
        name = f"ONNX Runtime {onnxruntime.__version__}, {precision}"
        calls = 1

        def __call__(self, images: NDArray[np.float32]) -> Outputs:
            return dict(zip(names, session.run(names, {"images": images}), strict=True))

    return Runtime()


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    It tells its maker of every import, without being asked, and forks a process for it beside our threads, which
    has locked us up.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return import_module("openvino")


def _openvino(path: Path, threads: int | None, precision: Precision) -> _Runtime:
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

    class Runtime:
        name = f"OpenVINO {version}, {precision}"
        calls = streams

        def __call__(self, images: NDArray[np.float32]) -> Outputs:
            request = free.get()
            try:
                return {output.any_name: values for output, values in request.infer(images, share_inputs=True).items()}
            finally:
                free.put(request)

    return Runtime()
