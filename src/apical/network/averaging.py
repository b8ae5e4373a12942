"""The mean of the weights of several runs as a run of its own (Wortsman et al. 2022, "Model soups", arXiv:2203.05482).

Runs that went on from one network with other data or augmentation lie near enough to each other for the mean of
their weights to be as good a network, with what each of them has learned besides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from apical.errors import InputError
from apical.files import FolderLock, make_folder, refuse_existing, write_text
from apical.network.augment import AugmentConfig
from apical.network.checkpoint import BEST, LAST, read_tensors, write_tensors
from apical.network.dataset import load_frames, load_phantoms
from apical.network.manifest import MANIFEST, phantoms_of, stores_of
from apical.network.released import HOW_TO_END, begin_anew, end_run, has_ended
from apical.network.unet import UNet, UNetConfig
from apical.store import Store

_ALIKE = ("recipe.unet", "recipe.size", "recipe.views")
"""What the runs must have in common."""


def average_runs(stores: Sequence[Store], runs: Sequence[Path], output: Path, *, phantoms: Store | None = None) -> None:
    """Write a run with the mean of the kept weights of finished runs, for `export`.

    What its features tell of a picture is found anew: that takes some minutes.

    Parameters
    ----------
    stores
        Those that the runs learned from, the first being the one that the split is of.
    runs
        Two or more of one size. The manifest is that of the last, with all of them and of their data; those whom its
        split keeps unseen or watches must be so to the others.
    phantoms
        Synthetic hearts that any of them learned from: to the mean's doubt they are like learned pictures, too.

    Raises
    ------
    OutputError
        When the folder holds a run already.
    InputError
        When there are fewer than two runs or one twice, one has not ended, they differ in the size of the network,
        did not go on from one network, or learned from other stores, or one saw whom the last keeps unseen or watches.
    """
    if len(runs) < 2:
        raise InputError("a mean takes two runs or more")
    refuse_existing(output / MANIFEST, overwrite=False)
    manifests = [_manifest(run) for run in runs]
    for run, manifest in zip(runs, manifests, strict=True):
        if other := [key for key in _ALIKE if _get(manifest, key) != _get(manifests[-1], key)]:
            raise InputError(f"{run}: its {', '.join(other)} is not that of {runs[-1]}; no mean can be taken")
        if aside := _seen_aside(manifest, manifests[-1]["split"]):
            raise InputError(
                f"{run}: learned from or watched {len(aside)} patients who are unseen or watched in {runs[-1]} "
                f"({', '.join(sorted(aside)[:3])}...); no mean can be taken"
            )
        if manifest["data"][0]["content_sha256"] != stores[0].content_sha256:
            raise InputError(f"{run}: learned from another store than {stores[0].path}")
    data = {store["content_sha256"]: store for manifest in manifests for store in stores_of(manifest)}
    synthetic = {store["content_sha256"]: store for store in map(phantoms_of, manifests) if store}
    _check_stores(stores, data)
    _check_phantoms(phantoms, synthetic)
    members = [_member(run, manifest) for run, manifest in zip(runs, manifests, strict=True)]
    _refuse_strangers(runs, manifests, members)
    last = manifests[-1]
    recipe, split = last["recipe"], last["split"]
    network = UNet(UNetConfig(tuple(recipe["unet"]["channels"]), recipe["unet"]["frames"]))
    network.load_state_dict(_mean([read_tensors(run / BEST)[0] for run in runs]))

    views, size = tuple(recipe["views"]), int(recipe["size"])
    learned = load_frames(stores, split["train"], size, views)
    if phantoms is not None:
        # Who only started from a run that learned from them has a share in its recipe that nobody used.
        taught = [m for m in manifests if m.get("phantoms")] or [m for m in manifests if phantoms_of(m)]
        share = taught[0]["recipe"]["phantom_share"]
        learned = learned.beside(load_phantoms(phantoms, stores, size, views), share)
    watched = load_frames(stores[:1], split["validation"], size, views) if split["validation"] else None
    augment = AugmentConfig.from_dict(recipe["augment"])

    seen = {key: sorted({p for m in manifests for p in _whom(m, key)}) for key in ("learned", "watched")}
    manifest = last | {
        "averaged": members,
        "data": [*data.values()],
        "phantoms": next(iter(synthetic.values()), None),
        "start": seen,
    }
    make_folder(output)
    with FolderLock(output):
        refuse_existing(output / MANIFEST, overwrite=False)  # another may have come first
        begin_anew(output)
        write_tensors(output / BEST, network.state_dict(), {"config": json.dumps(recipe["unet"])})
        end_run(output, network, learned, watched, augment, recipe["seed"], runs[-1])
        write_text(output / MANIFEST, json.dumps(manifest, indent=1))


def _check_stores(stores: Sequence[Store], known: Mapping[str, Mapping[str, Any]]) -> None:
    for store in stores:
        if store.content_sha256 not in known:
            raise InputError(f"{store.path}: none of the runs learned from it; leave it out")
    if missing := known.keys() - {store.content_sha256 for store in stores}:
        names = ", ".join(sorted(known[key]["name"] for key in missing))
        raise InputError(f"{names}: the runs learned from it as well; give all their stores")


def _check_phantoms(phantoms: Store | None, known: Mapping[str, Mapping[str, Any]]) -> None:
    if phantoms is not None and phantoms.content_sha256 not in known:
        raise InputError(f"{phantoms.path}: none of the runs learned from these synthetic hearts; leave it out")
    if len(known) > 1:
        names = " and ".join(sorted(store["name"] for store in known.values()))
        raise InputError(f"the runs learned from several stores of synthetic hearts ({names}); no mean can be taken")
    if phantoms is None and known:
        name = next(iter(known.values()))["name"]
        raise InputError(f"{name}: a run learned from these synthetic hearts as well; give them by --phantoms")


def _whom(manifest: Mapping[str, Any], key: str) -> set[str]:
    """Return whom a run, or one that it started from, learned from or watched."""
    part = {"learned": "train", "watched": "validation"}[key]
    return {*manifest["split"][part], *(manifest["start"] or {}).get(key, ())}


def _seen_aside(manifest: Mapping[str, Any], split: Mapping[str, Any]) -> set[str]:
    """Return whom a run learned from or watched, and whom this split keeps unseen, or learned from and it watches."""
    learned, watched = _whom(manifest, "learned"), _whom(manifest, "watched")
    return ((learned | watched) & {*split["test"]}) | (learned & {*split["validation"]})


def _refuse_strangers(
    runs: Sequence[Path], manifests: Sequence[Mapping[str, Any]], members: Sequence[Mapping[str, Any]]
) -> None:
    """Networks that began apart lie far apart: between them there is none."""
    own = [member["weights_sha256"] for member in members]
    if len(set(own)) < len(own):
        raise InputError(f"{runs[-1]}: one network is given twice; give each run once")
    ways = [
        {sha256, *start.get("lineage", ()), start.get("weights_sha256")} - {None}
        for sha256, start in zip(own, [m["start"] or {} for m in manifests], strict=True)
    ]
    for run, way in zip(runs, ways, strict=True):
        if not way & ways[-1]:
            raise InputError(f"{run}: did not go on from one network with {runs[-1]} (--start); no mean can be taken")


def is_continuation(averaged: Sequence[Mapping[str, Any]], earlier: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the runs of a mean went on from those in their places of an earlier mean; some may be the same still."""
    return (
        len(averaged) == len(earlier)
        and len(kept_of(averaged, earlier)) < len(averaged)
        and all(
            before["weights_sha256"] in (run["start_sha256"], run["weights_sha256"])
            for run, before in zip(averaged, earlier, strict=True)
        )
    )


def kept_of(averaged: Sequence[Mapping[str, Any]], earlier: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the runs that are the same in both means."""
    before = {run["weights_sha256"] for run in earlier}
    return [run["run"] for run in averaged if run["weights_sha256"] in before]


def _manifest(run: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((run / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{run}: no run; make one with `apical train`") from error
    if lacking := {"data", "recipe", "split", "start"} - manifest.keys():
        raise InputError(f"{run / MANIFEST}: names no {', '.join(sorted(lacking))}; train again with this version")
    if "averaged" in manifest:
        raise InputError(f"{run}: is a mean itself; give the runs that it is of")
    if not has_ended(run):
        raise InputError(f"{run}: has not ended; {HOW_TO_END}")
    return manifest


def _member(run: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    progress = json.loads(read_tensors(run / LAST)[1]["progress"])
    return {
        "run": run.resolve().name,
        "weights_sha256": hashlib.sha256((run / BEST).read_bytes()).hexdigest(),
        "start_sha256": (manifest["start"] or {}).get("weights_sha256"),
        "recipe": manifest["recipe"],
        "phantoms": phantoms_of(manifest),
        **{k: progress[k] for k in ("epoch", "best_epoch", "seconds")},
    }


def _get(manifest: Mapping[str, Any], key: str) -> Any:
    value: Any = manifest
    for part in key.split("."):
        value = value[part]
    return value


def _mean(weights: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each tensor; counts, which are no weights, are the last run's."""
    return {
        name: sum(w[name] for w in weights) / len(weights) if last.is_floating_point() else last  # type: ignore[misc]
        for name, last in weights[-1].items()
    }
