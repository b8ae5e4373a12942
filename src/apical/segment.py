"""Segmenter: runs a released model on the frames and clips of a study, without torch.

OpenVINO is used where it is installed, ONNX Runtime otherwise; the result says which, and at what
precision. Both run in float32, so that the masks don't depend on the machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from apical import grid
from apical.anatomy import Structure, View
from apical.errors import InputError, ModelError
from apical.models import DEFAULT, Model, find_model
from apical.repair import repair_mask
from apical.study import Doubt, Frame, Image, Mask, Repair, Segmentation, Study

BATCH = 8
"""Frames per call: enough to fill the cores, small enough to stay far below 1 GB."""


Outputs = Mapping[str, NDArray[np.float32]]
"""What the network gives, by name, one entry per frame: scores, views, confidence, unlike."""


class _Runtime(Protocol):
    name: str

    def __call__(self, images: NDArray[np.float32]) -> Outputs: ...


class Segmenter:
    """A model ready to run.

    Examples
    --------
    >>> segmenter = Segmenter.load()  # doctest: +SKIP
    >>> masks = segmenter.segment(apical.read_study("patient0001/"))  # doctest: +SKIP
    """

    def __init__(self, model: Model, runtime: _Runtime) -> None:
        self.model = model
        self._runtime = runtime

    @classmethod
    def load(cls, model: str | Path = DEFAULT, runtime: str = "auto", threads: int | None = None) -> Segmenter:
        """Load an installed model by name, or an exported one by its folder.

        Raises
        ------
        ModelError
            When the model or the runtime is unknown, not installed or damaged.
        """
        found = find_model(model)
        if runtime == "auto":
            runtime = "openvino" if find_spec("openvino") else "onnxruntime"
        starters = {"openvino": _openvino, "onnxruntime": _onnxruntime}
        if runtime not in starters:
            raise ModelError(f"no runtime '{runtime}': choose from auto, {', '.join(starters)}")
        if find_spec(runtime) is None:
            raise ModelError(f"{runtime} is not installed: `pip install {runtime}`, or use --runtime auto")
        try:
            return cls(found, starters[runtime](found.onnx, threads))
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{found.onnx}: {runtime} cannot load it ({str(error).splitlines()[0]})") from error

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
        for item in study.items:
            if item.view is not None and item.view not in self.model.views:
                known = ", ".join(self.model.views)
                raise InputError(f"{item.source or item.name}: the model '{self.model.name}' knows {known} only")
        if study.frames:
            boxes = [grid.find_sector(f.image, f.region) for f in study.frames]
            pairs = [(f.image, study.other_phase(f)) for f in study.frames]
            made, told = self._run(pairs, boxes, on_image)
            for i, frame in enumerate(study.frames):
                masks[frame.name] = made[i]
                views[frame.name], doubts[frame.name] = _told(told, slice(i, i + 1))
        for clip in study.clips:
            box = grid.find_sector(clip.images, clip.region)
            made, told = self._run([(i, None) for i in clip.images], [box] * len(clip.images), on_image)
            masks[clip.name] = np.stack(made)
            views[clip.name], doubts[clip.name] = _told(told, slice(None))
        repairs: dict[str, tuple[Repair, ...]] = {}
        if repair:
            for name, mask in masks.items():
                masks[name], done = _repair(mask)
                if done:
                    repairs[name] = done
        if steady and study.clips:
            from apical.cycle.stability import stabilise

            masks |= {clip.name: stabilise(masks[clip.name], clip.frame_times_ms) for clip in study.clips}
        if len(self.model.views) < 2:
            views = {}  # a model that knows one view finds it in every picture: that is no recognition
        return Segmentation(masks, self.model.name, self.runtime, views, repairs, doubts, self.model.calibration)

    def _run(
        self, pairs: list[tuple[Image, Frame | None]], boxes: list[grid.Box], on_image: Callable[[int], None]
    ) -> tuple[list[Mask], Outputs]:
        masks: list[Mask] = []
        told: dict[str, list[NDArray[np.float32]]] = {"views": [], "confidence": [], "unlike": []}
        for start in range(0, len(pairs), BATCH):
            part = list(zip(pairs[start : start + BATCH], boxes[start : start + BATCH], strict=True))
            batch = np.stack([grid.pair_to_network(*pair, box, self.model.size) for pair, box in part])
            outputs = self._runtime(np.ascontiguousarray(batch[:, : self.model.frames]))
            masks += [
                grid.to_native(s, box, (image.shape[0], image.shape[1]))
                for s, ((image, _), box) in zip(outputs["scores"], part, strict=True)
            ]
            for name, values in told.items():
                values.append(outputs[name])
            on_image(len(part))
        return masks, {name: np.concatenate(values) for name, values in told.items()}


def _told(outputs: Outputs, part: slice) -> tuple[tuple[View, float], Doubt]:
    """View with its probability, and doubt, on average over a part of the pictures."""
    probability = _softmax(outputs["views"][part]).mean(axis=0)
    best = int(probability.argmax())
    confidence = outputs["confidence"][part].mean(axis=0)
    doubt = Doubt(
        {s: float(c) for s, c in zip(Structure, confidence, strict=True)}, float(np.median(outputs["unlike"][part]))
    )
    return (list(View)[best], float(probability[best])), doubt


def _repair(mask: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], tuple[Repair, ...]]:
    """Repair a frame's mask, or a clip's frame by frame, its repairs added up."""
    if mask.ndim == 2:
        return repair_mask(mask)
    repaired = [repair_mask(m) for m in mask]
    pixels: Counter[str] = Counter()
    for _, repairs in repaired:
        pixels.update({r.what: r.pixels for r in repairs})
    return np.stack([m for m, _ in repaired]), tuple(Repair(what, n) for what, n in pixels.items())


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = raised / raised.sum(axis=1, keepdims=True)
    return result


def _onnxruntime(path: Path, threads: int | None) -> _Runtime:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    class Runtime:
        name = f"ONNX Runtime {onnxruntime.__version__}, float32"

        def __call__(self, images: NDArray[np.float32]) -> Outputs:
            return dict(zip(names, session.run(names, {"images": images}), strict=True))

    return Runtime()


def _openvino(path: Path, threads: int | None) -> _Runtime:
    import openvino

    core = openvino.Core()
    # read_model takes ONNX as it is; the converter would load openvino-telemetry.
    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        hints["INFERENCE_NUM_THREADS"] = str(threads)
    compiled = core.compile_model(core.read_model(path), "CPU", hints)
    version = openvino.__version__.split("-")[0]

    class Runtime:
        name = f"OpenVINO {version}, float32"

        def __call__(self, images: NDArray[np.float32]) -> Outputs:
            return {output.any_name: values for output, values in compiled(images).items()}

    return Runtime()
