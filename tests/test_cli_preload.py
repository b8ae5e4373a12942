"""Imports beside other work."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from apical.cli import preload


@pytest.mark.parametrize(("report", "dicom"), [(True, True), (True, False), (False, True), (False, False)])
def test_only_what_will_be_written_is_prepared(report: bool, dicom: bool):
    names = preload.writing(report=report, dicom=dicom)
    assert ("apical.report.pdf" in names) is report
    assert ("highdicom.sr" in names) is dicom


def test_what_is_named_is_there_at_the_end(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    monkeypatch.setattr(preload, "import_module", asked.append)
    names = [*preload.READING_DICOM, *preload.writing(report=True, dicom=True)]
    with preload.imported_beside(names):
        pass
    assert asked == names
    assert all(find_spec(name) for name in names)


def test_a_library_that_is_missing_is_left_to_its_user(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(preload, "import_module", missing)
    with preload.imported_beside(preload.READING_DICOM):
        done = True
    assert done
