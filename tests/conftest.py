"""Shared fixtures: the real dataset where it lies beside the project, and a quiet plotting backend."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")


@pytest.fixture(scope="session")
def camus() -> Path:
    """Folder with `png/`, `nifti/` and `patients.csv`; tests that need it are skipped where it is absent."""
    root = Path(os.environ.get("APICAL_CAMUS", Path(__file__).parents[2] / "shared" / "camus"))
    if not (root / "png" / "Training").is_dir():
        pytest.skip(f"CAMUS not found at {root}: set APICAL_CAMUS to the folder that holds png/ and nifti/")
    return root


@pytest.fixture(scope="session")
def shared(camus: Path) -> Path:
    """Folder beside the dataset with the volume oracle, the referee and a DICOM cine."""
    return camus.parent
