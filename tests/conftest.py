"""Shared fixtures: the real dataset where it lies beside the project, and a quiet plotting backend."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import pytest

from cli_runs import Stub, patient
from commands import Result, Run

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

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


@pytest.fixture
def apical(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run one command in this process, on the released model; whatever C libraries print is captured as well."""
    from apical.cli import main

    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["apical", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return Result(int(stopped.value.code or 0), *capfd.readouterr())

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two synthetic patients in CAMUS's own files."""
    from apical.phantom import make_patient, write_camus_nifti

    folder = tmp_path_factory.mktemp("phantoms")
    for seed in (1, 2):
        write_camus_nifti(folder, make_patient(seed, id=f"patient{seed:04d}"))
    return folder


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stub], None]:
    """Let commands run this in place of a model."""
    from apical.segment import Segmenter

    return lambda stub: monkeypatch.setattr(Segmenter, "load", lambda *_arguments, **_options: stub)


@pytest.fixture
def stub(use: Callable[[Stub], None]) -> None:
    """Let commands run a model that outlines squares."""
    use(Stub())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Folder of three patients with expert masks, patient0001 to patient0003."""
    for n in (1, 2, 3):
        patient(tmp_path / "in" / f"patient000{n}")
    return tmp_path / "in"


@pytest.fixture
def save_dicom(tmp_path: Path) -> Callable[..., Path]:
    """Write a data set as a Part 10 file of this name below `tmp_path`."""
    import pydicom

    def write(dataset: Dataset, name: str = "a.dcm") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        return path

    return write
