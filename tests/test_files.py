"""A write leaves the old file or the new one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from apical.errors import OutputError
from apical.files import FolderLock, atomic_write, csv_text, make_folder, read_csv, refuse_existing, write_text


def test_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.nii.gz"
    with atomic_write(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_crash_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def crash() -> None:
        with atomic_write(target, overwrite=True) as temporary:
            temporary.write_text("half")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        crash()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OutputError, match="exists already"):
        write_text(target, "new")
    assert target.read_text() == "old"
    write_text(target, "new", overwrite=True)
    assert target.read_text() == "new"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"

    def write() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("mine")
            target.write_text("theirs")

    with pytest.raises(OutputError, match="exists already"):
        write()
    assert target.read_text() == "theirs"


def test_new_files_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "x")
    (tmp_path / "b.txt").write_text("x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "b.txt")]
    assert modes[0] == modes[1]


def test_a_folder_is_no_target(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        refuse_existing(tmp_path, overwrite=True)


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    for attempt in (lambda: make_folder(tmp_path / "out"), lambda: write_text(tmp_path / "out" / "a.txt", "x")):
        with pytest.raises(OutputError, match="choose another folder"):
            attempt()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="cannot be written to"):
            make_folder(tmp_path)
        with pytest.raises(OutputError, match="cannot be written to"):
            write_text(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o700)


def test_a_full_or_refusing_disk_is_our_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match="Read-only file system"):
        write_text(tmp_path / "a.txt", "x")
    with pytest.raises(OutputError, match="Read-only file system"):
        make_folder(tmp_path)


def test_a_name_too_long_is_an_error_of_the_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"), atomic_write(tmp_path / ("a" * 300)):
        pass


def test_a_table_holds_no_formula_and_reads_back_as_it_was(tmp_path: Path) -> None:
    rows = [{"patient": name, "ef": "61.5"} for name in ("=HYPERLINK(1)", "+1", "-1", "@a", "p1", "'quoted", "'=x", "")]
    text = csv_text(rows)
    assert not [line for line in text.splitlines() if line.startswith(("=", "+", "-", "@"))]
    write_text(tmp_path / "t.csv", text)
    assert read_csv(tmp_path / "t.csv") == rows
    assert csv_text([{"bias": -1.5}]) == "bias\n-1.5\n"


def test_a_folder_is_one_runs_at_a_time(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(OutputError, match="another run is writing into it"):
        FolderLock(tmp_path)
    lock.release()
    assert list(tmp_path.iterdir()) == []
    FolderLock(tmp_path).release()


def test_a_killed_run_keeps_nobody_out(tmp_path: Path) -> None:
    code = "import os, pathlib, sys; from apical.files import FolderLock as L; L(pathlib.Path(sys.argv[1])); os.abort()"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, capture_output=True)
    assert list(tmp_path.iterdir())
    FolderLock(tmp_path).release()
