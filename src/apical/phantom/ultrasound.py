"""A believable apical echocardiogram of a phantom heart.

The picture is made as a scanner makes it: echo strengths per beam and depth, random scatterers, blur by
the pulse (constant in range) and the beam (constant in angle, so wider in depth), envelope, log
compression, scan conversion. Fully developed speckle is Rayleigh distributed and its correlation
follows from the blur (Burckhardt, IEEE Trans Sonics Ultrason 25(1):1-6, 1978, doi:10.1109/T-SU.1978.30978).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from apical.anatomy import View
from apical.phantom.heart import Heart, Points
from apical.phantom.scene import Pose, Sector, pixel_positions_mm
from apical.phantom.tissue import NEAR_FIELD_MM, Appearance, Tissue, smooth_field
from apical.study import Image, Spacing

DYNAMIC_RANGE_DB = 62.0
"""Echo strength between black and white; typical of the scanners' presets for cardiac imaging."""

PIVOT_DB = -44.0
"""Echo strength that contrast leaves unchanged, between blood and tissue."""

RANGE_STEP_MM, BEAM_STEP_DEG = 0.3, 0.3
"""Sampling of depth and angle: two to three samples per speckle."""

NEAR_FIELD_WIDENING = 12.0
"""Angle that the unfocused beam covers at the probe, in beam widths."""


def ultrasound(
    heart: Heart,
    view: View,
    shape: tuple[int, int],
    spacing_mm: Spacing,
    *,
    pose: Pose | None = None,
    sector: Sector | None = None,
    appearance: Appearance | None = None,
    seed: int = 0,
) -> Image:
    """Return the echocardiogram of a heart, uint8 (row, column), black outside the sector.

    Parameters
    ----------
    heart, view, shape, spacing_mm, pose
        As for `render`, which gives the mask of this picture.
    sector
        Fan that is seen; by default it touches the frame on all sides, as in CAMUS.
    appearance
        The patient's looks.
    seed
        Of the speckle: another seed is another frame of the same patient.
    """
    pose = pose or Pose.centred(heart, shape, spacing_mm)
    sector = sector or Sector.filling(shape, spacing_mm)
    looks = appearance or Appearance()

    depths = np.arange(0.0, sector.depth_mm + 2 * RANGE_STEP_MM, RANGE_STEP_MM)
    half = math.radians(sector.opening_deg / 2)
    step = math.radians(BEAM_STEP_DEG)
    angles = np.arange(-half - step, half + 2 * step, step)
    depth, angle = np.meshgrid(depths, angles, indexing="ij")
    along, across = pose.to_heart(sector.tip_mm[0] + depth * np.cos(angle), sector.tip_mm[1] + depth * np.sin(angle))
    strength_db = Tissue(heart, view, pose.tilt_deg, looks, along, across, depth).strength_db()
    strength_db += _beam_gain_db(looks, depth, angle, half)
    envelope = _speckle(strength_db, looks, depth, np.random.default_rng(seed))

    level_db = PIVOT_DB + looks.contrast * (20.0 * np.log10(envelope + 1e-6) - PIVOT_DB) + looks.gain_db
    grey = 255.0 * (1.0 + level_db / DYNAMIC_RANGE_DB)
    row, column = pixel_positions_mm(shape, spacing_mm)
    at_depth, at_angle = sector.to_beam(row, column)
    where = np.stack([at_depth / RANGE_STEP_MM, (at_angle - angles[0]) / step])
    picture = ndimage.map_coordinates(grey.astype(np.float32), where.astype(np.float32), order=1, mode="nearest")
    # At least 1 inside: 0 is what scanners write where there is no sector.
    picture = np.where(sector.contains(row, column), np.clip(np.rint(picture), 1, 255), 0)
    return np.asarray(picture, dtype=np.uint8)


def _speckle(strength_db: Points, looks: Appearance, depth: Points, rng: np.random.Generator) -> Points:
    """Return the envelope of blurred random scatterers of the given strength."""
    amplitude = 10.0 ** (strength_db / 20.0)
    looks_count = 2  # scanners compound; two looks narrow the speckle to what real frames show
    power = np.zeros_like(amplitude)
    pulse, beam = looks.pulse_mm / RANGE_STEP_MM, looks.beam_deg / BEAM_STEP_DEG
    # A blurred unit field keeps 1 / (4 pi sx sy) of its power.
    n_near = round(NEAR_FIELD_MM / RANGE_STEP_MM)
    near = np.linspace(1.0, 0.0, n_near, dtype=np.float32)[:, None]
    keep = 1.0 / (4.0 * math.pi * pulse * beam)
    for _ in range(looks_count):
        for _ in range(2):  # real and imaginary part
            scatterers = amplitude.astype(np.float32) * rng.standard_normal(amplitude.shape, dtype=np.float32)
            scatterers = ndimage.gaussian_filter1d(scatterers, pulse, axis=0, mode="nearest", truncate=3)
            echo = ndimage.gaussian_filter1d(scatterers, beam, axis=1, mode="nearest", truncate=3)
            # Close to the probe the beam is as wide as the aperture: arcs right across the fan.
            close = ndimage.gaussian_filter1d(
                scatterers[:n_near], NEAR_FIELD_WIDENING * beam, axis=1, mode="nearest", truncate=3
            )
            echo[:n_near] = (1 - near) * echo[:n_near] + near * math.sqrt(NEAR_FIELD_WIDENING) * close
            power += echo**2
    noise_db = -58.0 + 6.0 * depth / depth.max()  # the receiver's own, raised with depth by the time gain
    noise = 10.0 ** (noise_db / 20.0) * np.abs(rng.standard_normal(amplitude.shape))
    return np.asarray(np.sqrt(power / (2 * looks_count * keep)) + noise, dtype=np.float64)


def _beam_gain_db(looks: Appearance, depth: Points, angle: Points, half: float) -> Points:
    """Return what depth and angle do to the echoes, in dB: attenuation as left over by the time gain, lost edges."""
    rng = np.random.default_rng([looks.seed, 2])
    relative = depth / depth.max()
    left, right = rng.uniform(0.0, 1.0, 2)
    edge = np.abs(angle / half) ** 6
    loss = looks.edge_loss_db * edge * np.where(angle < 0, left, right)
    shadow = 1.5 * smooth_field(rng, (1, angle.shape[1]), (1, 12))  # ribs and lung darken whole beams
    return np.asarray(looks.depth_gain_db * (relative - 0.6) - loss + shadow, dtype=np.float64)
