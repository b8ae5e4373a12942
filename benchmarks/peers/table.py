"""Set trained peers beside the apical run: how each was trained, then the tables of `apical compare`.

    PYTHONPATH=benchmarks python -m peers.table STORE RUN EVALUATION PEER... -o docs/peers.md

EVALUATION is what `apical evaluate` wrote for the run's model; each PEER folder holds its training record and an
`evaluation` of its masks.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from apical.errors import InputError
from apical.evaluate.comparison import compare_evaluations
from apical.evaluate.tables import to_markdown
from apical.files import write_text
from apical.store import Store
from peers.record import Reference, TrainingRecord


def peers_document(ours: TrainingRecord, evaluation: Path, peers: Sequence[Path]) -> str:
    """Return the Markdown document; the first row and column is the apical run.

    Raises
    ------
    InputError
        When a peer is unfinished, or was trained on another store or split than the run.
    """
    records = [ours]
    for folder in peers:
        record = TrainingRecord.read(folder)
        if (record.data_sha256, record.test) != (ours.data_sha256, ours.test):
            raise InputError(f"{folder}: trained on another store or split than {ours.name}; they cannot be compared")
        records.append(record)
    rows = [
        {
            "network": record.name,
            "parameters (millions)": f"{record.parameters / 1e6:.2f}",
            "minutes": f"{record.minutes:.1f}",
            "epochs": record.epochs,
            "frames seen": record.frames_seen,
            "frames per second": f"{record.frames_seen / (60 * record.minutes):.1f}",
            "batch": record.batch,
            "precision": record.precision,
            "threads": record.threads,
            "hardware": record.cpu,
            "recipe": record.recipe,
        }
        for record in records
    ]
    trained = (
        "# Peers, trained on the same patients\n\nMade by `benchmarks/peers.sh`. Minutes are the wall clock of "
        f"training with its validation. All learned from the same store and split and are judged on the same "
        f"{len(ours.test)} patients, whom none of them saw.\n\n"
    )
    compared = compare_evaluations([evaluation, *(folder / "evaluation" for folder in peers)]).document()
    return trained + to_markdown(rows) + "\n\n" + compared.replace("# Models compared\n", "## Scores\n", 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("store", "run", "evaluation"):
        parser.add_argument(name, type=Path)
    parser.add_argument("peers", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    with Store(arguments.store) as store:
        ours = Reference.read(arguments.run, store).record
    document = peers_document(ours, arguments.evaluation, arguments.peers)
    write_text(arguments.output, document, overwrite=True)
    print(arguments.output)


if __name__ == "__main__":
    main()
