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


class Orientation(StrEnum):
    """How a picture shows the heart, beside the display that the guidelines and CAMUS use.

    STANDARD has the apex at the top and, in 4CH, the right heart at the left; some laboratories exchange left and
    right, paediatric ones show the apex at the bottom.
    """

    STANDARD = "standard"
    MIRRORED = "mirrored"
    UPSIDE_DOWN = "upside_down"
    TURNED = "turned"
    """Upside down and mirrored: turned by half a turn."""

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes of a (row, column) picture whose order makes it standard when reversed, and back."""
        return _REVERSED[self]

    @property
    def words(self) -> str:
        """The orientation as a part of a sentence."""
        return _SHOWN[self]


_REVERSED: dict[Orientation, tuple[int, ...]] = {
    Orientation.STANDARD: (),
    Orientation.MIRRORED: (1,),
    Orientation.UPSIDE_DOWN: (0,),
    Orientation.TURNED: (0, 1),
}
_SHOWN = {
    Orientation.STANDARD: "in the standard display",
    Orientation.MIRRORED: "mirrored, left and right exchanged",
    Orientation.UPSIDE_DOWN: "upside down, the apex at the bottom",
    Orientation.TURNED: "turned by half a turn, the apex at the bottom",
}


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
