"""What a training was: the run it is compared with, and the row that the table shows of it."""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from apical.errors import InputError
from apical.files import write_text
from apical.network.manifest import phantoms_of, stores_of
from apical.split import Split
from apical.store import Store

RECORD_JSON = "training.json"


@dataclass(frozen=True)
class TrainingRecord:
    """One trained network; `minutes` is the wall clock of training with its validation, nothing else."""

    name: str
    parameters: int
    minutes: float
    epochs: int
    frames_seen: int
    batch: int
    precision: str
    threads: int
    cpu: str
    recipe: str
    data_sha256: str
    test: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write the record into a peer's folder; it is the last thing written, so the peer is finished."""
        write_text(folder / RECORD_JSON, json.dumps(asdict(self), indent=1), overwrite=True)

    @classmethod
    def read(cls, folder: Path) -> TrainingRecord:
        """Read what `write` wrote."""
        try:
            values = json.loads((folder / RECORD_JSON).read_text(encoding="utf-8"))
            return cls(**values | {"test": tuple(values["test"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder}: no finished training ({error}); run benchmarks/peers.sh again") from error


@dataclass(frozen=True)
class Reference:
    """An apical run: its split, its store's hash, and what its training was."""

    split: Split
    record: TrainingRecord

    @classmethod
    def read(cls, run: Path, store: Store) -> Reference:
        """Read a run folder and see that it learned from this store and from nothing else, as its peers will.

        Raises
        ------
        InputError
            When there is no run, it is a mean of several, or it learned from another store or from more.
        """
        manifest = _manifest(run)
        if "averaged" in manifest:
            raise InputError(f"{run}: a mean of runs; give one that was trained in one go")
        learned = {d["content_sha256"] for d in (*stores_of(manifest), phantoms_of(manifest)) if d}
        if learned != {store.content_sha256}:
            raise InputError(f"{run}: it learned from other data than {store.path} alone, which is all its peers get")
        parts = {part: tuple(manifest["split"][part]) for part in ("train", "validation", "test")}
        if not parts["validation"] or not parts["test"]:
            raise InputError(f"{run}: its split has no validation or no test patients, so peers cannot be compared")
        split = Split(**parts, origin=manifest["split"]["origin"])
        n_frames = sum(f.reference is not None for s in store.studies(split.train) for f in s.frames)
        return cls(split, _record(run, store, split, n_frames))

    def finished(self, folder: Path) -> bool:
        """Say whether a peer's folder holds a finished training on this split.

        Raises
        ------
        InputError
            When it holds one on another split or store.
        """
        if not (folder / RECORD_JSON).exists():
            return False
        there = TrainingRecord.read(folder)
        if (there.data_sha256, there.test) != (self.record.data_sha256, self.record.test):
            raise InputError(f"{folder}: holds a training on another split or store; name another folder")
        return True


def _manifest(run: Path) -> dict:
    try:
        return json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{run}: no run of `apical train` ({error})") from error


def _record(run: Path, store: Store, split: Split, n_frames: int) -> TrainingRecord:
    from apical.network.checkpoint import read_tensors

    stages = [run]
    while start := _manifest(stages[0]).get("start"):
        stages.insert(0, run.parent / start["run"])
    minutes, epochs, seen = 0.0, 0, 0
    for stage in stages:
        with (stage / "history.csv").open(encoding="utf-8", newline="") as file:
            *_, last = csv.DictReader(file)
        batch = min(_manifest(stage)["recipe"]["batch"], n_frames)
        minutes += float(last["seconds"]) / 60
        epochs += int(last["epoch"])
        seen += int(last["epoch"]) * (n_frames // batch) * batch
    manifest = _manifest(run)
    weights = read_tensors(run / "best.safetensors")[0]
    learned = {k: v for k, v in weights.items() if "running_" not in k and "num_batches" not in k}
    machine = manifest["machine"]
    return TrainingRecord(
        name=f"apical-{run.name}",
        parameters=sum(v.numel() for v in learned.values()),
        minutes=minutes,
        epochs=epochs,
        frames_seen=seen,
        batch=manifest["recipe"]["batch"],
        precision=machine["precision"],
        threads=machine["threads"],
        cpu=machine.get("cpu", cpu_name() if machine["device"] == "cpu" else machine["device"]),
        recipe="its own" + (f"; in {len(stages)} stages, counted together" if len(stages) > 1 else ""),
        data_sha256=store.content_sha256,
        test=split.test,
    )


def cpu_name() -> str:
    """Return the processor's name and how many cores the machine has of it."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass  # not Linux
    return f"{name}, {os.cpu_count()} cores"


def main() -> None:
    """Write the test patients of a run, one per line: `python -m peers.record STORE RUN FILE`."""
    store_path, run, target = map(Path, sys.argv[1:])
    with Store(store_path) as store:
        reference = Reference.read(run, store)
    write_text(target, "\n".join(reference.split.test) + "\n", overwrite=True)
    print(f"{run}: {reference.record.minutes:.1f} minutes, {len(reference.split.test)} patients that it never saw")


if __name__ == "__main__":
    main()
