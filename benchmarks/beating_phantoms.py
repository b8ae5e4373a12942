"""ED, ES and EF on beating phantoms: how often they are found right.

    python benchmarks/beating_phantoms.py [--n 200] [--model NAME_OR_FOLDER [--long]]

Phantoms at 30-120 beats/min and 20-120 frames/s, 1-5 whole beats per clip, regular, irregular or with one
premature beat (where there are three or more), up to 5 % of the frames lost. The masks are the exact ones,
those of lost frames empty; or, with a model, its own on the phantoms' pictures, as `apical measure` makes them.
A model takes its time over every frame: its clips have 1-2 beats, regular or irregular, at 20-30 frames/s, about
45 frames each, unless `--long` asks for the same as with exact masks.

A beat counts as found when its end-diastole and its end-systole both lie within 2 frames of the truth: of
the span in which the volume stands still between the valves, and, more strictly, of that span's middle.
Beats that are found and then rejected, as a premature one should be, count here; EF is that of the others.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import View
from apical.cycle import Beat, measure_clips
from apical.phantom.beating import BeatingPhantom, RhythmKind, TrueBeat, as_clip_study, make_beating
from apical.segment import Segmenter

RHYTHMS: tuple[RhythmKind, ...] = ("regular", "irregular", "premature")
FRAMES = 2.0


@dataclass
class Score:
    """Counts over all patients."""

    beats: int = 0
    found: int = 0
    found_strictly: int = 0
    rejected: int = 0
    invented: int = 0


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200, help="phantoms, each of two clips")
    parser.add_argument("--model", help="segment the pictures with this model instead of taking the exact masks")
    parser.add_argument("--long", action="store_true", help="with a model too: all frame rates, up to 5 beats")
    parser.add_argument("--spacing-mm", type=float, help="pixel spacing; 1.2 with exact masks, 0.6 with a model")
    options = parser.parse_args()
    segmenter = Segmenter.load(options.model) if options.model else None
    spacing = options.spacing_mm or (0.6 if segmenter else 1.2)

    errors: list[float] = []
    masks: Mapping[str, NDArray[np.uint8]]
    score, refused, start = Score(), 0, time.perf_counter()
    short = segmenter is not None and not options.long
    for seed in range(options.n):
        phantom = draw(seed, spacing, short=short)
        study = as_clip_study(phantom, with_images=segmenter is not None)
        if segmenter:
            masks = segmenter.segment(study)
        else:
            exact = {c.name: c.reference.copy() for c in study.clips if c.reference is not None}
            for view, recording in phantom.recordings.items():
                exact[f"{phantom.patient.id}_{view}"][list(recording.dropout)] = 0
            masks = exact
        result = measure_clips(study, masks)
        for view in View:
            count_beats(score, phantom, view, result.views[view].cycle.beats if view in result.views else ())
        # The patient's EF is the regular beat's, as the median over beats should be.
        truth = float(np.median([b.ef_percent for view in View for b in regular_beats(phantom, view)]))
        if result.summary.ef_percent is None:
            refused += 1
        else:
            errors.append(result.summary.ef_percent - truth)
    off = np.abs(errors)
    print(f"{options.n} patients, {score.beats} beats, {time.perf_counter() - start:.0f} s")
    print(f"ED and ES within 2 frames: {percent(score.found, score.beats)}")
    print(f"  of the middle of the standstill: {percent(score.found_strictly, score.beats)}")
    print(f"  found but rejected: {percent(score.rejected, score.beats)}; beats that are none: {score.invented}")
    for points in (1, 3, 6):
        print(f"EF within {points} points: {percent(int((off <= points).sum()), options.n)}")
    if errors:
        mean, sd = float(np.mean(errors)), float(np.std(errors, ddof=len(errors) > 1))
        print(f"EF bias {mean:+.2f} points, standard deviation {sd:.2f}; median {np.median(errors):+.2f}")
        print(f"largest EF error {off.max():.1f} points")
    print(f"no EF: {refused}")


def draw(seed: int, spacing_mm: float, *, short: bool) -> BeatingPhantom:
    """Return one phantom of the benchmark."""
    rng = np.random.default_rng([seed, 11])
    n_beats = int(rng.integers(1, 3 if short else 6))
    rhythm = RHYTHMS[seed % (2 if short else 3)]
    rate = float(rng.uniform(20.0, 30.0)) if short else None
    if rhythm == "premature":
        n_beats = max(n_beats, 3)
    lost = float(rng.uniform(0.0, 0.05))
    spacing = (spacing_mm, spacing_mm)
    return make_beating(
        seed, frame_rate_hz=rate, n_beats=n_beats, rhythm=rhythm, dropout_share=lost, spacing_mm=spacing
    )


def regular_beats(phantom: BeatingPhantom, view: View) -> list[TrueBeat]:
    """Return the true beats but for a premature one."""
    return [b for b in phantom.beats(view) if b.esv_ml < 1.01 * phantom.patient.es.volume_ml]


def count_beats(score: Score, phantom: BeatingPhantom, view: View, beats: tuple[Beat, ...]) -> None:
    """Compare the complete beats of one clip with the true ones."""
    recording = phantom.recordings[view]
    times, interval = recording.frame_times_ms, 1000.0 / recording.frame_rate_hz
    left = [b for b in beats if b.complete]
    for true in phantom.beats(view):
        score.beats += 1
        middle = float(np.mean(true.es_ms))
        near = [b for b in left if abs(times[b.es_index] - middle) < 250.0]
        if not near:
            continue
        beat = min(near, key=lambda b: abs(times[b.es_index] - middle))
        left.remove(beat)
        marks = (times[beat.ed_index], true.ed_ms), (times[beat.es_index], true.es_ms)
        score.found += all(max(low - t, t - high) <= FRAMES * interval for t, (low, high) in marks)
        score.found_strictly += all(abs(t - np.mean(span)) <= FRAMES * interval for t, span in marks)
        score.rejected += beat.rejected is not None
    score.invented += len(left)


def percent(part: int, whole: int) -> str:
    """Return a share as text."""
    return f"{100 * part / max(whole, 1):.1f} % ({part} of {whole})"


if __name__ == "__main__":
    main()
