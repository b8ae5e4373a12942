"""The report as one self-contained HTML file: no scripts, nothing from the network, made to be printed on A4."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apical.measure.results import Measurements
from apical.report.beat_table import BeatTable
from apical.report.content import report_content
from apical.report.pictures import CurveKind
from apical.report.svg import swatch, to_svg
from apical.study import Study

if TYPE_CHECKING:
    from jinja2 import Environment


def html_report(
    study: Study,
    masks: Mapping[str, NDArray[np.uint8]],
    measurements: Measurements,
    *,
    date: str | None = None,
    beats: BeatTable | None = None,
    curves: Mapping[str, bytes] | None = None,
) -> str:
    """Return the report as an HTML page.

    `curves` are PNG pictures by their title. Every text that comes from a file is escaped, and the page forbids
    itself scripts and requests (Content-Security-Policy). Without `date` the same input gives the same page, byte
    for byte.
    """
    content = report_content(study, masks, measurements, date, beats)
    drawn = {curve.kind for picture in content.pictures for curve in picture.curves}
    page = _environment().get_template("report.html")
    return page.render(
        report=content,
        frames=[(picture, to_svg(picture)) for picture in content.pictures],
        curves=[(title, b64encode(png).decode("ascii")) for title, png in (curves or {}).items()],
        legend=[(swatch(kind), kind.value) for kind in CurveKind if kind in drawn],
    )


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("apical.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
