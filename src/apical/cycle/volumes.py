"""The single-plane volume of every frame of a clip, for the curve that a report and a film show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apical.anatomy import Phase, View
from apical.cycle.curve import cavity_areas, plausible_frames
from apical.errors import InputError
from apical.measure.disks import single_plane_volume_ml
from apical.measure.quality import Inspector
from apical.measure.ventricle import trace_cavity
from apical.study import Clip


def frame_volumes_ml(clip: Clip, masks: NDArray[np.uint8], view: View) -> NDArray[np.float64]:
    """Measure the single-plane volume (method of disks) of every frame, (time,) in mL.

    A frame that cannot be measured is NaN: its mask is missing, implausible, or refused by the quality gate.

    Raises
    ------
    InputError
        When the pixel spacing is unknown: there are no millilitres then.
    """
    spacing_mm = clip.grid.spacing_mm
    if spacing_mm is None:
        raise InputError(f"{clip.source or clip.name}: the pixel spacing is unknown, there are no volumes; give it")
    volumes = np.full(len(masks), np.nan)
    for k in np.flatnonzero(plausible_frames(cavity_areas(masks), clip.frame_times_ms)):
        # The phase only names findings, which are not kept.
        inspector = Inspector(view, Phase.ED)
        trace = trace_cavity(masks[k], spacing_mm, inspector, in_mm=True)
        if trace is not None and trace.disks is not None and not inspector.refused:
            volumes[k] = single_plane_volume_ml(trace.disks)
    return volumes
