"""From DICOM pixel data to grey frames, one frame in memory at a time beside the result."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.errors import ApicalError, InputError
from apical.readers.dicom_guard import check_codestream_size
from apical.readers.dicom_video import decode_video, is_video
from apical.readers.pixels import is_colour_picture, luminance
from apical.study import Region

_KINDS = (
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB"),
    *("YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"),
)
_ROOT = "1.2.840.10008.1.2.4."
_READ_AS = {f"{_ROOT}201": f"{_ROOT}90", f"{_ROOT}202": f"{_ROOT}90", f"{_ROOT}203": f"{_ROOT}91"}
"""High-throughput JPEG 2000: pydicom has no decoder of it, but Pillow's reads both kinds of JPEG 2000."""
_PLUGINS = dict.fromkeys((f"{_ROOT}50", f"{_ROOT}51", *_READ_AS), "pillow")
"""Where pydicom's own choice of decoder is not ours: for JPEG, Pillow is five times as fast as GDCM."""

_COMPRESSED_SLACK = 2
"""No frame grows to more than this multiple of its decoded size, whatever its codec."""
_SLACK_BYTES = 2**16


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's remarks on odd values from the user, to whom they say nothing; some quote the value itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def damage_of(path: Path) -> Iterator[None]:
    """Take whatever a damaged element makes pydicom or us raise, wherever it is read, for what it is."""
    try:
        yield
    except (ApicalError, OSError, MemoryError):
        raise
    except Exception as error:
        raise InputError(f"{path}: the DICOM file is damaged; copy it again") from error


class UnsuitableError(InputError):
    """A sound file that is no grey two-dimensional ultrasound; `reason` says what it is."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def decode_grey(
    path: Path, dataset: Any, n_frames: int, region: Region | None
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Decode all frames to grey, uint8, (time, row, column), and say what was noticed.

    The grey of colour-coded ultrasound is its luminance: Y where the file holds YBR.

    Raises
    ------
    UnsuitableError
        Colour Doppler or another colour picture.
    InputError
        A syntax or pixel kind that is not read, or frames that cannot be decoded.
    """
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    rows, columns = int(dataset.Rows), int(dataset.Columns)
    syntax = dataset.file_meta.TransferSyntaxUID
    colour = UnsuitableError(path, "colour Doppler or another colour picture, not grey-scale tissue")
    if is_video(syntax):
        return decode_video(path, dataset, n_frames, region, colour)
    if int(dataset.get("BitsAllocated") or 0) != 8:
        raise InputError(f"{path}: {dataset.get('BitsAllocated')} bits per pixel; 8-bit ultrasound is read")
    try:
        decoder = get_decoder(UID(_READ_AS.get(syntax, syntax)))
        readable = decoder.is_available
    except NotImplementedError:
        readable = False
    if not readable:
        raise InputError(f"{path}: transfer syntax {syntax.name} is not read; export it as JPEG or raw")
    _check_pixel_bytes(path, dataset, n_frames)
    if not syntax.is_little_endian:
        _swap_palettes(dataset)
    _silence_gdcm()
    grey = np.empty((n_frames, rows, columns), dtype=np.uint8)
    looked_at = {0, n_frames // 2}
    seen = 0
    try:
        with quiet():
            for i, (pixels, properties) in enumerate(_frames(decoder, dataset, n_frames)):
                kind = str(properties["photometric_interpretation"])
                if kind not in _KINDS:
                    raise InputError(f"{path}: photometric interpretation {kind} is not read; export it as RGB")
                if i in looked_at and _is_colour(dataset, pixels, kind, region):
                    raise colour
                grey[i] = _to_grey(dataset, pixels, kind)
                seen = i + 1
    except InputError:
        raise
    except Exception as error:  # decoders raise whatever a damaged frame makes them raise
        raise InputError(f"{path}: frame {seen + 1} of {n_frames} cannot be decoded; copy the file again") from error
    if seen != n_frames:
        raise InputError(f"{path}: holds {seen} frames, the header says {n_frames}; copy the file again")
    return grey, ()


def _frames(decoder: Any, dataset: Any, n_frames: int) -> Iterator[tuple[NDArray[Any], dict[str, Any]]]:
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed and dataset.PhotometricInterpretation == "YBR_FULL_422":
        # pydicom's iterator takes the second frame and on for YBR_FULL, which is longer.
        yield from (decoder.as_array(dataset, raw=True, index=i) for i in range(n_frames))
        return
    if syntax in _READ_AS:
        dataset.file_meta.TransferSyntaxUID = decoder.UID  # a decoder refuses other syntaxes than its own
    yield from decoder.iter_array(dataset, raw=True, decoding_plugin=_PLUGINS.get(syntax, ""))


def _check_pixel_bytes(path: Path, dataset: Any, n_frames: int) -> None:
    """Compare what the frames themselves state with the header, before any is decoded."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    frame_bytes = rows * columns * int(dataset.get("SamplesPerPixel") or 1)
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        return
    from pydicom.encaps import generate_frames

    try:
        for frame in generate_frames(dataset.PixelData, number_of_frames=n_frames):
            # RLE unfolds up to 64 times: a long frame of a small picture is a bomb.
            if len(frame) > _COMPRESSED_SLACK * frame_bytes + _SLACK_BYTES:
                raise InputError(f"{path}: a compressed frame is larger than its picture; the file is damaged")
            check_codestream_size(path, frame, rows, columns)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: its frames are damaged or cut short; copy the file again") from error


def _is_colour(dataset: Any, pixels: NDArray[Any], kind: str, region: Region | None) -> bool:
    if kind.startswith("MONOCHROME"):
        return False
    rgb = _to_rgb(dataset, pixels, kind)
    if region is not None:
        rgb = rgb[region[0] : region[2], region[1] : region[3]]
    return is_colour_picture(rgb)


def _swap_palettes(dataset: Any) -> None:
    """Give palettes the byte order that pydicom takes them for; it keeps them as they lie in the file."""
    for colour in ("Red", "Green", "Blue"):
        keyword = f"{colour}PaletteColorLookupTableData"
        if keyword in dataset:
            setattr(dataset, keyword, np.frombuffer(dataset[keyword].value, dtype=np.uint16).byteswap().tobytes())


def _to_rgb(dataset: Any, pixels: NDArray[Any], kind: str) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_color_lut, convert_color_space

    if kind == "PALETTE COLOR":
        colours = apply_color_lut(pixels, dataset)[..., :3]
        return (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
    if kind.startswith("YBR_FULL"):
        return convert_color_space(pixels, "YBR_FULL", "RGB")
    return pixels


def _to_grey(dataset: Any, pixels: NDArray[Any], kind: str) -> NDArray[np.uint8]:
    if kind == "MONOCHROME2":
        return pixels
    if kind == "MONOCHROME1":
        return 255 - pixels
    if kind.startswith("YBR_FULL"):
        return pixels[..., 0]
    # JPEG 2000's YBR_RCT and YBR_ICT are undone by its decoder: the pixels are RGB by now.
    rgb = _to_rgb(dataset, pixels, kind)
    if np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2]):
        return rgb[..., 0]
    return luminance(rgb)


def _silence_gdcm() -> None:
    """Keep GDCM's C++ messages off stderr; our one line says what is wrong."""
    try:
        import gdcm
    except ImportError:
        return
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
