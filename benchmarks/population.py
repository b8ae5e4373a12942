"""What the quality gate says of all of CAMUS: expert masks and predicted ones, both releases.

    python benchmarks/population.py CAMUS [-o docs/population.md] [--model NAME]

Prints (or writes) how many patients were measured, measured with caution and refused, and why, under both
definitions; and fails when any number is not finite or any absent number lacks its reason. The released
model has learned from all of these patients: this is a test of the gate and of robustness, not of accuracy.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from apical.evaluate import to_markdown
from apical.files import write_text
from apical.measure import Measurements, Severity, Status, measure
from apical.models import DEFAULT
from apical.readers import read_studies
from apical.segment import Segmenter
from apical.study import Mask, Study

Predict = Callable[[Study], Mapping[str, Mask]]


def check(result: Measurements) -> list[str]:
    """Return what should never be: a number that is not finite or zero without cause, an absence without reason."""
    wrong = []
    for volumes in result.volumes.values():
        for name in ("edv_ml", "esv_ml", "ef_percent"):
            value = getattr(volumes, name)
            if value is None and not volumes.absent_because:
                wrong.append(f"{result.patient.id} {volumes.definition} {name}: absent without a reason")
            if value is not None and (not math.isfinite(value) or value == 0):
                wrong.append(f"{result.patient.id} {volumes.definition} {name}: {value}")
    return wrong


def survey(release: Path, masks: str, predict: Predict) -> tuple[list[dict[str, object]], list[str]]:
    """Measure every patient; return table rows and what went wrong."""
    counts: dict[tuple[str, Status], int] = Counter()
    reasons: dict[tuple[str, Status], Counter[str]] = {}
    wrong: list[str] = []
    total = 0
    for study in read_studies(release):
        result = measure(study, predict(study))
        wrong += check(result)
        total += 1
        for definition, volumes in result.volumes.items():
            key = (definition.value, volumes.status)
            counts[key] += 1
            codes = {f.reason.value for f in volumes.findings if f.severity is not Severity.NOTE}
            reasons.setdefault(key, Counter()).update(codes)
    rows: list[dict[str, object]] = [
        {
            "release": release.name,
            "masks": masks,
            "definition": definition,
            "status": status.value,
            "patients": f"{counts[definition, status]} of {total}",
            "why (patients)": ", ".join(f"{code} {n}" for code, n in reasons[definition, status].most_common()),
        }
        for definition in ("ase", "camus")
        for status in Status
        if (definition, status) in counts
    ]
    return rows, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camus", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--model", default=DEFAULT)
    arguments = parser.parse_args()
    segmenter = Segmenter.load(arguments.model)
    rows: list[dict[str, object]] = []
    wrong: list[str] = []
    for release in ("png", "nifti"):
        for masks, predict in (("expert", lambda study: study.references), (segmenter.model.name, segmenter.segment)):
            found, problems = survey(arguments.camus / release, masks, predict)
            rows += found
            wrong += problems
    text = "\n\n".join(
        [
            "# The quality gate on all of CAMUS",
            "Made by `benchmarks/population.py`. The PNG release has both views (spacing from `patients.csv`, partly "
            "fitted), the NIfTI release here the four-chamber view alone, so that all of it is single plane. The "
            "released model has learned from all of these patients: a test of the gate, not of accuracy.",
            to_markdown(rows),
            f"Numbers that are not finite, zero, or absent without a reason: {len(wrong) or 'none'}.",
        ]
    )
    if arguments.output:
        write_text(arguments.output, text + "\n", overwrite=True)
    print(text)
    for line in wrong:
        print(line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
