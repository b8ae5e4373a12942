"""Imports for what comes after the network, made while the network runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Thread

_REPORT = (
    "apical.report.clip_report",
    "apical.report.html",
    "apical.report.overlay",
    "apical.report.pdf",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
)
_DICOM = ("apical.report.clip_report", "highdicom.sr")


@contextmanager
def writing_prepared(*, report: bool, dicom: bool) -> Iterator[None]:
    """Import what report and DICOM objects need beside what is done in the block; it is there when the block ends."""

    def load() -> None:
        for name in _REPORT * report + _DICOM * dicom:
            # What is missing is told of where it is used.
            with suppress(Exception):
                import_module(name)

    thread = Thread(target=load, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
