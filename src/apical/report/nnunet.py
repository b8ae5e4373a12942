"""A dataset in the layout of nnU-Net v2, so that any store can be trained on by it.

Isensee et al., Nature Methods 18:203-211, 2021 (doi:10.1038/s41592-020-01008-z). One case per frame with an
expert mask, as two-dimensional NIfTI on the native grid. The folds are by patient: nnU-Net's own would put
ED of a heart into training and its ES into validation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Label
from apical.errors import InputError, OutputError
from apical.files import atomic_write, make_folder, write_text
from apical.store import Store
from apical.study import Frame, Grid, Study

_LABELS = {
    "background": Label.BACKGROUND,
    "LV cavity": Label.LV_CAVITY,
    "myocardium": Label.MYOCARDIUM,
    "left atrium": Label.LEFT_ATRIUM,
}
_NAME = re.compile(r"Dataset\d{3}_\w+")


@dataclass(frozen=True)
class NnunetRule:
    """How patients are put into nnU-Net's folds where the data know none of their own."""

    n_folds: int = 5
    seed: int = 12345
    """nnU-Net's own seed."""


def export_nnunet(
    store: Path | str, folder: Path | str, *, rule: NnunetRule = NnunetRule(), overwrite: bool = False
) -> dict[str, int]:
    """Write a store as an nnU-Net v2 dataset, and return its numbers of patients, cases and folds.

    Parameters
    ----------
    folder
        Named as nnU-Net wants it, `DatasetNNN_Name`; becomes imagesTr, labelsTr, dataset.json and
        splits_final.json (to be copied to nnU-Net's preprocessed folder of the same name).

    Raises
    ------
    InputError
        The store cannot be read, or holds no frame with an expert mask.
    OutputError
        The folder's name is not nnU-Net's, a file exists already, or cases of another export do.
    """
    with Store(Path(store)) as opened:
        return write_nnunet(opened.studies(), folder, opened.groups(), opened.folds, rule=rule, overwrite=overwrite)


def write_nnunet(
    studies: Iterable[Study],
    folder: Path | str,
    groups: Sequence[tuple[str, ...]],
    camus_folds: Mapping[str, int],
    *,
    rule: NnunetRule = NnunetRule(),
    overwrite: bool = False,
) -> dict[str, int]:
    """Write studies as an nnU-Net v2 dataset; see `export_nnunet`.

    Parameters
    ----------
    groups
        Patients that must stay on one side of a split; every patient is in one group.
    camus_folds
        CAMUS fold in which each patient is tested; where all patients have one, these are the folds.
    """
    folder = Path(folder)
    if not _NAME.fullmatch(folder.name):
        raise OutputError(f"{folder}: nnU-Net wants a folder named like Dataset301_Apical")
    make_folder(folder / "imagesTr")
    make_folder(folder / "labelsTr")
    cases: dict[str, list[str]] = {}
    named: dict[str, str] = {}
    unknown_spacing = 0
    for study in studies:
        for frame in study.frames:
            if frame.reference is None:
                continue
            case = _case_name(study, frame)
            if case in named:
                raise InputError(
                    f"{study.patient.id}, {frame.name}: in nnU-Net's names the same case as {named[case]} ({case}); "
                    "rename one of them, or leave it out"
                )
            named[case] = f"{study.patient.id}, {frame.name}"
            write_nifti(folder / "imagesTr" / f"{case}_0000.nii.gz", frame.image, frame.grid, overwrite=overwrite)
            write_nifti(folder / "labelsTr" / f"{case}.nii.gz", frame.reference, frame.grid, overwrite=overwrite)
            cases.setdefault(study.patient.id, []).append(case)
            unknown_spacing += frame.grid.spacing_mm is None
    if not cases:
        raise InputError("no frame has an expert mask, so there is nothing to train nnU-Net on")
    if strangers := sorted(
        p.name for p in folder.glob("labelsTr/*.nii.gz") if p.name.removesuffix(".nii.gz") not in named
    ):
        raise OutputError(
            f"{folder}: holds {len(strangers)} cases of another export, such as {strangers[0]}, which nnU-Net would "
            "count; remove them or choose an empty folder"
        )
    splits = _splits(cases, groups, camus_folds, rule)
    write_text(folder / "splits_final.json", json.dumps(splits, indent=1), overwrite=overwrite)
    # Last: with it the dataset is complete.
    write_text(folder / "dataset.json", json.dumps(_description(cases, unknown_spacing), indent=1), overwrite=overwrite)
    return {"patients": len(cases), "cases": sum(map(len, cases.values())), "folds": len(splits)}


def write_nifti(path: Path, pixels: NDArray[np.uint8], grid: Grid, *, overwrite: bool) -> None:
    """Write a uint8 (row, column) array as two-dimensional NIfTI; the same input gives the same bytes."""
    import SimpleITK as sitk

    image: Any = sitk.GetImageFromArray(np.ascontiguousarray(pixels))
    if grid.spacing_mm is not None:
        image.SetSpacing(grid.spacing_mm[::-1])
    image.SetOrigin(grid.origin_mm[::-1])
    image.SetDirection(np.array(grid.direction)[::-1, ::-1].ravel().tolist())
    with atomic_write(path, overwrite=overwrite) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)


def _case_name(study: Study, frame: Frame) -> str:
    parts = [study.patient.id, *(str(p) for p in (frame.view, frame.phase) if p is not None)]
    if frame.view is None or frame.phase is None:
        parts.append(frame.name)
    return re.sub(r"[^A-Za-z0-9_-]", "-", "_".join(parts))


def _splits(
    cases: Mapping[str, Sequence[str]],
    groups: Sequence[tuple[str, ...]],
    camus_folds: Mapping[str, int],
    rule: NnunetRule,
) -> list[dict[str, list[str]]]:
    if all(patient in camus_folds for patient in cases) and len({camus_folds[p] for p in cases}) > 1:
        fold_of = {patient: camus_folds[patient] for patient in cases}
    else:
        present = [kept for group in groups if (kept := tuple(p for p in group if p in cases))]
        order = np.random.default_rng(rule.seed).permutation(len(present))
        fold_of = {p: n % rule.n_folds for n, i in enumerate(order) for p in sorted(present)[i]}
    splits = []
    for fold in sorted(set(fold_of.values())):
        train = [c for p in sorted(cases) if fold_of[p] != fold for c in cases[p]]
        if train:
            splits.append({"train": train, "val": [c for p in sorted(cases) if fold_of[p] == fold for c in cases[p]]})
    return splits


def _description(cases: Mapping[str, Sequence[str]], unknown_spacing: int) -> dict[str, object]:
    described: dict[str, object] = {
        "channel_names": {"0": "ultrasound"},
        "labels": {name: int(label) for name, label in _LABELS.items()},
        "numTraining": sum(map(len, cases.values())),
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
        "description": "Apical echocardiograms with expert masks, exported by apical",
    }
    if unknown_spacing:
        described["spacing_note"] = (
            f"the pixel spacing of {unknown_spacing} cases is unknown; their files say 1, and it means nothing"
        )
    return described
