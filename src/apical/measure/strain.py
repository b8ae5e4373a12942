"""Contour GLS: how much shorter the endocardium is at end-systole.

GLS = 100 (length_ES - length_ED) / length_ED, of the endocardium from hinge point over the apex to hinge point,
base excluded. It follows shape, not speckles: no substitute for speckle tracking, and called contour GLS.

Voigt et al., Eur Heart J Cardiovasc Imaging 16(1):1-11, 2015, doi:10.1093/ehjci/jeu184 (definition of the length).
"""

from __future__ import annotations

from apical.measure.results import ViewGeometry


def contour_gls_percent(ed: ViewGeometry, es: ViewGeometry) -> float:
    """Return the contour GLS of one view in percent; negative when the ventricle shortens."""
    return 100 * (es.endocardial_length_mm - ed.endocardial_length_mm) / ed.endocardial_length_mm
