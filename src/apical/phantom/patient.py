"""Phantom patients: a plausible heart through its cycle, seen in two views, its truth known exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from apical.anatomy import Phase, View
from apical.errors import InputError
from apical.phantom.heart import Heart, TruncatedEllipsoid, blend
from apical.phantom.scene import Pose, Sector, render
from apical.phantom.tissue import Appearance
from apical.phantom.ultrasound import ultrasound
from apical.study import Frame, Grid, Image, Mask, Patient, Spacing, Study

CAMUS_SPACING_MM: Spacing = (0.308, 0.308)
"""Pixel spacing of the current CAMUS release."""

END_SYSTOLE = 0.36
"""Fraction of the cycle at which the heart is smallest; systole takes about a third of it."""

EDV_RANGE_ML, EF_RANGE_PERCENT = (60.0, 220.0), (25.0, 70.0)


@dataclass(frozen=True)
class Truth:
    """What a phantom patient's measurements should be, in closed form."""

    edv_ml: float
    esv_ml: float
    ef_percent: float
    atrium_esv_ml: float
    myocardium_edv_ml: float
    lengths_mm: Mapping[Phase, float]


@dataclass(frozen=True)
class PhantomPatient:
    """One synthetic patient: a heart at ED and at ES, where it lies in each view, and how it looks.

    `apexes_mm` are the (row, column) positions of the LV apex, which stays put while the annulus moves;
    `rotations_deg`, `tilts_deg` and `appearances` belong to the views.
    """

    id: str
    seed: int
    ed: Heart
    es: Heart
    shape: tuple[int, int]
    spacing_mm: Spacing
    apexes_mm: Mapping[View, tuple[float, float]]
    rotations_deg: Mapping[View, float]
    tilts_deg: Mapping[View, float] = field(default_factory=dict)
    appearances: Mapping[View, Appearance] = field(default_factory=dict)
    mirrored: bool = False
    sex: str = "F"
    age_years: int = 60
    image_quality: Mapping[View, str] = field(default_factory=dict)
    n_frames: int = 20
    frame_rate_hz: float = 50.0

    @property
    def truth(self) -> Truth:
        """Volumes, ejection fraction and lengths, in closed form."""
        edv, esv = self.ed.volume_ml, self.es.volume_ml
        return Truth(
            edv_ml=edv,
            esv_ml=esv,
            ef_percent=100.0 * (edv - esv) / edv,
            atrium_esv_ml=self.es.atrium_volume_ml,
            myocardium_edv_ml=self.ed.myocardium_volume_ml,
            lengths_mm={Phase.ED: self.ed.cavity.length_mm, Phase.ES: self.es.cavity.length_mm},
        )

    @property
    def grid(self) -> Grid:
        """Pixel grid of every frame."""
        return Grid(self.shape, self.spacing_mm)

    @property
    def sector(self) -> Sector:
        """Fan that the probe sees."""
        return Sector.filling(self.shape, self.spacing_mm)

    def heart_at(self, fraction: float) -> Heart:
        """Return the heart at a fraction of the cycle: 0 is ED, `END_SYSTOLE` is ES, 1 is the next ED."""
        fraction %= 1.0
        systolic = fraction <= END_SYSTOLE
        phase = fraction / END_SYSTOLE if systolic else (1.0 - fraction) / (1.0 - END_SYSTOLE)
        return blend(self.ed, self.es, (1.0 - math.cos(math.pi * phase)) / 2.0)

    def pose(self, view: View, heart: Heart) -> Pose:
        """Return the pose of one of this patient's hearts: its apex stays where it is."""
        rotation, tilt = self.rotations_deg[view], self.tilts_deg.get(view, 0.0)
        turn, length = math.radians(rotation), heart.cavity.section_length_mm(view, tilt)
        row, column = self.apexes_mm[view]
        row, column = row + length * math.cos(turn), column + length * math.sin(turn)
        if self.mirrored:
            column, rotation = 2 * self.sector.tip_mm[1] - column, -rotation
        return Pose((row, column), rotation, tilt, self.mirrored)

    def mask(self, view: View, fraction: float) -> Mask:
        """Return the mask at a fraction of the cycle, labels 0-3, uint8 (row, column)."""
        heart = self.heart_at(fraction)
        return render(heart, view, self.shape, self.spacing_mm, pose=self.pose(view, heart))

    def image(self, view: View, fraction: float) -> Image:
        """Return the picture at a fraction of the cycle, uint8 (row, column)."""
        heart = self.heart_at(fraction)
        return ultrasound(
            heart,
            view,
            self.shape,
            self.spacing_mm,
            pose=self.pose(view, heart),
            appearance=self.appearances.get(view),
            seed=(self.seed * 2 + list(View).index(view)) * 1000 + round(fraction % 1.0 * 999),
        )

    def frame(self, view: View, phase: Phase, *, with_image: bool = True) -> Frame:
        """Return the frame of a view and phase with its reference, named as in CAMUS; blank without image."""
        fraction = 0.0 if phase == Phase.ED else END_SYSTOLE
        mask = self.mask(view, fraction)
        image = self.image(view, fraction) if with_image else np.zeros_like(mask)
        return Frame(f"{self.id}_{view}_{phase}", image, self.grid, view, phase, mask)


def as_study(patient: PhantomPatient, *, views: Sequence[View] = tuple(View), with_images: bool = True) -> Study:
    """Return the patient's ED and ES frames with their references as a study in memory.

    `with_images=False` leaves the pictures blank, for tests of geometry alone.
    """
    frames = tuple(patient.frame(view, phase, with_image=with_images) for view in views for phase in Phase)
    person = Patient(
        patient.id,
        patient.sex,
        float(patient.age_years),
        image_quality=patient.image_quality,
        published_ef_percent=float(round(patient.truth.ef_percent)),
    )
    return Study(person, frames)


def make_patient(
    seed: int,
    *,
    id: str | None = None,
    edv_ml: float | None = None,
    ef_percent: float | None = None,
    spacing_mm: Spacing = CAMUS_SPACING_MM,
) -> PhantomPatient:
    """Return a plausible patient; the same seed gives the same one.

    Parameters
    ----------
    seed
        Draws everything that is not given.
    id
        Folder name; `patientNNNN` of the seed by default.
    edv_ml, ef_percent
        Wanted truth; drawn from 60-220 mL and 25-70 % by default.
    spacing_mm
        (row, column) pixel spacing in mm. Vary hearts further with `dataclasses.replace`.

    Raises
    ------
    InputError
        If the wanted EDV or EF is not that of a beating heart.
    """
    rng = np.random.default_rng(seed)
    drawn_edv, drawn_ef = rng.uniform(*EDV_RANGE_ML), rng.uniform(*EF_RANGE_PERCENT)
    edv = drawn_edv if edv_ml is None else edv_ml
    ef = drawn_ef if ef_percent is None else ef_percent
    if not (edv > 0 and 0 < ef < 100):
        raise InputError(f"no heart has an EDV of {edv} mL and an EF of {ef} %: give EDV above 0 and EF within 0-100")

    # Slender or round: length of a 110 mL ventricle 74-88 mm.
    length = 81.0 * (edv / 110.0) ** 0.3 * rng.uniform(0.93, 1.07)
    cut, ratio = rng.uniform(-0.72, -0.5), rng.uniform(0.9, 1.15)
    remaining = 1.0 - ef / 100.0
    cavity_ed = _cavity(edv, length, cut, ratio)
    # The long axis shortens less than the widths; the annulus narrows less than the middle.
    cavity_es = _cavity(
        edv * remaining, length * remaining**0.17, cut * remaining**0.6, ratio * rng.uniform(0.95, 1.05)
    )
    atrium_ed, atrium_es = (
        _atrium(cavity, height, rng.uniform(0.95, 1.1))
        for cavity, height in ((cavity_ed, rng.uniform(32, 44)), (cavity_es, rng.uniform(44, 58)))
    )
    wall, bends = rng.uniform(9.0, 12.0), rng.uniform(-3.0, 3.0, 2)
    septum = rng.uniform(0.0, 2.0)
    ed = Heart(cavity_ed, atrium_ed, wall, 0.0, septum, *bends)
    es = Heart(cavity_es, atrium_es, wall, 0.0, septum, *bends)
    es = replace(es, wall_mm=_wall_of(es, ed.myocardium_volume_ml))

    apexes = {view: rng.uniform(22.0, 34.0) for view in View}
    deepest = max(apexes.values()) + length + rng.uniform(0.9, 1.4) * atrium_ed.length_mm
    depth = max(120.0, deepest)
    shape = round(depth / spacing_mm[0]) + 1, round(2 * math.sin(math.radians(37.5)) * depth / spacing_mm[1]) + 1
    middle = (shape[1] - 1) * spacing_mm[1] / 2
    rotations = {View.A2C: rng.uniform(4.0, 20.0), View.A4C: rng.uniform(3.0, 18.0)}
    return PhantomPatient(
        id=id or f"patient{seed:04d}",
        seed=seed,
        ed=ed,
        es=es,
        shape=shape,
        spacing_mm=spacing_mm,
        # The apex lies left of the middle, so that the turned heart hangs around the middle beam.
        apexes_mm={v: (apexes[v], middle - 0.35 * length * math.sin(math.radians(rotations[v]))) for v in View},
        rotations_deg=rotations,
        appearances={view: Appearance.draw(rng) for view in View},
        sex=str(rng.choice(["F", "M"])),
        age_years=int(rng.integers(25, 90)),
        image_quality={view: str(rng.choice(["Good", "Medium"])) for view in View},
        n_frames=int(rng.integers(14, 26)),
        frame_rate_hz=round(float(rng.uniform(40.0, 70.0)), 1),
    )


def _cavity(volume_ml: float, length_mm: float, cut: float, ratio: float) -> TruncatedEllipsoid:
    """Return the cavity of a volume; `cut` is 1 - length / semi-axis, `ratio` 2CH over 4CH width."""
    semi = length_mm / (1.0 - cut)
    unit = TruncatedEllipsoid(length_mm, semi, 1.0, 1.0).volume_ml
    width = math.sqrt(volume_ml / unit / ratio)
    return TruncatedEllipsoid(length_mm, semi, width * ratio, width)


def _atrium(cavity: TruncatedEllipsoid, length_mm: float, ratio: float) -> TruncatedEllipsoid:
    """Return an atrium as wide at the annulus as the cavity, times `ratio`."""
    at_annulus = math.sqrt(1.0 - (cavity.centre_mm / cavity.semi_long_mm) ** 2)
    semi = length_mm / 1.6
    widen = at_annulus / 0.8 * ratio  # 0.8 is this atrium's own width at the annulus, over its largest
    return TruncatedEllipsoid(length_mm, semi, cavity.half_width_2ch_mm * widen, cavity.half_width_4ch_mm * widen)


def _wall_of(heart: Heart, myocardium_ml: float) -> float:
    """Return the wall thickness in mm at which the heart has this much muscle (muscle does not shrink)."""
    thin, thick = 1.0, 40.0
    for _ in range(60):
        middle = (thin + thick) / 2
        if replace(heart, wall_mm=middle).myocardium_volume_ml < myocardium_ml:
            thin = middle
        else:
            thick = middle
    return thin
