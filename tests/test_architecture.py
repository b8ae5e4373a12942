"""The rules that keep the house see-through (docs/architecture.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import apical

SOURCE = Path(apical.__file__).parent
NUMPY_ONLY = (
    "anatomy",
    "calibration",
    "study",
    "grid",
    "split",
    "repair",
    "measure",
    "evaluate",
    "cycle",
    "phantom/heart",
    "phantom/scene",
)
SCIENTIFIC = {"numpy", "scipy", "apical"}


def files(room: str) -> list[Path]:
    path = SOURCE / room
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module}
    return found


@pytest.mark.parametrize("room", NUMPY_ONLY)
def test_geometry_needs_numpy_and_scipy_only(room: str):
    for path in files(room):
        foreign = {name.split(".")[0] for name in imports(path)} - SCIENTIFIC - set(sys.stdlib_module_names)
        assert not foreign, f"{path.name} imports {foreign}"


@pytest.mark.parametrize(
    ("library", "room"),
    [
        ("torch", "network"),
        ("onnxruntime", "runtime"),
        ("openvino", "runtime"),
        ("pydicom", ("readers", "report", "deidentify", "phantom", "cli")),
    ],
)
def test_heavy_libraries_stay_in_their_room(library: str, room: str | tuple[str, ...]):
    rooms = (room,) if isinstance(room, str) else room
    for path in SOURCE.rglob("*.py"):
        if any(name.split(".")[0] == library for name in imports(path)):
            assert path.relative_to(SOURCE).parts[0].removesuffix(".py") in rooms, path


def test_rooms_import_only_to_their_left():
    order = [
        "errors",
        "anatomy",
        "calibration",
        "study",
        "files",
        "split",
        "grid",
        "readers",
        "store",
        "inputs",
        "models",
        "network",
        "repair",
    ]
    order += ["measure", "cycle", "runtime", "segment", "evaluate", "report", "batch", "deidentify", "phantom", "cli"]
    for place, room in enumerate(order):
        for path in files(room) if (SOURCE / room).exists() or (SOURCE / f"{room}.py").exists() else []:
            for name in imports(path, top_level=True):
                if name.startswith("apical."):
                    target = name.split(".")[1]
                    assert target in order, f"{path}: {target} has no place in the order"
                    assert order.index(target) <= place, f"{room} imports {target}, which lies to its right"


@pytest.mark.parametrize("start", ["import apical", "import apical.cli", "from apical.cli import app"])
def test_starting_loads_no_runtime(start: str):
    heavy = {"torch", "onnxruntime", "openvino", "SimpleITK", "matplotlib", "scipy", "h5py", "pydicom", "av"}
    code = f"{start}; import sys; print(*sorted(set(m.split('.')[0] for m in sys.modules)))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )
    assert not loaded & heavy


def test_no_room_is_called_utils():
    names = {p.stem for p in SOURCE.rglob("*.py")} | {p.name for p in SOURCE.rglob("*") if p.is_dir()}
    assert not names & {"utils", "util", "helpers", "misc", "common"}


def test_the_public_face():
    assert set(apical.__all__) == {"Segmenter", "__version__", "measure", "read_studies", "read_study"}
    for name in apical.__all__:
        assert getattr(apical, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        apical.nonsense  # noqa: B018
