"""Phantom hearts: closed forms against what is rendered, files against what was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Pillow

from apical.anatomy import Label, Phase, View
from apical.errors import InputError, OutputError
from apical.phantom import (
    Heart,
    PhantomPatient,
    Pose,
    Sector,
    TruncatedEllipsoid,
    as_study,
    blend,
    make_patient,
    render,
    resampled,
    ultrasound,
    write_camus_mhd,
    write_camus_nifti,
    write_camus_png,
)
from apical.study import Study

CAVITY = TruncatedEllipsoid(length_mm=80.0, semi_long_mm=50.0, half_width_2ch_mm=25.0, half_width_4ch_mm=21.0)
ATRIUM = TruncatedEllipsoid(length_mm=45.0, semi_long_mm=28.0, half_width_2ch_mm=22.0, half_width_4ch_mm=20.0)
HEART = Heart(CAVITY, ATRIUM, wall_mm=9.0)
VARIED = replace(HEART, thickening_2ch_mm=3.0, thickening_4ch_mm=6.0, bend_2ch_mm=5.0, bend_4ch_mm=-8.0)

SPACINGS = [(0.1, 0.1), (0.308, 0.308), (0.5, 0.5), (1.0, 1.0), (0.154, 0.308), (0.308, 0.154)]


def framed(heart: Heart, view: View, spacing_mm: tuple[float, float], **pose: float | bool) -> np.ndarray:
    """Mask of a heart in the middle of a 160 x 160 mm frame."""
    shape = round(160 / spacing_mm[0]), round(160 / spacing_mm[1])
    return render(heart, view, shape, spacing_mm, pose=Pose.centred(heart, shape, spacing_mm, **pose))  # type: ignore[arg-type]


def diameters_mm(mask: np.ndarray, labels: tuple[int, ...], column_mm: float) -> np.ndarray:
    """Chord length of each row."""
    return np.isin(mask, labels).sum(axis=1) * column_mm


def biplane_ml(heart: Heart, labels: tuple[int, ...], spacing_mm: tuple[float, float], **pose: float | bool) -> float:
    """Volume of one disk per row, from the two rendered views of an upright heart."""
    wide, narrow = (diameters_mm(framed(heart, v, spacing_mm, **pose), labels, spacing_mm[1]) for v in View)
    return float(np.pi / 4 * np.sum(wide * narrow) * spacing_mm[0] / 1000)


def numeric_ml(body: TruncatedEllipsoid) -> float:
    """Volume by adding a hundred thousand thin disks."""
    heights = (np.arange(100_000) + 0.5) / 100_000 * body.length_mm
    s2 = 1 - ((heights - body.centre_mm) / body.semi_long_mm) ** 2
    return float(np.mean(np.pi * body.half_width_2ch_mm * body.half_width_4ch_mm * s2) * body.length_mm / 1000)


@pytest.mark.parametrize("length", [20.0, 50.0, 75.0, 100.0])
def test_closed_form_is_the_integral_of_the_disks(length: float) -> None:
    body = TruncatedEllipsoid(length, 50.0, 20.0, 26.0)
    assert body.volume_ml == pytest.approx(numeric_ml(body), rel=1e-7)


def test_half_and_whole_ellipsoid_are_the_textbook_formulas() -> None:
    assert TruncatedEllipsoid(60.0, 60.0, 20.0, 30.0).volume_ml == pytest.approx(2 / 3 * np.pi * 60 * 20 * 30 / 1000)
    assert TruncatedEllipsoid(120.0, 60.0, 20.0, 30.0).volume_ml == pytest.approx(4 / 3 * np.pi * 60 * 20 * 30 / 1000)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_rendered_disks_hold_the_closed_form_volumes(spacing_mm: tuple[float, float]) -> None:
    tolerance = 0.004 if max(spacing_mm) <= 0.5 else 0.01
    assert biplane_ml(HEART, (1,), spacing_mm) == pytest.approx(HEART.volume_ml, rel=tolerance)
    assert biplane_ml(HEART, (1, 2), spacing_mm) == pytest.approx(HEART.epicardium_volume_ml, rel=tolerance)
    assert biplane_ml(HEART, (3,), spacing_mm) == pytest.approx(HEART.atrium_volume_ml, rel=2 * tolerance)


@pytest.mark.parametrize("mirrored", [False, True])
def test_bent_and_thickened_hearts_keep_their_closed_forms(mirrored: bool) -> None:
    spacing_mm = (0.1, 0.1)
    assert VARIED.volume_ml == HEART.volume_ml
    assert VARIED.myocardium_volume_ml > HEART.myocardium_volume_ml + 5
    assert biplane_ml(VARIED, (1,), spacing_mm, mirrored=mirrored) == pytest.approx(VARIED.volume_ml, rel=0.002)
    epicardium_ml = biplane_ml(VARIED, (1, 2), spacing_mm, mirrored=mirrored)
    assert epicardium_ml == pytest.approx(VARIED.epicardium_volume_ml, rel=0.002)


def test_bend_moves_the_middle_of_the_cavity_by_its_sagitta() -> None:
    mask = framed(replace(HEART, bend_4ch_mm=8.0), View.A4C, (0.2, 0.2)) == Label.LV_CAVITY
    rows = np.flatnonzero(mask.any(axis=1))
    middle = [np.flatnonzero(mask[r]).mean() * 0.2 for r in (rows[len(rows) // 2], rows[-1])]
    assert middle[0] - middle[1] == pytest.approx(8.0, abs=0.2)


def test_thickening_is_on_the_left_and_outside() -> None:
    plain, thick = (framed(h, View.A4C, (0.25, 0.25)) for h in (HEART, replace(HEART, thickening_4ch_mm=6.0)))
    np.testing.assert_array_equal(plain == Label.LV_CAVITY, thick == Label.LV_CAVITY)
    changed = np.argwhere(plain != thick)
    assert set(thick[tuple(changed.T)]) == {Label.MYOCARDIUM}
    assert changed[:, 1].max() < plain.shape[1] / 2
    assert np.max((thick == 2).sum(axis=1) - (plain == 2).sum(axis=1)) * 0.25 == pytest.approx(6.0, abs=0.3)


@pytest.mark.parametrize("rotation_deg", [-40.0, 15.0, 40.0, 90.0, 180.0])
def test_turning_keeps_areas_and_points_the_apex(rotation_deg: float) -> None:
    upright, turned = (framed(HEART, View.A2C, (0.3, 0.3), rotation_deg=r) for r in (0.0, rotation_deg))
    for label in (1, 2, 3):
        assert np.sum(turned == label) == pytest.approx(np.sum(upright == label), rel=0.005)
    to_apex = np.argwhere(turned == 1).mean(axis=0) - np.argwhere(turned == 3).mean(axis=0)
    turn = np.radians(rotation_deg)
    np.testing.assert_allclose(to_apex / np.linalg.norm(to_apex), [-np.cos(turn), -np.sin(turn)], atol=0.01)


def test_mirror_image_is_the_image_mirrored() -> None:
    plain, mirrored = (framed(VARIED, View.A4C, (0.5, 0.5), mirrored=m) for m in (False, True))
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])
    assert not np.array_equal(mirrored, plain)


@pytest.mark.parametrize("view", View)
@pytest.mark.parametrize("tilt_deg", [10.0, 20.0, 30.0])
def test_foreshortened_section_is_exact_and_smaller_than_the_true_one(view: View, tilt_deg: float) -> None:
    step = 0.1
    true, tilted = (framed(HEART, view, (step, step), tilt_deg=t) == 1 for t in (0.0, tilt_deg))
    assert tilted.sum() < true.sum()
    length = tilted.any(axis=1).sum() * step
    assert length == pytest.approx(CAVITY.section_length_mm(view, tilt_deg), abs=0.4)
    assert CAVITY.section_length_mm(view, tilt_deg) < CAVITY.length_mm
    # Brute force: walk along the tilted axis until the implicit equation of the ellipsoid is left.
    _, outside = CAVITY.half_widths_mm(view)
    walk, tilt = np.linspace(0, 90, 900_001), np.radians(tilt_deg)
    level = (walk * np.sin(tilt) / outside) ** 2 + ((walk * np.cos(tilt) - 30.0) / 50.0) ** 2
    assert CAVITY.section_length_mm(view, tilt_deg) == pytest.approx(walk[level <= 1].max(), abs=1e-3)


def test_untilted_section_is_the_true_length() -> None:
    assert CAVITY.section_length_mm(View.A4C) == pytest.approx(80.0)


def test_wall_surrounds_the_cavity_except_at_the_annulus() -> None:
    mask = framed(VARIED, View.A4C, (0.4, 0.4), tilt_deg=12.0)
    inside = np.argwhere(mask == 1)
    lowest = inside[:, 0].max()
    for row, column in inside:
        around = mask[row - 1 : row + 2, column - 1 : column + 2]
        assert row == lowest or 0 not in around
    assert set(np.unique(mask[lowest + 1])) <= {0, 3}


def test_sector_cuts_the_atrium_and_only_the_atrium() -> None:
    shape, step = (300, 364), (0.5, 0.5)
    sector = Sector.filling(shape, step)
    pose = Pose((110.0, 60.0), rotation_deg=15.0)
    whole, cut = (render(HEART, View.A4C, shape, step, pose=pose, sector=s) for s in (None, sector))
    changed = whole != cut
    assert changed.any()
    assert set(whole[changed]) == {Label.LEFT_ATRIUM}
    row, column = np.nonzero(cut == 3)
    assert sector.contains(row * 0.5, column * 0.5).all()


def test_sector_touches_the_frame_on_all_sides() -> None:
    shape, step = (519, 631), (0.308, 0.308)
    sector = Sector.filling(shape, step)
    seen = ultrasound(HEART, View.A4C, shape, step) > 0
    assert sector.opening_deg == pytest.approx(75, abs=0.5)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    assert (rows[0], rows[-1]) == (0, 518)
    assert columns[0] <= 1  # the corner lies between two rows
    assert columns[-1] >= 629
    assert seen[0].sum() == 1


@pytest.mark.parametrize("sizes", [(0.0, 50, 20, 20), (60, -1, 20, 20), (60, 50, np.nan, 20), (101, 50, 20, 20)])
def test_impossible_ellipsoids_are_refused(sizes: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="give"):
        TruncatedEllipsoid(*sizes)


def test_a_heart_without_wall_is_refused() -> None:
    with pytest.raises(InputError, match="give a thickness"):
        Heart(CAVITY, ATRIUM, wall_mm=0.0)


def test_blend_runs_from_one_heart_to_the_other() -> None:
    assert blend(HEART, VARIED, 0.0) == HEART
    assert blend(HEART, VARIED, 1.0) == VARIED
    assert blend(HEART, VARIED, 0.5).bend_4ch_mm == -4.0


@pytest.mark.parametrize("seed", range(40))
def test_patients_are_plausible(seed: int) -> None:
    patient = make_patient(seed)
    truth = patient.truth
    assert 60 <= truth.edv_ml <= 220
    assert 25 <= truth.ef_percent <= 70
    assert truth.ef_percent == pytest.approx(100 * (1 - patient.es.volume_ml / patient.ed.volume_ml))
    assert patient.es.myocardium_volume_ml == pytest.approx(patient.ed.myocardium_volume_ml, rel=1e-6)
    assert patient.es.cavity.length_mm < patient.ed.cavity.length_mm
    assert 6 < patient.ed.wall_mm < patient.es.wall_mm < 25
    for view in View:
        for fraction in (0.0, 0.36):
            mask = patient.mask(view, fraction)
            border = np.concatenate([mask[0], mask[:, 0], mask[:, -1]])
            assert Label.LV_CAVITY not in border
            assert Label.LV_CAVITY not in mask[-1]
            assert np.sum(mask == 3) > 0


def test_wanted_volume_and_fraction_are_met() -> None:
    truth = make_patient(5, edv_ml=133.0, ef_percent=41.0).truth
    assert (truth.edv_ml, truth.esv_ml, truth.ef_percent) == pytest.approx((133.0, 78.47, 41.0))


@pytest.mark.parametrize(("edv_ml", "ef_percent"), [(0.0, 50.0), (np.nan, 50.0), (100.0, 0.0), (100.0, 100.0)])
def test_impossible_wishes_are_refused(edv_ml: float, ef_percent: float) -> None:
    with pytest.raises(InputError, match="no heart"):
        make_patient(1, edv_ml=edv_ml, ef_percent=ef_percent)


def test_the_heart_beats_from_ed_to_es_and_back() -> None:
    patient = make_patient(3)
    assert patient.heart_at(0.0) == patient.ed == patient.heart_at(1.0)
    assert patient.heart_at(0.36) == patient.es
    volumes = [patient.heart_at(f).volume_ml for f in np.linspace(0, 1, 101)]
    assert np.argmin(volumes) == 36
    assert (np.diff(volumes[:37]) < 0).all()
    assert (np.diff(volumes[36:]) > 0).all()


def test_the_apex_stays_while_the_annulus_moves() -> None:
    patient = make_patient(3, ef_percent=60.0)
    for view in View:
        ed, es = (np.argwhere(patient.mask(view, f) == 1) for f in (0.0, 0.36))
        assert abs(int(ed[:, 0].min()) - int(es[:, 0].min())) <= 4
        assert ed[:, 0].max() > es[:, 0].max() + 10


def test_mirrored_patient_is_the_mirror_image() -> None:
    patient = make_patient(3)
    plain, mirrored = (replace(patient, mirrored=m).mask(View.A4C, 0.0) for m in (False, True))
    assert np.mean(mirrored != plain[:, ::-1]) < 1e-4


def test_pictures_are_reproducible_by_seed() -> None:
    first, again, other = (make_patient(seed) for seed in (7, 7, 8))
    assert first == again
    np.testing.assert_array_equal(first.image(View.A4C, 0.0), again.image(View.A4C, 0.0))
    assert first.truth != other.truth
    speckle = [ultrasound(HEART, View.A4C, (300, 364), (0.5, 0.5), seed=s) for s in (1, 1, 2)]
    np.testing.assert_array_equal(speckle[0], speckle[1])
    assert np.mean(speckle[0] != speckle[2]) > 0.4


@pytest.mark.parametrize("seed", [1, 2])
def test_pictures_look_like_echocardiograms(seed: int) -> None:
    for frame in as_study(make_patient(seed)).frames:
        assert frame.reference is not None
        inside = frame.image > 0
        cavity, wall = (np.median(frame.image[inside & (frame.reference == k)]) for k in (1, 2))
        assert 20 < cavity < 95
        assert wall > cavity + 15
        assert np.percentile(frame.image[inside], 99.5) > 150
        assert 0.4 < inside.mean() < 0.62


def test_speckle_widens_with_depth() -> None:
    picture = ultrasound(HEART, View.A4C, (519, 631), (0.308, 0.308)).astype(float)

    def width(rows: slice) -> float:
        patch = picture[rows, 235:395]
        patch = patch - patch.mean(axis=1, keepdims=True)
        return float(np.mean(patch[:, 4:] * patch[:, :-4]) / patch.var())

    assert width(slice(480, 510)) > width(slice(180, 210)) + 0.1


def test_study_holds_all_frames_in_camus_names() -> None:
    patient = make_patient(12)
    study = as_study(patient, with_images=False)
    assert [f.name for f in study.frames] == [f"patient0012_{v}_{p}" for v in View for p in Phase]
    frame = study.frame(View.A2C, Phase.ES)
    assert frame is not None
    assert frame.reference is not None
    np.testing.assert_array_equal(frame.reference, patient.mask(View.A2C, 0.36))
    assert frame.grid.spacing_mm == (0.308, 0.308)
    assert not frame.image.any()
    assert len(as_study(patient, views=[View.A4C], with_images=False).frames) == 2


@pytest.fixture(scope="module")
def patient() -> PhantomPatient:
    return make_patient(21, ef_percent=55.0, spacing_mm=(0.616, 0.616))


@pytest.fixture(scope="module")
def study(patient: PhantomPatient) -> Study:
    return as_study(patient)


def info(path: Path) -> dict[str, str]:
    return dict(line.split(": ") for line in path.read_text().splitlines())


def test_nifti_files_read_back_equal(tmp_path: Path, patient: PhantomPatient, study: Study) -> None:
    place = write_camus_nifti(tmp_path, patient)
    assert place == tmp_path / "patient0021"
    for frame in study.frames:
        for suffix, pixels in (("", frame.image), ("_gt", frame.reference)):
            read = sitk.ReadImage(str(place / f"{frame.name}{suffix}.nii.gz"))
            assert read.GetPixelID() == sitk.sitkUInt8
            np.testing.assert_array_equal(sitk.GetArrayFromImage(read), pixels)
            assert read.GetSpacing() == pytest.approx((0.616, 0.616))
    said = info(place / "Info_4CH.cfg")
    assert list(said) == ["ED", "ES", "NbFrame", "Sex", "Age", "ImageQuality", "EF", "FrameRate"]
    assert said["EF"] == "55"
    assert len(list(place.iterdir())) == 10


def test_mhd_files_read_back_equal_with_their_unequal_spacing(tmp_path: Path, patient: PhantomPatient) -> None:
    place = write_camus_mhd(tmp_path, patient)
    fine = resampled(patient, (0.154, 0.308))
    for frame in as_study(fine).frames:
        for suffix, pixels in (("", frame.image), ("_gt", frame.reference)):
            read = sitk.ReadImage(str(place / f"{frame.name}{suffix}.mhd"))
            np.testing.assert_array_equal(sitk.GetArrayFromImage(read)[0], pixels)
            assert read.GetSpacing()[:2] == pytest.approx((0.308, 0.154))
            raw = (place / f"{frame.name}{suffix}.raw").read_bytes()
            assert len(raw) == pixels.size
    assert fine.truth == patient.truth
    said = info(place / "Info_2CH.cfg")
    assert list(said)[-3:] == ["LVedv", "LVesv", "LVef"]
    assert float(said["LVedv"]) == pytest.approx(patient.truth.edv_ml, abs=0.05)


def test_resampling_keeps_field_of_view_and_areas(patient: PhantomPatient) -> None:
    coarse, fine = (replace(patient, mirrored=False), resampled(patient, (0.154, 0.308)))
    for view in View:
        for label in (1, 2, 3):
            areas = [np.sum(p.mask(view, 0.0) == label) * np.prod(p.spacing_mm) for p in (coarse, fine)]
            assert areas[1] == pytest.approx(areas[0], rel=0.01)


def test_png_files_read_back_as_squashed_rgba(tmp_path: Path, patient: PhantomPatient, study: Study) -> None:
    place = write_camus_png(tmp_path, patient)
    for frame in study.frames:
        short = frame.name.removeprefix("patient0021_")
        assert frame.reference is not None
        with Pillow.open(place / f"{short}.png") as picture, Pillow.open(place / f"{short}_gt.png") as mask:
            assert (picture.mode, picture.size, mask.mode, mask.size) == ("RGBA", (256, 256), "RGBA", (256, 256))
            grey, labels = np.asarray(picture), np.asarray(mask)
        assert (grey[..., 3] == 255).all()
        assert (labels[..., 3] == 255).all()
        assert set(np.unique(labels[..., 0])) == {0, 85, 170, 255}
        rows, columns = (((np.arange(256) + 0.5) * n / 256).astype(int) for n in frame.grid.shape)
        np.testing.assert_array_equal(labels[..., 0] // 85, frame.reference[np.ix_(rows, columns)])
        wanted = Pillow.fromarray(frame.image).resize((256, 256), Pillow.Resampling.BILINEAR)
        np.testing.assert_array_equal(grey[..., 1], np.asarray(wanted))
    assert len(list(place.iterdir())) == 8


@pytest.mark.parametrize("write", [write_camus_nifti, write_camus_png, write_camus_mhd])
def test_nothing_is_overwritten_unasked(tmp_path: Path, patient: PhantomPatient, write: Callable[..., Path]) -> None:
    small = resampled(patient, (5.0, 5.0))
    (tmp_path / small.id).mkdir()
    (tmp_path / small.id / "precious.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write(tmp_path, small)
    assert [p.name for p in (tmp_path / small.id).iterdir()] == ["precious.txt"]
    place = write(tmp_path, small, overwrite=True)
    assert not (place / "precious.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == [small.id]


def test_a_failed_write_leaves_nothing(
    tmp_path: Path, patient: PhantomPatient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Pillow.Image, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        write_camus_png(tmp_path / "out", resampled(patient, (4.0, 4.0)))
    assert list((tmp_path / "out").iterdir()) == []
