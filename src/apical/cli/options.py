"""Options that several commands share, and what their texts mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apical.anatomy import View
from apical.errors import InputError
from apical.study import is_plausible_spacing

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")]
ModelName = Annotated[str, typer.Option("--model", "-m", help="Installed model or model folder.")]
Runtime = Annotated[str, typer.Option(help="auto, openvino or onnxruntime.")]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="float32, or bfloat16: about twice as fast where the processor has it.")
]
SpacingOption = Annotated[
    str | None, typer.Option("--spacing", help="Pixel spacing ROW,COLUMN in mm, for images that do not tell it.")
]
Patients = Annotated[
    str | None, typer.Option(help="Only these: ids separated by commas, or a text file with one id per line.")
]


def parse_spacing(text: str | None) -> tuple[float, float] | None:
    """'ROW,COLUMN' or one number, in mm.

    Raises
    ------
    InputError
        When it is not one or two positive numbers.
    """
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not is_plausible_spacing((numbers[0], numbers[-1])):
        raise InputError(f"--spacing '{text}': give millimetres per pixel as ROW,COLUMN, such as 0.308,0.308")
    return numbers[0], numbers[-1]


def parse_patients(text: str | None) -> set[str] | None:
    """Ids separated by commas, or the lines of a file.

    Raises
    ------
    InputError
        When nothing is named, or the file is no text.
    """
    if text is None:
        return None
    listed = _text_of(text)
    named = text.split(",") if listed is None else listed.splitlines()
    ids = {name.strip() for name in named} - {""}
    if not ids:
        raise InputError(f"--patients '{text}': names nobody")
    return ids


def _text_of(name: str) -> str | None:
    """Return the text of a file, or None where there is none of this name."""
    path = Path(name)
    try:
        if not path.is_file():
            return None
    except (OSError, ValueError):  # a list of ids may be longer than any file name
        return None
    try:
        return path.read_text(encoding="utf-8-sig")
    except ValueError as error:
        raise InputError(f"{path}: no UTF-8 text; save the list of patients as plain text, one id per line") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def parse_sex(text: str | None) -> str | None:
    """'F' or 'M', whatever the case.

    Raises
    ------
    InputError
        For anything else.
    """
    if text is None:
        return None
    if text.upper() not in ("F", "M"):
        raise InputError(f"--sex '{text}': give F or M")
    return text.upper()


def parse_views(text: str) -> tuple[View, ...]:
    """'2CH', '4CH' or 'both' to views.

    Raises
    ------
    InputError
        For any other word.
    """
    named = {"2CH": (View.A2C,), "4CH": (View.A4C,), "BOTH": tuple(View)}
    if text.upper() not in named:
        raise InputError(f"no view '{text}': choose 2CH, 4CH or both")
    return named[text.upper()]


def parse_channels(text: str) -> tuple[int, ...]:
    """'32,64,128' to numbers.

    Raises
    ------
    InputError
        When it is no list of at least two positive numbers.
    """
    try:
        channels = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--channels '{text}': give numbers like 32,64,128,192,256") from error
    if len(channels) < 2 or min(channels) < 1:
        raise InputError(f"--channels '{text}': give at least two positive numbers")
    return channels
