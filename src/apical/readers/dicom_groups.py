"""Which DICOM files are one examination: StudyInstanceUID says, not the folders they lie in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from apical.readers.dicom_guard import check_structure
from apical.readers.dicom_pixels import quiet
from apical.readers.tree import StudyFiles, dicom_stem


def group_by_study(paths: list[Path], *, named_singly: bool = False) -> list[StudyFiles]:
    """Group DICOM files, sorted, into studies.

    A study is called after the folder that all its files lie in when it has that folder for itself,
    else after its first file; one of a single file after that file, where files were named one by one. Files
    that cannot be read go with their folder, where they are named.
    """
    uids = {path: _study_uid(path) for path in paths} if len(paths) > 1 else {paths[0]: None}
    groups: dict[str, list[Path]] = {}
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


def _label(key: str, groups: dict[str, list[Path]], folder: Path) -> str:
    others: Iterable[Path] = (p for other, group in groups.items() if other != key for p in group)
    if any(p.is_relative_to(folder) for p in others):
        return dicom_stem(groups[key][0])
    return folder.resolve().name


def _study_uid(path: Path) -> str | None:
    from pydicom import dcmread

    try:
        check_structure(path)
        with quiet():
            dataset = dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
            return str(dataset.get("StudyInstanceUID", "")) or None
    except Exception:  # why it cannot be read is said when its turn comes
        return None
