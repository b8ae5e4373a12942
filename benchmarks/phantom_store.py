"""A store of beating phantoms to train beside real patients: hearts whose masks are exact.

    python benchmarks/phantom_store.py -o phantoms.h5 [--n 200] [--first 10000]

Each gives the end-diastolic and end-systolic frame of both views, cut from its clip. The seeds begin beyond those
that `beating_phantoms.py` judges a model on (0 to 199).
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from apical.phantom import as_frame_study, make_beating
from apical.store.writing import StoreWriter
from apical.study import Study

SPACING_MM = 0.45, 0.7
NOISE = 3.0, 9.0
"""Grey levels of the noise that changes from frame to frame."""


def main() -> None:
    """Write the store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="store to write")
    parser.add_argument("--n", type=int, default=200, help="phantom patients")
    parser.add_argument("--first", type=int, default=10_000, help="seed of the first")
    options = parser.parse_args()
    writer = StoreWriter(options.output, job={"phantoms": [options.first, options.n]})
    with ProcessPoolExecutor() as workers:
        for study in workers.map(draw, range(options.first, options.first + options.n)):
            writer.add(study)
    print(f"{options.output}: {writer.close()} phantoms")


def draw(seed: int) -> Study:
    """Return the frames of one phantom."""
    rng = np.random.default_rng([seed, 13])
    spacing = float(rng.uniform(*SPACING_MM))
    phantom = make_beating(seed, n_beats=1, noise=float(rng.uniform(*NOISE)), spacing_mm=(spacing, spacing))
    return as_frame_study(replace(phantom, patient=replace(phantom.patient, id=f"phantom{seed}")))


if __name__ == "__main__":
    main()
