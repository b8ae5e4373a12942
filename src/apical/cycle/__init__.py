"""Clips in time: the area curve and its beats, steady masks, and the volumes of every beat."""

from __future__ import annotations

from apical.cycle.beats import BeatRule, find_beats, find_cycle
from apical.cycle.clips import ClipRule, measure_clips
from apical.cycle.curve import cavity_areas, plausible_frames
from apical.cycle.measured import BeatSummary, ClipMeasurements, MeasuredBeat, ViewClip
from apical.cycle.results import Beat, Cycle
from apical.cycle.stability import Stability, StabilityRule, measure_stability, stabilise, stabilise_scores
from apical.cycle.volumes import frame_volumes_ml

__all__ = [
    "Beat",
    "BeatRule",
    "BeatSummary",
    "ClipMeasurements",
    "ClipRule",
    "Cycle",
    "MeasuredBeat",
    "Stability",
    "StabilityRule",
    "ViewClip",
    "cavity_areas",
    "find_beats",
    "find_cycle",
    "frame_volumes_ml",
    "measure_clips",
    "measure_stability",
    "plausible_frames",
    "stabilise",
    "stabilise_scores",
]
