"""All objects of a study at once: which are written, and for what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from apical import measure
from apical.anatomy import Phase, View
from apical.report.dicom_object import code_item, encoded_sequence
from apical.report.dicom_object import save as save_object
from apical.report.dicom_objects import write_dicom_objects
from apical.study import Clip, Grid, Maker, Study
from dicom_checks import save, ultrasound_dataset
from measure_hearts import examination, heart_masks

pytest.importorskip("highdicom", reason="DICOM SR needs the optional extra `clinic`")


def test_one_object_of_each_kind_for_a_clip_and_a_still(tmp_path: Path) -> None:
    study, masks = examination(heart_masks(spacing_mm=(2.0, 2.0)), (2.0, 2.0))
    result = measure(study, masks)
    still, plain = study.frames[0], study.frames[1]
    shape = still.grid.shape
    still = replace(still, source=save(ultrasound_dataset(np.zeros(shape, np.uint8)), tmp_path / "still.dcm"))
    plain = replace(plain, source=tmp_path / "plain.png")
    plain.source.write_bytes(b"no DICOM")
    images = np.zeros((3, *shape), np.uint8)
    place = save(ultrasound_dataset(images, number=2), tmp_path / "loop.dcm")
    clip = Clip("loop", images, Grid(shape, (2.0, 2.0)), view=View.A4C, source=place)
    masks["loop"] = np.stack(list(masks.values())[:3])
    all_of_it = Study(study.patient, (still, plain), (clip,))
    written = write_dicom_objects(
        all_of_it,
        masks,
        result,
        tmp_path / "out",
        model="unet",
        instants={"loop": {Phase.ED: 0, Phase.ES: 2}},
        pdf=b"%PDF-1.7",
        stacked=True,
    )
    names = ["p_2CH_ED_seg.dcm", "loop_seg.dcm", "measurements_sr.dcm", "echo_report_sr.dcm", "report_pdf.dcm"]
    assert [p.name for p in written] == names
    assert [pydicom.dcmread(p).Modality for p in written] == ["SEG", "SEG", "SR", "SR", "DOC"]
    seg = pydicom.dcmread(written[1])
    assert len(seg.PerFrameFunctionalGroupsSequence) == 9
    assert "FrameOfReferenceUID" in seg


@pytest.mark.parametrize(
    ("maker", "kind", "name"),
    [
        (Maker.MODEL, "AUTOMATIC", "apical, unet"),
        (Maker.EXPERT, "MANUAL", None),
        (Maker.UNKNOWN, "SEMIAUTOMATIC", "masks as given, maker unknown"),
    ],
)
def test_only_masks_of_our_models_are_called_ours(tmp_path: Path, maker: Maker, kind: str, name: str | None) -> None:
    study, masks = examination(heart_masks(spacing_mm=(2.0, 2.0)), (2.0, 2.0))
    still = study.frames[0]
    place = save(ultrasound_dataset(np.zeros(still.grid.shape, np.uint8)), tmp_path / "still.dcm")
    one = Study(study.patient, (replace(still, source=place),))
    written = write_dicom_objects(one, masks, measure(study, masks), tmp_path / "out", model="unet", maker=maker)
    for segment in pydicom.dcmread(written[0]).SegmentSequence:
        assert segment.SegmentAlgorithmType == kind
        assert segment.get("SegmentAlgorithmName") == name
        assert ("SegmentationAlgorithmIdentificationSequence" in segment) == (maker is Maker.MODEL)
    for path in written[1:]:
        assert (b"unet" in path.read_bytes()) == (maker is Maker.MODEL)


def test_without_a_dicom_source_nothing_is_written(tmp_path: Path) -> None:
    study, masks = examination(heart_masks(spacing_mm=(2.0, 2.0)), (2.0, 2.0))
    assert write_dicom_objects(study, masks, measure(study, masks), tmp_path / "out", pdf=b"%PDF-1.7") == []
    assert not (tmp_path / "out").exists()


def test_a_sequence_that_was_encoded_before_is_written_as_any_other(tmp_path: Path) -> None:
    files = []
    for before in (False, True):
        made = ultrasound_dataset(np.zeros((4, 4), np.uint8))
        made.SpecificCharacterSet = "ISO_IR 192"
        made.PatientName = "M\u00fcller"
        made["PixelData"].VR = "OB"
        item = pydicom.Dataset()
        item.DerivationDescription = "a step"
        item.DerivationCodeSequence = [code_item("113076", "DCM", "Segmentation")]
        if before:
            encoded = encoded_sequence("DerivationImageSequence", item)
            made[encoded.tag] = encoded
        else:
            made.DerivationImageSequence = [item]
        files.append(tmp_path / f"{before}.dcm")
        save_object(files[-1], made, overwrite=False)
    assert files[0].read_bytes() == files[1].read_bytes()
    read = pydicom.dcmread(files[1])
    assert read.DerivationImageSequence[0].DerivationCodeSequence[0].CodeValue == "113076"
    assert str(read.PatientName) == "M\u00fcller"
