"""Imports beside the network."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from apical.cli import preload


@pytest.mark.parametrize(("report", "dicom"), [(True, True), (True, False), (False, True), (False, False)])
def test_what_the_writing_needs_is_there_at_the_end(monkeypatch: pytest.MonkeyPatch, report: bool, dicom: bool):
    asked: list[str] = []
    monkeypatch.setattr(preload, "import_module", asked.append)
    with preload.writing_prepared(report=report, dicom=dicom):
        pass
    assert ("apical.report.pdf" in asked) is report
    assert ("highdicom.sr" in asked) is dicom
    assert all(find_spec(name) for name in asked)


def test_a_library_that_is_missing_is_left_to_its_user(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(preload, "import_module", missing)
    with preload.writing_prepared(report=True, dicom=True):
        done = True
    assert done
