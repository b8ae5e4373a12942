"""apical: apical echocardiograms in, trustworthy masks, left-ventricular volumes and ejection fraction out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from apical.measure import measure
    from apical.readers import read_studies, read_study
    from apical.segment import Segmenter

# Resolved on first use, so that `import apical` costs nothing (no runtime, no image library).
_PUBLIC = {
    "read_study": "apical.readers",
    "read_studies": "apical.readers",
    "Segmenter": "apical.segment",
    "measure": "apical.measure",
}

__all__ = ["Segmenter", "__version__", "measure", "read_studies", "read_study"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'apical' has no attribute {name!r}")
