"""What was measured on a study's clips: every beat, the median over them, and how far they spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from apical.anatomy import Phase, View
from apical.cycle.results import Beat, Cycle
from apical.cycle.stability import Stability
from apical.measure.results import Finding, Measurements, VolumeDefinition, Volumes
from apical.study import Clip, Mask, Study


@dataclass(frozen=True, eq=False)
class ViewClip:
    """The clip that stands for a view; `view_probability` is None where the view was given, not recognised."""

    clip: Clip
    view: View
    view_probability: float | None
    cycle: Cycle
    stability: Stability


@dataclass(frozen=True, eq=False)
class MeasuredBeat:
    """One beat's measurements: of one view, or biplane of a beat in each.

    `study` holds the end-diastolic and end-systolic frames that were measured, named after clip and frame,
    `masks` their masks. `frames` are their zero-based numbers in the clip: those of the beat, or near ones
    where a mask of the beat's own could not be measured.
    """

    beats: Mapping[View, Beat]
    study: Study
    masks: Mapping[str, Mask]
    measurements: Measurements
    frames: Mapping[View, Mapping[Phase, int]]

    def as_row(self) -> dict[str, Any]:
        """Return one row of the table of beats: frames, length, and the volumes of both definitions."""
        row: dict[str, Any] = {}
        for view in View:
            beat = self.beats.get(view)
            for name in ("ed_index", "es_index", "next_ed_index", "duration_ms"):
                row[f"{view.value.lower()}_{name}"] = None if beat is None else beat.as_dict()[name]
            for phase in Phase:
                measured = None if beat is None else self.frames[view][phase]
                row[f"{view.value.lower()}_measured_{phase.value.lower()}_index"] = measured
        for definition, volumes in self.measurements.volumes.items():
            for name in ("edv_ml", "esv_ml", "ef_percent"):
                value = getattr(volumes, name)
                row[f"{definition.value}_{name}"] = None if value is None else round(value, 3)
        row["status"] = self.measurements.status.value
        return row


@dataclass(frozen=True)
class BeatSummary:
    """Medians over the beats under one definition, and the spread of EF; None where no beat has the number."""

    definition: VolumeDefinition
    n_beats: int
    edv_ml: float | None
    esv_ml: float | None
    ef_percent: float | None
    ef_range_percent: tuple[float, float] | None
    ef_sd_points: float | None
    """Standard deviation; None below two beats."""

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""

        def rounded(value: float | None) -> float | None:
            return None if value is None else round(value, 3)

        return {
            "definition": self.definition.value,
            "n_beats": self.n_beats,
            "edv_ml": rounded(self.edv_ml),
            "esv_ml": rounded(self.esv_ml),
            "ef_percent": rounded(self.ef_percent),
            "ef_range_percent": None if self.ef_range_percent is None else [rounded(v) for v in self.ef_range_percent],
            "ef_sd_points": rounded(self.ef_sd_points),
        }


@dataclass(frozen=True, eq=False)
class ClipMeasurements:
    """Everything that was measured on a study's clips.

    Attributes
    ----------
    measurements
        Of the representative beat, the one of median EF (the lower of the middle two), with the findings
        of the clips: for reports and tables as any other.
    beats
        Biplane beats where both views have some, else those of the one view.
    single_plane
        Every good beat of each view by itself.
    views
        Clip, cycle and stability by view.
    summaries
        Median and spread over `beats`, by definition.
    findings
        What was found about clips and beats.
    """

    measurements: Measurements
    beats: tuple[MeasuredBeat, ...]
    single_plane: Mapping[View, tuple[MeasuredBeat, ...]]
    views: Mapping[View, ViewClip]
    summaries: Mapping[VolumeDefinition, BeatSummary]
    findings: tuple[Finding, ...] = ()

    @property
    def summary(self) -> BeatSummary:
        """Median and spread under the default definition, `ase`."""
        return self.summaries[VolumeDefinition.ASE]

    @property
    def representative(self) -> MeasuredBeat | None:
        """The beat that `measurements` are of, or None where there is none."""
        return next((b for b in self.beats if b.measurements.geometry is self.measurements.geometry), None)

    def as_dict(self) -> dict[str, Any]:
        """Return everything but images and contours as a JSON-ready dictionary."""
        return {
            "measurements": self.measurements.as_dict(),
            "summaries": summaries_dict(self.summaries),
            "beats": [b.as_row() for b in self.beats],
            "single_plane": {view.value: [b.as_row() for b in some] for view, some in self.single_plane.items()},
            "clips": {
                view.value: {
                    "clip": seen.clip.name,
                    "view_probability": None if seen.view_probability is None else round(seen.view_probability, 3),
                    "stability": seen.stability.as_dict(),
                    "cycle": seen.cycle.as_dict(),
                }
                for view, seen in self.views.items()
            },
        }


def summaries_dict(summaries: Mapping[VolumeDefinition, BeatSummary]) -> dict[str, Any]:
    """Return medians and spread by definition as a JSON-ready dictionary."""
    return {definition.value: summary.as_dict() for definition, summary in summaries.items()}


def summarise(definition: VolumeDefinition, volumes: Sequence[Volumes]) -> BeatSummary:
    """Return medians and spread over beats measured under one definition."""

    def known(name: str) -> list[float]:
        return [value for v in volumes if (value := getattr(v, name)) is not None]

    def median(name: str) -> float | None:
        values = known(name)
        return float(np.median(values)) if values else None

    fractions = known("ef_percent")
    return BeatSummary(
        definition=definition,
        n_beats=len(fractions),
        edv_ml=median("edv_ml"),
        esv_ml=median("esv_ml"),
        ef_percent=median("ef_percent"),
        ef_range_percent=(min(fractions), max(fractions)) if fractions else None,
        ef_sd_points=float(np.std(fractions, ddof=1)) if len(fractions) > 1 else None,
    )
