"""measurements.csv: one row per patient and definition, an empty cell where there is no number."""

from __future__ import annotations

from collections.abc import Mapping

from apical.calibration import QUANTITIES
from apical.cycle.measured import BeatSummary
from apical.measure.results import Finding, Measurements, VolumeDefinition, Volumes

TableRow = dict[str, str | float | None]

OF_ASE_VOLUMES = (
    "cardiac_output_l_min",
    "sphericity_ed",
    "sphericity_es",
    "edv_index_ml_m2",
    "esv_index_ml_m2",
    "sv_index_ml_m2",
)
"""Quantities made of the `ase` volumes: empty in the row of another definition."""


def measurement_rows(
    measurements: Measurements, beats: Mapping[VolumeDefinition, BeatSummary] | None = None
) -> list[TableRow]:
    """Return one row per definition, as columns by name; None where a number is absent.

    Volumes come first, then every other quantity with its unit at the end of its name. `findings` holds
    the codes of the findings, with the view and phase that they concern; `absent_because` the sentence.
    Of clips the row is of the beat of median EF (the lower of the middle two); `beats` add the medians and the range.
    """
    rows: list[TableRow] = []
    for definition, volumes in measurements.volumes.items():
        document = volumes.as_dict()
        row: TableRow = {"patient": measurements.patient.id, "definition": definition.value}
        row |= {name: document[name] for name in ("method", "edv_ml", "esv_ml", "ef_percent", "status")}
        row["findings"] = "; ".join(dict.fromkeys(_code(f) for f in volumes.findings))
        row |= {name: document[name] for name in ("sv_ml", "ef_reference_range", "ef_grade", "absent_because")}
        row |= _intervals(volumes)
        if beats is not None:
            row |= _medians(beats[definition])
        for name, quantity in measurements.quantities.items():
            foreign = definition is not VolumeDefinition.ASE and name in OF_ASE_VOLUMES
            row[name] = None if foreign else quantity.as_dict()["value"]
        rows.append(row)
    return rows


def _intervals(volumes: Volumes) -> TableRow:
    """Return the ends of the intervals, and of that of EF its level, its method or the reason for its absence."""
    columns: TableRow = {}
    for name in QUANTITIES:
        stem, unit = name.rsplit("_", 1)
        interval = volumes.intervals[name].as_dict() if name in volumes.intervals else {}
        for end in ("low", "high"):
            columns[f"{stem}_interval_{end}_{unit}"] = interval.get(end)
    ef = volumes.ef_interval
    return columns | {
        "interval_level": ef.level,
        "interval_method": ef.method or None,
        "ef_interval_absent_because": ef.reason,
    }


def _medians(summary: BeatSummary) -> TableRow:
    low, high = summary.ef_range_percent or (None, None)
    return {
        "beats_n": summary.n_beats,
        "edv_median_ml": summary.as_dict()["edv_ml"],
        "esv_median_ml": summary.as_dict()["esv_ml"],
        "ef_median_percent": summary.as_dict()["ef_percent"],
        "ef_range_low_percent": None if low is None else round(low, 3),
        "ef_range_high_percent": None if high is None else round(high, 3),
    }


def _code(finding: Finding) -> str:
    where = " ".join(part.value for part in (finding.view, finding.phase) if part)
    return f"{finding.reason.value} ({where})" if where else finding.reason.value
