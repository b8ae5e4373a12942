"""Count the rows of the volume oracle that the `camus` definition reproduces exactly.

    python benchmarks/camus_parity.py ORACLE.csv CAMUS

ORACLE.csv holds what the published CAMUS algorithm returns (columns masks, patient, spacing_mm, edv_ml,
esv_ml, ef_percent); CAMUS is the folder with `png/` and `nifti/`. Exit status 1 unless all rows are equal.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from PIL import Image

from apical.anatomy import Label
from apical.measure.camus import CamusProfile, camus_ef, camus_profile, camus_volumes


def read_cavity(camus: Path, masks: str, patient: str, view: str, phase: str) -> NDArray[np.bool_]:
    """Return the LV cavity (row, column) of an expert mask."""
    if masks == "png":
        with Image.open(camus / "png" / "Training" / patient / f"{view}_{phase}_gt.png") as image:
            labels = np.asarray(image)[..., 0] // 85
    else:
        path = camus / "nifti" / patient / f"{patient}_4CH_{phase}_gt.nii.gz"
        labels = np.squeeze(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))))
    return np.asarray(labels == Label.LV_CAVITY)


def measure_row(camus: Path, row: dict[str, str]) -> tuple[float, float, float] | None:
    """Return (EDV mL, ESV mL, EF %) of one row of the oracle, or None where the definition fails."""
    spacing = float(row["spacing_mm"])
    profiles: list[CamusProfile] = []
    for view in ("2CH", "4CH"):
        for phase in ("ED", "ES"):
            profile = camus_profile(read_cavity(camus, row["masks"], row["patient"], view, phase), (spacing, spacing))
            if profile is None:
                return None
            profiles.append(profile)
    edv, esv = camus_volumes(*profiles)
    return edv, esv, camus_ef(edv, esv)


def main(oracle: Path, camus: Path) -> int:
    """Print every row that differs, then the count of equal rows."""
    with oracle.open(newline="") as file:
        rows = list(csv.DictReader(file))
    equal = 0
    for row in rows:
        expected = tuple(float(row[k]) for k in ("edv_ml", "esv_ml", "ef_percent"))
        got = measure_row(camus, row)
        equal += got == expected
        if got != expected:
            print(f"{row['masks']} {row['patient']}: {got}, not {expected}")
    print(f"{equal} of {len(rows)} rows equal")
    return 0 if equal == len(rows) else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
