"""The table of a clip's beats for a person: every one found, with its volumes or the reason why it has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from apical.anatomy import Phase, View
from apical.cycle.measured import BeatSummary, ClipMeasurements, MeasuredBeat, ViewClip
from apical.cycle.results import Beat
from apical.measure.results import VolumeDefinition
from apical.report.numbers import ABSENT, number


@dataclass(frozen=True)
class BeatRow:
    """One line of the table; numbers as text, of definition `ase`. `shown` marks what the rest of the report is of."""

    beat: str
    ed: str
    es: str
    length: str
    edv: str
    esv: str
    ef: str
    remark: str
    shown: bool


@dataclass(frozen=True)
class BeatTable:
    """All beats of a study's clips, and what they come to."""

    rows: tuple[BeatRow, ...]
    ef_percent: float | None
    """Median over the beats."""
    summary: str
    """Of how many beats the EF is the median, and how far they spread; empty below two."""
    medians: str
    """Medians of all volumes in one sentence, or why there are none."""
    summaries: Mapping[VolumeDefinition, BeatSummary] | None = None
    """Medians and spread by definition."""


def beat_table(result: ClipMeasurements) -> BeatTable:
    """Put the table together: the beats of each view by themselves, then, of two views, the pairs."""
    summary = result.summary
    words, medians = _summary_words(summary), _medians(summary)
    return BeatTable(tuple(_rows(result)), summary.ef_percent, words, medians, result.summaries)


def _summary_words(summary: BeatSummary) -> str:
    if summary.n_beats < 2 or summary.ef_range_percent is None:
        return ""
    low, high = summary.ef_range_percent
    return f"median of {summary.n_beats} beats ({low:.1f} to {high:.1f} %)"


def _medians(summary: BeatSummary) -> str:
    if not summary.n_beats:
        return "No beat has an ejection fraction."
    volumes = [f"{name} {number(v)} mL" for name, v in (("EDV", summary.edv_ml), ("ESV", summary.esv_ml)) if v]
    of = f"Median of {summary.n_beats} beats" if summary.n_beats > 1 else "The one beat that counts"
    text = f"{of} (definition ase): {', '.join([*volumes, f'EF {summary.ef_percent:.1f} %'])}"
    if summary.ef_range_percent is not None and summary.ef_sd_points is not None:
        low, high = summary.ef_range_percent
        text += f"; EF from {low:.1f} to {high:.1f} %, standard deviation {summary.ef_sd_points:.1f} points"
    return f"{text}."


def _rows(result: ClipMeasurements) -> Iterator[BeatRow]:
    shown = result.representative
    numbers: dict[tuple[View, int], int] = {}
    for view, seen in result.views.items():
        measured = {beat.beats[view].ed_index: beat for beat in result.single_plane.get(view, ())}
        for k, beat in enumerate(seen.cycle.beats, start=1):
            numbers[view, beat.ed_index] = k
            of_beat = None if beat.rejected else measured.get(beat.ed_index)
            yield _single(view, seen, k, beat, of_beat, shown=of_beat is not None and of_beat is shown)
    for pair in result.beats:
        if len(pair.beats) == 2:
            names = [f"{view} {numbers[view, beat.ed_index]}" for view, beat in pair.beats.items()]
            cells = _volumes(pair)
            plane = pair.measurements.default.method.split(" method", 1)[0]
            yield BeatRow(f"{plane}: {' with '.join(names)}", "", "", "", *cells, shown=pair is shown)


def _single(view: View, seen: ViewClip, k: int, beat: Beat, of_beat: MeasuredBeat | None, *, shown: bool) -> BeatRow:
    frames = of_beat.frames[view] if of_beat else {Phase.ED: beat.ed_index, Phase.ES: beat.es_index}
    ed, es = (_instant(seen, frames[phase]) for phase in Phase)
    length = ABSENT if beat.duration_ms is None else f"{beat.duration_ms:.0f} ms"
    cells = (ABSENT, ABSENT, ABSENT, f"left out: {beat.rejected}") if of_beat is None else _volumes(of_beat)
    return BeatRow(f"{view} {k}", ed, es, length, *cells, shown=shown)


def _instant(seen: ViewClip, frame: int) -> str:
    times = seen.clip.frame_times_ms
    return f"{frame + 1}" if times is None else f"{frame + 1} ({times[frame] / 1000:.2f} s)"


def _volumes(beat: MeasuredBeat) -> tuple[str, str, str, str]:
    volumes = beat.measurements.volumes[VolumeDefinition.ASE]
    ef = ABSENT if volumes.ef_percent is None else f"{volumes.ef_percent:.1f}"
    return number(volumes.edv_ml), number(volumes.esv_ml), ef, volumes.absent_because or ""
