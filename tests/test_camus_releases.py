"""The PNG and the NIfTI release tell the same of the same patients, once their two numberings are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from apical.anatomy import Phase, Structure, View
from apical.readers import read_studies, read_study
from apical.study import Mask

# The myocardium ring is a few pixels wide at 256x256: one row of pixels at its border is worth 4 points.
LEAST_DICE = {
    Structure.ENDOCARDIUM: 0.97,
    Structure.EPICARDIUM: 0.96,
    Structure.LEFT_ATRIUM: 0.95,
    Structure.MYOCARDIUM: 0.92,
}

# The one frame whose expert mask was changed between the releases: the PNG has no atrium there.
ATRIUM_REDRAWN = [("patient0394", Phase.ED, Structure.LEFT_ATRIUM)]


def top_left_samples(mask: Mask, shape: tuple[int, int]) -> Mask:
    """The PNG release was made by taking the pixel at the top left of each target pixel, images and masks alike."""
    rows, columns = (np.arange(t) * s // t for t, s in zip(shape, mask.shape, strict=True))
    return mask[np.ix_(rows, columns)]


def dice(a: Mask, b: Mask, structure: Structure) -> float:
    one, other = np.isin(a, structure.labels), np.isin(b, structure.labels)
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def compare(camus: Path, patients: set[str] | None) -> tuple[int, list[tuple[str, Phase, Structure]]]:
    """Return how many frames were compared, and where the expert's masks differ."""
    compared, different = 0, []
    for study in read_studies(camus / "png"):
        folder = camus / "nifti" / study.patient.id
        if (patients is not None and study.patient.id not in patients) or not folder.is_dir():
            continue
        native = read_study(folder)
        for phase in Phase:
            squashed, frame = study.frame(View.A4C, phase), native.frame(View.A4C, phase)
            assert squashed is not None
            assert frame is not None
            assert squashed.reference is not None
            assert frame.reference is not None
            small = top_left_samples(frame.reference, squashed.reference.shape)
            for structure, least in LEAST_DICE.items():
                if dice(small, squashed.reference, structure) <= least:
                    different.append((study.patient.id, phase, structure))
            # one physical size: the squashed pixel is larger, and not square
            assert squashed.grid.spacing_mm is not None
            assert frame.grid.spacing_mm is not None
            for axis in (0, 1):
                extent = frame.grid.spacing_mm[axis] * frame.grid.shape[axis]
                assert squashed.grid.spacing_mm[axis] * squashed.grid.shape[axis] == pytest.approx(extent, rel=1e-3)
            compared += 1
    return compared, different


def test_the_releases_agree_on_some_patients(camus: Path):
    # the first of the list, the pair that shares a frame, and the last: all differ between the numberings
    compared, different = compare(camus, {"patient0001", "patient0033", "patient0068", "patient0500"})
    assert compared == 8
    assert not different


@pytest.mark.slow
def test_the_releases_agree_on_all_patients(camus: Path):
    compared, different = compare(camus, None)
    assert compared == 2 * 399
    assert different == ATRIUM_REDRAWN
