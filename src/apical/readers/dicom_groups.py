"""Which DICOM files are one examination: StudyInstanceUID says, not the folders they lie in.

The patient's number is compared as well, and not kept: what two people share is no examination, as where
an anonymiser took the UIDs away or gave all the same.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from apical.readers.dicom_guard import check_structure
from apical.readers.dicom_pixels import quiet
from apical.readers.tree import StudyFiles, dicom_stem

_WHOSE = ("StudyInstanceUID", "PatientID", "IssuerOfPatientID")


def group_by_study(paths: list[Path], *, named_singly: bool = False) -> list[StudyFiles]:
    """Group DICOM files, sorted, into studies.

    A study is called after the folder that all its files lie in when it has that folder for itself,
    else after its first file; one of a single file after that file, where files were named one by one. Files
    that cannot be read go with their folder, where they are named.
    """
    uids = {path: _examination(path) for path in paths} if len(paths) > 1 else {paths[0]: None}
    groups: dict[str | tuple[str, ...], list[Path]] = {}
    in_folder = {path.parent: uid for path, uid in reversed(uids.items()) if uid}
    for path, uid in uids.items():
        groups.setdefault(uid or in_folder.get(path.parent) or str(path.parent), []).append(path)
    folders = {key: Path(os.path.commonpath(_parents(group))) for key, group in groups.items()}
    labels = {
        key: dicom_stem(group[0]) if named_singly and len(group) == 1 else _label(key, groups, folders[key])
        for key, group in groups.items()
    }
    count = Counter(labels.values())
    return [
        StudyFiles(
            folders[key],
            label if count[label] == 1 else f"{folders[key].resolve().parent.name}_{label}",
            dicoms=tuple(groups[key]),
        )
        for key, label in labels.items()
    ]


def _parents(group: list[Path]) -> list[Path]:
    folders = [path.parent for path in group]
    # Files named one by one may be given from here and from the root.
    return folders if len({f.is_absolute() for f in folders}) == 1 else [f.absolute() for f in folders]


def _label(key: str | tuple[str, ...], groups: dict[str | tuple[str, ...], list[Path]], folder: Path) -> str:
    others: Iterable[Path] = (p for other, group in groups.items() if other != key for p in group)
    if any(p.is_relative_to(folder) for p in others):
        return dicom_stem(groups[key][0])
    return folder.resolve().name


def _examination(path: Path) -> tuple[str, ...] | None:
    """Return what files of one examination have in common, or None where a file says nothing of it."""
    from pydicom import dcmread

    try:
        with quiet():
            check_structure(path)
            dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(_WHOSE))
            study, *person = (str(dataset.get(keyword) or "") for keyword in _WHOSE)
    except Exception:  # why it cannot be read is said when its turn comes
        return None
    return (study or str(path.parent), *person) if study or any(person) else None
