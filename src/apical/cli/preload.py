"""Imports for what comes next, made beside work that leaves Python idle: loading a model, running the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Thread

READING_DICOM = ("apical.readers.dicom", "pydicom.pixels.decoders")
_REPORT = (
    "apical.report.clip_report",
    "apical.report.html",
    "apical.report.overlay",
    "apical.report.pdf",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
)
_DICOM = ("apical.report.clip_report", "highdicom.sr")


def writing(*, report: bool, dicom: bool) -> tuple[str, ...]:
    """Return what the writing of report and DICOM objects imports."""
    return _REPORT * report + _DICOM * dicom


@contextmanager
def imported_beside(names: Iterable[str]) -> Iterator[None]:
    """Import modules beside what is done in the block; they are there when it ends."""

    def load() -> None:
        for name in names:
            # What is missing is told of where it is used.
            with suppress(Exception):
                import_module(name)

    thread = Thread(target=load, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
