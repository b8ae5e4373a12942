"""Everything beside EDV, ESV and EF, each a number with its method or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from apical.anatomy import Phase, View
from apical.measure import reference_ranges as ranges
from apical.measure.atrium import atrial_volumes_ml, measure_atrium
from apical.measure.disks import MM3_PER_ML, area_length_volume_ml
from apical.measure.mass import epicardial_disks, mass_g
from apical.measure.quality import LIMITS, percent
from apical.measure.results import Quantity, Reason, Reference, Severity, ViewGeometry, Volumes
from apical.measure.strain import contour_gls_percent
from apical.measure.volumes import Plan, Views
from apical.study import Patient

_NO_SPACING = "The pixel spacing is unknown: only the ejection fraction can be given."
_DISKS = "method of disks, ASE 2015"
_AREA_LENGTH = "area-length, ASE 2015"
_OF_ALL = (Reason.ED_ES_SWAPPED, Reason.IMPLAUSIBLE_VOLUME)
"""Refusals that say that the outlines, or their phases, are not what they are taken for: then no number is."""

LABELS: Mapping[str, tuple[str, str]] = {
    "area_length_edv_ml": ("EDV, area-length", "mL"),
    "area_length_esv_ml": ("ESV, area-length", "mL"),
    "area_length_ef_percent": ("EF, area-length", "%"),
    "cardiac_output_l_min": ("Cardiac output", "L/min"),
    "lv_length_ed_mm": ("LV length at ED", "mm"),
    "lv_length_es_mm": ("LV length at ES", "mm"),
    "foreshortening_percent": ("Difference of the views' ED long axes", "%"),
    "sphericity_ed": ("Sphericity index at ED", ""),
    "sphericity_es": ("Sphericity index at ES", ""),
    "contour_gls_2ch_percent": ("Contour GLS, 2CH", "%"),
    "contour_gls_4ch_percent": ("Contour GLS, 4CH", "%"),
    "contour_gls_percent": ("Contour GLS, mean", "%"),
    "lv_mass_g": ("LV mass at ED", "g"),
    "la_volume_disks_ml": ("LA volume at ES, disks", "mL"),
    "la_volume_area_length_ml": ("LA volume at ES, area-length", "mL"),
    "bsa_m2": ("Body surface area", "m²"),
    "edv_index_ml_m2": ("EDV index", "mL/m²"),
    "esv_index_ml_m2": ("ESV index", "mL/m²"),
    "sv_index_ml_m2": ("Stroke volume index", "mL/m²"),
    "lv_mass_index_g_m2": ("LV mass index", "g/m²"),
    "la_volume_index_ml_m2": ("LA volume index", "mL/m²"),
}
"""Label and unit of every quantity by name; every result has them all, in this order."""


class Quantities:
    """Collects numbers and reasons; `complete` gives them all, in the order of `LABELS`."""

    def __init__(self) -> None:
        self._found: dict[str, Quantity] = {}

    def put(
        self, name: str, value: float, method: str, caution: str | None = None, reference: Reference | None = None
    ) -> None:
        """Add a number; one that is not finite becomes a reason."""
        if not np.isfinite(value):
            self.miss(name, "It could not be computed from these outlines.", method)
            return
        label, unit = LABELS[name]
        self._found[name] = Quantity(float(value), unit, label, method, reference=reference, caution=caution)

    def miss(self, name: str, reason: str, method: str = "") -> None:
        """Add the reason why there is no number."""
        label, unit = LABELS[name]
        self._found[name] = Quantity(None, unit, label, method, reason=reason)

    def value(self, name: str) -> float | None:
        """Return a number that was put, or None."""
        return self._found[name].value if name in self._found else None

    def quantity(self, name: str) -> Quantity:
        """Return what was put or missed."""
        return self._found[name]

    def complete(self) -> dict[str, Quantity]:
        """Return all quantities by name."""
        return {name: self._found[name] for name in LABELS}


def measure_quantities(
    views: Views, plan: Plan, ase: Volumes, patient: Patient, heart_rates: Sequence[float], *, in_mm: bool
) -> dict[str, Quantity]:
    """Measure everything beside the volumes; in pixels there is nothing but reasons."""
    found = Quantities()
    if not in_mm:
        for name in LABELS:
            found.miss(name, _NO_SPACING)
        _put_bsa(found, patient)
        return found.complete()
    # Another way to a number that was refused is no way around the refusal.
    refusals = [f.sentence for f in ase.findings if f.reason in _OF_ALL and f.severity is Severity.REFUSAL]
    if refusals:
        for name in LABELS:
            found.miss(name, refusals[0])
        _put_bsa(found, patient)
        return found.complete()
    planned = {phase: [g for v in plan.views[phase] if (g := views[v, phase].geometry)] for phase in Phase}
    _put_area_length(found, planned, plan)
    _put_output(found, ase, heart_rates)
    _put_lengths(found, views, planned, ase)
    _put_strain(found, views)
    _put_mass(found, views, planned[Phase.ED])
    atrium_cut = _put_atrium(found, views)
    _put_indexed(found, ase, patient, atrium_cut=atrium_cut)
    return found.complete()


def _put_area_length(found: Quantities, planned: Mapping[Phase, Sequence[ViewGeometry]], plan: Plan) -> None:
    method = f"{plan.name} {_AREA_LENGTH}"
    names = {Phase.ED: "area_length_edv_ml", Phase.ES: "area_length_esv_ml"}
    for phase, name in names.items():
        if used := planned[phase]:
            first, last = used[0], used[-1]
            volume = area_length_volume_ml(first.area_mm2, first.long_axis_mm, last.area_mm2, last.long_axis_mm)
            found.put(name, volume, method)
        else:
            found.miss(name, f"No view could be measured at {phase}.", method)
    edv, esv = (found.value(name) for name in names.values())
    if edv is None or esv is None or not plan.complete:
        found.miss("area_length_ef_percent", "No view could be measured at both ED and ES.", method)
    elif esv > edv:
        found.miss("area_length_ef_percent", "The ventricle is larger at ES than at ED.", method)
    else:
        found.put("area_length_ef_percent", 100 * (edv - esv) / edv, method)


def _put_output(found: Quantities, ase: Volumes, heart_rates: Sequence[float]) -> None:
    name, method = "cardiac_output_l_min", f"stroke volume ({ase.method}) x heart rate"
    if ase.sv_ml is None:
        found.miss(name, "There is no stroke volume.", method)
    elif not heart_rates:
        found.miss(name, "The heart rate is unknown.", method)
    elif max(heart_rates) > LIMITS.heart_rate_ratio * min(heart_rates):
        rates = " and ".join(f"{rate:.0f}" for rate in heart_rates)
        found.miss(name, f"The views were taken at different heart rates ({rates} beats/min).", method)
    else:
        found.put(name, ase.sv_ml * float(np.mean(heart_rates)) / 1000, method)


def _put_lengths(
    found: Quantities, views: Views, planned: Mapping[Phase, Sequence[ViewGeometry]], ase: Volumes
) -> None:
    volumes = {Phase.ED: ase.edv_ml, Phase.ES: ase.esv_ml}
    for phase in Phase:
        length_name, sphericity_name = f"lv_length_{phase.lower()}_mm", f"sphericity_{phase.lower()}"
        sphericity_method = "volume (ase) / volume of a sphere of the long axis' diameter"
        volume = volumes[phase]
        if not planned[phase]:
            found.miss(length_name, f"No view could be measured at {phase}.")
            found.miss(sphericity_name, f"No view could be measured at {phase}.", sphericity_method)
            continue
        length_mm = max(g.long_axis_mm for g in planned[phase])
        found.put(length_name, length_mm, "annulus midpoint to apex, the longer view")
        if volume is None:
            found.miss(sphericity_name, "There is no volume.", sphericity_method)
        else:
            found.put(sphericity_name, volume * MM3_PER_ML / (np.pi / 6 * length_mm**3), sphericity_method)
    name, method = "foreshortening_percent", "1 - shorter / longer ED long axis of 2CH and 4CH"
    lengths = [g.long_axis_mm for v in View if (g := _geometry(views, v, Phase.ED))]
    if len(lengths) == 2:
        found.put(name, 100 * (1 - min(lengths) / max(lengths)), method)
    else:
        found.miss(name, "It takes both views at ED.", method)


def _put_strain(found: Quantities, views: Views) -> None:
    method = "shortening of the endocardial contour, annulus to annulus; not speckle tracking"
    strains = []
    for view in View:
        name = f"contour_gls_{view.lower()}_percent"
        ed, es = _geometry(views, view, Phase.ED), _geometry(views, view, Phase.ES)
        if ed and es:
            strains.append(contour_gls_percent(ed, es))
            found.put(name, strains[-1], method)
        else:
            found.miss(name, f"{view} could not be measured at both ED and ES.", method)
    if strains:
        caution = None if len(strains) == 2 else "Of one view alone."
        found.put("contour_gls_percent", float(np.mean(strains)), method, caution)
    else:
        found.miss("contour_gls_percent", "No view could be measured at both ED and ES.", method)


def _put_mass(found: Quantities, views: Views, planned: Sequence[ViewGeometry]) -> None:
    name, method = "lv_mass_g", "biplane apical estimate, 1.05 g/mL x (epicardial - cavity volume by disks)"
    whole = [g for g in planned if not views[g.view, Phase.ED].wall_cut]
    shells = [(g, d) for g in whole if (d := epicardial_disks(g))]
    if not planned:
        found.miss(name, "No view could be measured at ED.", method)
    elif not shells:
        cut = len(whole) < len(planned)
        reason = "The myocardium is cut by the edge of the image." if cut else "No myocardium encloses the apex."
        found.miss(name, reason, method)
    else:
        if len(shells) == 1:
            method = method.replace("biplane", f"single plane ({shells[0][0].view})")
        cautions = [] if len(shells) == 2 else ["Of one view alone."]
        for g, _ in shells:
            if (share := views[g.view, Phase.ED].wall_off_sector) > LIMITS.off_sector_caution:
                cautions.append(f"{percent(share)} of the wall in {g.view} lies outside the ultrasound sector.")
        caution = " ".join(cautions) or None
        mass = mass_g([g for g, _ in shells], [d for _, d in shells])
        if mass > 0:
            found.put(name, mass, method, caution)
        else:
            found.miss(name, "The epicardium does not enclose the cavity.", method)


def _put_atrium(found: Quantities, views: Views) -> bool:
    """Return whether the volumes are but a lower bound, the atrium being cut."""
    names = {"la_volume_disks_ml": _DISKS, "la_volume_area_length_ml": _AREA_LENGTH}
    atria = {v: a for v in View if (g := _geometry(views, v, Phase.ES)) and (a := measure_atrium(g))}
    # What is left of an atrium that is shorter than its annulus is wide has no axis, and no bound is near.
    stumps = [v for v, a in atria.items() if views[v, Phase.ES].atrium_cut and a.long_axis_mm < a.annulus_mm]
    for view in stumps:
        del atria[view]
    if not atria:
        reason = "No view shows a left atrium beneath a measured ventricle at ES."
        if stumps:
            reason = f"The edge of the image leaves too little of the atrium in {' and '.join(stumps)}."
        for name, method in names.items():
            found.miss(name, reason, method)
        return False
    plane = "biplane" if len(atria) == 2 else f"single plane ({next(iter(atria))})"
    cut = [v for v in atria if views[v, Phase.ES].atrium_cut]
    cautions = []
    if cut:
        cautions.append(f"The atrium is cut by the edge of the image in {' and '.join(cut)}: at least this much.")
    if len(atria) == 1:
        cautions.append("Of one view alone.")
    caution = " ".join(cautions) or None
    for (name, method), volume in zip(names.items(), atrial_volumes_ml(list(atria.values())), strict=True):
        found.put(name, volume, f"{plane} {method}", caution)
    return bool(cut)


def _put_bsa(found: Quantities, patient: Patient) -> float | None:
    height, weight = patient.height_cm, patient.weight_kg
    known = height is not None and weight is not None and height > 0 and weight > 0
    bsa = ranges.body_surface_area_m2(height, weight) if known and height and weight else None
    if bsa is None:
        found.miss("bsa_m2", "Height and weight are not both known.", ranges.BSA_METHOD)
    else:
        found.put("bsa_m2", bsa, ranges.BSA_METHOD)
    return bsa


def _put_indexed(found: Quantities, ase: Volumes, patient: Patient, *, atrium_cut: bool) -> None:
    bsa, sex = _put_bsa(found, patient), patient.sex
    atrium = found.quantity("la_volume_disks_ml")
    mass = found.quantity("lv_mass_g")

    def graded(grade: Callable[[float, str | None], Reference | None]) -> Callable[[float], Reference | None]:
        return lambda value: grade(value, sex)

    rows: list[tuple[str, float | None, str, str | None, Callable[[float], Reference | None]]] = [
        ("edv_index_ml_m2", ase.edv_ml, ase.method, None, graded(ranges.grade_edv_index)),
        ("esv_index_ml_m2", ase.esv_ml, ase.method, None, graded(ranges.grade_esv_index)),
        ("sv_index_ml_m2", ase.sv_ml, ase.method, None, lambda _: None),
        ("lv_mass_index_g_m2", mass.value, mass.method, mass.caution, lambda _: None),
        (
            "la_volume_index_ml_m2",
            atrium.value,
            atrium.method,
            atrium.caution,
            partial(ranges.grade_la_index, at_least=atrium_cut),
        ),
    ]
    for name, value, method, caution, grade in rows:
        if bsa is None:
            found.miss(name, "Height and weight are not both known.", method)
        elif value is None:
            found.miss(name, "The number to be indexed is absent.", method)
        else:
            found.put(name, value / bsa, f"{method}, per BSA ({ranges.BSA_METHOD})", caution, grade(value / bsa))


def _geometry(views: Views, view: View, phase: Phase) -> ViewGeometry | None:
    return views[view, phase].geometry if (view, phase) in views else None
