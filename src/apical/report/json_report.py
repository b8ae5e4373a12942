"""The report for programs: report.json, whose schema is docs/report.schema.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import apical
from apical.cycle.measured import BeatSummary, summaries_dict
from apical.measure.results import Measurements, VolumeDefinition
from apical.report.content import DISCLAIMER
from apical.study import Frame, Study

SCHEMA_VERSION = 1


def json_report(
    study: Study,
    masks: Mapping[str, NDArray[np.uint8]],
    measurements: Measurements,
    beats: Mapping[VolumeDefinition, BeatSummary] | None = None,
) -> str:
    """Return the report as JSON text.

    A number that is absent is null, and the reason stands beside it: `absent_because` for volumes,
    `reason` for all others. Model and runtime are null where the masks do not tell who made them. Of clips,
    `measurements` are of one beat, and `beats` the medians over all.
    """
    document = report_document(study, masks, measurements, beats)
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def report_document(
    study: Study,
    masks: Mapping[str, NDArray[np.uint8]],
    measurements: Measurements,
    beats: Mapping[VolumeDefinition, BeatSummary] | None = None,
) -> dict[str, Any]:
    """Return the report as a JSON-ready dictionary."""
    patient = study.patient
    return {
        "schema_version": SCHEMA_VERSION,
        "apical_version": apical.__version__,
        "disclaimer": DISCLAIMER,
        "model": getattr(masks, "model", "") or None,
        "runtime": getattr(masks, "runtime", "") or None,
        "patient": {
            "id": patient.id,
            "sex": patient.sex,
            "age_years": patient.age_years,
            "height_cm": patient.height_cm,
            "weight_kg": patient.weight_kg,
        },
        "frames": [_frame(frame, masks) for frame in study.frames],
        "notes": list(study.notes),
        "measurements": measurements.as_dict(),
        "beats": None if beats is None else summaries_dict(beats),
    }


def _frame(frame: Frame, masks: Mapping[str, NDArray[np.uint8]]) -> dict[str, Any]:
    return {
        "name": frame.name,
        "view": frame.view.value if frame.view else None,
        "phase": frame.phase.value if frame.phase else None,
        "shape": list(frame.grid.shape),
        "spacing_mm": list(frame.grid.spacing_mm) if frame.grid.spacing_mm else None,
        "has_mask": frame.name in masks,
    }
