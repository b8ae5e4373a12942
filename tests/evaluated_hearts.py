"""Patients of drawn hearts with an expert's masks, to be evaluated."""

from __future__ import annotations

import numpy as np

from apical.anatomy import Phase, View
from apical.study import Frame, Grid, Mask, Patient, Study


def heart(radius: int) -> Mask:
    rows, columns = np.mgrid[:48, :40]
    distance = np.hypot(rows - 22, columns - 20)
    mask = np.where(distance < radius, 1, np.where(distance < radius + 4, 2, 0)).astype(np.uint8)
    mask[40:46, 14:26] = 3
    return mask


def study(
    number: int, radius: int = 10, *, spacing_mm: tuple[float, float] | None = (0.5, 0.4), es: bool = True
) -> Study:
    patient = f"patient{number:04d}"
    frames = [
        Frame(
            f"{patient}_{view}_{phase}",
            np.zeros((48, 40), np.uint8),
            Grid((48, 40), spacing_mm),
            view,
            phase,
            heart(radius - 3 * (phase is Phase.ES)) if es or phase is Phase.ED else None,
        )
        for view in View
        for phase in Phase
    ]
    quality = {View.A2C: "Good", View.A4C: "Poor"}
    return Study(Patient(patient, image_quality=quality), tuple(frames))
