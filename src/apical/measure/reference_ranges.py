"""Reference ranges and body size: what is normal, for whom, and according to whom.

Lang et al., J Am Soc Echocardiogr 28(1):1-39, 2015 (ASE/EACVI), doi:10.1016/j.echo.2014.10.003, tables 2 and 4 and
section on the left atrium. Body surface area: Mosteller, N Engl J Med 317(17):1098, 1987,
doi:10.1056/NEJM198710223171717.
"""

from __future__ import annotations

import math

from apical.measure.results import Reference

BSA_METHOD = "Mosteller 1987"
_NORMAL_EF = {"M": (52, 72), "F": (54, 74)}
_UPPER_EDV_INDEX = {"M": 74, "F": 61}
_UPPER_ESV_INDEX = {"M": 31, "F": 24}


def sex_code(sex: str | None) -> str | None:
    """Return 'M' or 'F', or None where it is unknown or neither: the ranges know no third.

    Examples
    --------
    >>> sex_code("female"), sex_code("M"), sex_code("O")
    ('F', 'M', None)
    """
    code = (sex or "").strip().upper()
    return {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F"}.get(code)


def body_surface_area_m2(height_cm: float, weight_kg: float) -> float:
    """Return the body surface area in m2 after Mosteller.

    Examples
    --------
    >>> body_surface_area_m2(180, 80)
    2.0
    """
    return math.sqrt(height_cm * weight_kg / 3600)


def grade_ef(ef_percent: float, sex: str | None) -> Reference | None:
    """Return range and class of an ejection fraction in percent, or None without a sex."""
    code = sex_code(sex)
    if code is None:
        return None
    low, high = _NORMAL_EF[code]
    bounds = ((30, "severe"), (41, "moderate"), (low, "mild"), (math.nextafter(high, math.inf), "normal"))
    grade = next((name for bound, name in bounds if ef_percent < bound), "above normal")
    return Reference(f"{low}-{high} %", grade)


def grade_edv_index(index_ml_m2: float, sex: str | None) -> Reference | None:
    """Return range and class of an indexed end-diastolic volume in mL/m2, or None without a sex."""
    return _up_to(_UPPER_EDV_INDEX, index_ml_m2, sex)


def grade_esv_index(index_ml_m2: float, sex: str | None) -> Reference | None:
    """Return range and class of an indexed end-systolic volume in mL/m2, or None without a sex."""
    return _up_to(_UPPER_ESV_INDEX, index_ml_m2, sex)


def grade_la_index(index_ml_m2: float, *, at_least: bool = False) -> Reference | None:
    """Return range and class of an indexed left-atrial volume in mL/m2.

    Where the volume is a lower bound (`at_least`), none but the highest class is known; None below it.
    """
    if at_least and index_ml_m2 <= 48:
        return None
    if index_ml_m2 < 16:
        grade = "below normal"
    else:
        # The classes are of whole mL/m2 (16-34, 35-41, 42-48, >48): a value between two belongs to the upper.
        bounds = ((34, "normal"), (41, "mild"), (48, "moderate"))
        grade = next((name for bound, name in bounds if index_ml_m2 <= bound), "severe")
    return Reference("16-34 mL/m²", grade)


def _up_to(limits: dict[str, int], value: float, sex: str | None) -> Reference | None:
    code = sex_code(sex)
    if code is None:
        return None
    return Reference(f"up to {limits[code]} mL/m²", "normal" if value <= limits[code] else "above normal")
