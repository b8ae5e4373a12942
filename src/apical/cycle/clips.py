"""From the masks of a study's clips to volumes of every beat, their median and their spread.

Every good beat of each view gives end-diastolic and end-systolic frames, which `measure` measures as
it does any others: there is no second geometry. With both views, beats are paired for biplane volumes. The
clips were taken one after the other, so that no beat is seen twice; beats of similar length fill alike, and
pairs are chosen to have the least total difference of length (in frames' stead the order decides, where
times are unknown). What is reported is the median over the beats, with the beat of median EF to show for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Orientation, Phase, View
from apical.calibration import Calibration
from apical.cycle.beats import BeatRule, find_cycle
from apical.cycle.measured import ClipMeasurements, MeasuredBeat, ViewClip, summarise
from apical.cycle.results import Beat
from apical.cycle.stability import measure_stability
from apical.errors import InputError
from apical.grid import find_sector
from apical.measure.examination import measure
from apical.measure.interval import with_intervals
from apical.measure.quality import Inspector, picture_turned, status_of, view_recognised
from apical.measure.results import Finding, Measurements, Reason, Severity, VolumeDefinition
from apical.measure.ventricle import trace_cavity
from apical.study import Clip, Doubt, Frame, Repair, Segmentation, Study

Masks = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class ClipRule:
    """When beats and clips of one study give cause for caution."""

    ef_spread_points: float = 10.0
    length_ratio: float = 1.25
    """Paired beats whose lengths differ by more are not the same heart rate."""
    heart_rate_ratio: float = 1.2
    """Between the rate in the file and the one on the curve."""
    jitter_percent: float = 4.0
    neighbour_frames: int = 2
    """How far from end-diastole or end-systole another frame may stand for one whose mask cannot be measured."""


def measure_clips(
    study: Study, masks: Masks, rule: ClipRule = ClipRule(), beat_rule: BeatRule = BeatRule()
) -> ClipMeasurements:
    """Measure every beat of a study's clips; volumes in mL, EF in percent.

    Parameters
    ----------
    study
        Its clips are measured; frames are left to `measure`. The view of a clip without one is what the model
        recognised (`Segmentation.views`), which a finding says.
    masks
        Labels 0-3, (time, row, column), by clip name.

    Returns
    -------
    ClipMeasurements. Without a usable beat its `measurements` are refused, with the reasons.

    Raises
    ------
    InputError
        When masks have another shape than their clip or values that are no label.
    """
    chosen, findings = _choose(study, masks, beat_rule)
    found = list(findings)
    shown: Mapping[str, Orientation] = getattr(masks, "orientations", {})
    for view, seen in chosen.items():
        found += seen.cycle.seen_in(view, seen.clip.name)
        found += _doubts(seen, rule)
        if (orientation := shown.get(seen.clip.name)) and orientation.axes:
            found.append(picture_turned(orientation, f"{view}, {seen.clip.name}", view))
    single = {
        view: tuple(_measured(study, {view: (seen, beat)}, masks, rule) for beat in seen.cycle.good_beats)
        for view, seen in chosen.items()
    }
    for view, seen in chosen.items():
        found += _neighbours(seen, single[view])
    # A beat that cannot be measured in its own view would leave its pair to the other view alone.
    usable = {v: [b.beats[v] for b in some if b.measurements.ef_percent is not None] for v, some in single.items()}
    with_beats = [v for v in View if usable.get(v)] or [v for v in View if single.get(v)]
    beats: tuple[MeasuredBeat, ...] = single[with_beats[0]] if with_beats else ()
    if len(with_beats) == 2:
        first, second = with_beats
        pairs, remarks = _pairs(usable[first] or _beats(single, first), usable[second] or _beats(single, second), rule)
        found += remarks
        both = [{first: (chosen[first], a), second: (chosen[second], b)} for a, b in pairs]
        beats, remarks = _of_one_method(tuple(_measured(study, of, masks, rule) for of in both))
        found += remarks
        found += _rates_apart(chosen[first], chosen[second], rule)
    summaries = {d: summarise(d, [b.measurements.volumes[d] for b in beats]) for d in VolumeDefinition}
    found += _spread(summaries[VolumeDefinition.ASE].ef_range_percent, len(beats), rule)
    representative = _representative(beats)
    plain = measure(Study(study.patient), {}) if representative is None else representative.measurements
    return ClipMeasurements(_with_findings(plain, tuple(found), masks), beats, single, chosen, summaries, tuple(found))


def _choose(study: Study, masks: Masks, rule: BeatRule) -> tuple[dict[View, ViewClip], list[Finding]]:
    """Find the beats of every clip and choose one clip per view: most good beats, then most frames."""
    findings: list[Finding] = []
    candidates: dict[View, list[ViewClip]] = {}
    recognised: Mapping[str, tuple[View, float]] = getattr(masks, "views", {})
    for clip in study.clips:
        view, probability = clip.view, None
        if clip.name not in masks:
            sentence = f"{clip.name}: no masks were given for this clip."
            findings.append(Finding(Reason.CLIP_NOT_USED, sentence, Severity.NOTE, view))
            continue
        if view is None and clip.name in recognised:
            view, probability = recognised[clip.name]
        if view is None:
            sentence = f"{clip.name}: the view is unknown; name it 2CH or 4CH to have the clip measured."
            findings.append(Finding(Reason.VIEW_UNKNOWN, sentence, Severity.CAUTION))
            continue
        pixels = _checked(clip, masks[clip.name], study.patient.id)
        # All of its pictures show this part alone: only over the whole clip does text stand out from what moves.
        sector = find_sector(clip.images, clip.region)
        shown = replace(clip, region=(sector.top, sector.left, sector.bottom, sector.right))
        cycle = find_cycle(pixels, clip.frame_times_ms, clip.grid.spacing_mm, rule)
        seen = ViewClip(shown, view, probability, cycle, measure_stability(pixels))
        candidates.setdefault(view, []).append(seen)
    chosen = {}
    for view in View:
        ranked = sorted(candidates.get(view, ()), key=_worth, reverse=True)
        if ranked:
            chosen[view] = ranked[0]
        for other in ranked[1:]:
            sentence = f"{view}, {other.clip.name}: not used; {ranked[0].clip.name} shows more beats or is longer."
            findings.append(Finding(Reason.CLIP_NOT_USED, sentence, Severity.NOTE, view))
    return chosen, findings


def _worth(seen: ViewClip) -> tuple[int, int, int]:
    good = seen.cycle.good_beats
    return sum(b.complete for b in good), len(good), len(seen.clip.images)


def _checked(clip: Clip, masks: NDArray[np.uint8], patient: str) -> NDArray[np.uint8]:
    if masks.shape != clip.images.shape[:3]:
        raise InputError(
            f"{patient}, {clip.name}: the masks are {' x '.join(map(str, masks.shape))}, the clip "
            f"{' x '.join(map(str, clip.images.shape))}; give one mask per frame, on the clip's own grid"
        )
    return masks


def _doubts(seen: ViewClip, rule: ClipRule) -> list[Finding]:
    """Say what about a chosen clip, beside its beats, a person should know."""
    found = []
    where = f"{seen.view}, {seen.clip.name}"
    if seen.view_probability is not None:
        found.append(view_recognised(seen.view_probability, where, seen.view))
    stated, measured = seen.clip.heart_rate_bpm, seen.cycle.heart_rate_bpm
    if stated and measured and not 1 / rule.heart_rate_ratio <= stated / measured <= rule.heart_rate_ratio:
        sentence = f"{where}: the file says {stated:.0f} beats/min, the curve {measured:.0f}; one of them is wrong."
        found.append(Finding(Reason.HEART_RATES_DIFFER, sentence, Severity.CAUTION, seen.view))
    jitter = seen.stability.area_jitter_percent
    if jitter is not None and jitter > rule.jitter_percent:
        sentence = f"{where}: the cavity's area flickers by {jitter:.1f} % from frame to frame."
        found.append(Finding(Reason.MASKS_UNSTABLE, sentence, Severity.CAUTION, seen.view))
    return found


def _rates_apart(first: ViewClip, second: ViewClip, rule: ClipRule) -> list[Finding]:
    """Hold the heart rates of two clips against each other where the length of a beat is unknown in one of them."""
    if first.cycle.heart_rate_bpm and second.cycle.heart_rate_bpm:
        return []  # then the beats themselves are
    rates = [seen.cycle.heart_rate_bpm or seen.clip.heart_rate_bpm for seen in (first, second)]
    low, high = sorted(rate or 0.0 for rate in rates)
    if not low or high <= rule.heart_rate_ratio * low:
        return []
    sentence = f"The clips of the two views state heart rates of {low:.0f} and {high:.0f} beats/min."
    return [Finding(Reason.HEART_RATES_DIFFER, sentence, Severity.CAUTION)]


def _measured(study: Study, seen: Mapping[View, tuple[ViewClip, Beat]], masks: Masks, rule: ClipRule) -> MeasuredBeat:
    """Measure the frames of one beat of a view, or of one beat in each."""
    frames, frame_masks, clips = [], {}, []
    taken: dict[View, dict[Phase, int]] = {}
    known: Mapping[str, Doubt] = getattr(masks, "doubts", {})
    doubts: dict[str, Doubt] = {}
    repaired: Mapping[str, tuple[Repair, ...]] = getattr(masks, "repairs", {})
    repairs: dict[str, tuple[Repair, ...]] = {}
    for view, (source, beat) in seen.items():
        clip = source.clip
        taken[view] = {
            phase: _measurable(source, masks[clip.name], phase, index, rule)
            for phase, index in ((Phase.ED, beat.ed_index), (Phase.ES, beat.es_index))
        }
        for phase, index in taken[view].items():
            name = clip.frame_name(index)
            image, source_file = clip.images[index], clip.source
            frames.append(Frame(name, image, clip.grid, view, phase, source=source_file, region=clip.region))
            frame_masks[name] = masks[clip.name][index]
            if clip.name in known:
                doubts[name] = known[clip.name]
            if name in repaired:
                repairs[name] = repaired[name]
        length = beat.duration_ms
        clips.append(replace(clip, heart_rate_bpm=60_000 / length if length else clip.heart_rate_bpm))
    part = Study(study.patient, tuple(frames), tuple(clips))
    of_frames = Segmentation(frame_masks, repairs=repairs, doubts=doubts, calibration=_of_stills(masks))
    measurements = measure(part, of_frames)
    return MeasuredBeat({view: beat for view, (_, beat) in seen.items()}, part, frame_masks, measurements, taken)


def _measurable(seen: ViewClip, masks: NDArray[np.uint8], phase: Phase, index: int, rule: ClipRule) -> int:
    """Return the frame of an instant, or the nearest frame beside it whose mask can be measured, if its own cannot."""
    spacing_mm = seen.clip.grid.spacing_mm
    steps = sorted(range(-rule.neighbour_frames, rule.neighbour_frames + 1), key=abs)
    for frame in (index + step for step in steps):
        if not 0 <= frame < len(masks):
            continue
        inspector = Inspector(seen.view, phase)
        trace = trace_cavity(masks[frame], spacing_mm or (1.0, 1.0), inspector, in_mm=spacing_mm is not None)
        if trace is not None and trace.disks is not None and not inspector.refused:
            return frame
    return index


def _neighbours(seen: ViewClip, beats: tuple[MeasuredBeat, ...]) -> list[Finding]:
    """Say of which beats another frame than that of the instant was measured."""
    found = []
    for beat in beats:
        for phase, index in ((Phase.ED, beat.beats[seen.view].ed_index), (Phase.ES, beat.beats[seen.view].es_index)):
            taken = beat.frames[seen.view][phase]
            if taken != index:
                sentence = (
                    f"{seen.view}, {seen.clip.name}: the mask of frame {index + 1} ({phase}) cannot be measured; "
                    f"frame {taken + 1} stands for it."
                )
                found.append(Finding(Reason.NEIGHBOUR_FRAME, sentence, Severity.CAUTION, seen.view, phase))
    return found


def _of_stills(masks: Masks) -> Calibration | None:
    """Return what the model knows of its error, with the remark that it was learned on frames, not on clips."""
    calibration: Calibration | None = getattr(masks, "calibration", None)
    note = "found on single ED and ES frames: how these are chosen from a clip, and the spread over beats, is not in it"
    return calibration and replace(calibration, note="; ".join(filter(None, [calibration.note, note])))


def _beats(single: Mapping[View, tuple[MeasuredBeat, ...]], view: View) -> list[Beat]:
    return [beat.beats[view] for beat in single[view]]


def _of_one_method(beats: tuple[MeasuredBeat, ...]) -> tuple[tuple[MeasuredBeat, ...], list[Finding]]:
    """Keep the beats measured as most were, biplane before single plane: a median is of one method."""
    count = Counter(b.measurements.default.method for b in beats if b.measurements.ef_percent is not None)
    most = max(count, key=lambda method: (count[method], method.startswith("biplane")), default="")
    # Those without an EF do not count either way; the table of beats says why.
    kept = tuple(b for b in beats if b.measurements.ef_percent is None or b.measurements.default.method == most)
    if len(kept) == len(beats):
        return beats, []
    sentence = f"{len(beats) - len(kept)} of {len(beats)} pairs of beats were not measured by {most} and do not count."
    return kept, [Finding(Reason.BEATS_UNPAIRED, sentence, Severity.NOTE)]


def _pairs(
    first: Sequence[Beat], second: Sequence[Beat], rule: ClipRule
) -> tuple[list[tuple[Beat, Beat]], list[Finding]]:
    """Pair the beats of two views so that their lengths differ least in all; equals go in order."""
    from scipy.optimize import linear_sum_assignment

    beats = first, second
    log_lengths = [np.log([b.duration_ms or np.nan for b in some]) for some in beats]
    apart = np.abs(log_lengths[0][:, None] - log_lengths[1][None])
    # Unknown lengths decide nothing; then, and among equals, the order does.
    order = np.abs(np.arange(len(beats[0]))[:, None] - np.arange(len(beats[1]))[None])
    rows, columns = linear_sum_assignment(np.where(np.isnan(apart), 0.0, apart) + 1e-6 * order)
    pairs = list(zip(rows.tolist(), columns.tolist(), strict=True))
    alike = [(i, j) for i, j in pairs if not apart[i, j] > np.log(rule.length_ratio)]
    findings = []
    if not alike:
        sentence = "The beats of the two views differ in length: volumes are taken from views at different heart rates."
        findings.append(Finding(Reason.BEATS_DIFFER, sentence, Severity.CAUTION))
    kept = alike or pairs
    left = len(beats[0]) + len(beats[1]) - 2 * len(kept)
    if left:
        which = "1 beat has no partner" if left == 1 else f"{left} beats have no partner"
        sentence = f"{which} of similar length in the other view and count in single plane only."
        findings.append(Finding(Reason.BEATS_UNPAIRED, sentence, Severity.NOTE))
    return [(beats[0][i], beats[1][j]) for i, j in kept], findings


def _spread(ef_range: tuple[float, float] | None, n_beats: int, rule: ClipRule) -> list[Finding]:
    if ef_range is None or ef_range[1] - ef_range[0] <= rule.ef_spread_points:
        return []
    sentence = f"The ejection fraction of {n_beats} beats ranges from {ef_range[0]:.0f} to {ef_range[1]:.0f} %."
    return [Finding(Reason.BEATS_DIFFER, sentence, Severity.CAUTION)]


def _representative(beats: tuple[MeasuredBeat, ...]) -> MeasuredBeat | None:
    """Return the beat of median EF, the lower of the middle two; without any EF, the first."""
    measured = [(ef, k) for k, b in enumerate(beats) if (ef := b.measurements.ef_percent) is not None]
    if measured:
        return beats[sorted(measured)[(len(measured) - 1) // 2][1]]
    return beats[0] if beats else None


def _with_findings(plain: Measurements, findings: tuple[Finding, ...], masks: Masks) -> Measurements:
    """Add the clips' findings, and the caution and width of interval that they ask for, to one beat's measurements."""
    volumes = {}
    for definition, of_beat in plain.volumes.items():
        all_findings = of_beat.findings + findings
        status = status_of(all_findings, measured=of_beat.ef_percent is not None)
        cautious = replace(of_beat, findings=all_findings, status=status)
        volumes[definition] = with_intervals(cautious, _of_stills(masks))
    return replace(plain, volumes=volumes, findings=plain.findings + findings)
