"""`measure`: what goes in, what comes out, and what everything beside the volumes says."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import apical
from apical.anatomy import Phase, View
from apical.errors import InputError
from apical.measure import Quantity, Reason, Severity, Status, VolumeDefinition, measure
from apical.measure.quantities import LABELS
from apical.study import Clip, Grid, Patient, Repair, Segmentation, Study
from measure_hearts import DIASTOLE, SYSTOLE, examination, heart_masks


def test_mask_of_another_shape_is_an_error_that_names_the_frame() -> None:
    study, masks = examination(heart_masks())
    masks["p_4CH_ED"] = masks["p_4CH_ED"][:100, :90]
    with pytest.raises(InputError, match=r"^p, p_4CH_ED \(4CH ED\): the mask is 100 x 90, the frame 380 x 340 pixels"):
        measure(study, masks)


def test_a_still_without_view_has_the_one_that_the_model_recognised() -> None:
    study, masks = examination(heart_masks())
    nameless = replace(study, frames=tuple(replace(f, view=None) for f in study.frames))
    assert measure(nameless, masks).status is Status.REFUSED
    seen = {f.name: (f.view, 0.6 if f.name == "p_4CH_ES" else 0.99) for f in study.frames}
    result = measure(nameless, Segmentation(masks, views=seen))
    assert result.ef_percent == measure(study, masks).ef_percent
    found = [f for f in result.findings if f.reason is Reason.VIEW_RECOGNISED]
    assert len(found) == 4
    (unsure,) = [f for f in found if f.severity is Severity.CAUTION]
    assert unsure.sentence == "4CH ES, p_4CH_ES: the view was recognised by the model (60 %)."
    # What names and tags say stands: the model is not asked.
    assert measure(study, Segmentation(masks, views=seen)).findings == measure(study, masks).findings


def test_of_two_stills_of_one_recognised_view_the_surer_is_measured() -> None:
    study, _ = examination(heart_masks())
    nameless = replace(study, frames=tuple(replace(f, view=None) for f in study.frames))
    chances = {"p_2CH_ED": 0.6, "p_2CH_ES": 0.9, "p_4CH_ED": 0.8, "p_4CH_ES": 0.7}
    named = nameless.with_views({name: (View.A4C, chance) for name, chance in chances.items()})
    assert {f.name for f in named.frames if f.view} == {"p_2CH_ES", "p_4CH_ED"}
    assert set(named.notes) - set(study.notes) == {
        "p_2CH_ED: recognised as 4CH ED, of which there is one; not measured",
        "p_4CH_ES: recognised as 4CH ES, of which there is one; not measured",
    }
    assert named.with_views({name: (View.A4C, chance) for name, chance in chances.items()}).notes == named.notes


@pytest.mark.parametrize("wrong", [4, 255])
def test_values_that_are_no_labels_are_an_error(wrong: int) -> None:
    study, masks = examination(heart_masks())
    masks["p_2CH_ES"][0, 0] = wrong
    with pytest.raises(InputError, match="values other than the labels 0 to 3"):
        measure(study, masks)


def test_nothing_in_nothing_out_with_the_reason() -> None:
    result = measure(Study(Patient("p")), {})
    for volumes in result.volumes.values():
        assert volumes.status is Status.REFUSED
        assert volumes.absent_because == (
            "There is no end-diastolic frame in either view. There is no end-systolic frame in either view. "
            "No view could be measured at both end-diastole and end-systole: there is no ejection fraction."
        )
    assert set(result.quantities) == set(LABELS)


def test_frame_without_a_mask_is_a_finding() -> None:
    study, masks = examination(heart_masks())
    del masks["p_2CH_ED"]
    result = measure(study, masks)
    assert [f.reason for f in result.findings] == [Reason.NO_MASK, Reason.SINGLE_PLANE]
    assert result.findings[0].sentence == "2CH ED: no mask was given for this frame."


@pytest.mark.parametrize(("pixels", "severity"), [(5, Severity.NOTE), (2000, Severity.CAUTION)])
def test_a_repaired_mask_is_a_finding(pixels: int, severity: Severity) -> None:
    study, masks = examination(heart_masks())
    repairs = {"p_4CH_ED": (Repair("hole in the cavity filled", pixels),)}
    result = measure(study, Segmentation(masks, "model", repairs=repairs))
    (finding,) = result.findings
    assert (finding.reason, finding.severity, finding.view) == (Reason.MASK_REPAIRED, severity, View.A4C)
    assert "hole in the cavity filled" in finding.sentence


@pytest.mark.parametrize("definition", VolumeDefinition)
@pytest.mark.parametrize(("half_width_mm", "differs"), [(18.5, False), (20.0, False), (21.0, True)])
def test_views_that_differ_in_ef_call_for_caution(
    half_width_mm: float, differs: bool, definition: VolumeDefinition
) -> None:
    # By itself 4CH gives 57 %; 2CH gives 1 - 46 w^2 / (55 24^2): 50 % at 18.5 mm, 42 % at 20 mm, 36 % at 21 mm.
    systole = replace(SYSTOLE, half_width_2ch_mm=half_width_mm)
    volumes = measure(*examination(heart_masks(systole=systole))).volumes[definition]
    found = [f for f in volumes.findings if f.reason is Reason.VIEWS_DIFFER_IN_EF]
    assert bool(found) is differs
    assert volumes.status is (Status.CAUTION if differs else Status.MEASURED)
    if differs:
        assert "36 % in 2CH and 57 % in 4CH" in found[0].sentence


def test_masks_and_study_are_left_as_they_were() -> None:
    study, masks = examination(heart_masks())
    before = {name: mask.copy() for name, mask in masks.items()}
    for mask in masks.values():
        mask.setflags(write=False)
    measure(study, masks)
    assert all(np.array_equal(masks[name], before[name]) for name in masks)


def test_geometry_lies_on_the_frame_it_was_measured_on() -> None:
    masks = heart_masks((0.3, 0.6), shift_mm=(8.0, -11.0))
    geometry = measure(*examination(masks, (0.3, 0.6))).geometry[View.A4C, Phase.ED]
    shape = np.array(masks[View.A4C, Phase.ED].shape)
    centre = (shape - 1) / 2 * (0.3, 0.6) + (8.0, -11.0)
    assert geometry.annulus_midpoint_mm == pytest.approx(centre + np.array([DIASTOLE.half_length_mm / 2, 0]), abs=0.3)
    assert geometry.apex_mm[0] == pytest.approx(centre[0] - DIASTOLE.half_length_mm, abs=0.5)
    assert geometry.epicardium_mm is not None
    assert geometry.epicardium_mm[:, 0].min() == pytest.approx(centre[0] - DIASTOLE.half_length_mm - 9, abs=0.5)
    assert geometry.atrium_mm is not None
    assert geometry.atrium_mm[:, 0].max() == pytest.approx(centre[0] + DIASTOLE.half_length_mm / 2 + 35, abs=0.5)
    # The last disk ends at the apex, the first begins at the annulus.
    assert geometry.disks.step_mm * geometry.disks.n_disks == pytest.approx(geometry.long_axis_mm)


def test_quantities_of_a_known_heart() -> None:
    patient = Patient("p", sex="M", height_cm=180, weight_kg=80)
    study, masks = examination(heart_masks((0.308, 0.308)), (0.308, 0.308), patient)
    clip = Clip("c", np.zeros((1, 2, 2), np.uint8), Grid((2, 2)), heart_rate_bpm=60.0)
    result = measure(Study(patient, study.frames, (clip,)), masks)
    stroke = DIASTOLE.volume_ml - SYSTOLE.volume_ml
    assert result.value("lv_length_ed_mm") == pytest.approx(DIASTOLE.length_mm, rel=0.005)
    assert result.value("lv_length_es_mm") == pytest.approx(SYSTOLE.length_mm, rel=0.005)
    assert result.value("foreshortening_percent") == pytest.approx(0, abs=0.5)
    assert result.value("cardiac_output_l_min") == pytest.approx(stroke * 60 / 1000, rel=0.01)
    sphere = math.pi / 6 * DIASTOLE.length_mm**3 / 1000
    assert result.value("sphericity_ed") == pytest.approx(DIASTOLE.volume_ml / sphere, rel=0.02)
    assert result.value("bsa_m2") == pytest.approx(2.0)
    assert result.value("edv_index_ml_m2") == pytest.approx(DIASTOLE.volume_ml / 2, rel=0.01)
    assert result.value("sv_index_ml_m2") == pytest.approx(stroke / 2, rel=0.01)
    assert result.quantities["edv_index_ml_m2"].reference is not None
    assert result.quantities["edv_index_ml_m2"].reference.grade == "normal"
    assert "Mosteller" in result.quantities["edv_index_ml_m2"].method


def test_area_length_of_the_truncated_ellipse() -> None:
    result = measure(*examination(heart_masks()))
    t = math.asin(0.5)
    areas = [w * DIASTOLE.half_length_mm * (math.pi / 2 + t + math.sin(2 * t) / 2) for w in (24.0, 21.0)]
    expected = 8 * areas[0] * areas[1] / (3 * math.pi * DIASTOLE.length_mm) / 1000
    assert result.value("area_length_edv_ml") == pytest.approx(expected, rel=0.01)
    assert result.value("area_length_ef_percent") == pytest.approx(result.ef_percent, abs=1.0)


def test_without_body_size_nothing_is_indexed() -> None:
    for patient in (Patient("p"), Patient("p", height_cm=0, weight_kg=70), Patient("p", height_cm=170)):
        result = measure(*examination(heart_masks(), patient=patient))
        assert result.value("edv_index_ml_m2") is None
        assert result.quantities["bsa_m2"].reason == "Height and weight are not both known."


def test_result_as_json_names_units_and_reasons() -> None:
    tree = json.loads(json.dumps(measure(*examination(heart_masks())).as_dict(), allow_nan=False))
    assert tree["default_definition"] == "ase"
    assert set(tree["volumes"]) == {"ase", "camus"}
    assert tree["volumes"]["ase"]["absent_because"] is None
    assert tree["geometry"]["4CH_ED"]["unit"] == "mm"
    assert len(tree["geometry"]["4CH_ED"]["disk_diameters"]) == 20
    assert tree["quantities"]["cardiac_output_l_min"] == {
        "value": None,
        "unit": "L/min",
        "label": "Cardiac output",
        "method": "stroke volume (biplane method of disks, ASE 2015) x heart rate",
        "reason": "The heart rate is unknown.",
        "caution": None,
        "reference_range": None,
        "grade": None,
    }


def test_quantity_has_a_number_or_a_reason() -> None:
    for value, reason in ((None, None), (1.0, "because"), (math.nan, None), (math.inf, None)):
        with pytest.raises(ValueError, match="a finite number or the reason"):
            Quantity(value, "mL", "volume", "method", reason=reason)


def test_package_is_callable_under_the_functions_name() -> None:
    study, masks = examination(heart_masks())
    assert apical.measure(study, masks).ef_percent == measure(study, masks).ef_percent


def test_importing_measure_loads_neither_torch_nor_a_runtime_nor_scikit_image() -> None:
    code = (
        "import sys, apical.measure; "
        "heavy = {'torch', 'onnxruntime', 'openvino', 'skimage', 'matplotlib', 'SimpleITK'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_four_masks_are_measured_in_a_moment() -> None:
    study, masks = examination(heart_masks((0.308, 0.308), shape=(500, 600)), (0.308, 0.308))
    measure(study, masks)
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        measure(study, masks)
        seconds.append(time.perf_counter() - begin)
    # 0.05 s on an idle core; ten times that still tells a march pixel by pixel from arrays.
    assert min(seconds) < 0.5


def test_expert_masks_of_camus(camus: Path) -> None:
    """Population means of both definitions on the 4CH and 2CH masks; PNG pixels at the true spacing."""
    with (camus / "patients.csv").open(newline="") as file:
        rows = {(r["png256_folder"], r["view"]): r for r in csv.DictReader(file) if r["png256_folder"]}
    ef: dict[VolumeDefinition, list[float]] = {d: [] for d in VolumeDefinition}
    for number in range(1, 401, 10):
        folder = f"Training/patient{number:04d}"
        views = {}
        for view in View:
            for phase in Phase:
                with Image.open(camus / "png" / folder / f"{view}_{phase}_gt.png") as image:
                    views[view, phase] = np.asarray(image)[..., 0] // 85
        row = rows[folder, "4CH"]
        spacing = (
            float(row["spacing_y"]) * float(row["height"]) / 256,
            float(row["spacing_x"]) * float(row["width"]) / 256,
        )
        result = measure(*examination(views, spacing))
        for definition, volumes in result.volumes.items():
            assert volumes.ef_percent is not None
            ef[definition].append(volumes.ef_percent)
    assert np.mean(ef[VolumeDefinition.ASE]) == pytest.approx(52, abs=3)
    assert np.mean(ef[VolumeDefinition.CAMUS]) == pytest.approx(44, abs=3)


def test_a_view_without_spacing_does_not_take_the_other_views_millilitres() -> None:
    study, masks = examination(heart_masks())
    alone = replace(study, frames=tuple(f for f in study.frames if f.view is View.A4C))
    unknown = tuple(f if f.view is View.A4C else replace(f, grid=Grid(f.grid.shape)) for f in study.frames)
    result, expected = measure(replace(study, frames=unknown), masks), measure(alone, masks)
    assert result.edv_ml == expected.edv_ml is not None
    assert result.default.method.startswith("single plane (4CH)")
    left_out = [f.sentence for f in result.findings if f.reason is Reason.SPACING_UNKNOWN]
    assert len(left_out) == 2
    assert all(sentence.startswith("2CH") for sentence in left_out)


def test_views_at_other_heart_rates_give_no_cardiac_output() -> None:
    study, masks = examination(heart_masks())
    image = np.zeros((1, 4, 4), np.uint8)

    def output(*rates: float) -> Quantity:
        clips = tuple(Clip(f"c{r}", image, Grid((4, 4)), heart_rate_bpm=r) for r in rates)
        return measure(replace(study, clips=clips), masks).quantities["cardiac_output_l_min"]

    assert output(60.0, 66.0).value == pytest.approx(1.05 * (output(60.0).value or 0))
    assert output(60.0, 120.0).value is None
    assert "60 and 120" in (output(60.0, 120.0).reason or "")
