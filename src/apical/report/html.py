"""The report as one self-contained HTML file: no scripts, nothing from the network, made to be printed on A4."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from apical.report.content import Content
from apical.report.pictures import CurveKind
from apical.report.svg import swatch, to_svg

if TYPE_CHECKING:
    from jinja2 import Environment


def html_report(content: Content) -> str:
    """Return the report as an HTML page.

    Every text that comes from a file is escaped, and the page forbids itself scripts and requests
    (Content-Security-Policy). The same content gives the same page, byte for byte.
    """
    drawn = {curve.kind for picture in content.pictures for curve in picture.curves}
    page = _environment().get_template("report.html")
    return page.render(
        report=content,
        frames=[(picture, to_svg(picture)) for picture in content.pictures],
        curves=[(curve.title, b64encode(curve.png).decode("ascii")) for curve in content.curves],
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
