"""Masks of any tool, found in a folder by the frame that their file name names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from apical.errors import InputError
from apical.study import Clip, Frame, Mask, Study

Predict = Callable[[Study], Mapping[str, Mask]]
"""Gives the masks of a study by frame name; a frame without one is a missing prediction."""

_FRAME = re.compile(r"(patient\d+)_(2CH|4CH)_(ED|ES)(?![a-z])", re.IGNORECASE)
SUFFIXES = (".mhd", ".nii.gz", ".nii", ".png")


def masks_from_folder(folder: Path) -> Predict:
    """Return a function that gives the masks of a study from files under `folder`, searched recursively.

    A file belongs to the frame whose name, `patientNNNN_{2CH,4CH}_{ED,ES}`, is part of its own name. A file named
    by view and phase alone (`patientNNNN/4CH_ED.png`, the CAMUS PNG tree) belongs to the image that lies in a folder
    of the same name: that release numbers its patients in its own way, and frames bear the CAMUS number. Any
    other name belongs to the frame that it equals but for suffix and `_gt`. Where a frame has files with and without
    `_gt`, the one with it is the mask. Formats: .mhd, .nii, .nii.gz, .png. Files are read when they are asked for.

    Raises
    ------
    InputError
        If there is no mask under `folder`; and, later, if a frame has two or its file cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give the folder that holds the masks")
    named: dict[str, list[Path]] = defaultdict(list)
    in_patient_folder: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        stem = _stem(path)
        if stem is None or not path.is_file():
            continue
        if name := _frame_name(stem):
            named[name].append(path)
        elif name := _frame_name(f"{path.parent.name}_{stem}"):
            in_patient_folder[name].append(path)
        else:
            named[stem.removesuffix("_gt")].append(path)
    if not named and not in_patient_folder:
        raise InputError(
            f"{folder}: no masks; expected files such as patient0001_4CH_ED.nii.gz ({', '.join(SUFFIXES)})"
        )

    def predict(study: Study) -> dict[str, Mask]:
        from apical.readers import read_mask  # the file formats live there

        masks = {}
        for item in study.items:
            name = _frame_name(item.name) or item.name
            found = named.get(name, []) + in_patient_folder.get(_source_name(item) or name, [])
            if found:
                masks[item.name] = read_mask(_only(found, item.name))[0]
        return masks

    return predict


def _stem(path: Path) -> str | None:
    """Return the file name without its suffix, or None where it is no mask format."""
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), None)
    return path.name[: -len(suffix)] if suffix else None


def _frame_name(text: str) -> str | None:
    """Return the frame that a text names, as readers spell it."""
    match = _FRAME.search(text)
    return f"{match[1].lower()}_{match[2].upper()}_{match[3].upper()}" if match else None


def _source_name(item: Frame | Clip) -> str | None:
    """Return the name of a frame by the folder and the name of its image file."""
    stem = _stem(item.source) if item.source else None
    if item.source is None or stem is None:
        return None
    return _frame_name(stem) or _frame_name(f"{item.source.parent.name}_{stem}")


def _only(found: list[Path], frame: str) -> Path:
    """Return the one mask of a frame; two are refused, for either may be the wrong one."""
    candidates = [path for path in found if "_gt." in path.name] or found
    if len(candidates) > 1:
        raise InputError(f"{candidates[0]} and {candidates[1].name} both name frame {frame}: keep one of them")
    return candidates[0]
