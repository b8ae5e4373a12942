"""How far a predicted mask is from the expert's: overlap, surface distances and pixel accuracy.

Definitions, for the pixel sets P (predicted) and R (reference) of one structure:

- Dice ``2 |P & R| / (|P| + |R|)``.
- The boundary of a set is its pixels with a 4-neighbour outside it; beyond the image is outside. d(P, R)
  are the distances from every boundary pixel centre of P to the nearest one of R.
- Hausdorff distance (HD): the largest of d(P, R) and d(R, P).
- HD95: the larger of the two 95th percentiles (Maier-Hein, Reinke et al., Metrics reloaded, Nat Methods 21,
  2024, doi:10.1038/s41592-023-02151-z). Tools that pool both directions first give slightly less.
- Mean absolute surface distance (MASD): the mean of the two directed means, the "mean absolute distance" of
  the CAMUS papers (Leclerc et al., IEEE TMI 38(9), 2019, doi:10.1109/TMI.2019.2900516).

Distances are in mm where the spacing is known, else in pixels, and say which. Both sets empty: Dice 1,
distances 0. One empty: Dice 0 and no distance, for there is none. No prediction at all: Dice 0 for every
structure and pixel accuracy 0; a missing prediction is never left out of a mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

from apical.anatomy import FOREGROUND, Label, Phase, Structure, View
from apical.errors import InputError
from apical.repair import repair_mask
from apical.study import Doubt, Frame, Mask, Repair, Spacing

Region = NDArray[np.bool_]

MM, PIXEL = "mm", "pixel"
"""Units of a distance."""


@dataclass(frozen=True)
class StructureScore:
    """Overlap and distances of one structure in one frame; distances are in `unit`, None where there is none."""

    structure: Structure
    dice: float
    hd: float | None
    hd95: float | None
    masd: float | None
    unit: str
    expected_dice: float | None = None
    """What the model expected of itself (`Doubt.confidence`); None where the tool tells nothing."""


@dataclass(frozen=True)
class FrameScore:
    """Scores of one frame, and whose it is.

    Attributes
    ----------
    missing
        True where there was no prediction: every Dice and accuracy is 0.
    quality
        Image quality as the dataset calls it, or "".
    n_pixels
        Size of the frame; the weight of the accuracies in a pooled mean.
    accuracy, heart_accuracy
        Share of pixels with the right label out of four, and rightly told heart (1, 2, 3) from background.
    unlike
        Distance from the pictures that the model learned from (`Doubt.unlike`), or None.
    impossible
        What makes the scored mask anatomically impossible (`apical.repair`); None where there is no mask.
    repaired
        What was so before the model repaired it; None where the tool tells nothing of that.
    recognised
        View that the model names from the pixels alone, or None.
    """

    patient: str
    frame: str
    view: View | None
    phase: Phase | None
    quality: str
    missing: bool
    n_pixels: int
    accuracy: float
    heart_accuracy: float
    structures: tuple[StructureScore, ...]
    unlike: float | None = None
    impossible: tuple[Repair, ...] | None = None
    repaired: tuple[Repair, ...] | None = None
    recognised: View | None = None

    def __getitem__(self, structure: Structure) -> StructureScore:
        return next(s for s in self.structures if s.structure is structure)

    @property
    def foreground_dice(self) -> float:
        """Mean Dice of cavity, myocardium ring and atrium."""
        return float(np.mean([self[structure].dice for structure in FOREGROUND]))


def compare_masks(
    predicted: Mask | None, reference: Mask, spacing_mm: Spacing | None = None
) -> tuple[StructureScore, ...]:
    """Score a predicted mask against a reference, structure by structure.

    Parameters
    ----------
    predicted
        Labels 0-3, (row, column), or None where there is no prediction.
    reference
        Labels 0-3 on the same grid.
    spacing_mm
        (row, column) pixel spacing; None where it is unknown, and then distances are in pixels.

    Raises
    ------
    InputError
        If the masks differ in shape or hold anything but the labels 0-3.

    Examples
    --------
    >>> mask = np.zeros((4, 4), np.uint8)
    >>> mask[1:3, 1:3] = 1
    >>> compare_masks(np.roll(mask, 1, axis=1), mask, (0.3, 0.2))[0].dice
    0.5
    """
    check_labels(reference, "reference mask")
    unit = PIXEL if spacing_mm is None else MM
    if predicted is None:
        return tuple(StructureScore(structure, 0.0, None, None, None, unit) for structure in Structure)
    check_labels(predicted, "predicted mask")
    if predicted.shape != reference.shape:
        raise InputError(
            f"predicted mask has {_size(predicted)} pixels (rows x columns), the reference {_size(reference)}: "
            "give the mask on the frame's own grid"
        )
    scores = []
    for structure in Structure:
        p, r = np.isin(predicted, structure.labels), np.isin(reference, structure.labels)
        total = int(p.sum()) + int(r.sum())
        dice = 2.0 * int((p & r).sum()) / total if total else 1.0
        hd, hd95, masd = surface_distances(p, r, spacing_mm or (1.0, 1.0))
        scores.append(StructureScore(structure, dice, hd, hd95, masd, unit))
    return tuple(scores)


def surface_distances(
    predicted: Region, reference: Region, spacing: Spacing
) -> tuple[float, float, float] | tuple[None, None, None]:
    """Return HD, HD95 and MASD between two regions in the unit of `spacing` (row, column); see the module."""
    if not predicted.any() and not reference.any():
        return 0.0, 0.0, 0.0
    if not predicted.any() or not reference.any():
        return None, None, None
    p, r = _boundary(predicted, spacing), _boundary(reference, spacing)
    # A k-d tree gives the distances of a Euclidean distance transform, at a quarter of the time on echo masks.
    to_reference, to_predicted = KDTree(r).query(p)[0], KDTree(p).query(r)[0]
    return (
        float(max(to_reference.max(), to_predicted.max())),
        float(max(np.percentile(to_reference, 95), np.percentile(to_predicted, 95))),
        float((to_reference.mean() + to_predicted.mean()) / 2),
    )


def score_frame(
    frame: Frame,
    predicted: Mask | None,
    patient: str,
    quality: str = "",
    doubt: Doubt | None = None,
    repaired: tuple[Repair, ...] | None = None,
    recognised: View | None = None,
) -> FrameScore:
    """Score one frame that has a reference; `predicted` is None where a tool gave no mask.

    `doubt` is the model's own, `repaired` what it has repaired of the mask already, `recognised` the view it names.

    Raises
    ------
    InputError
        If the predicted mask does not fit the frame, naming patient and frame.
    """
    if frame.reference is None:
        raise InputError(f"{patient} {frame.name}: there is no expert mask to compare with")
    try:
        structures = compare_masks(predicted, frame.reference, frame.grid.spacing_mm)
    except InputError as error:
        raise InputError(f"{patient} {frame.name}: {error}") from error
    if doubt is not None:
        structures = tuple(replace(s, expected_dice=doubt.confidence[s.structure]) for s in structures)
    accuracy = heart_accuracy = 0.0
    if predicted is not None:
        accuracy = float(np.mean(predicted == frame.reference))
        heart_accuracy = float(np.mean((predicted != Label.BACKGROUND) == (frame.reference != Label.BACKGROUND)))
    return FrameScore(
        patient=patient,
        frame=frame.name,
        view=frame.view,
        phase=frame.phase,
        quality=quality,
        missing=predicted is None,
        n_pixels=frame.reference.size,
        accuracy=accuracy,
        heart_accuracy=heart_accuracy,
        structures=structures,
        unlike=None if doubt is None else doubt.unlike,
        impossible=None if predicted is None else _faults(predicted, frame.reference),
        repaired=repaired,
        recognised=recognised,
    )


def _faults(predicted: Mask, reference: Mask) -> tuple[Repair, ...]:
    """Return what of the mask is impossible, seen as the expert's shows the heart: apex above, or atrium."""
    rows = [np.flatnonzero((reference == label).any(axis=1)) for label in (Label.LV_CAVITY, Label.LEFT_ATRIUM)]
    upside_down = all(map(len, rows)) and rows[0].mean() > rows[1].mean()
    return repair_mask(predicted[::-1] if upside_down else predicted)[1]


def check_labels(mask: Mask, what: str) -> None:
    """Refuse an array that is not a two-dimensional mask of labels 0-3."""
    if mask.ndim != 2 or not mask.size:
        raise InputError(f"{what} has shape {mask.shape}: give one (row, column) picture of labels")
    if not np.isin(mask, tuple(Label)).all():
        raise InputError(f"{what} holds {_strangers(mask)}: labels are 0 background, 1 cavity, 2 myocardium, 3 atrium")


def _boundary(region: Region, spacing: Spacing) -> NDArray[np.float64]:
    """Return the (K, 2) boundary pixel centres of a region, eroding only its bounding box."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # Outside the box there is nothing of the region, so the box's rim is boundary as the image's rim is.
    edge = box & ~binary_erosion(box, border_value=0)
    corner = np.array([rows[0], columns[0]])
    pixels: NDArray[np.float64] = (np.argwhere(edge) + corner) * np.asarray(spacing, dtype=np.float64)
    return pixels


def _size(mask: Mask) -> str:
    return " x ".join(map(str, mask.shape))


def _strangers(mask: Mask) -> str:
    """Return the first values that are no labels, as text."""
    values = np.setdiff1d(mask, np.array(tuple(Label)))
    return ", ".join(f"{value}" for value in values[:3]) + (" and others" if len(values) > 3 else "")
