"""CAMUS in all its layouts, written here by SimpleITK and Pillow, and the real one where it lies beside the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Picture

from apical.anatomy import Phase, View
from apical.errors import InputError
from apical.readers import count_studies, read_studies, read_study, stamp_of
from apical.readers.names import parse_name

HEADER = "patient,view,height,width,spacing_y,spacing_x,dims_source,png256_folder\n"
INFO_NEW = "ED: 1\nES: 4\nNbFrame: 4\nSex: F\nAge: 56\nImageQuality: Good\nEF: 56\nFrameRate: 50.0\n"
INFO_OLD = "ED: 4\nES: 1\nNbFrame: 4\nSex: F\nAge: 56\nImageQuality: Poor\nLVedv: 90.5\nLVesv: 40.1\nLVef: 55.7\n"


def speckle(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def labels(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[..., 2:9, 3:7] = 2
    mask[..., 4:9, 4:6] = 1
    mask[..., 9:11, 4:6] = 3
    return mask


def write_png_patient(folder: Path, views: tuple[str, ...] = ("2CH", "4CH"), size: int = 16) -> None:
    folder.mkdir(parents=True)
    for view in views:
        for phase in ("ED", "ES"):
            image, mask = speckle((size, size)), labels((size, size)) * 85
            for name, grey in ((f"{view}_{phase}.png", image), (f"{view}_{phase}_gt.png", mask)):
                alpha = np.full_like(grey, 255)
                # Half transparent on purpose: SimpleITK's own conversion would darken the grey values.
                alpha[: size // 2] = 128
                Picture.fromarray(np.dstack([grey, grey, grey, alpha])).save(folder / name)


def write_volume(path: Path, array: np.ndarray, spacing_xy: tuple[float, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((*spacing_xy, 1.0)[: array.ndim])
    sitk.WriteImage(image, str(path), useCompression=not path.name.endswith("mhd"))


def write_table(root: Path) -> None:
    rows = [
        "patient0007,2CH,400,500,0.308,0.308,recovered_low,Training/patient0001",
        "patient0007,4CH,400,560,0.308,0.308,nifti_header,Training/patient0001",
        "patient0001,4CH,300,320,0.308,0.308,nifti_header,Training/patient0002",
    ]
    (root / "patients.csv").write_text(HEADER + "\n".join(rows) + "\n")


def test_png_alone_has_no_millimetres(tmp_path: Path) -> None:
    write_png_patient(tmp_path / "patient0001")
    study = read_study(tmp_path / "patient0001")
    assert study.patient.id == "patient0001"
    assert study.patient.renumbered
    assert any("need not be its CAMUS number" in note for note in study.notes)
    assert [f.name for f in study.frames] == [f"patient0001_{v}_{p}" for v in ("2CH", "4CH") for p in ("ED", "ES")]
    for frame in study.frames:
        np.testing.assert_array_equal(frame.image, speckle((16, 16)))
        np.testing.assert_array_equal(frame.reference, labels((16, 16)))
        assert frame.grid.spacing_mm is None
    assert study.frame(View.A4C, Phase.ES) is study.frames[3]


def test_the_table_gives_the_true_number_and_the_spacing(tmp_path: Path) -> None:
    write_table(tmp_path)
    for n in (1, 2, 3):
        write_png_patient(tmp_path / "png" / "Training" / f"patient000{n}")
    studies = list(read_studies(tmp_path / "png"))
    assert [s.patient.id for s in studies] == ["patient0007", "patient0001", "patient0003"]
    first, second, third = studies
    assert first.frames[0].name == "patient0007_2CH_ED"
    # (row, column): 400 rows of 0.308 mm now on 16 rows, 500 columns on 16.
    assert first.frames[0].grid.spacing_mm == pytest.approx((0.308 * 400 / 16, 0.308 * 500 / 16))
    assert first.frames[2].grid.spacing_mm == pytest.approx((0.308 * 400 / 16, 0.308 * 560 / 16))
    assert "patient0007_2CH_ED: spacing from patients.csv (recovered_low)" in first.notes
    assert second.frame(View.A2C, Phase.ED).grid.spacing_mm is None  # that view is not in the table
    assert third.frames[0].grid.spacing_mm is None
    assert any("not in patients.csv" in note for note in third.notes)
    # patient0003 is a folder's number: CAMUS's own patient0003 is somebody else.
    assert [s.patient.renumbered for s in studies] == [False, False, True]


@pytest.mark.parametrize("given", ["", "2CH_ES.png"])
def test_the_table_is_found_from_inside(tmp_path: Path, given: str) -> None:
    write_table(tmp_path)
    write_png_patient(tmp_path / "png" / "Training" / "patient0001")
    study = read_study(tmp_path / "png" / "Training" / "patient0001" / given)
    assert study.patient.id == "patient0007"
    assert len(study.frames) == (1 if given else 4)
    assert study.frames[0].reference is not None


def test_a_foreign_table_is_passed_over_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    write_png_patient(tmp_path / "Training" / "patient0001")
    (tmp_path / "patients.csv").write_text("name,age\nx,1\n")
    assert read_study(tmp_path).patient.id == "patient0001"
    (tmp_path / "patients.csv").write_text(HEADER + "patient0007,2CH,tall,1,1,1,x,Training/patient0001\n")
    with pytest.raises(InputError, match=r"patients\.csv: a damaged row"):
        read_study(tmp_path)
    for wrong in ("nan", "inf", "-1"):
        (tmp_path / "patients.csv").write_text(HEADER + f"patient0007,2CH,9,9,{wrong},1,x,Training/patient0001\n")
        with pytest.raises(InputError, match="not a positive number"):
            read_study(tmp_path)


def test_a_damaged_table_is_no_matter_to_data_that_do_not_need_it(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text(HEADER + "patient0007,2CH,tall,1,1,1,x,Training/patient0001\n")
    write_volume(tmp_path / "patient0001" / "patient0001_4CH_ED.mhd", speckle((12, 16)), (0.154, 0.308))
    (study,) = read_studies(tmp_path, finished=lambda files: stamp_of(files) and None)
    assert study.patient.id == "patient0001"


def test_nifti_release_keeps_spacing_and_ignores_the_table(tmp_path: Path) -> None:
    write_table(tmp_path)
    folder = tmp_path / "nifti" / "patient0001"
    for phase in ("ED", "ES"):
        write_volume(folder / f"patient0001_4CH_{phase}.nii.gz", speckle((12, 16)), (0.154, 0.308))
        write_volume(folder / f"patient0001_4CH_{phase}_gt.nii.gz", labels((12, 16)), (0.154, 0.308))
    study = read_study(tmp_path / "nifti")
    assert study.patient.id == "patient0001"
    assert not study.patient.renumbered
    frame = study.frames[0]
    assert (frame.name, frame.view, frame.phase) == ("patient0001_4CH_ED", View.A4C, Phase.ED)
    assert frame.grid.shape == frame.image.shape == (12, 16)
    assert frame.grid.spacing_mm == pytest.approx((0.308, 0.154))
    np.testing.assert_array_equal(frame.image, speckle((12, 16)))
    np.testing.assert_array_equal(frame.reference, labels((12, 16)))


@pytest.mark.parametrize("compressed", [False, True])
def test_older_release_has_unequal_pixels_and_a_third_axis(tmp_path: Path, compressed: bool) -> None:
    folder = tmp_path / "patient0001"
    folder.mkdir()
    image = sitk.GetImageFromArray(speckle((1, 12, 16)))
    image.SetSpacing((0.308, 0.154, 1.0))
    sitk.WriteImage(image, str(folder / "patient0001_2CH_ED.mhd"), useCompression=compressed)
    write_volume(folder / "patient0001_2CH_ED_gt.mhd", labels((12, 16)), (0.308, 0.154))
    write_volume(folder / "patient0001_2CH_sequence.mhd", speckle((4, 12, 16), 1), (0.308, 0.154))
    (folder / "Info_2CH.cfg").write_text(INFO_OLD)
    study = read_study(folder)
    (frame,) = study.frames
    np.testing.assert_array_equal(frame.image, speckle((12, 16)))
    np.testing.assert_array_equal(frame.reference, labels((12, 16)))
    assert frame.grid.spacing_mm == (0.154, 0.308)
    (clip,) = study.clips
    assert clip.name == "patient0001_2CH_sequence"
    assert clip.images.shape == (4, 12, 16)
    assert clip.marked == {Phase.ED: 3, Phase.ES: 0}
    assert any("ES before ED" in note for note in study.notes)
    assert study.patient.published_ef_percent == 55.7


def test_sequence_with_masks_times_and_marks(tmp_path: Path) -> None:
    folder = tmp_path / "patient0003"
    for view in ("2CH", "4CH"):
        write_volume(folder / f"patient0003_{view}_half_sequence.nii.gz", speckle((4, 12, 16)), (0.3, 0.3))
        write_volume(folder / f"patient0003_{view}_half_sequence_gt.nii.gz", labels((4, 12, 16)), (0.3, 0.3))
        (folder / f"Info_{view}.cfg").write_text(INFO_NEW)
    study = read_study(folder)
    clip = study.clips[1]
    np.testing.assert_array_equal(clip.images, speckle((4, 12, 16)))
    np.testing.assert_array_equal(clip.reference, labels((4, 12, 16)))
    np.testing.assert_allclose(clip.frame_times_ms, [0, 20, 40, 60])
    assert (clip.view, clip.marked) == (View.A4C, {Phase.ED: 0, Phase.ES: 3})
    patient = study.patient
    assert (patient.sex, patient.age_years, patient.published_ef_percent) == ("F", 56, 56)
    assert patient.image_quality == {View.A2C: "Good", View.A4C: "Good"}


def test_marks_that_do_not_fit_and_views_that_disagree_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "patient0003"
    write_volume(folder / "patient0003_4CH_half_sequence.nii.gz", speckle((3, 12, 16)), (0.3, 0.3))
    (folder / "Info_4CH.cfg").write_text(INFO_NEW)
    (folder / "Info_2CH.cfg").write_text(INFO_NEW.replace("Sex: F", "Sex: M").replace("Age: 56", "Age: NA"))
    study = read_study(folder)
    assert study.clips[0].marked == {}
    assert study.patient.sex is None
    assert study.patient.age_years == 56
    assert sum("left out" in note for note in study.notes) == 2


def test_several_patients_need_read_studies(tmp_path: Path) -> None:
    for n in (2, 1, 3):
        write_png_patient(tmp_path / f"patient000{n}", views=("4CH",))
    with pytest.raises(InputError, match=r"holds 3 patients .* use read_studies"):
        read_study(tmp_path)
    assert count_studies(tmp_path) == 3
    assert [s.patient.id for s in read_studies(tmp_path)] == ["patient0001", "patient0002", "patient0003"]


def test_a_flat_folder_is_parted_by_patient(tmp_path: Path) -> None:
    for n in (1, 2):
        for view in ("2CH", "4CH"):
            write_volume(tmp_path / f"patient000{n}_{view}_ED.mhd", speckle((12, 16)), (0.3, 0.3))
    assert [(s.patient.id, len(s.frames)) for s in read_studies(tmp_path)] == [("patient0001", 2), ("patient0002", 2)]


def test_a_broken_file_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    for n in (1, 2):
        write_png_patient(tmp_path / f"patient000{n}")
    (tmp_path / "patient0001" / "2CH_ED.png").write_bytes(b"")
    for name in ("ED", "ES", "ED_gt", "ES_gt"):
        for view in ("2CH", "4CH"):
            (tmp_path / "patient0002" / f"{view}_{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    told: list[str] = []
    studies = list(read_studies(tmp_path, on_error=lambda path, error: told.append(path.name)))
    assert [len(s.frames) for s in studies] == [3]
    assert told == ["2CH_ED.png", "2CH_ED.png", "2CH_ES.png", "4CH_ED.png", "4CH_ES.png"]
    with pytest.raises(InputError, match=r"patient0001.2CH_ED\.png: the file is empty"):
        list(read_studies(tmp_path))


def test_the_two_editions_of_one_patient_are_not_two(tmp_path: Path) -> None:
    write_table(tmp_path)
    write_png_patient(tmp_path / "png" / "Training" / "patient0001")
    write_volume(tmp_path / "nifti" / "patient0007" / "patient0007_4CH_ED.nii.gz", speckle((12, 16)), (0.3, 0.3))
    told: list[str] = []
    studies = list(read_studies(tmp_path, on_error=lambda _path, error: told.append(str(error))))
    assert len(studies) == 1
    assert "patient0007 was found in" in told[0]


def test_two_files_for_one_frame(tmp_path: Path) -> None:
    write_png_patient(tmp_path / "patient0001", views=("2CH",))
    write_volume(tmp_path / "patient0001" / "patient0001_2CH_ED.mhd", speckle((12, 16)), (0.3, 0.3))
    with pytest.raises(InputError, match="a second file for patient0001_2CH_ED"):
        read_study(tmp_path / "patient0001")


def test_masks_that_do_not_belong(tmp_path: Path) -> None:
    path = tmp_path / "patient0001" / "patient0001_2CH_ED_gt.mhd"
    write_volume(tmp_path / "patient0001" / "patient0001_2CH_ED.mhd", speckle((12, 16)), (0.3, 0.3))
    write_volume(path, labels((12, 17)), (0.3, 0.3))
    with pytest.raises(InputError, match=r"_gt\.mhd: the mask is 12 x 17 and its image 12 x 16"):
        read_study(tmp_path)
    write_volume(path, labels((12, 16)) + 2, (0.3, 0.3))
    with pytest.raises(InputError, match=r"_gt\.mhd: labels outside 0-3 \(found 4, 5\)"):
        read_study(tmp_path)
    write_volume(path, labels((12, 16)), (0.3, 0.4))
    with pytest.raises(InputError, match=r"_gt\.mhd: spacing .* differs"):
        read_study(tmp_path)
    write_volume(path, labels((12, 16)) * 85, (0.3, 0.3))
    np.testing.assert_array_equal(read_study(tmp_path).frames[0].reference, labels((12, 16)))


def test_other_files_in_a_patient_folder_are_left_out_and_noted(tmp_path: Path) -> None:
    folder = tmp_path / "patient0001"
    write_png_patient(folder, views=("2CH",))
    Picture.fromarray(speckle((9, 9))).save(folder / "overlay.png")
    (folder / "._2CH_ED.png").write_bytes(b"junk of another system")
    (folder / "2CH_ES.png").unlink()
    study = read_study(folder)
    assert [f.name for f in study.frames] == ["patient0001_2CH_ED"]
    assert any("overlay.png: left out" in note for note in study.notes)
    assert any("2CH_ES_gt.png: left out, a mask without its image" in note for note in study.notes)


@pytest.mark.parametrize(
    ("name", "view", "phase"),
    [
        ("lab-A2C_ed.png", View.A2C, Phase.ED),
        ("x_ap4_End-Systole.jpg", View.A4C, Phase.ES),
        ("PATIENT0012_4ch_es.MHD", View.A4C, Phase.ES),
        ("2CH_and_4CH.png", None, None),
        ("edited_a4cx.png", None, None),
    ],
)
def test_names(name: str, view: View | None, phase: Phase | None) -> None:
    parsed = parse_name(Path(name))
    assert (parsed.view, parsed.phase) == (view, phase)


def test_no_echo(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match="no echocardiogram in this folder"):
        read_study(tmp_path)
    with pytest.raises(InputError, match="not a format that is read"):
        read_study(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="no such file or folder"):
        read_study(tmp_path / "absent")


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    write_png_patient(secret, views=("2CH",))
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "patient0001").symlink_to(secret)
    (tree / "2CH_ED.png").symlink_to(secret / "2CH_ED.png")
    with pytest.raises(InputError, match="no echocardiogram"):
        read_study(tree)


def test_real_patient_in_both_editions(camus: Path) -> None:
    png = read_study(camus / "png" / "Training" / "patient0003")
    assert png.patient.id == "patient0003"
    assert len(png.frames) == 4
    native = read_study(camus / "nifti" / "patient0003")
    for phase in Phase:
        small, large = png.frame(View.A4C, phase), native.frame(View.A4C, phase)
        assert small.name == large.name
        # The same field of view in mm, and the same mask up to resampling.
        extent = [np.multiply(f.grid.shape, f.grid.spacing_mm) for f in (small, large)]
        np.testing.assert_allclose(*extent, rtol=1e-6)
        rows, columns = ((np.arange(256) + 0.5) * n / 256 for n in large.grid.shape)
        resampled = large.reference[np.ix_(rows.astype(int), columns.astype(int))]
        assert np.mean(resampled == small.reference) > 0.99


def test_real_numbers_differ(camus: Path) -> None:
    study = read_study(camus / "png" / "Training" / "patient0400")
    assert study.patient.id == "patient0500"
    assert study.frames[0].grid.spacing_mm == pytest.approx((0.308 * 422 / 256, 0.308 * 512 / 256))
