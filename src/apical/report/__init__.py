"""Everything written for a person or another program: pictures, reports, tables and mask files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from apical.measure.results import Measurements
    from apical.report.beat_table import BeatTable
    from apical.report.curve import ClipCurve
    from apical.study import Study

__all__ = ["write_report"]

HTML, JSON, PDF, OVERLAY = "report.html", "report.json", "report.pdf", "overlay.png"


def write_report(
    study: Study,
    masks: Mapping[str, NDArray[np.uint8]],
    measurements: Measurements,
    folder: Path | str,
    *,
    pdf: bool = True,
    date: str | None = None,
    beats: BeatTable | None = None,
    curves: Sequence[ClipCurve] = (),
    overwrite: bool = False,
) -> list[Path]:
    """Write report.html, report.json, report.pdf and overlay.png of one patient; return their paths.

    The files hold no time of writing: the same input gives the same bytes.

    Parameters
    ----------
    masks
        Labels 0-3 by frame name, as they were measured; a `Segmentation` also names model and runtime, and views.
    folder
        Made where it is missing.
    pdf
        Whether to write report.pdf, which takes the longest.
    date
        Text to print as the date of the report, in HTML and PDF.
    beats
        Table of a clip's beats, for HTML and PDF.
    curves
        Curve of each clip, for HTML and PDF.

    Raises
    ------
    OutputError
        A file exists and `overwrite` is false (then none is written), or the folder cannot be written to.
    """
    # Here and not above: `apical segment` writes masks from this package and needs no jinja2.
    from apical.files import make_folder, refuse_existing, write_text
    from apical.report.content import report_content
    from apical.report.html import html_report
    from apical.report.json_report import json_report
    from apical.report.overlay import draw_overlay
    from apical.report.pdf import write_pdf

    study = study.with_views(getattr(masks, "views", {}))
    folder = make_folder(folder)
    paths = {name: folder / name for name in (HTML, JSON, PDF, OVERLAY) if pdf or name != PDF}
    for path in paths.values():
        refuse_existing(path, overwrite=overwrite)
    content = report_content(study, masks, measurements, date, beats, curves)
    write_text(paths[HTML], html_report(content), overwrite=overwrite)
    write_text(
        paths[JSON], json_report(study, masks, measurements, beats.summaries if beats else None), overwrite=overwrite
    )
    if pdf:
        write_pdf(content, paths[PDF], overwrite=overwrite)
    draw_overlay(study, masks, paths[OVERLAY], overwrite=overwrite)
    return list(paths.values())
