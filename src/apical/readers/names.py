"""What a file name says: patient, view, phase, and whether it is an expert mask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from apical.anatomy import Phase, View
from apical.readers.raster import image_suffix

_PATIENT = r"patient\d+"
_CAMUS = re.compile(
    rf"^(?:(?P<patient>{_PATIENT})_)?(?P<view>2CH|4CH)_(?P<what>ED|ES|(?:half_)?sequence)(?P<mask>_gt)?$", re.IGNORECASE
)
_FOLDER = re.compile(rf"^{_PATIENT}$", re.IGNORECASE)
_MASK = re.compile(r"[_-](gt|mask|seg|label)$", re.IGNORECASE)
# A word ends where letters or digits do; '_' and '-' part words in file names.
_VIEWS = {
    View.A2C: re.compile(r"(?<![a-z0-9])(2CH|A2C|AP2|2C)(?![a-z0-9])", re.IGNORECASE),
    View.A4C: re.compile(r"(?<![a-z0-9])(4CH|A4C|AP4|4C)(?![a-z0-9])", re.IGNORECASE),
}
_PHASES = {
    Phase.ED: re.compile(r"(?<![a-z0-9])(ED|end[-_ ]?diastol(e|ic))(?![a-z0-9])", re.IGNORECASE),
    Phase.ES: re.compile(r"(?<![a-z0-9])(ES|end[-_ ]?systol(e|ic))(?![a-z0-9])", re.IGNORECASE),
}


@dataclass(frozen=True)
class FileName:
    """Parts of one image file's name; `stem` is without suffix and mask ending.

    `camus` tells that the name has CAMUS's form, with or without the patient in front.
    """

    stem: str
    view: View | None = None
    phase: Phase | None = None
    is_mask: bool = False
    patient: str | None = None
    camus: bool = False

    def frame_name(self, patient_id: str) -> str:
        """Return the frame's name; CAMUS files always get the patient in front."""
        if not self.camus:
            return self.stem
        return f"{patient_id}_{self.stem[len(self.patient) + 1 :] if self.patient else self.stem}"


def parse_name(path: Path) -> FileName:
    """Read the name of an image file.

    >>> name = parse_name(Path("patient0007_4CH_ES_gt.nii.gz"))
    >>> name.stem, name.phase, name.is_mask
    ('patient0007_4CH_ES', <Phase.ES: 'ES'>, True)
    >>> parse_name(Path("lab-A2C_end-diastole.png")).view
    <View.A2C: '2CH'>
    """
    stem = path.name[: -len(image_suffix(path) or path.suffix) or None]
    if match := _CAMUS.match(stem):
        what = match["what"].upper()
        patient = match["patient"].lower() if match["patient"] else None
        view = View(match["view"].upper())
        tail = what if what in tuple(Phase) else what.lower()
        return FileName(
            stem=f"{patient}_{view}_{tail}" if patient else f"{view}_{tail}",
            view=view,
            phase=Phase(what) if what in tuple(Phase) else None,
            is_mask=match["mask"] is not None,
            patient=patient,
            camus=True,
        )
    mask = _MASK.search(stem)
    stem = stem[: mask.start()] if mask else stem
    views = [view for view, pattern in _VIEWS.items() if pattern.search(stem)]
    phases = [phase for phase, pattern in _PHASES.items() if pattern.search(stem)]
    return FileName(
        stem=stem,
        # A name with both says neither.
        view=views[0] if len(views) == 1 else None,
        phase=phases[0] if len(phases) == 1 else None,
        is_mask=mask is not None,
    )


def subject_of(stem: str) -> str:
    """Return what is left of a name without its words of view and phase: whom or what it shows.

    >>> subject_of("anna_4CH_ED"), subject_of("2CH")
    ('anna', '')
    """
    for pattern in (*_VIEWS.values(), *_PHASES.values()):
        stem = pattern.sub("", stem)
    return re.sub(r"[-_. ]{2,}", "_", stem).strip("-_. ")


def is_patient_folder(folder: Path) -> bool:
    """Tell whether a folder is named as one CAMUS patient (`patient0001`)."""
    return _FOLDER.match(folder.name) is not None
