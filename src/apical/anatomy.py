"""The field's words: labels, structures, views and phases.

Every other module speaks in these terms; this one imports nothing of apical.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Label(IntEnum):
    """Value of a mask pixel, as in CAMUS (Leclerc et al. 2019, doi:10.1109/TMI.2019.2900516)."""

    BACKGROUND = 0
    LV_CAVITY = 1
    MYOCARDIUM = 2
    LEFT_ATRIUM = 3


class View(StrEnum):
    """Apical view; the value is CAMUS's name for it."""

    A2C = "2CH"
    A4C = "4CH"


class Phase(StrEnum):
    """Instant of the cardiac cycle."""

    ED = "ED"
    ES = "ES"


class Structure(StrEnum):
    """Region that is scored or measured, made of one or more labels."""

    ENDOCARDIUM = "endo"
    EPICARDIUM = "epi"
    LEFT_ATRIUM = "la"
    MYOCARDIUM = "myo"

    @property
    def labels(self) -> tuple[Label, ...]:
        """Labels that make up the structure.

        The epicardium encloses cavity and myocardium; the myocardium ring alone is another,
        thinner region, and papers that mix the two are not comparable.
        """
        return _LABELS[self]


_LABELS = {
    Structure.ENDOCARDIUM: (Label.LV_CAVITY,),
    Structure.EPICARDIUM: (Label.LV_CAVITY, Label.MYOCARDIUM),
    Structure.LEFT_ATRIUM: (Label.LEFT_ATRIUM,),
    Structure.MYOCARDIUM: (Label.MYOCARDIUM,),
}

FOREGROUND = (Structure.ENDOCARDIUM, Structure.MYOCARDIUM, Structure.LEFT_ATRIUM)
"""The three disjoint structures whose mean Dice is called 'mean foreground Dice'."""
