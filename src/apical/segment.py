"""Segmenter: runs a released model on the frames and clips of a study, without torch.

OpenVINO is used where it is installed, ONNX Runtime otherwise; the result says which, and at what
precision. Both run in float32, so that the masks don't depend on the machine; bfloat16, which takes half the
time on processors that have it, is used only when asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apical import grid
from apical.anatomy import Orientation, Structure, View
from apical.errors import InputError
from apical.models import DEFAULT, Model, find_model
from apical.repair import repair_mask
from apical.runtime import Outputs, Precision, Runtime, start_runtime
from apical.study import Doubt, Frame, Image, Maker, Mask, Repair, Segmentation, Study

BATCH = 4
"""Frames per call: enough to fill a core, few enough for calls side by side to end together."""
SURE_OF_ORIENTATION = 0.9
"""Probability that a turned picture is standard, below which it is left as it was shown."""

Pair = tuple[Image, Frame | None]
"""A picture, and the frame of the same view at the other phase of the beat."""


class Segmenter:
    """A model ready to run.

    Examples
    --------
    >>> segmenter = Segmenter.load()  # doctest: +SKIP
    >>> masks = segmenter.segment(apical.read_study("patient0001/"))  # doctest: +SKIP
    """

    def __init__(self, model: Model, runtime: Runtime, precision: Precision) -> None:
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
        found = find_model(model)
        started = start_runtime(found.onnx, runtime, threads, precision)
        return cls(found, started, Precision(precision))

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
        shown: dict[str, Orientation | None] = {}
        for item in study.items:
            if item.view is not None and item.view not in self.model.views:
                known = ", ".join(self.model.views)
                raise InputError(f"{item.source or item.name}: the model '{self.model.name}' knows {known} only")
        if study.frames:
            boxes = [grid.find_sector(f.image, f.region) for f in study.frames]
            pairs = [(f.image, study.other_phase(f)) for f in study.frames]
            groups = _shown_alike(study)
            made, done, told, orientations = self._run_upright(pairs, boxes, groups, on_image, repair)
            for i, frame in enumerate(study.frames):
                masks[frame.name], repairs[frame.name], shown[frame.name] = made[i], done[i], orientations[i]
                views[frame.name], doubts[frame.name] = _told(told, slice(i, i + 1))
        for clip in study.clips:
            box = grid.find_sector(clip.images, clip.region)
            pairs = [(image, None) for image in clip.images]
            whole = [range(len(pairs))]
            made, done, told, orientations = self._run_upright(pairs, [box] * len(pairs), whole, on_image, repair)
            masks[clip.name], repairs[clip.name], shown[clip.name] = np.stack(made), _added_up(done), orientations[0]
            repairs |= {clip.frame_name(k): of_frame for k, of_frame in enumerate(done)}
            views[clip.name], doubts[clip.name] = _told(told, slice(None))
        if steady and study.clips:
            from apical.cycle.stability import stabilise

            masks |= {clip.name: stabilise(masks[clip.name], clip.frame_times_ms) for clip in study.clips}
        if len(self.model.views) < 2:
            views = {}  # a model that knows one view finds it in every picture: that is no recognition
        return Segmentation(
            masks,
            self.model.name,
            self.runtime,
            Maker.MODEL,
            views,
            {name: done for name, done in repairs.items() if done},
            doubts,
            self.model.calibration,
            {name: orientation for name, orientation in shown.items() if orientation},
        )

    def _run_upright(
        self,
        pairs: Sequence[Pair],
        boxes: Sequence[grid.Box],
        groups: Sequence[Sequence[int]],
        on_image: Callable[[int], None],
        repair: bool,
    ) -> tuple[list[Mask], list[tuple[Repair, ...]], Outputs, Sequence[Orientation | None]]:
        """Segment pictures as they are, and once more, turned, each group that seems to be shown another way.

        The second look is believed where the network then finds the standard display, or pictures like those that it
        learned from and did not before. None: the model cannot tell.
        """
        masks, repairs, told = self._run(pairs, boxes, on_image, repair)
        if "orientation" not in told:
            return masks, repairs, told, [None] * len(pairs)
        orientations = [Orientation.STANDARD] * len(pairs)
        probability = _softmax(told["orientation"])
        for group in groups:
            seems = list(Orientation)[int(probability[group].mean(axis=0).argmax())]
            if seems is Orientation.STANDARD:
                continue
            turned = [_turned(pairs[i], seems) for i in group]
            turned_boxes = [boxes[i].reversed((pairs[i][0].shape[0], pairs[i][0].shape[1]), seems.axes) for i in group]
            again, changes, heard = self._run(turned, turned_boxes, lambda images: None, repair)
            standard = _softmax(heard["orientation"])[:, list(Orientation).index(Orientation.STANDARD)]
            known = np.median(told["unlike"][group]) > 1 > np.median(heard["unlike"])
            if standard.mean() < SURE_OF_ORIENTATION and not known:
                continue
            for name, values in heard.items():
                told[name][group] = values
            for i, mask, change in zip(group, again, changes, strict=True):
                masks[i], repairs[i], orientations[i] = grid.reverse(mask, seems.axes), change, seems
        return masks, repairs, told, orientations

    def _run(
        self,
        pairs: Sequence[Pair],
        boxes: Sequence[grid.Box],
        on_image: Callable[[int], None],
        repair: bool,
    ) -> tuple[list[Mask], list[tuple[Repair, ...]], dict[str, NDArray[np.float32]]]:
        told: dict[str, list[NDArray[np.float32]]] = {}

        def call(start: int) -> tuple[list[tuple[Mask, tuple[Repair, ...]]], Outputs]:
            part = list(zip(pairs[start : start + size], boxes[start : start + size], strict=True))
            batch = np.stack([grid.pair_to_network(*pair, box, self.model.size) for pair, box in part])
            outputs = self._runtime(np.ascontiguousarray(batch[:, : self.model.frames]))
            made = [
                grid.to_native(s, box, (image.shape[0], image.shape[1]))
                for s, ((image, _), box) in zip(outputs["scores"], part, strict=True)
            ]
            rest = {name: values for name, values in outputs.items() if name != "scores"}
            return [repair_mask(m) if repair else (m, ()) for m in made], rest

        masks: list[Mask] = []
        repairs: list[tuple[Repair, ...]] = []
        size = min(BATCH, -(-len(pairs) // self._runtime.calls))
        with ThreadPoolExecutor(self._runtime.calls) as pool:
            for made, outputs in pool.map(call, range(0, len(pairs), size)):
                masks += [mask for mask, _ in made]
                repairs += [done for _, done in made]
                for name, values in outputs.items():
                    told.setdefault(name, []).append(values)
                on_image(len(made))
        return masks, repairs, {name: np.concatenate(values) for name, values in told.items()}


def _shown_alike(study: Study) -> list[list[int]]:
    """Return the indices of the frames in groups that are shown the same way: a frame and its other phase, or one."""
    index = {frame.name: i for i, frame in enumerate(study.frames)}
    groups = {
        tuple(sorted({i, index[other.name]} if (other := study.other_phase(frame)) else {i}))
        for i, frame in enumerate(study.frames)
    }
    return [list(group) for group in sorted(groups)]


def _turned(pair: Pair, orientation: Orientation) -> Pair:
    """Return a picture and its other phase as the standard display has them."""
    image, other = pair
    axes = orientation.axes
    return grid.reverse(image, axes), other and replace(other, image=grid.reverse(other.image, axes))


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
