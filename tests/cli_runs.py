"""What `segment` and `measure` are given in tests, a model that outlines squares, and what they leave behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from apical.anatomy import View
from apical.study import Segmentation, Study

EXPERT = ("--masks", "reference", "--no-report")


class Stub:
    """A model that outlines a square; `before` is called with every study."""

    def __init__(self, sha256: str = "abc", before: Callable[[Study], None] = lambda study: None) -> None:
        self.model = SimpleNamespace(name="stub", config={"sha256": sha256}, sha256=sha256, views=tuple(View))
        self.runtime, self._before = "abacus", before

    def segment(self, study: Study) -> Segmentation:
        self._before(study)
        masks = {f.name: np.zeros_like(f.image) for f in study.frames}
        masks |= {c.name: np.zeros_like(c.images) for c in study.clips}
        for mask in masks.values():
            mask[..., 4:9, 4:9] = 1
        return Segmentation(masks, "stub", self.runtime, dict.fromkeys(masks, (View.A4C, 0.9)))


def patient(folder: Path, size: int = 24) -> Path:
    folder.mkdir(parents=True)
    mask = np.zeros((24, 24), np.uint8)
    mask[5:20, 6:18], mask[7:20, 8:16] = 170, 85
    for view in View:
        for phase in ("ED", "ES"):
            grey = np.random.default_rng(len(phase)).integers(0, 256, (24, 24)).astype(np.uint8)
            Image.fromarray(grey).save(folder / f"{view}_{phase}.png")
            Image.fromarray(mask[:size, :size]).save(folder / f"{view}_{phase}_gt.png")
    return folder


def summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
