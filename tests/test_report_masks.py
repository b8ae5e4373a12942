"""Masks go out and come back on the same grid, and SimpleITK reads them alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from apical.errors import OutputError
from apical.readers import read_mask
from apical.report.masks import write_mask
from apical.study import Grid

COS, SIN = float(np.cos(0.3)), float(np.sin(0.3))
TILTED = Grid((6, 9), (0.308, 0.154), (5.0, 7.0), ((COS, -SIN), (SIN, COS)))
UNKNOWN = Grid((6, 9))


@pytest.fixture
def mask() -> np.ndarray:
    labels = np.zeros((6, 9), np.uint8)
    labels[1:4, 2:8] = 2
    labels[2, 3:5] = 1
    labels[5, 0] = 3
    return labels


@pytest.mark.parametrize("suffix", [".mhd", ".nii.gz"])
def test_round_trip_keeps_pixels_and_grid(tmp_path: Path, mask: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"patient0001_4CH_ED{suffix}"
    write_mask(path, mask, TILTED)
    back, grid = read_mask(path)
    np.testing.assert_array_equal(back, mask)
    np.testing.assert_allclose(grid.spacing_mm, TILTED.spacing_mm, rtol=1e-6)
    np.testing.assert_allclose(grid.origin_mm, TILTED.origin_mm)
    np.testing.assert_allclose(grid.direction, TILTED.direction, atol=1e-6)


@pytest.mark.parametrize("suffix", [".mhd", ".nii.gz"])
def test_simpleitk_sees_column_before_row(tmp_path: Path, mask: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_mask(path, mask, TILTED)
    image = sitk.ReadImage(str(path))
    assert image.GetSize() == (9, 6)
    assert image.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_allclose(image.GetSpacing(), (0.154, 0.308), rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), (7.0, 5.0))
    # One pixel down goes along the row axis: its (row, column) cosines are the first column of `direction`.
    down = np.subtract(image.TransformIndexToPhysicalPoint((0, 1)), image.GetOrigin())
    np.testing.assert_allclose(down, (0.308 * SIN, 0.308 * COS), rtol=1e-5)


def test_the_metaimage_header_is_plain(tmp_path: Path, mask: np.ndarray) -> None:
    write_mask(tmp_path / "a.mhd", mask, TILTED)
    header = (tmp_path / "a.mhd").read_text().splitlines()
    assert "NDims = 2" in header
    assert "ElementType = MET_UCHAR" in header
    assert header[-1] == "ElementDataFile = a.raw"
    assert (tmp_path / "a.raw").read_bytes() == mask.tobytes()


@pytest.mark.parametrize("suffix", [".mhd", ".nii.gz", ".png"])
@pytest.mark.parametrize("n", [None, 3])
def test_unknown_spacing_stays_unknown(tmp_path: Path, mask: np.ndarray, suffix: str, n: int | None) -> None:
    if n and suffix == ".png":
        pytest.skip("a PNG holds one frame")
    path = tmp_path / f"a{suffix}"
    write_mask(path, np.stack([mask] * n) if n else mask, UNKNOWN)
    back, grid = read_mask(path)
    assert grid.spacing_mm is None
    assert back.shape == ((n, 6, 9) if n else (6, 9))
    assert sitk.ReadImage(str(path)).GetSpacing()[:2] == (1.0, 1.0)


@pytest.mark.parametrize("suffix", [".mhd", ".nii.gz"])
def test_a_known_spacing_of_one_millimetre_stays_known(tmp_path: Path, mask: np.ndarray, suffix: str) -> None:
    write_mask(tmp_path / f"a{suffix}", mask, Grid((6, 9), (1.0, 1.0)))
    assert read_mask(tmp_path / f"a{suffix}")[1].spacing_mm == (1.0, 1.0)


@pytest.mark.parametrize("suffix", [".mhd", ".nii.gz"])
def test_a_clip_is_one_volume_with_time_last_in_the_file(tmp_path: Path, mask: np.ndarray, suffix: str) -> None:
    clip = np.stack([mask, mask * 0, mask[::-1], mask])
    write_mask(tmp_path / f"a{suffix}", clip, TILTED)
    back, grid = read_mask(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(back, clip)
    np.testing.assert_allclose(grid.spacing_mm, TILTED.spacing_mm, rtol=1e-6)
    np.testing.assert_allclose(grid.direction, TILTED.direction, atol=1e-6)
    assert sitk.ReadImage(str(tmp_path / f"a{suffix}")).GetSize() == (9, 6, 4)


def test_a_picture_can_be_looked_at(tmp_path: Path, mask: np.ndarray) -> None:
    write_mask(tmp_path / "a.png", mask, TILTED)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.png"))), mask * 85)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png")[0], mask)
    with pytest.raises(OutputError, match="one frame"):
        write_mask(tmp_path / "b.png", np.stack([mask, mask]), TILTED)


@pytest.mark.parametrize("suffix", [".mhd", ".nii.gz", ".png"])
def test_nothing_is_overwritten_unasked(tmp_path: Path, mask: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_mask(path, mask, TILTED)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(OutputError, match="exists already"):
        write_mask(path, mask * 0, TILTED)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before
    write_mask(path, mask * 0, TILTED, overwrite=True)
    assert not read_mask(path)[0].any()


def test_only_labels_on_the_grid_are_written(tmp_path: Path, mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="labels 0-3"):
        write_mask(tmp_path / "a.mhd", mask + 2, TILTED)
    with pytest.raises(ValueError, match="not on the grid"):
        write_mask(tmp_path / "a.mhd", mask.T, TILTED)
    with pytest.raises(OutputError, match=r"\.mhd, \.nii\.gz, \.png"):
        write_mask(tmp_path / "a.tif", mask, TILTED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["Müller_4CH", "日本", "list_4CH", "local_4CH", "a%b", "x:y"])
def test_any_name_comes_back(tmp_path: Path, mask: np.ndarray, name: str) -> None:
    path = tmp_path / f"{name}.mhd"
    write_mask(path, mask, TILTED)
    np.testing.assert_array_equal(read_mask(path)[0], mask)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), mask)
