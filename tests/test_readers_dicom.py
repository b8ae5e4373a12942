"""Ultrasound DICOM: written here, the files that pydicom carries, and a real cine where it lies beside the project."""

from __future__ import annotations

import contextlib
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    generate_uid,
)

from apical.anatomy import View
from apical.errors import InputError
from apical.readers import read_studies, read_study

ROWS, COLUMNS = 24, 32
PERSON = "DOE^JANE"


def speckle(n: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, ROWS, COLUMNS)).astype(np.uint8)


def region(bottom: int = ROWS - 1, right: int = COLUMNS - 1, **changes: Any) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = 4, 2
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = 0.02, -0.03
    for keyword, value in changes.items():
        setattr(item, keyword, value)
    return item


def ultrasound(
    frames: np.ndarray, kind: str = "MONOCHROME2", syntax: str = ExplicitVRLittleEndian, **tags: Any
) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = "1.2.3"
    dataset.Modality, dataset.PatientName, dataset.PatientID = "US", PERSON, "4711"
    dataset.Rows, dataset.Columns = frames.shape[1:3]
    dataset.NumberOfFrames = len(frames)
    dataset.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    if frames.ndim == 4:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = kind
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = frames.tobytes()
    dataset["PixelData"].VR = "OB"
    dataset.SequenceOfUltrasoundRegions = Sequence([region()])
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def write(dataset: FileDataset, name: str = "a.dcm") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_study(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    assert PERSON not in message
    return message


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_grey_clip(save: Callable[..., Path], syntax: str) -> None:
    path = save(ultrasound(speckle(), syntax=syntax, FrameTime=20.0, HeartRate=61))
    study = read_study(path)
    (clip,) = study.clips
    np.testing.assert_array_equal(clip.images, speckle())
    assert clip.grid.spacing_mm == pytest.approx((0.3, 0.2))
    assert clip.region == (2, 4, ROWS, COLUMNS)
    np.testing.assert_allclose(clip.frame_times_ms, [0, 20, 40])
    assert clip.heart_rate_bpm == 61
    assert (study.patient.id, clip.name) == ("a", "a")
    assert PERSON not in repr((study.patient, study.notes, clip.notes))


def test_single_frame(save: Callable[..., Path]) -> None:
    study = read_study(save(ultrasound(speckle(1), NumberOfFrames=None), "x_A2C_ES.dcm"))
    (frame,) = study.frames
    np.testing.assert_array_equal(frame.image, speckle(1)[0])
    assert (frame.view, str(frame.phase)) == (View.A2C, "ES")


def test_rle(save: Callable[..., Path]) -> None:
    dataset = ultrasound(speckle())
    dataset.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read_study(save(dataset)).clips[0].images, speckle())


def test_kinds_of_colour(save: Callable[..., Path]) -> None:
    grey = speckle()
    as_rgb = np.stack([grey] * 3, axis=-1)
    np.testing.assert_array_equal(read_study(save(ultrasound(as_rgb, "RGB"))).clips[0].images, grey)
    ybr = np.stack([grey, np.full_like(grey, 128), np.full_like(grey, 128)], axis=-1)
    np.testing.assert_array_equal(read_study(save(ultrasound(ybr, "YBR_FULL"))).clips[0].images, grey)
    np.testing.assert_array_equal(read_study(save(ultrasound(grey, "MONOCHROME1"))).clips[0].images, 255 - grey)
    ramp = np.arange(256, dtype=np.uint16) * 256
    palette = {"RedPaletteColorLookupTableDescriptor": [256, 0, 16], "RedPaletteColorLookupTableData": ramp.tobytes()}
    palette |= {k.replace("Red", c): v for k, v in palette.items() for c in ("Green", "Blue")}
    np.testing.assert_array_equal(read_study(save(ultrasound(grey, "PALETTE COLOR", **palette))).clips[0].images, grey)
    assert "photometric interpretation" in refusal(save(ultrasound(ybr, "YBR_PARTIAL_420")))


def test_colour_doppler_is_refused_and_annotations_are_not(save: Callable[..., Path]) -> None:
    rgb = np.stack([speckle()] * 3, axis=-1)
    rgb[:, 20] = (255, 255, 0)
    rgb[:, :, :4] = (0, 0, 255)  # a colour bar outside the region
    assert read_study(save(ultrasound(rgb, "RGB"))).clips[0].images.shape == (3, ROWS, COLUMNS)
    rgb[:, 6:16, 10:24] = (230, 30, 0)
    assert "colour Doppler" in refusal(save(ultrasound(rgb, "RGB")))


def test_regions(save: Callable[..., Path]) -> None:
    def read(*regions: Dataset) -> Any:
        return read_study(save(ultrasound(speckle(), SequenceOfUltrasoundRegions=Sequence(regions))))

    small = region(bottom=8, right=12, PhysicalDeltaX=0.5, PhysicalDeltaY=0.5)
    spectral = region(RegionSpatialFormat=3, RegionDataType=3, PhysicalDeltaX=0.7)
    assert read(small, spectral, region()).clips[0].grid.spacing_mm == pytest.approx((0.3, 0.2))
    outside = read(region(right=2 * COLUMNS))
    assert outside.clips[0].grid.spacing_mm is None
    assert outside.clips[0].region is None
    assert "does not fit" in outside.notes[0]
    assert read(region(bottom=ROWS, right=COLUMNS)).clips[0].region == (2, 4, ROWS, COLUMNS)
    seconds = read(region(PhysicalUnitsXDirection=4))
    assert seconds.clips[0].grid.spacing_mm is None
    assert "not cm" in seconds.notes[0]
    assert "not plausible" in read(region(PhysicalDeltaX=0.0)).notes[0]
    assert "no calibrated region" in read().notes[0]
    m_mode = ultrasound(speckle(), SequenceOfUltrasoundRegions=Sequence([region(RegionSpatialFormat=2)]))
    assert "M-mode" in refusal(save(m_mode))
    doppler = ultrasound(speckle(), SequenceOfUltrasoundRegions=Sequence([region(RegionDataType=2)]))
    assert "colour Doppler only" in refusal(save(doppler))


def test_frame_times(save: Callable[..., Path]) -> None:
    def times(**tags: Any) -> Any:
        return read_study(save(ultrasound(speckle(), **tags))).clips[0].frame_times_ms

    np.testing.assert_allclose(times(FrameTimeVector=[0, 20, 30]), [0, 20, 50])
    np.testing.assert_allclose(times(FrameTimeVector=[25, 20, 30]), [0, 20, 50])
    np.testing.assert_allclose(times(CineRate=50), [0, 20, 40])
    np.testing.assert_allclose(times(FrameTimeVector=[0, 20], FrameTime=10), [0, 10, 20])
    assert times() is None
    assert times(FrameTime=0) is None


def test_patient_without_a_name(save: Callable[..., Path]) -> None:
    tags = {"PatientSex": "F", "PatientAge": "056Y", "PatientSize": 1.7, "PatientWeight": 60, "HeartRate": 0}
    study = read_study(save(ultrasound(speckle(), **tags)))
    patient = study.patient
    assert (patient.id, patient.sex, patient.age_years, patient.height_cm, patient.weight_kg) == ("a", "F", 56, 170, 60)
    assert study.clips[0].heart_rate_bpm is None
    odd = read_study(save(ultrasound(speckle(), PatientSex="O", PatientSize=170, PatientWeight=0))).patient
    assert (odd.sex, odd.height_cm, odd.weight_kg) == (None, None, None)


def test_view_from_code_or_description(save: Callable[..., Path]) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399214001", "SCT", "Apical four chamber"
    assert read_study(save(ultrasound(speckle(), ViewCodeSequence=Sequence([code])))).clips[0].view == View.A4C
    assert read_study(save(ultrasound(speckle(), SeriesDescription="Rest AP2 / zoom"))).clips[0].view == View.A2C
    assert read_study(save(ultrasound(speckle(), SeriesDescription="Rest PLAX"))).clips[0].view is None


@pytest.mark.parametrize(
    ("meaning", "view"),
    [
        ("2D apical four chamber", View.A4C),
        ("Apical 4-chamber view, 2D", View.A4C),
        ("Apical two chamber, zoom x4", View.A2C),
        ("Apical 2 chamber", View.A2C),
        ("Apical two chamber or four chamber", None),
        ("Apical view 2D", None),
    ],
)
def test_the_chambers_of_a_view_are_not_any_number(save: Callable[..., Path], meaning: str, view: View | None) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "X", "99LAB", meaning
    assert read_study(save(ultrasound(speckle(), ViewCodeSequence=Sequence([code])))).clips[0].view == view


def test_a_name_and_tags_of_two_views_are_neither_believed(save: Callable[..., Path]) -> None:
    study = read_study(save(ultrasound(speckle(), SeriesDescription="Apical 2CH"), "x_4CH.dcm"))
    assert study.clips[0].view is None
    assert any("its name says 4CH and its tags 2CH" in note for note in study.notes)


def test_two_pictures_side_by_side_are_said(save: Callable[..., Path]) -> None:
    study = read_study(save(ultrasound(speckle(), SequenceOfUltrasoundRegions=Sequence([region(), region()]))))
    assert any("2 two-dimensional regions, the largest is read" in note for note in study.notes)


@pytest.mark.filterwarnings("error")
def test_odd_values_are_not_told_to_the_world(save: Callable[..., Path]) -> None:
    dataset = ultrasound(speckle())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.PatientAge, dataset.PatientSex = f"{PERSON}, 45 years", f"Female, {PERSON}"
        path = save(dataset)
    patient = read_study(path).patient
    assert (patient.sex, patient.age_years) == (None, None)


@pytest.mark.parametrize("tag", [0x00186011, 0x00540220])
def test_a_text_in_place_of_a_sequence(save: Callable[..., Path], tag: int) -> None:
    dataset = ultrasound(speckle())
    dataset[tag] = DataElement(tag, "LO", "hello")
    assert "damaged" in refusal(save(dataset))


def test_clips_of_one_name_in_folders_of_one_name_keep_apart(save: Callable[..., Path], tmp_path: Path) -> None:
    for place in ("a/images/1.dcm", "b/images/1.dcm", "b/images/1", "c.dcm"):
        save(ultrasound(speckle()), place)
    (study,) = read_studies(tmp_path)
    assert sorted(clip.name for clip in study.clips) == ["1.dcm", "a_images_1", "b_images_1", "c"]


def test_people_without_a_study_uid_keep_apart(save: Callable[..., Path], tmp_path: Path) -> None:
    for person in ("A", "B"):
        save(ultrasound(speckle(), StudyInstanceUID="", PatientID=person), f"x/{person}.dcm")
    save(ultrasound(speckle(), StudyInstanceUID="", PatientID="A"), "x/A2.dcm")
    studies = list(read_studies(tmp_path))
    assert sorted(sorted(clip.name for clip in study.clips) for study in studies) == [["A", "A2"], ["B"]]


def test_studies_are_grouped_by_uid(save: Callable[..., Path], tmp_path: Path) -> None:
    for series in ("s1", "s2"):
        save(ultrasound(speckle()), f"visit1/{series}/IM_0001")
    save(ultrasound(speckle(), StudyInstanceUID="1.2.4"), "visit2/1.2.840.77.dcm")
    report = ultrasound(speckle(), StudyInstanceUID="1.2.4", Modality="SR")
    save(report, "visit2/report.dcm")
    (tmp_path / "visit2" / "broken.dcm").write_bytes(b"x" * 500)
    told: list[str] = []
    first, second = read_studies(tmp_path, on_error=lambda path, _error: told.append(path.name))
    assert (first.patient.id, [c.name for c in first.clips]) == ("visit1", ["s1_IM_0001", "s2_IM_0001"])
    assert (second.patient.id, len(second.clips)) == ("visit2", 1)
    assert any("report: set aside, modality SR" in note for note in second.notes)
    assert told == ["broken.dcm"]
    with pytest.raises(InputError, match="2 patients"):
        read_study(tmp_path)


def test_a_folder_of_reports_only(save: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        save(ultrasound(speckle(), Modality="SR"), f"visit/{name}")
    assert "modality SR" in refusal(tmp_path / "visit")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Modality": "CT"}, "modality CT"),
        ({"PixelData": None}, "no image"),
        ({"Rows": None}, "Rows, Columns or NumberOfFrames"),
        ({"Rows": 20000, "Columns": 20000}, "larger than is read"),
        ({"NumberOfFrames": 2**30}, "larger than is read"),
        ({"Rows": 0}, "empty image"),
        ({"NumberOfFrames": 900}, "decode"),
        ({"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}, "16 bits"),
        ({"SamplesPerPixel": 4}, "4 samples"),
    ],
)
def test_headers_that_lie(save: Callable[..., Path], tags: dict[str, Any], message: str) -> None:
    assert message in refusal(save(ultrasound(speckle(), **tags)))


def test_cut_short_anywhere(save: Callable[..., Path], tmp_path: Path) -> None:
    content = save(ultrasound(speckle())).read_bytes()
    for length in (0, 50, 131, 132, 140, 200, 400, 600, len(content) - ROWS * COLUMNS, len(content) - 1):
        (tmp_path / "cut.dcm").write_bytes(content[:length])
        refusal(tmp_path / "cut.dcm")


def test_one_wrong_byte_is_a_study_or_our_error(save: Callable[..., Path], tmp_path: Path) -> None:
    content = save(ultrasound(speckle(1))).read_bytes()
    generator = np.random.default_rng(1)
    for _ in range(100):
        wrong = bytearray(content)
        wrong[generator.integers(128, len(content) - ROWS * COLUMNS)] = generator.integers(0, 256)
        (tmp_path / "wrong.dcm").write_bytes(wrong)
        with contextlib.suppress(InputError):  # any other exception fails the test
            read_study(tmp_path / "wrong.dcm")


def nested(depth: int, *, explicit_length: bool) -> Dataset:
    innermost = Dataset()
    for _ in range(depth):
        outer = Dataset()
        outer.RequestAttributesSequence = Sequence([innermost])
        outer["RequestAttributesSequence"].is_undefined_length = not explicit_length
        innermost.is_undefined_length_sequence_item = not explicit_length
        innermost = outer
    return innermost


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("explicit_length", [True, False])
def test_nested_sequences(save: Callable[..., Path], explicit_length: bool, syntax: str) -> None:
    for depth, refused in ((10, False), (60, True)):
        inner = nested(depth, explicit_length=explicit_length)
        dataset = ultrasound(speckle(), syntax=syntax, RequestAttributesSequence=inner.RequestAttributesSequence)
        path = save(dataset)
        if refused:
            assert "nested more than" in refusal(path)
        else:
            assert len(read_study(path).clips) == 1


def test_a_deflate_bomb(save: Callable[..., Path]) -> None:
    path = save(ultrasound(speckle(), syntax=DeflatedExplicitVRLittleEndian))
    content = path.read_bytes()
    meta_length = struct.unpack("<I", content[140:144])[0]
    compress = zlib.compressobj(1, zlib.DEFLATED, -15)
    bomb = b"".join(compress.compress(bytes(2**24)) for _ in range(9)) + compress.flush()
    path.write_bytes(content[: 144 + meta_length] + bomb)
    assert "inflates to more" in refusal(path)


def test_an_rle_bomb(save: Callable[..., Path]) -> None:
    dataset = ultrasound(speckle(1))
    segment = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 2**18
    dataset.PixelData = encapsulate([segment])
    dataset.file_meta.TransferSyntaxUID = RLELossless
    assert "larger than its picture" in refusal(save(dataset))


def test_a_jpeg_larger_than_its_header(save: Callable[..., Path]) -> None:
    dataset = ultrasound(speckle(1))
    frame = b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 20000, 20000, 1) + b"\x01\x11\x00\xff\xd9"
    dataset.PixelData = encapsulate([frame])
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    assert "20000 x 20000" in refusal(save(dataset))


def test_pydicom_cine_has_no_millimetres() -> None:
    study = read_study(get_testdata_file("examples_ybr_color.dcm", download=False))
    (clip,) = study.clips
    assert clip.images.shape == (30, 240, 320)
    assert clip.grid.spacing_mm is None
    assert "resized" in study.notes[0]
    assert clip.frame_times_ms[1] == pytest.approx(33.333)
    rgb = pydicom.dcmread(clip.source).pixel_array
    assert rgb.shape == (30, 240, 320, 3)
    # Luminance of ultrasound that is grey but for its annotations: between the extremes of the three channels.
    assert np.abs(clip.images[0].astype(int) - np.median(rgb[0], axis=-1)).mean() < 2


def test_every_file_that_pydicom_carries(capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(pydicom.__file__).parent / "data"
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    assert len(files) > 50
    read = {}
    for path in files:
        with contextlib.suppress(InputError):  # any other exception fails the test
            read[path.name] = read_study(path)
    assert {"examples_ybr_color.dcm", "examples_palette.dcm"} <= set(read)
    # The last two are colour and power Doppler.
    assert not {"CT_small.dcm", "MR_small.dcm", "no_meta.dcm", "examples_rgb_color.dcm", "examples_jpeg2k.dcm"} & set(
        read
    )
    assert capfd.readouterr().err == ""


def test_real_cine(shared: Path) -> None:
    clip = read_study(shared / "dicom" / "a4c_cine.dcm").clips[0]
    assert clip.images.shape == (120, 480, 640)
    assert clip.grid.spacing_mm == pytest.approx((0.51050, 0.51050), abs=1e-5)
    assert clip.region == (31, 84, 415, 596)
    assert clip.frame_times_ms[-1] == pytest.approx(119 * 33.333)
    assert clip.heart_rate_bpm is None
