"""De-identification: no planted identifier survives anywhere, and what is needed to measure does."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, RLELossless

from apical.deidentify import deidentify, read_key
from apical.deidentify.profile import clean_attributes
from apical.deidentify.pseudonyms import Pseudonyms
from apical.errors import InputError, OutputError
from dicom_checks import dciodvfy_errors, region, save, ultrasound_dataset

KEY = b"sixteen bytes or more"
REAL_CLIP = Path(str(get_testdata_file("examples_ybr_color.dcm")))
ROWS, COLUMNS = 80, 100
BOX = (15, 10, 69, 89)
PLANTED = "XQZ"
"""Every planted identifier contains it, except dates and UIDs, which are looked for by themselves."""


def fan_clip(n: int = 6) -> NDArray[np.uint8]:
    """A speckled moving fan in a box, a banner above it, writing in a corner of the box, a scale beside it."""
    rng = np.random.default_rng(3)
    row, column = np.indices((ROWS, COLUMNS))
    reach, side = np.hypot(row - 15, column - 50), np.abs(column - 50)
    fan = (reach < 50) & (side <= (row - 15) * 0.7)
    clip = np.where(fan, rng.integers(20, 200, (n, ROWS, COLUMNS)), 0).astype(np.uint8)
    clip[:, 2:9, 4:60:2] = 255
    clip[:, 62:68, 11:17:2] = 254
    clip[:, 20:70:10, 95] = 253
    return clip


def planted_dataset() -> Dataset:
    """A clip with an identifier in every kind of place."""
    ds = ultrasound_dataset(fan_clip())
    ds.PatientName, ds.PatientID = f"{PLANTED}DOE^JANE", f"{PLANTED}-4711"
    ds.OtherPatientIDs = f"{PLANTED}OTHER"
    ds.PatientComments = f"knows {PLANTED}HUSBAND"
    ds.InstitutionName, ds.StationName = f"{PLANTED} CLINIC", f"{PLANTED}ROOM"
    ds.ReferringPhysicianName = ds.OperatorsName = f"{PLANTED}HOUSE^G"
    ds.AccessionNumber, ds.StudyID = f"{PLANTED}ACC", f"{PLANTED}STUDY"
    ds.StudyDescription = ds.SeriesDescription = f"{PLANTED} apical 4CH"
    ds.ImageComments = ds.ProtocolName = f"A4C {PLANTED}"
    ds.PatientBirthDate, ds.PatientAge = "19500101", "070Y"
    # In tags that are kept, where only the check of their values can stop it.
    ds.ImageType = ["ORIGINAL", "PRIMARY", f"{PLANTED}DOE"]
    ds.Manufacturer = f"ScannerWorks for {PLANTED}DOE"
    ds[0x00181088] = DataElement(0x00181088, "LT", f"{PLANTED} instead of a heart rate")
    ds.TransducerType = f"{PLANTED}HOUSE"
    ds.RegionOfResidence = f"{PLANTED}TOWN"
    ds.DigitalSignaturesSequence = []
    private = ds.private_block(0x0019, f"{PLANTED} PRIVATE", create=True)
    private.add_new(0x50, "UT", f"{PLANTED} in a private text")
    private.add_new(0x51, "SQ", [_nested()])
    item = region(*BOX)
    item.ReferencedImageSequence = [_nested()]
    item.PatientComments = f"{PLANTED} in a region"
    item.private_block(0x0021, PLANTED, create=True).add_new(0x01, "LO", PLANTED)
    ds.SequenceOfUltrasoundRegions = [item]
    ds.RequestAttributesSequence = [_nested()]
    ds.ViewCodeSequence = [_nested()]
    ds.ViewCodeSequence[0].CodeValue, ds.ViewCodeSequence[0].CodeMeaning = "399214001", f"{PLANTED} four chamber"
    ds.IconImageSequence = [_nested()]
    ds.add_new(0x60003000, "OB", PLANTED.encode() * 2)
    ds.add_new(0x50003000, "OB", PLANTED.encode() * 2)
    ds.add_new(0x00091234, "UN", PLANTED.encode() + b" ")
    ds.add_new(0xFFFCFFFC, "OB", PLANTED.encode() * 2)
    ds.file_meta.SourceApplicationEntityTitle = PLANTED
    ds.file_meta.PrivateInformationCreatorUID = "1.2.3.4711"
    ds.file_meta.PrivateInformation = PLANTED.encode() * 2
    ds.preamble = (PLANTED.encode() * 43)[:128]
    return ds


def _nested() -> Dataset:
    deep, item = Dataset(), Dataset()
    deep.PatientName, deep.StudyDate, deep.ReferencedSOPInstanceUID = f"{PLANTED}^DEEP", "20200229", "1.2.3.4.1"
    deep.private_block(0x0011, PLANTED, create=True).add_new(0x01, "LO", PLANTED)
    item.ScheduledProcedureStepSequence = [deep]
    item.ScheduledProcedureStepDescription = f"{PLANTED} nested"
    return item


def test_no_planted_identifier_survives(tmp_path: Path) -> None:
    folder = tmp_path / f"{PLANTED}DOE_JANE" / "visit 20200229"
    folder.mkdir(parents=True)
    source = save(planted_dataset(), folder / f"{PLANTED}_19500101.dcm")
    assert PLANTED.encode() in source.read_bytes()[:128], "the preamble is planted too"
    (copy,) = deidentify(tmp_path / f"{PLANTED}DOE_JANE", tmp_path / "out", KEY)
    content = copy.read_bytes()
    secrets = [PLANTED, "20200229", "19500101", "101500", "4711", "1.2.3.4.1", "1.2.3.1", "1.2.3.2", "DOE", "070Y"]
    for secret in secrets:
        assert secret.lower().encode() not in content.lower(), secret
        assert secret.lower() not in str(copy.relative_to(tmp_path)).lower(), secret
    assert content[:128] == bytes(128)
    clean = pydicom.dcmread(copy)
    assert not any(e.tag.is_private or PLANTED in str(e.value) for e in clean.iterall())
    assert dciodvfy_errors(copy) == []


def test_a_text_in_place_of_a_kept_sequence_is_dropped() -> None:
    """Nothing but the type tells it: the sequence itself would be kept."""
    ds = ultrasound_dataset(fan_clip())
    ds[0x00186011] = DataElement(0x00186011, "UT", "Jane")
    clean = clean_attributes(ds, Pseudonyms(KEY), keep_characteristics=False)
    assert "SequenceOfUltrasoundRegions" not in clean


def test_only_the_fan_is_left_of_the_picture_and_that_unchanged(tmp_path: Path) -> None:
    original = fan_clip()
    (copy,) = deidentify(save(planted_dataset(), tmp_path / "a.dcm"), tmp_path / "out", KEY)
    pixels = pydicom.dcmread(copy).pixel_array
    assert not np.isin(pixels, (253, 254, 255)).any(), "banner, corner of the box and scale"
    outside = np.ones((ROWS, COLUMNS), bool)
    outside[BOX[0] : BOX[2] + 1, BOX[1] : BOX[3] + 1] = False
    assert not pixels[:, outside].any()
    speckle = (original > 0) & (original < 250)
    assert (pixels[speckle] == original[speckle]).mean() > 0.995
    assert np.array_equal(pixels[:, 30:60, 45:55], original[:, 30:60, 45:55])


def test_what_measuring_needs_is_kept(tmp_path: Path) -> None:
    (copy,) = deidentify(save(planted_dataset(), tmp_path / "a.dcm"), tmp_path / "out", KEY)
    clean = pydicom.dcmread(copy)
    item = clean.SequenceOfUltrasoundRegions[0]
    assert (item.PhysicalDeltaX, item.RegionLocationMaxX1, len(item)) == (0.05, BOX[3], 11)
    assert (clean.FrameTime, clean.NumberOfFrames, clean.FrameIncrementPointer) == (20.5, 6, 0x00181063)
    assert clean.ViewCodeSequence[0].CodeMeaning == "Apical four chamber"
    assert clean.file_meta.TransferSyntaxUID == RLELossless
    assert (clean.PatientIdentityRemoved, clean.BurnedInAnnotation) == ("YES", "NO")
    assert [c.CodeValue for c in clean.DeidentificationMethodCodeSequence] == ["113100", "113101", "113107"]
    assert "HeartRate" not in clean, "it was no number"
    assert clean.Manufacturer == "", "it held the patient's name"
    assert clean.ImageType == ["DERIVED", "PRIMARY"]


def test_a_patients_studies_stay_together_and_their_intervals_too(tmp_path: Path) -> None:
    first, second = ultrasound_dataset(fan_clip(), number=1), ultrasound_dataset(fan_clip(), number=2)
    second.StudyInstanceUID, second.StudyDate, second.StudyTime = "1.2.9", "20200310", "091500"
    stranger = ultrasound_dataset(fan_clip(), number=3)
    stranger.PatientID = "999"
    (tmp_path / "in").mkdir()
    for i, ds in enumerate((first, second, stranger)):
        ds.SequenceOfUltrasoundRegions = [region(*BOX)]
        save(ds, tmp_path / "in" / f"{i}.dcm")
    a, b, c = (pydicom.dcmread(p) for p in deidentify(tmp_path / "in", tmp_path / "out", KEY))
    assert a.PatientID == b.PatientID != c.PatientID
    assert a.StudyInstanceUID != b.StudyInstanceUID
    assert a.SeriesInstanceUID == b.SeriesInstanceUID
    assert _moment(b) - _moment(a) == np.timedelta64(9 * 86400 + 23 * 3600, "s")
    assert _moment(a) != _moment(c)
    assert _moment(a) < np.datetime64("2020-02-29T10:15:00")


def _moment(ds: Dataset) -> np.datetime64:
    d, t = ds.StudyDate, ds.StudyTime
    return np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:]}T{t[:2]}:{t[2:4]}:{t[4:6]}")


def test_the_same_key_gives_the_same_files_and_another_key_others(tmp_path: Path) -> None:
    source = save(planted_dataset(), tmp_path / "a.dcm")
    digests, names = [], []
    for i, key in enumerate((KEY, KEY, KEY + b"!")):
        (copy,) = deidentify(source, tmp_path / str(i), key)
        digests.append(hashlib.sha256(copy.read_bytes()).hexdigest())
        names.append(copy.relative_to(tmp_path / str(i)))
    assert digests[0] == digests[1] != digests[2]
    assert names[0] == names[1]
    assert names[0].parent != names[2].parent
    assert names[0].name != names[2].name


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_sources_are_decoded(tmp_path: Path, syntax: str) -> None:
    ds = ultrasound_dataset(np.repeat(fan_clip()[..., None], 3, axis=3))
    ds.SequenceOfUltrasoundRegions = [region(*BOX)]
    ds.compress(syntax, generate_instance_uid=False)
    (copy,) = deidentify(save(ds, tmp_path / "a.dcm"), tmp_path / "out", KEY)
    pixels = pydicom.dcmread(copy).pixel_array
    assert pixels.shape == (6, ROWS, COLUMNS, 3)
    assert np.array_equal(pixels[:, 30:60, 45:55, 1], fan_clip()[:, 30:60, 45:55])
    assert not (pixels == 255).any()


def test_a_real_jpeg_clip_whose_region_does_not_fit_is_cut_by_its_picture(tmp_path: Path) -> None:
    (copy,) = deidentify(REAL_CLIP, tmp_path, KEY)
    clean = pydicom.dcmread(copy)
    pixels = clean.pixel_array
    assert not pixels[:, :18, :100].any(), "logo and name, top left"
    assert not pixels[:, 225:].any(), "the menu"
    assert pixels[:, 100:150, 140:190].mean() > 20
    assert pixels[:, 140:165, 60:84].any(), "the fan's left side, outside of the region that does not fit"
    assert pixels[:, 200].any()
    assert dciodvfy_errors(copy) == []


def test_characteristics_stay_when_asked_and_great_age_is_hidden(tmp_path: Path) -> None:
    ds = planted_dataset()
    ds.PatientAge, ds.PatientSize, ds.PatientWeight = "095Y", "1.7", "70.5"
    source = save(ds, tmp_path / "a.dcm")
    (copy,) = deidentify(source, tmp_path / "out", KEY, keep_characteristics=True)
    clean = pydicom.dcmread(copy)
    assert (clean.PatientSex, clean.PatientAge, clean.PatientSize, clean.PatientWeight) == ("F", "090Y", 1.7, 70.5)
    assert clean.DeidentificationMethodCodeSequence[-1].CodeValue == "113108"
    (copy,) = deidentify(source, tmp_path / "out2", KEY)
    assert "PatientAge" not in pydicom.dcmread(copy)


def test_where_writing_cannot_be_told_from_ultrasound_it_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 255, (4, ROWS, COLUMNS)).astype(np.uint8)
    ds = ultrasound_dataset(noise)
    ds.SequenceOfUltrasoundRegions = [region(0, 0, ROWS - 1, COLUMNS - 1)]
    source = save(ds, tmp_path / "a.dcm")
    with pytest.raises(InputError, match="name the region to keep"):
        deidentify(source, tmp_path / "out", KEY)
    (copy,) = deidentify(source, tmp_path / "out", KEY, region=(10, 20, 40, 60))
    pixels = pydicom.dcmread(copy).pixel_array
    assert np.array_equal(pixels[:, 10:40, 20:60], noise[:, 10:40, 20:60])
    assert not pixels[:, 40:].any()
    with pytest.raises(InputError, match="does not lie in"):
        deidentify(source, tmp_path / "out", KEY, region=(10, 20, 400, 60))
    ds.BurnedInAnnotation = "NO"
    (copy,) = deidentify(save(ds, tmp_path / "b.dcm"), tmp_path / "out2", KEY)
    assert np.array_equal(pydicom.dcmread(copy).pixel_array, noise)


def test_what_is_no_ultrasound_is_left_out_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    save(planted_dataset(), folder / "a.dcm")
    report = ultrasound_dataset(fan_clip())
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    save(report, folder / "b.dcm")
    (folder / "notes.txt").write_text("text")
    nameless = ultrasound_dataset(fan_clip())
    nameless.SequenceOfUltrasoundRegions = [region(*BOX)]
    del nameless.SOPInstanceUID
    nameless.save_as(folder / "c.dcm", enforce_file_format=False)
    left_out: list[str] = []
    written = deidentify(folder, tmp_path / "out", KEY, on_error=lambda _, error: left_out.append(str(error)))
    assert len(written) == 1
    assert len(left_out) == 3
    assert "no ultrasound image" in left_out[0]
    assert "not a DICOM file" in left_out[2]
    with pytest.raises(InputError, match="no ultrasound image"):
        deidentify(folder / "b.dcm", tmp_path / "out2", KEY)


def test_places_and_keys_that_cannot_be_used(tmp_path: Path) -> None:
    source = save(planted_dataset(), tmp_path / "a.dcm")
    with pytest.raises(InputError, match="16 or more"):
        deidentify(source, tmp_path / "out", b"short")
    with pytest.raises(OutputError, match="lies inside"):
        deidentify(tmp_path, tmp_path / "out", KEY)
    with pytest.raises(InputError, match="no such file"):
        deidentify(tmp_path / "nothing", tmp_path / "out", KEY)
    deidentify(source, tmp_path / "out", KEY)
    with pytest.raises(OutputError, match="exists already"):
        deidentify(source, tmp_path / "out", KEY)
    deidentify(source, tmp_path / "out", KEY, overwrite=True)
    (tmp_path / "key").write_bytes(KEY + b"\n")
    assert read_key(tmp_path / "key") == KEY
    with pytest.raises(InputError, match="cannot be read"):
        read_key(tmp_path / "no key")


def test_what_is_no_date_becomes_empty() -> None:
    shifted = Pseudonyms(KEY).shifted
    assert shifted("p", "Doe", "101500") == ("", "")
    assert shifted("p", "", "101500") == ("", "")
    assert shifted("p", "00010101", "101500") == ("", "")
    day, time = shifted("p", "20200229", "Doe")
    assert (len(day), time) == (8, "")
    assert shifted("p", "20200229", "101500.25")[1].endswith(".25")


@pytest.mark.parametrize("colour", [False, True])
def test_a_still_is_de_identified_like_a_clip(tmp_path: Path, colour: bool) -> None:
    still = fan_clip()[0]
    ds = ultrasound_dataset(np.repeat(still[..., None], 3, axis=-1) if colour else still)
    ds.SequenceOfUltrasoundRegions = [region(*BOX)]
    (copy,) = deidentify(save(ds, tmp_path / "a.dcm"), tmp_path / "out", KEY)
    pixels = pydicom.dcmread(copy).pixel_array
    assert pixels.shape == ((ROWS, COLUMNS, 3) if colour else (ROWS, COLUMNS))
    assert not pixels[2:9].any()
    assert pixels[40, 50].any()


def test_a_box_without_a_fan_of_its_size_is_not_kept_with_its_writing(tmp_path: Path) -> None:
    clip = np.zeros((6, ROWS, COLUMNS), np.uint8)
    clip[:, 30:50, 40:60] = np.random.default_rng(0).integers(20, 200, (6, 20, 20))
    clip[:, 2:9, 4:60:2] = 255
    ds = ultrasound_dataset(clip)
    ds.SequenceOfUltrasoundRegions = [region(0, 0, 75, 95)]
    with pytest.raises(InputError, match="name the region to keep"):
        deidentify(save(ds, tmp_path / "a.dcm"), tmp_path / "out", KEY)


def test_a_damaged_file_is_left_out_and_the_rest_goes_on(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    ds = planted_dataset()
    ds[0x00280008] = DataElement(0x00280008, "LO", "many")  # NumberOfFrames
    save(ds, folder / "a.dcm")
    save(planted_dataset(), folder / "c.dcm")
    told: dict[str, str] = {}
    written = deidentify(folder, tmp_path / "out", KEY, on_error=lambda p, e: told.update({p.name: str(e)}))
    assert len(written) == 1
    assert set(told) == {"a.dcm"}
    assert "damaged" in told["a.dcm"]
    assert not recwarn.list
