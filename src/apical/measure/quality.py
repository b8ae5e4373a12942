"""The quality gate: what makes a measurement one to be cautious about, or none at all.

Limits are fractions, so that they hold at any pixel size. Where CAMUS's expert masks gave the limit, it
lies outside what is seen there: a cardiologist's own outline is not to be refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Orientation, Phase, Structure, View
from apical.measure.landmarks import Landmarks
from apical.measure.results import DiskProfile, Finding, Reason, Severity, Status
from apical.study import Doubt, Image


@dataclass(frozen=True)
class Limits:
    """Where caution and refusal begin."""

    least_cavity_px: int = 60
    """Fewer pixels are no outline."""
    least_cavity_mm2: float = 100.0
    """1 cm2: below the end-systolic cavity of a small child."""
    stray_caution: float = 0.01
    stray_refusal: float = 0.20
    """Part of the cavity's pixels outside its largest component."""
    holes_caution: float = 0.01
    holes_refusal: float = 0.20
    """Part of the filled cavity that was holes."""
    cut_caution: float = 0.01
    cut_refusal: float = 0.25
    """Part of the endocardium, or of the base, on the edge of the image."""
    off_sector_caution: float = 0.10
    """Part of the cavity, and for the mass of the wall, outside the ultrasound sector."""
    heart_rate_ratio: float = 1.2
    """Between the clips of the two views, whose stroke volume is multiplied by it."""
    bare_caution: float = 0.10
    bare_refusal: float = 0.50
    """Part of the endocardium without myocardium."""
    area_caution: float = 0.10
    area_refusal: float = 0.30
    """Area of the disks against area of the cavity."""
    annulus_caution: tuple[float, float] = (0.15, 0.85)
    annulus_refusal: tuple[float, float] = (0.05, 1.50)
    """Annulus width over long axis; .17 to .72 in CAMUS."""
    slenderness_refusal: tuple[float, float] = (0.7, 8.0)
    """Long axis over mean diameter."""
    length_caution: float = 0.10
    length_refusal: float = 0.20
    """Disagreement of the two views' end-diastolic long axes, of the longer one."""
    ef_difference_points: float = 20.0
    """Between the EFs of the views by themselves; the outlines of CAMUS's experts exceed it in one of twelve."""
    least_diameters: int = 2
    """Disks at the least diameter of the `camus` definition; 2 or more in 16 of CAMUS's 2,398 expert masks."""
    edv_ml: tuple[float, float] = (30.0, 400.0)
    edv_refusal_ml: tuple[float, float] = (5.0, 1000.0)
    ef_percent: tuple[float, float] = (10.0, 85.0)
    repair_caution: float = 0.01
    """Part of the heart that a repair of the predicted mask changed."""
    sure_view: float = 0.8
    """Probability below which a recognised view is to be checked by a person."""
    confidence_caution: float = 0.91
    """Dice of the cavity that the network expects of itself; few unseen CAMUS patients fall below it."""
    unlike_caution: float = 0.9
    unlike_refusal: float = 1.5
    """Distance from the pictures learned from, in the network's own limit; 2.5 % of unseen CAMUS frames exceed it."""
    atrium_cut: float = 0.02
    """Part of the atrium's outline on the edge of the image or of the sector."""


LIMITS = Limits()


def status_of(findings: Iterable[Finding], *, measured: bool) -> Status:
    """Return refused without a number, else caution when any finding asks for it, else measured."""
    if not measured:
        return Status.REFUSED
    severities = {f.severity for f in findings}
    return Status.CAUTION if severities & {Severity.CAUTION, Severity.REFUSAL} else Status.MEASURED


def graded(value: float, caution: float, refusal: float) -> Severity | None:
    """Return the severity of a value of which more is worse, or None below both limits."""
    if value > refusal:
        return Severity.REFUSAL
    return Severity.CAUTION if value > caution else None


def outside(value: float, caution: tuple[float, float], refusal: tuple[float, float]) -> Severity | None:
    """Return the severity of a value that should lie within a range, or None inside both."""
    if not refusal[0] <= value <= refusal[1]:
        return Severity.REFUSAL
    return None if caution[0] <= value <= caution[1] else Severity.CAUTION


def ultrasound_sector(image: Image) -> NDArray[np.bool_]:
    """Tell which pixels (rows, columns) lie in the sector: between the first and last echo of both row and column.

    A blank image has no sector to leave: all True.
    """
    echo = image > 4
    if not echo.any():
        return np.ones(image.shape, dtype=bool)
    return _between_first_and_last(echo) & _between_first_and_last(echo.T).T


def _between_first_and_last(echo: NDArray[np.bool_]) -> NDArray[np.bool_]:
    width = echo.shape[1]
    column = np.arange(width)
    first = np.where(echo.any(axis=1), echo.argmax(axis=1), width)
    last = width - 1 - echo[:, ::-1].argmax(axis=1)
    inside: NDArray[np.bool_] = (column >= first[:, None]) & (column <= last[:, None])
    return inside


class Inspector:
    """Collects the findings of one view at one instant."""

    def __init__(self, view: View, phase: Phase) -> None:
        self.view, self.phase = view, phase
        self.findings: list[Finding] = []

    def note(self, severity: Severity | None, reason: Reason, sentence: str) -> None:
        """Add a finding, unless there is no severity."""
        if severity is not None:
            text = f"{self.view} {self.phase}: {sentence}"
            self.findings.append(Finding(reason, text, severity, self.view, self.phase))

    @property
    def refused(self) -> bool:
        """Whether any finding so far is a refusal."""
        return any(f.severity is Severity.REFUSAL for f in self.findings)

    def check_doubt(self, doubt: Doubt) -> None:
        """Check what the network that made the mask knows of its own doubt."""
        self.note(
            graded(doubt.unlike, LIMITS.unlike_caution, LIMITS.unlike_refusal),
            Reason.UNLIKE_TRAINING,
            f"the picture is unlike those that the network learned from (distance {doubt.unlike:.2f}, cautious above "
            f"{LIMITS.unlike_caution:g}): is it an apical view?",
        )
        sure = doubt.confidence[Structure.ENDOCARDIUM]
        self.note(
            Severity.CAUTION if sure < LIMITS.confidence_caution else None,
            Reason.LOW_CONFIDENCE,
            f"the network is unsure of its outline of the cavity (it expects a Dice of {sure:.2f} of itself).",
        )

    def check_cavity(self, stray: float, holes: float, pixels: int, area_mm2: float | None) -> None:
        """Check size and wholeness of the cavity; `area_mm2` is None where the spacing is unknown."""
        small = pixels < LIMITS.least_cavity_px or (area_mm2 is not None and area_mm2 < LIMITS.least_cavity_mm2)
        extent = f"{pixels} pixels" if area_mm2 is None else f"{pixels} pixels, {area_mm2 / 100:.2g} cm²"
        self.note(
            Severity.REFUSAL if small else None,
            Reason.LV_TOO_SMALL,
            f"the left-ventricular cavity ({extent}) is too small to be measured.",
        )
        self.note(
            graded(stray, LIMITS.stray_caution, LIMITS.stray_refusal) or (Severity.NOTE if stray else None),
            Reason.SEVERAL_COMPONENTS,
            f"the cavity is in several pieces; {percent(stray)} of it lies outside the largest, which was measured.",
        )
        self.note(
            graded(holes, LIMITS.holes_caution, LIMITS.holes_refusal) or (Severity.NOTE if holes else None),
            Reason.HOLES,
            f"the cavity has holes, {percent(holes)} of it; they were filled.",
        )

    def check_landmarks(self, landmarks: Landmarks) -> None:
        """Check where the annulus came from and whether the cavity is cut."""
        if landmarks.found_by == "junction":
            self.note(
                graded(landmarks.bare_fraction, LIMITS.bare_caution, LIMITS.bare_refusal),
                Reason.ANNULUS_UNCERTAIN,
                f"{percent(landmarks.bare_fraction)} of the endocardium has no myocardium beside it, "
                "so that the mitral annulus may lie elsewhere.",
            )
        else:
            how = "the atrium alone" if landmarks.found_by == "atrium" else "the shape of the cavity alone"
            self.note(
                Severity.CAUTION,
                Reason.NO_MYOCARDIUM,
                f"there is no myocardium around the cavity; the mitral annulus was found from {how}.",
            )
        self.note(
            None if landmarks.certain else Severity.CAUTION,
            Reason.ANNULUS_UNCERTAIN,
            "more than one gap in the myocardium could be the mitral annulus.",
        )
        cut = max(landmarks.edge_fraction, landmarks.base_edge_fraction)
        self.note(
            graded(cut, LIMITS.cut_caution, LIMITS.cut_refusal),
            Reason.CAVITY_CUT,
            "the cavity is cut by the edge of the image.",
        )

    def check_shape(self, landmarks: Landmarks, disks: DiskProfile, area_mm2: float) -> None:
        """Check that the cavity is ventricle-shaped, as far as disks can tell."""
        length = landmarks.long_axis_mm
        annulus = float(np.hypot(*(landmarks.annulus_mm[1] - landmarks.annulus_mm[0])))
        self.note(
            outside(annulus / length, LIMITS.annulus_caution, LIMITS.annulus_refusal),
            Reason.IMPLAUSIBLE_SHAPE,
            f"the mitral annulus is {annulus / length:.2f} times as wide as the ventricle is long.",
        )
        slenderness = length / max(float(disks.diameters_mm.mean()), 1e-9)
        self.note(
            outside(slenderness, LIMITS.slenderness_refusal, LIMITS.slenderness_refusal),
            Reason.IMPLAUSIBLE_SHAPE,
            f"the cavity is {slenderness:.1f} times as long as it is wide: not the shape of a ventricle.",
        )
        mismatch = abs(float(disks.diameters_mm.sum()) * disks.step_mm / max(area_mm2, 1e-9) - 1)
        self.note(
            graded(mismatch, LIMITS.area_caution, LIMITS.area_refusal),
            Reason.IMPLAUSIBLE_SHAPE,
            f"the disks cover an area {percent(mismatch)} off the cavity's: it is bent, ragged or tilted.",
        )


def picture_turned(orientation: Orientation, where: str, view: View, phase: Phase | None = None) -> Finding:
    """Return the finding that a picture was turned for the model; `where` names it."""
    sentence = f"{where}: the heart is shown {orientation.words}; the picture was turned for the model."
    return Finding(Reason.PICTURE_TURNED, sentence, Severity.NOTE, view, phase)


def view_recognised(probability: float, where: str, view: View, phase: Phase | None = None) -> Finding:
    """Return the finding that a view was recognised by the model; `where` names the picture."""
    severity = Severity.NOTE if probability >= LIMITS.sure_view else Severity.CAUTION
    sentence = f"{where}: the view was recognised by the model ({percent(probability)})."
    return Finding(Reason.VIEW_RECOGNISED, sentence, severity, view, phase)


def percent(fraction: float) -> str:
    """Return a fraction as text in percent, never '0 %' for what is not zero."""
    return f"{100 * fraction:.2g} %" if fraction < 0.01 else f"{100 * fraction:.0f} %"
