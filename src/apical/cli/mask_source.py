"""Where the masks of `segment` and `measure` come from, and who made them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apical import __version__
from apical.errors import InputError

if TYPE_CHECKING:
    from apical.segment import Segmenter
    from apical.study import Segmentation, Study


@dataclass(frozen=True)
class MaskSource:
    """Gives the masks of a study; `model`, its hash and runtime are None for masks that no model of ours made."""

    predict: Callable[[Study], Segmentation]
    name: str
    model: str | None = None
    model_sha256: str | None = None
    runtime: str | None = None
    description_sha256: str | None = None
    """Hash of what the model says of itself: its intervals are measured with, too."""

    @property
    def made_by(self) -> dict[str, Any]:
        """What every result and every run says of its masks."""
        return {
            "masks": self.name,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "runtime": self.runtime,
            "apical_version": __version__,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """What a run must have in common with the interrupted one that it goes on with."""
        return self.made_by | {"description_sha256": self.description_sha256}

    def made_of(self, study: Study, *, with_files: bool = False) -> str:
        """Return a hash of a study, of its masks where they are given, and of its very files where asked for."""
        parts = [study.content_sha256]
        if self.model is None:
            parts.append(self.predict(study).content_sha256)
        for item in study.items if with_files else ():
            if item.source:
                with item.source.open("rb") as file:
                    parts.append(hashlib.file_digest(file, "sha256").hexdigest())
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def predicted(segmenter: Segmenter) -> MaskSource:
    """Masks that a model makes."""
    name, runtime = segmenter.model.name, segmenter.runtime
    description = hashlib.sha256(json.dumps(segmenter.model.config, sort_keys=True).encode()).hexdigest()
    return MaskSource(segmenter.segment, f"{name}, {runtime}", name, segmenter.model.sha256, runtime, description)


def mask_source(
    masks: str | None, model: str, runtime: str, precision: str, *, beside: Iterable[str] = ()
) -> MaskSource:
    """Masks as `measure` is asked to take them: a model's, the expert's, or a folder's.

    `beside` are modules to import while a model is loaded.

    Raises
    ------
    InputError
        No masks in the folder, or masks and a model are asked for at once.
    ModelError
        As `Segmenter.load`.
    """
    from apical.models import DEFAULT
    from apical.study import Maker, Segmentation

    if masks is not None and (model, runtime, precision) != (DEFAULT, "auto", "float32"):
        raise InputError("--model, --runtime and --precision are for predicted masks, and --masks gives others: choose")
    if masks is None:
        from apical.cli.preload import imported_beside
        from apical.segment import Segmenter

        with imported_beside(beside):
            return predicted(Segmenter.load(model, runtime, precision=precision))
    if masks == "reference":
        expert = "expert masks"

        def drawn(study: Study) -> Segmentation:
            given = {item.name: item.reference for item in study.items if item.reference is not None}
            return Segmentation(given, expert, maker=Maker.EXPERT)

        return MaskSource(drawn, expert)
    from apical.evaluate import masks_from_folder

    found, name = masks_from_folder(Path(masks)), f"an unnamed tool (folder {Path(masks).name})"
    return MaskSource(lambda study: Segmentation(found(study), name), name)
