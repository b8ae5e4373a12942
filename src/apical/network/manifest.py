"""What a run is of: data, split, recipe and the run that it started from; a run that goes on must be of the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from apical import __version__
from apical.errors import InputError, OutputError
from apical.files import FolderLock, make_folder, write_text
from apical.network.checkpoint import BEST, read_tensors
from apical.network.unet import UNet, start_from
from apical.split import Split
from apical.store import Store

MANIFEST = "manifest.json"
CROSSVAL = "crossval.json"
"""Data and recipe of a cross-validation, beside the figures of all its folds."""


def describe_run(
    stores: Sequence[Store],
    split: Split,
    recipe: Mapping[str, Any],
    machine: Mapping[str, Any],
    phantoms: Store | None = None,
) -> dict[str, Any]:
    """Return the manifest of a run that begins now."""
    described = {
        "apical": __version__,
        "data": [
            {"name": store.path.name, "content_sha256": store.content_sha256, "renumbered": store.renumbered}
            for store in stores
        ],
        "phantoms": phantoms and {"name": phantoms.path.name, "content_sha256": phantoms.content_sha256},
        "recipe": recipe,
        "split": split.as_dict(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
    }
    # As it reads back from the file, to be compared with it.
    result: dict[str, Any] = json.loads(json.dumps(described))
    return result


def recipes_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the recipe of a run, or those of the runs of a mean, each with whether phantoms were learned from."""
    runs = manifest.get("averaged") or [manifest]
    return [run["recipe"] | {"phantoms": bool(phantoms_of(run))} for run in runs]


def stores_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the stores that a run, or one that it started from, learned from."""
    earlier = (manifest.get("start") or {}).get("data", ())
    return [*{store["content_sha256"]: store for store in (*manifest["data"], *earlier)}.values()]


def phantoms_of(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the store of synthetic hearts that a run, or one that it started from, learned from, or None."""
    return manifest.get("phantoms") or (manifest.get("start") or {}).get("phantoms")


def origin_of(start: Path, store: Store, split: Split) -> dict[str, Any]:
    """What is known of the run that is started from.

    Raises
    ------
    InputError
        When it is no run, or it saw patients that are to be unseen or watched now, or may have.
    """
    try:
        manifest = json.loads((start / MANIFEST).read_text(encoding="utf-8"))
        weights = (start / BEST).read_bytes()
        earlier = manifest["start"] or {"learned": [], "watched": []}
        learned = {*manifest["split"]["train"], *earlier["learned"]}
        watched = {*manifest["split"]["validation"], *earlier["watched"]}
        renumbered = bool(manifest["data"][0].get("renumbered", False))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{start}: no run of this version with a finished epoch to start from ({error!r})") from error
    if renumbered != store.renumbered:
        raise InputError(
            f"{start}: its patients bear {'' if renumbered else 'no '}numbers of the PNG tree, those of {store.path} "
            "do not alike: nobody knows whom it has seen; prepare both with CAMUS's patients.csv"
        )
    if seen := (learned | watched) & set(split.test) or learned & set(split.validation):
        raise InputError(
            f"{start}: learned from or watched {len(seen)} patients that are to be unseen or watched now "
            f"({', '.join(sorted(seen)[:3])}...): take the same split"
        )
    return {
        "run": start.resolve().name,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "lineage": [*earlier.get("lineage", ()), *filter(None, [earlier.get("weights_sha256")])],
        "data": stores_of(manifest),
        "phantoms": phantoms_of(manifest),
        "learned": sorted(learned),
        "watched": sorted(watched),
    }


def load_start(network: UNet, start: Path) -> None:
    """Load the kept weights of the run that is started from.

    Raises
    ------
    InputError
        When they are of a network of another size.
    """
    path = start / BEST
    try:
        start_from(network, read_tensors(path)[0])
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{path}: weights of a network of another size; give the same --channels") from error


def claim(run: Path, manifest: Mapping[str, Any], *, resume: bool) -> FolderLock:
    """Make the run folder ours, or see that it is the same run; others are kept out until the lock is released.

    Raises
    ------
    OutputError
        When the folder holds a run already and `resume` is not set, or another process goes on with it.
    InputError
        When the run in it is of other data, recipe, split or start.
    """
    make_folder(run)
    lock = FolderLock(run)
    try:
        _begin_or_join(run / MANIFEST, manifest, resume=resume)
    except BaseException:
        lock.release()
        raise
    return lock


def _begin_or_join(path: Path, manifest: Mapping[str, Any], *, resume: bool) -> None:
    if not path.exists():
        write_text(path, json.dumps(manifest, indent=1))
        return
    if not resume:
        raise OutputError(f"{path.parent}: holds a run already; add --resume to go on with it, or name another folder")
    old = json.loads(path.read_text(encoding="utf-8"))
    for key in ("data", "phantoms", "recipe", "split", "start"):
        if old.get(key) != manifest[key]:
            raise InputError(
                f"{path.parent}: its {key} differs from what is asked now; resume with the same, or name another folder"
            )
