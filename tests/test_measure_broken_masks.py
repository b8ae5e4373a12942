"""Random broken masks give a number or a reason: never an exception, a NaN or a silent zero."""

from __future__ import annotations

import json
import statistics
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from apical.anatomy import Label, Phase, View
from apical.measure import Measurements, Severity, Status, measure
from measure_hearts import DIASTOLE, SYSTOLE, Mask, draw, examination

SHAPES = [(1, 1), (2, 3), (1, 40), (64, 64), (97, 61), (128, 128), (200, 180)]


def _heart(rng: np.random.Generator, shape: tuple[int, int]) -> Mask:
    heart = DIASTOLE if rng.random() < 0.5 else SYSTOLE
    pixel_mm = float(rng.uniform(120, 220)) / max(shape)
    angle, mirrored = float(rng.uniform(-180, 180)), bool(rng.random() < 0.5)
    shift = (float(rng.normal(0, 20)), float(rng.normal(0, 20)))
    return draw(
        heart, spacing_mm=(pixel_mm, pixel_mm), angle_degrees=angle, mirrored=mirrored, shift_mm=shift, shape=shape
    )


def _specks(rng: np.random.Generator, mask: Mask) -> Mask:
    where = rng.random(mask.shape) < rng.choice([0.001, 0.02, 0.3])
    return np.where(where, rng.integers(0, 4, mask.shape), mask).astype(np.uint8)


def _split(rng: np.random.Generator, mask: Mask) -> Mask:
    out = mask.copy()
    start, width = int(rng.integers(0, mask.shape[0])), int(rng.integers(1, 12))
    out[start : start + width][out[start : start + width] == Label.LV_CAVITY] = rng.integers(0, 4)
    return out


def _holes(rng: np.random.Generator, mask: Mask) -> Mask:
    seeds = rng.random(mask.shape) < 0.003
    return np.where(ndimage.binary_dilation(seeds, iterations=int(rng.integers(1, 4))), rng.integers(0, 4), mask)


def _without(label: Label):
    return lambda rng, mask: np.where(mask == label, 0, mask)


def _all(label: Label):
    return lambda rng, mask: np.full_like(mask, label)


def _thin(rng: np.random.Generator, mask: Mask) -> Mask:
    out = np.zeros_like(mask)
    if rng.random() < 0.5:
        out[:, mask.shape[1] // 2] = Label.LV_CAVITY
    else:
        out[np.arange(min(mask.shape)), np.arange(min(mask.shape))] = Label.LV_CAVITY
    return out


def _half(rng: np.random.Generator, mask: Mask) -> Mask:
    out = np.rot90(mask.copy(), int(rng.integers(4)))
    out[: int(rng.integers(0, out.shape[0]))] = 0
    return np.ascontiguousarray(np.rot90(out, 2))


def _cropped(rng: np.random.Generator, mask: Mask) -> Mask:
    """Border to border: the middle, magnified."""
    row, column = np.indices(mask.shape)
    return mask[row // 3 + mask.shape[0] // 3, column // 3 + mask.shape[1] // 3]


def _noise(rng: np.random.Generator, mask: Mask) -> Mask:
    return rng.integers(0, 4, mask.shape).astype(np.uint8)


def _smooth_noise(rng: np.random.Generator, mask: Mask) -> Mask:
    field = ndimage.gaussian_filter(rng.normal(size=mask.shape), float(rng.uniform(2, 15)))
    return np.digitize(field, np.quantile(field, [0.4, 0.7, 0.9])).astype(np.uint8)


BREAKS = {
    "keep": lambda rng, mask: mask,
    "empty": lambda rng, mask: np.zeros_like(mask),
    "specks": _specks,
    "split": _split,
    "holes": _holes,
    "no myocardium": _without(Label.MYOCARDIUM),
    "no atrium": _without(Label.LEFT_ATRIUM),
    "no cavity": _without(Label.LV_CAVITY),
    "all cavity": _all(Label.LV_CAVITY),
    "all atrium": _all(Label.LEFT_ATRIUM),
    "one pixel wide": _thin,
    "cut": _half,
    "border to border": _cropped,
    "noise": _noise,
    "smooth noise": _smooth_noise,
}


@st.composite
def broken_masks(draw_from: st.DrawFn) -> Mask:
    rng = np.random.default_rng(draw_from(st.integers(0, 2**32 - 1)))
    mask = _heart(rng, draw_from(st.sampled_from(SHAPES)))
    for name in draw_from(st.lists(st.sampled_from(sorted(BREAKS)), max_size=3)):
        mask = np.asarray(BREAKS[name](rng, mask), dtype=np.uint8)
    return mask


examinations = st.dictionaries(
    st.tuples(st.sampled_from(list(View)), st.sampled_from(list(Phase))), broken_masks(), min_size=1, max_size=4
)
spacings = st.sampled_from([None, (0.3, 0.3), (0.154, 0.308), (1.0, 1.0), (2.0, 0.5)])


def check(result: Measurements) -> None:
    """Every number is finite and not silently zero; every absent one has its reason."""
    json.dumps(result.as_dict(), allow_nan=False)
    for volumes in result.volumes.values():
        numbers = (volumes.edv_ml, volumes.esv_ml, volumes.ef_percent, volumes.sv_ml)
        assert all(n is None or np.isfinite(n) for n in numbers)
        assert volumes.edv_ml is None or volumes.edv_ml > 0
        assert volumes.ef_percent is None or 0 <= volumes.ef_percent <= 100
        assert (volumes.ef_percent is None) == (volumes.status is Status.REFUSED)
        if None in numbers:
            assert volumes.absent_because
        if volumes.status is Status.REFUSED:
            assert any(f.severity is Severity.REFUSAL for f in volumes.findings)
        assert all(f.sentence for f in volumes.findings)
    for name, quantity in result.quantities.items():
        assert (quantity.value is None) == bool(quantity.reason)
        if name.startswith(("la_volume", "lv_mass", "lv_length", "area_length_edv")):
            assert quantity.value is None or quantity.value > 0
    for geometry in result.geometry.values():
        assert np.isfinite(geometry.endocardium_mm).all()
        assert (geometry.disks.diameters_mm > 0).all()


def test_broken_masks_give_a_number_or_a_reason() -> None:
    _run(examples=150)


@pytest.mark.slow
def test_ten_thousand_broken_masks_give_a_number_or_a_reason() -> None:
    seconds = _run(examples=4500)
    assert len(seconds) >= 10_000
    assert statistics.median(seconds) <= 0.050


def _run(examples: int) -> list[float]:
    """Return the seconds that each mask took."""
    seconds: list[float] = []

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(masks=examinations, spacing_mm=spacings)
    def property_holds(masks: dict[tuple[View, Phase], Mask], spacing_mm: tuple[float, float] | None) -> None:
        study, named = examination(masks, spacing_mm)
        begin = time.perf_counter()
        result = measure(study, named)
        seconds.extend([(time.perf_counter() - begin) / len(masks)] * len(masks))
        check(result)

    property_holds()
    return seconds
