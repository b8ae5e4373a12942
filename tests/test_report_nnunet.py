"""nnU-Net v2 dataset: its layout, native grids, and folds that never part a patient."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from apical.anatomy import Phase, View
from apical.errors import InputError, OutputError
from apical.report.nnunet import NnunetRule, export_nnunet, write_nnunet
from apical.store import StoreWriter
from apical.study import Frame, Grid, Patient, Study

SPACING_MM = (0.5, 0.25)


def study(number: int, spacing_mm: tuple[float, float] | None = SPACING_MM) -> Study:
    rng = np.random.default_rng(number)
    frames = []
    for view in View:
        for phase in Phase:
            image = rng.integers(0, 255, (12, 16)).astype(np.uint8)
            mask = rng.integers(0, 4, (12, 16)).astype(np.uint8)
            frames.append(Frame(f"{view}{phase}", image, Grid((12, 16), spacing_mm), view, phase, mask))
    return Study(Patient(f"patient{number:04d}"), tuple(frames))


def store(path: Path, studies: list[Study], folds: dict[str, int] | None = None) -> Path:
    writer = StoreWriter(path)
    for one in studies:
        writer.add(one, (folds or {}).get(one.patient.id))
    writer.close()
    return path


def test_two_frames_are_never_one_case(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset301_Apical"
    odd, plain = (replace(study(n), patient=Patient(name)) for n, name in enumerate(("a b", "a-b")))
    with pytest.raises(InputError, match=r"a-b, 2CHED: in nnU-Net's names the same case as a b, 2CHED"):
        write_nnunet([odd, plain], folder, [("a b",), ("a-b",)], {}, overwrite=True)
    assert not (folder / "dataset.json").exists()


def test_cases_of_another_export_are_not_counted_in(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset301_Apical"
    groups = [(f"patient{n:04d}",) for n in range(3)]
    write_nnunet([study(n) for n in range(3)], folder, groups, {})
    with pytest.raises(OutputError, match="holds 4 cases of another export, such as patient0002_2CH_ED"):
        write_nnunet([study(n) for n in range(2)], folder, groups[:2], {}, overwrite=True)
    assert write_nnunet([study(n) for n in range(3)], folder, groups, {}, overwrite=True)["cases"] == 12


def test_files_and_description_are_as_nnunet_wants_them(tmp_path: Path) -> None:
    studies = [study(i) for i in range(6)]
    folder = tmp_path / "Dataset301_Apical"
    counts = export_nnunet(store(tmp_path / "s.h5", studies), folder)
    assert counts == {"patients": 6, "cases": 24, "folds": 5}
    described = json.loads((folder / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "LV cavity": 1, "myocardium": 2, "left atrium": 3}
    assert described["channel_names"] == {"0": "ultrasound"}
    assert (described["numTraining"], described["file_ending"]) == (24, ".nii.gz")
    images, labels = sorted((folder / "imagesTr").iterdir()), sorted((folder / "labelsTr").iterdir())
    assert [p.name.replace("_0000.nii.gz", ".nii.gz") for p in images] == [p.name for p in labels]
    assert labels[0].name == "patient0000_2CH_ED.nii.gz"
    image = sitk.ReadImage(str(folder / "imagesTr" / "patient0003_4CH_ES_0000.nii.gz"))
    frame = studies[3].frame(View.A4C, Phase.ES)
    assert frame is not None
    assert image.GetSpacing() == SPACING_MM[::-1]
    assert np.array_equal(sitk.GetArrayFromImage(image), frame.image)
    label = sitk.ReadImage(str(folder / "labelsTr" / "patient0003_4CH_ES.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(label), frame.reference)


def test_every_case_is_validated_once_and_no_patient_is_parted(tmp_path: Path) -> None:
    studies = [study(i) for i in range(7)]
    twin = studies[5].frames[0]
    studies[2] = replace(studies[2], frames=(replace(twin, name="x"), *studies[2].frames[1:]))
    folder = tmp_path / "Dataset302_Apical"
    export_nnunet(store(tmp_path / "s.h5", studies), folder)
    splits = json.loads((folder / "splits_final.json").read_text())
    validated = [case for split in splits for case in split["val"]]
    assert len(validated) == len(set(validated)) == 28
    for split in splits:
        held = {case.split("_")[0] for case in split["val"]}
        trained = {case.split("_")[0] for case in split["train"]}
        assert not held & trained
        assert len(split["val"]) + len(split["train"]) == 28
        assert ("patient0002" in held) == ("patient0005" in held), "they share a frame"


def test_camus_folds_are_the_folds_where_all_patients_have_one(tmp_path: Path) -> None:
    studies = [study(i) for i in range(4)]
    folds = {s.patient.id: 1 + i % 2 for i, s in enumerate(studies)}
    folder = tmp_path / "Dataset303_Apical"
    export_nnunet(store(tmp_path / "s.h5", studies, folds), folder)
    splits = json.loads((folder / "splits_final.json").read_text())
    assert [{c.split("_")[0] for c in s["val"]} for s in splits] == [
        {"patient0000", "patient0002"},
        {"patient0001", "patient0003"},
    ]


def test_the_same_studies_give_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for place in ("a", "b"):
        folder = tmp_path / place / "Dataset304_Apical"
        write_nnunet([study(1), study(2)], folder, [("patient0001",), ("patient0002",)], {})
        contents.append({p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()})
    assert contents[0] == contents[1]


def test_unknown_spacing_is_said_and_frames_without_a_mask_are_left_out(tmp_path: Path) -> None:
    first, second = study(1, None), study(2)
    second = replace(second, frames=tuple(replace(f, reference=None) for f in second.frames))
    folder = tmp_path / "Dataset305_Apical"
    counts = write_nnunet([first, second], folder, [("patient0001",), ("patient0002",)], {}, rule=NnunetRule(n_folds=2))
    assert counts == {"patients": 1, "cases": 4, "folds": 0}
    assert "4 cases is unknown" in json.loads((folder / "dataset.json").read_text())["spacing_note"]
    with pytest.raises(InputError, match="no frame has an expert mask"):
        write_nnunet([second], tmp_path / "Dataset306_Apical", [], {})


def test_wrong_names_and_existing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Dataset301_Apical"):
        write_nnunet([study(1)], tmp_path / "apical", [("patient0001",)], {})
    folder = tmp_path / "Dataset307_Apical"
    write_nnunet([study(1)], folder, [("patient0001",)], {})
    with pytest.raises(OutputError, match="exists already"):
        write_nnunet([study(1)], folder, [("patient0001",)], {})
    write_nnunet([study(1)], folder, [("patient0001",)], {}, overwrite=True)
