"""Damaged and hostile stores: one line that names the store and the place, never a traceback."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from apical.errors import ExitCode, InputError
from apical.inputs import open_studies
from apical.store import Store
from commands import Run
from test_store import study, write

FRAME = "patients/patient0001/4CH/ED"


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return write(tmp_path / "s.h5", study())


def replaced(name: str, values: object, **options: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[FRAME][name]
        file[FRAME].create_dataset(name, data=values, **options)

    return change


def attribute(place: str, name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if value is None:
            del file[place].attrs[name]
        else:
            file[place].attrs[name] = value

    return change


def image_is_a_group(file: h5py.File) -> None:
    del file[FRAME]["image"]
    file[FRAME].create_group("image")


def image_is_missing(file: h5py.File) -> None:
    del file[FRAME]["image"]


def image_is_a_bomb(file: h5py.File) -> None:
    del file[FRAME]["image"]
    file[FRAME].create_dataset("image", (200_000, 200_000), np.uint8, chunks=(1000, 1000), compression="gzip")


def block_swells(file: h5py.File) -> None:
    """One block of a picture of 1200 pixels, in which 64 MiB are packed."""
    del file[FRAME]["image"]
    image = file[FRAME].create_dataset("image", (40, 30), np.uint8, chunks=(40, 30), compression="gzip")
    image.id.write_direct_chunk((0, 0), zlib.compress(bytes(2**26)))


def block_shrinks(file: h5py.File) -> None:
    """HDF5 would read past the end of what ten bytes unpack to."""
    del file[FRAME]["image"]
    image = file[FRAME].create_dataset("image", (4000, 4000), np.uint8, chunks=(4000, 4000), compression="gzip")
    image.id.write_direct_chunk((0, 0), zlib.compress(bytes(10)))


def block_says_it_is_not_packed(file: h5py.File) -> None:
    del file[FRAME]["image"]
    image = file[FRAME].create_dataset("image", (4000, 4000), np.uint8, chunks=(4000, 4000), compression="gzip")
    image.id.write_direct_chunk((0, 0), bytes(10), filter_mask=1)


def block_is_no_gzip(file: h5py.File) -> None:
    del file[FRAME]["image"]
    image = file[FRAME].create_dataset("image", (40, 30), np.uint8, chunks=(40, 30), compression="gzip")
    image.id.write_direct_chunk((0, 0), b"pixels")


def block_is_larger_than_its_picture(file: h5py.File) -> None:
    del file[FRAME]["image"]
    file[FRAME].create_dataset("image", (40, 30), np.uint8, chunks=(40, 30_000), maxshape=(40, None))


def frame_is_an_image(file: h5py.File) -> None:
    del file[FRAME]
    file[FRAME] = np.zeros((4, 4), np.uint8)


IMAGE = np.zeros((40, 30), np.uint8)
OF_A_FRAME = {
    "labels outside 0-3": (replaced("mask", IMAGE + 4), "label 4"),
    "mask of another size": (replaced("mask", IMAGE[:20]), "20 x 30 and its image 40 x 30"),
    "mask of another type": (replaced("mask", IMAGE.astype(np.float32)), "float32"),
    "image of another type": (replaced("image", IMAGE.astype(np.int16)), "int16"),
    "image of three dimensions": (replaced("image", np.zeros((2, 40, 30), np.uint8)), "2 x 40 x 30"),
    "image without pixels": (replaced("image", np.zeros((0, 30), np.uint8)), "empty image"),
    "no dimensions": (replaced("image", np.uint8(3)), "uint8"),
    "null": (replaced("image", h5py.Empty("u1")), "uint8"),
    "text": (replaced("image", "pixels"), "object"),
    "a group": (image_is_a_group, "a group"),
    "missing": (image_is_missing, "damaged here"),
    "a bomb": (image_is_a_bomb, "larger than is read"),
    "a block that swells": (block_swells, "more or fewer pixels"),
    "a block that shrinks": (block_shrinks, "more or fewer pixels"),
    "a block that says it is not packed": (block_says_it_is_not_packed, "more or fewer pixels"),
    "a block that is not packed": (block_is_no_gzip, "damaged here"),
    "a block larger than its picture": (block_is_larger_than_its_picture, "larger than itself"),
    "packed otherwise": (replaced("image", IMAGE, compression="lzf"), "packed in a way"),
    "no spacing at all": (attribute(FRAME, "spacing_mm", [0.0, 0.3]), "spacing_mm"),
    "negative spacing": (attribute(FRAME, "spacing_mm", [-0.3, 0.3]), "spacing_mm"),
    "spacing without number": (attribute(FRAME, "spacing_mm", [np.nan, 0.3]), "spacing_mm"),
    "a spacing that no scanner has": (attribute(FRAME, "spacing_mm", [0.308, 1540.0]), "spacing_mm"),
    "one spacing": (attribute(FRAME, "spacing_mm", 0.3), "spacing_mm"),
    "spacing in words": (attribute(FRAME, "spacing_mm", "wide"), "damaged here"),
    "no direction": (attribute(FRAME, "direction", None), "direction"),
    "wrong direction": (attribute(FRAME, "direction", [1.0, 0.0]), "direction"),
    "no origin": (attribute(FRAME, "origin_mm", None), "origin_mm"),
    "no name": (attribute(FRAME, "name", None), "name"),
}


@pytest.mark.parametrize(("change", "reason"), OF_A_FRAME.values(), ids=OF_A_FRAME)
def test_a_wrong_frame_is_named(store_path: Path, change: Callable[[h5py.File], None], reason: str):
    with h5py.File(store_path, "a") as file:
        change(file)
    with Store(store_path) as store, pytest.raises(InputError, match="patient0001 4CH ED") as raised:
        store.study("patient0001")
    assert str(store_path) in str(raised.value)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_pixels_that_are_not_packed_are_no_damage(store_path: Path):
    with Store(store_path) as store:
        expected = store.study("patient0001").frames[2].image
    with h5py.File(store_path, "a") as file:
        del file[FRAME]["image"]
        file[FRAME].create_dataset("image", data=expected)
        mask = file[FRAME]["mask"][()]
        del file[FRAME]["mask"]
        # Blocks over the edge, and many of them.
        file[FRAME].create_dataset("mask", data=mask, chunks=(7, 1), compression="gzip")
    with Store(store_path) as store:
        frame = store.study("patient0001").frames[2]
    np.testing.assert_array_equal(frame.image, expected)
    np.testing.assert_array_equal(frame.reference, mask)


def test_the_largest_label_is_no_damage(store_path: Path):
    with h5py.File(store_path, "a") as file:
        replaced("mask", IMAGE + 3)(file)
    with Store(store_path) as store:
        store.study("patient0001")


@pytest.mark.parametrize("name", ["image", "mask"])
def test_a_damaged_chunk_is_named(apical: Run, store_path: Path, tmp_path: Path, name: str):
    with h5py.File(store_path) as file:
        chunk = file[FRAME][name].id.get_chunk_info(0)
    content = bytearray(store_path.read_bytes())
    content[chunk.byte_offset + 10 : chunk.byte_offset + chunk.size] = bytes(chunk.size - 10)
    store_path.write_bytes(content)
    for command in (("info", store_path), ("nnunet", store_path, "-o", tmp_path / "Dataset101_X")):
        result = apical(*command)
        assert result.code == ExitCode.INPUT
        assert result.one_line
        assert "s.h5: patient0001 4CH ED: the store is damaged here" in result.err


def no_patients(file: h5py.File) -> None:
    del file["patients"]


def patients_are_numbers(file: h5py.File) -> None:
    del file["patients"]
    file["patients"] = 3


def patient_is_an_image(file: h5py.File) -> None:
    file["patients/patient0002"] = IMAGE


def a_circle(file: h5py.File) -> None:
    file["patients/patient0001/4CH/again"] = file["patients"]


def many_names(file: h5py.File) -> None:
    """Each level holds the next one many times: to go all ways takes hours."""
    inner = file["patients/patient0001/4CH"]
    for level in range(2):
        group = file["patients/patient0001"].create_group(f"level{level}")
        for n in range(200):
            group[str(n)] = inner
        inner = group


def schema_without_end(file: h5py.File) -> None:
    file.attrs["schema_version"] = np.inf


def no_schema(file: h5py.File) -> None:
    del file.attrs["schema_version"]


def schema_in_words(file: h5py.File) -> None:
    file.attrs["schema_version"] = "first"


@pytest.mark.parametrize(
    "change",
    [
        no_patients,
        patients_are_numbers,
        patient_is_an_image,
        a_circle,
        many_names,
        no_schema,
        schema_in_words,
        schema_without_end,
    ],
)
def test_a_store_of_another_shape_is_refused(apical: Run, store_path: Path, change: Callable[[h5py.File], None]):
    with h5py.File(store_path, "a") as file:
        change(file)
    with pytest.raises(InputError, match=r"s\.h5: .*(damaged|a second name of something)") as raised:
        Store(store_path)
    assert "recursion" not in str(raised.value)
    with h5py.File(store_path, "a"):
        pass  # only possible when the refused file was closed
    result = apical("info", store_path)
    assert result.code == ExitCode.INPUT
    assert result.one_line


@pytest.mark.parametrize(
    ("change", "ask"),
    [
        (attribute("patients/patient0001", "image_sha256", None), Store.groups),
        (attribute("patients/patient0001", "camus_fold", "x"), lambda store: store.folds),
        (attribute("patients/patient0001", "notes", "[1"), lambda store: store.study("patient0001")),
        (attribute("patients/patient0001", "age_years", "old"), lambda store: store.study("patient0001")),
        (attribute("/", "content_sha256", None), lambda store: store.content_sha256),
        (frame_is_an_image, lambda store: store.study("patient0001")),
        (lambda file: None, lambda store: store.study("patient0009")),
    ],
)
def test_other_damage_is_one_line(
    store_path: Path, change: Callable[[h5py.File], None], ask: Callable[[Store], object]
):
    with h5py.File(store_path, "a") as file:
        change(file)
    with Store(store_path) as store, pytest.raises(InputError, match=r"s\.h5") as raised:
        ask(store)
    assert "\n" not in str(raised.value)


def test_every_cut_of_a_store_is_refused(store_path: Path):
    content = store_path.read_bytes()
    for length in range(0, len(content), max(1, len(content) // 60)):
        store_path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"s\.h5"), Store(store_path) as store:
            store.study("patient0001")


def test_random_damage_gives_the_data_or_one_line(store_path: Path):
    content = store_path.read_bytes()
    random = np.random.default_rng(7)
    refusals = []
    for _ in range(40):
        damaged = np.frombuffer(content, np.uint8).copy()
        place = random.integers(0, len(content) - 32)
        damaged[place : place + 32] = random.integers(0, 256, 32)
        store_path.write_bytes(damaged.tobytes())
        try:
            with Store(store_path) as store:
                store.groups()
                for read in store.studies():
                    for frame, written in zip(read.frames, study().frames, strict=True):
                        np.testing.assert_array_equal(frame.image, written.image)
                        assert frame.grid.spacing_mm == written.grid.spacing_mm
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) > 5
    assert not any("\n" in line for line in refusals)


def test_one_damaged_patient_does_not_take_the_others_away(tmp_path: Path):
    path = write(tmp_path / "s.h5", *(study(f"patient000{n}") for n in (1, 2, 3)))
    with h5py.File(path, "a") as file:
        file[FRAME.replace("0001", "0002")].attrs["spacing_mm"] = [-0.3, 0.3]
    told: list[str] = []
    found = [s.patient.id for s in open_studies(path, lambda _path, error: told.append(str(error)))]
    assert found == ["patient0001", "patient0003"]
    assert len(told) == 1
    assert "patient0002" in told[0]
    with pytest.raises(InputError, match="patient0002"):
        list(open_studies(path))
