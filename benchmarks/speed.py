"""How long a person waits: import, prepare, segment; and how much memory that takes.

    python benchmarks/speed.py [--camus FOLDER]

Each figure is a process from start to exit, the best of three (prepare: once), so that disk caches are
warm and other work on the machine counts least. Memory is the process's peak; it starts at this program's own.
Prints a Markdown table with the limits we hold ourselves to.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from apical.phantom import make_patient, write_camus_nifti


def run(*command: str) -> tuple[float, float]:
    """Run a process; return seconds and peak resident memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def best(repeats: int, *command: str) -> tuple[float, float]:
    """The fastest of some runs, and the largest memory."""
    seconds, memory = zip(*(run(*command) for _ in range(repeats)), strict=True)
    return min(seconds), max(memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camus", type=Path, help="folder with png/Training: also times `apical prepare` on it")
    arguments = parser.parse_args()
    python, apical = sys.executable, (sys.executable, "-m", "apical")
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        write_camus_nifti(here / "in", make_patient(1))
        segment = (*apical, "segment", str(here / "in"), "-o", str(here / "out"), "--overwrite")
        measure = (*apical, "measure", str(here / "in"), "-o", str(here / "report"), "--overwrite")
        bare, _ = best(3, python, "-c", "pass")
        imported, memory = best(5, python, "-c", "import apical")
        rows = [("`import apical`", imported - bare, "0.3 s", memory)]
        rows += [("`apical --help`", *(best(3, *apical, "--help")[:1]), "", best(1, *apical, "--help")[1])]
        for runtime in ("openvino", "onnxruntime"):
            seconds, memory = best(3, *segment, "--runtime", runtime)
            rows.append((f"`apical segment`, one four-frame patient, {runtime}", seconds, "3 s", memory))
        rows.append(("`apical measure` with report, one four-frame patient", *_pair(best(3, *measure))))
        if arguments.camus:
            seconds, memory = run(*apical, "prepare", str(arguments.camus / "png"), "-o", str(here / "camus.h5"))
            rows.append(("`apical prepare`, 400 patients (PNG)", seconds, "60 s", memory))
    print(f"{os.cpu_count()} cores\n\n| what | seconds | limit | peak memory (MB, limit 1000) |\n|---|---|---|---|")
    for what, seconds, limit, memory in rows:
        print(f"| {what} | {seconds:.2f} | {limit} | {memory:.0f} |")


def _pair(measured: tuple[float, float]) -> tuple[float, str, float]:
    return measured[0], "", measured[1]


if __name__ == "__main__":
    main()
