"""Are the masks anatomically possible? Painchaud et al., IEEE TMI 39(11), 2020, doi:10.1109/TMI.2020.3003240.

A mask is impossible where `apical.repair` would change it: two cavities or atria, holes, specks of wall, an atrium
beside the apex. A model of apical repairs its masks, and says what it repaired; of another tool's masks only what is
scored is known. A mask that lacks a structure is possible here; its Dice says the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apical.evaluate.geometry import FrameScore
from apical.evaluate.tables import ABSENT, to_markdown
from apical.study import Repair

ANY = "any"
"""Masks with at least one fault, of whatever kind."""


def summarise_plausibility(frames: Sequence[FrameScore]) -> dict[str, Any]:
    """Return how many masks are impossible, before the model's own repair and as they were scored.

    Returns
    -------
    For ``before_repair`` and ``scored``: None where nobody can tell, else ``n`` masks, the ``share`` of them that is
    impossible, and in ``frames`` how many by kind of fault, `ANY` among them.
    """
    return {
        "before_repair": _counted(f.repaired for f in frames),
        "scored": _counted(f.impossible for f in frames),
    }


def plausibility_section(frames: Sequence[FrameScore]) -> list[str]:
    """Return the section of report.md; none where no mask was looked at."""
    found = {title: counts for title, counts in summarise_plausibility(frames).items() if counts}
    if not found:
        return []
    kinds = sorted({kind for counts in found.values() for kind in counts["frames"]} - {ANY})
    rows = [
        {"to be repaired": kind} | {title.replace("_", " "): _cell(counts, kind) for title, counts in found.items()}
        for kind in (ANY, *kinds)
    ]
    return [
        "## Anatomy",
        "Masks that are anatomically impossible: two cavities or atria, holes, specks of wall, an atrium beside the "
        "apex; before the model repaired them, where it tells, and as they were scored. A structure that is missing "
        "does not count here: its Dice is 0.",
        to_markdown(rows),
    ]


def _counted(repairs: Iterable[tuple[Repair, ...] | None]) -> dict[str, Any] | None:
    known = [of_frame for of_frame in repairs if of_frame is not None]
    if not known:
        return None
    frames = {ANY: sum(bool(of_frame) for of_frame in known)}
    for of_frame in known:
        for kind in {repair.what for repair in of_frame}:
            frames[kind] = frames.get(kind, 0) + 1
    return {"n": len(known), "share": frames[ANY] / len(known), "frames": frames}


def _cell(counts: dict[str, Any], kind: str) -> str:
    n = counts["frames"].get(kind, 0)
    return f"{n} of {counts['n']} ({n / counts['n']:.1%})" if n or kind == ANY else ABSENT
