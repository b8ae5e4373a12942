"""Where the time of a clip goes: start-up, decoding, network, geometry, writing.

    python benchmarks/clip_speed.py CLIP.dcm [--repeats 3] [--runs openvino openvino:bfloat16 ...] [--json FILE]

Each run is a process of its own, `apical measure CLIP.dcm --dicom`, from its start to its exit: everything but
the film is written. Its functions are timed from within, each second counted once, in the innermost of them;
what belongs to none of them is start-up (interpreter, imports, loading the model). What runs beside the network
counts as network: frames on their way to its grid, masks on theirs back and their repair, imports for the writing.
Beside the seconds on the clock stand those of the processor, all threads added up, which other work on the
machine stretches less. A run is RUNTIME or RUNTIME:PRECISION; several alternate, and the ratio of each to the
first is given. Prints the medians as a Markdown table; `--json` keeps every run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STAGES = ("start-up", "decode", "network", "geometry", "writing")
LIMIT_S = 6.0
"""For 120 frames of 480x640, on two idle cores."""

_TIMED = (
    ("apical.readers", "assemble_study", "decode"),
    ("apical.cycle", "measure_clips", "geometry"),
    ("apical.report.clip_report", "write_clip_report", "writing"),
    ("apical.report.clip_report", "frame_volumes_ml", "geometry"),
)


class Clock:
    """Seconds on the wall and of the processor by stage; a stage within another stops the outer one's clock."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.cpu_seconds = dict.fromkeys(STAGES, 0.0)
        self._running: list[str] = []
        self._since = time.perf_counter(), time.process_time()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens in the block to a stage."""
        self._stop()
        self._running.append(name)
        try:
            yield
        finally:
            self._stop()
            self._running.pop()

    def _stop(self) -> None:
        now = time.perf_counter(), time.process_time()
        if self._running:
            self.seconds[self._running[-1]] += now[0] - self._since[0]
            self.cpu_seconds[self._running[-1]] += now[1] - self._since[1]
        self._since = now

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return the function, its calls counted to a stage."""

        def call(*arguments: Any, **options: Any) -> Any:
            with self.stage(name):
                return function(*arguments, **options)

        return call


def run_timed(clip: str, output: str, how: str) -> None:
    """Run the command in this process and print its stages as JSON."""
    clock = Clock()
    from apical.cli import app
    from apical.segment import Segmenter

    for module, name, stage in _TIMED:
        place = importlib.import_module(module)
        setattr(place, name, clock.timed(getattr(place, name), stage))
    Segmenter.segment = clock.timed(Segmenter.segment, "geometry")  # type: ignore[method-assign]
    Segmenter._run = clock.timed(Segmenter._run, "network")  # type: ignore[method-assign]
    runtime, _, precision = how.partition(":")
    asked = ["--runtime", runtime, *(["--precision", precision] if precision else [])]
    app(["measure", clip, "--dicom", "-o", output, *asked], standalone_mode=False)
    print(json.dumps({"seconds": clock.seconds, "cpu_seconds": clock.cpu_seconds}))


def run_once(clip: Path, how: str) -> dict[str, Any]:
    """Run the command in a process of its own; return seconds by stage and in all, and its peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "stages.json", "w+") as answer:
        command = [sys.executable, __file__, str(clip), "--inside", f"{folder}/out", "--runs", how]
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=answer, stderr=subprocess.PIPE, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        total = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"`apical measure {clip}` failed: {process.stderr.read() if process.stderr else ''}")
        if process.stderr:
            process.stderr.close()
        answer.seek(0)
        stages: dict[str, Any] = json.loads(answer.read().splitlines()[-1])
    cpu = usage.ru_utime + usage.ru_stime
    for times, whole in ((stages["seconds"], total), (stages["cpu_seconds"], cpu)):
        times["start-up"] = whole - sum(times.values())
        times["in all"] = whole
    return {"run": how, **stages, "peak_memory_mb": usage.ru_maxrss / 1024}


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="DICOM clip; 120 frames of 480x640 for the limit to mean something")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--runs", nargs="+", default=["openvino"], help="openvino, openvino:bfloat16, onnxruntime")
    parser.add_argument("--json", type=Path, help="file for every run's figures")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        run_timed(str(options.clip), options.inside, options.runs[0])
        return
    run_once(options.clip, options.runs[0])  # disk caches are warm from here on
    runs = [run_once(options.clip, how) for _ in range(options.repeats) for how in options.runs]
    load = os.getloadavg()[0]
    print(
        f"{os.cpu_count()} cores, load {load:.1f}; limit {LIMIT_S:g} s on two idle cores; medians of {options.repeats}"
    )
    print("\n| stage | " + " | ".join(f"{r}, s | processor, s" for r in options.runs) + " |")
    print("|---|" + "---|" * (2 * len(options.runs)))
    of = {how: [run for run in runs if run["run"] == how] for how in options.runs}
    for stage in (*STAGES, "in all"):
        cells = []
        for some in of.values():
            cells += [f"{statistics.median(r[kind][stage] for r in some):.2f}" for kind in ("seconds", "cpu_seconds")]
        print(f"| {stage} | " + " | ".join(cells) + " |")
    first, *others = options.runs
    for other in others:
        ratios = [a["seconds"]["in all"] / b["seconds"]["in all"] for a, b in zip(of[other], of[first], strict=True)]
        print(f"\n{other} against {first}, in all: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    if options.json:
        document = {"cores": os.cpu_count(), "load": load, "clip": options.clip.name, "runs": runs}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
