"""EDV, ESV and EF of one examination under both definitions, with their findings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from apical.anatomy import Phase, View
from apical.measure.camus import camus_ef, camus_volumes
from apical.measure.disks import biplane_volume_ml
from apical.measure.quality import LIMITS, outside, percent, status_of
from apical.measure.reference_ranges import grade_ef
from apical.measure.results import (
    Finding,
    Reason,
    Severity,
    VolumeDefinition,
    Volumes,
)
from apical.measure.ventricle import VentricleView

Views = Mapping[tuple[View, Phase], VentricleView]

METHODS = {
    VolumeDefinition.ASE: "method of disks, ASE 2015",
    VolumeDefinition.CAMUS: "CAMUS algorithm, Leclerc 2019",
}
APPROXIMATE = "; approximate, pixel aspect unknown"


@dataclass(frozen=True)
class Plan:
    """Which views give the volumes of each instant, and why not more.

    `views` has two views for biplane, one for single plane, none where there is nothing to measure.
    """

    views: Mapping[Phase, tuple[View, ...]]
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        """'biplane', 'single plane (4CH)' or, with neither, 'not measured'."""
        ed, es = self.views[Phase.ED], self.views[Phase.ES]
        if not ed or not es or ed == es:
            return _plane(ed or es)
        return f"{_plane(ed)} at ED, {_plane(es)} at ES"

    @property
    def complete(self) -> bool:
        """Whether the same views give both instants, without which there is no EF."""
        return bool(self.views[Phase.ED]) and self.views[Phase.ED] == self.views[Phase.ES]


def _plane(used: tuple[View, ...]) -> str:
    if len(used) == 2:
        return "biplane"
    return f"single plane ({used[0]})" if used else "not measured"


def plan_views(views: Views, *, in_mm: bool) -> Plan:
    """Choose the views for the `ase` definition: both where both are usable and agree in length."""
    usable = {key for key, view in views.items() if view.geometry is not None}
    plan = _plan(usable)
    both = plan.views[Phase.ED]
    if len(both) < 2:
        return plan
    plan = Plan(plan.views, (*plan.findings, *_ef_difference(views, plan)))
    lengths = {view: _length(views, view) for view in both}
    longer, shorter = sorted(lengths, key=lambda v: lengths[v], reverse=True)
    disagreement = 1 - lengths[shorter] / lengths[longer]
    # In pixels of unknown shape, lengths in two directions cannot be held against each other.
    if not in_mm or disagreement <= LIMITS.length_caution:
        return plan
    sentence = (
        f"At end-diastole the ventricle is {percent(disagreement)} shorter in {shorter} than in {longer}: "
        f"{shorter} is probably foreshortened."
    )
    findings = (*plan.findings, Finding(Reason.VIEWS_DISAGREE, sentence, Severity.CAUTION))
    if disagreement <= LIMITS.length_refusal:
        return Plan(plan.views, findings)
    sentence = f"The views differ too much for biplane disks: the volumes are taken from {longer} alone."
    findings = (*findings, Finding(Reason.SINGLE_PLANE, sentence, Severity.CAUTION, longer))
    return Plan({phase: (longer,) if plan.views[phase] else () for phase in Phase}, findings)


def _plan(usable: set[tuple[View, Phase]]) -> Plan:
    complete = tuple(v for v in View if all((v, phase) in usable for phase in Phase))
    if complete:
        views = dict.fromkeys(Phase, complete)
    else:
        # Without one view at both instants there is no EF, but perhaps a volume.
        views = {phase: tuple(v for v in View if (v, phase) in usable) for phase in Phase}
    single = {used[0] for used in views.values() if len(used) == 1}
    findings = tuple(
        Finding(
            Reason.SINGLE_PLANE,
            f"Only {view} could be used, so that the ventricle is taken as round about its axis.",
            Severity.CAUTION,
            view,
        )
        for view in sorted(single)
    )
    return Plan(views, findings)


def _ef_difference(views: Views, plan: Plan) -> list[Finding]:
    """Hold the ejection fractions of the two views against each other, each by itself."""
    if not plan.complete:
        return []
    alone: dict[View, float] = {}
    for view in plan.views[Phase.ED]:
        disks = [g.disks for phase in Phase if (g := views[view, phase].geometry)]
        edv, esv = (biplane_volume_ml(d, d) for d in disks)
        alone[view] = 100 * (edv - esv) / edv if edv else math.nan
    # Not above the limit where there is no number either.
    if not abs(alone[View.A2C] - alone[View.A4C]) > LIMITS.ef_difference_points:
        return []
    said = " and ".join(f"{ef:.0f} % in {view}" for view, ef in alone.items())
    sentence = (
        f"Each view by itself gives another ejection fraction ({said}): walls that move unlike, or an outline off."
    )
    return [Finding(Reason.VIEWS_DIFFER_IN_EF, sentence, Severity.CAUTION)]


def _length(views: Views, view: View) -> float:
    geometry = views[view, Phase.ED].geometry
    return geometry.long_axis_mm if geometry else 0.0


def ase_volumes(views: Views, plan: Plan, common: tuple[Finding, ...], sex: str | None, *, in_mm: bool) -> Volumes:
    """Return the volumes under the `ase` definition."""
    volume: dict[Phase, float | None] = {}
    for phase in Phase:
        disks = [g.disks for v in plan.views[phase] if (g := views[v, phase].geometry)]
        volume[phase] = biplane_volume_ml(disks[0], disks[-1]) if disks else None
    edv, esv = volume[Phase.ED], volume[Phase.ES]
    ef = 100 * (edv - esv) / edv if plan.complete and edv and esv is not None else None
    findings = _all_findings(views, common + plan.findings)
    return _checked(VolumeDefinition.ASE, plan, edv=edv, esv=esv, ef=ef, findings=findings, sex=sex, in_mm=in_mm)


def camus_definition_volumes(views: Views, common: tuple[Finding, ...], *, in_mm: bool) -> Volumes:
    """Return the volumes under the `camus` definition; one view alone stands for both."""
    usable = {key for key, view in views.items() if view.camus is not None}
    plan = _plan(usable)
    edv = esv = ef = None
    if plan.complete:
        used = plan.views[Phase.ED]
        profiles = [p for v in (used[0], used[-1]) for phase in Phase if (p := views[v, phase].camus)]
        edv, esv = camus_volumes(*profiles)
        ef = camus_ef(edv, esv) if edv else None
        plan = Plan(plan.views, (*plan.findings, *_coarse(views, used)))
    else:
        # One disk height serves both instants: without them there is no volume either.
        plan = Plan(dict.fromkeys(Phase, ()), plan.findings)
    findings = _all_findings(views, common + plan.findings)
    if plan.complete and ef is None:
        sentence = "The CAMUS algorithm rounds the end-diastolic volume to 0 mL."
        findings = (*findings, Finding(Reason.IMPLAUSIBLE_VOLUME, sentence, Severity.REFUSAL))
        edv = esv = None
    return _checked(VolumeDefinition.CAMUS, plan, edv=edv, esv=esv, ef=ef, findings=findings, sex=None, in_mm=in_mm)


def _coarse(views: Views, used: tuple[View, ...]) -> tuple[Finding, ...]:
    """Say where the least diameter that the CAMUS algorithm can measure stands for those of narrow disks."""
    found = []
    for view in used:
        for phase in Phase:
            profile = views[view, phase].camus
            if profile is not None and profile.n_least >= LIMITS.least_diameters:
                sentence = (
                    f"{view} {phase}: {profile.n_least} of 20 disks are no wider than the 16 pixels that the CAMUS "
                    "algorithm measures at least, so that its volume is too large: the picture is too coarse for it."
                )
                found.append(Finding(Reason.GRID_TOO_COARSE, sentence, Severity.CAUTION, view, phase))
    return tuple(found)


def _all_findings(views: Views, common: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return common + tuple(f for view in views.values() for f in view.findings)


def _checked(
    definition: VolumeDefinition,
    plan: Plan,
    *,
    edv: float | None,
    esv: float | None,
    ef: float | None,
    findings: tuple[Finding, ...],
    sex: str | None,
    in_mm: bool,
) -> Volumes:
    """Put the volumes through the gate; what fails it is absent, with the reason."""
    extra = _implausible(definition, edv, esv, ef, in_mm=in_mm, comparable=plan.complete)
    if any(f.severity is Severity.REFUSAL for f in extra):
        edv = esv = ef = None
    if not plan.complete:
        sentence = "No view could be measured at both end-diastole and end-systole: there is no ejection fraction."
        extra = (*extra, Finding(Reason.NO_COMPLETE_VIEW, sentence, Severity.REFUSAL))
    findings = findings + extra
    method = f"{plan.name} {METHODS[definition]}" if plan.name != "not measured" else METHODS[definition]
    return Volumes(
        definition=definition,
        method=method if in_mm else method + APPROXIMATE,
        edv_ml=edv if in_mm else None,
        esv_ml=esv if in_mm else None,
        ef_percent=ef,
        sv_ml=edv - esv if in_mm and ef is not None and edv is not None and esv is not None else None,
        status=status_of(findings, measured=ef is not None),
        findings=findings,
        ef_reference=grade_ef(ef, sex) if ef is not None and definition is VolumeDefinition.ASE else None,
    )


def _implausible(
    definition: VolumeDefinition,
    edv: float | None,
    esv: float | None,
    ef: float | None,
    *,
    in_mm: bool,
    comparable: bool,
) -> tuple[Finding, ...]:
    """Check the volumes; `comparable` are those of the same views at both instants."""
    found: list[tuple[Severity | None, Reason, str]] = []
    if edv is not None and in_mm:
        severity = outside(edv, LIMITS.edv_ml, LIMITS.edv_refusal_ml)
        found.append(
            (
                severity,
                Reason.IMPLAUSIBLE_VOLUME,
                f"An end-diastolic volume of {edv:.3g} mL ({definition}) is implausible.",
            )
        )
    if comparable and edv is not None and esv is not None and esv > edv:
        sentence = "The ventricle is larger at end-systole than at end-diastole: the two are probably swapped."
        found.append((Severity.REFUSAL, Reason.ED_ES_SWAPPED, sentence))
    elif ef is not None:
        severity = outside(ef, LIMITS.ef_percent, (-math.inf, math.inf))
        found.append(
            (
                severity,
                Reason.IMPLAUSIBLE_VOLUME,
                f"An ejection fraction of {ef:.3g} % ({definition}) is hardly plausible.",
            )
        )
    return tuple(Finding(reason, sentence, severity) for severity, reason, sentence in found if severity)
