"""Landmarks, volumes, ejection fraction and what else a mask tells, each with its method or a reason."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from apical.measure.examination import measure
from apical.measure.results import (
    DiskProfile,
    Finding,
    Measurements,
    Quantity,
    Reason,
    Reference,
    Severity,
    Status,
    ViewGeometry,
    VolumeDefinition,
    Volumes,
)
from apical.study import Study

__all__ = [
    "DiskProfile",
    "Finding",
    "Measurements",
    "Quantity",
    "Reason",
    "Reference",
    "Severity",
    "Status",
    "ViewGeometry",
    "VolumeDefinition",
    "Volumes",
    "measure",
]


class _MeasureModule(ModuleType):
    """The package, callable: importing it binds the name `apical.measure`, which is also the function's."""

    def __call__(self, study: Study, masks: Mapping[str, NDArray[np.uint8]]) -> Measurements:
        return measure(study, masks)


sys.modules[__name__].__class__ = _MeasureModule
