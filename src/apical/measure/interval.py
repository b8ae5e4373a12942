"""Intervals of EDV, ESV and EF from how far the model lay off on unseen patients (`apical.calibration`).

They tell where the numbers of an expert's outlines of the same frames lie. What the frames do not show (a foreshortened
view, the other plane of a single-plane study) is not in them, nor is the spread from beat to beat.
"""

from __future__ import annotations

from dataclasses import replace

from apical.calibration import QUANTITIES, Calibration, PredictionInterval
from apical.measure.results import Reason, Status, Volumes

FOREIGN_MASKS = "The masks do not come from a model of apical: how far they may be off is not known."
UNLIKE = (
    "A picture is unlike those that the network learned from: what holds for patients like those may not hold here."
)


def with_intervals(volumes: Volumes, calibration: Calibration | None) -> Volumes:
    """Return the volumes with an interval, or the reason for its absence, beside each number.

    Parameters
    ----------
    calibration
        Of the model that made the masks; None where another tool or a person made them.
    """
    return replace(volumes, intervals={name: _interval(name, volumes, calibration) for name in QUANTITIES})


def _interval(name: str, volumes: Volumes, calibration: Calibration | None) -> PredictionInterval:
    value: float | None = getattr(volumes, name)
    if value is None:
        return PredictionInterval.absent(f"There is no number. {volumes.absent_because or ''}".strip())
    if calibration is None:
        return PredictionInterval.absent(FOREIGN_MASKS)
    if any(f.reason is Reason.UNLIKE_TRAINING for f in volumes.findings):
        return PredictionInterval.absent(UNLIKE)
    return calibration.interval(name, value, volumes.method, caution=volumes.status is Status.CAUTION)
