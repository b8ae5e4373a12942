"""Frame pictures as SVG: the frame as a PNG inside, its curves as vectors that stay sharp in print."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apical.measure.contour import Points
from apical.report.pictures import STYLES, CurveKind, FramePicture

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDTH = 400.0
_LARGEST_PX = 900
_POINTS_PER_LINE = 240
_PX_PER_POINT = 4 / 3


def to_svg(picture: FramePicture) -> Markup:
    """Return a picture as an `<svg>` element in true proportions, safe to put into a page."""
    from markupsafe import Markup, escape

    height, width = picture.size
    scale = _WIDTH / width
    shapes = "".join(_curve(c.kind, c.lines, c.closed, np.array(picture.pixel_size) * scale) for c in picture.curves)
    return Markup(
        f'<svg viewBox="0 0 {_WIDTH:.0f} {height * scale:.1f}" role="img" aria-label="{escape(picture.title)}">'
        f'<image width="{_WIDTH:.0f}" height="{height * scale:.1f}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{_png(picture.image)}"/>{shapes}</svg>'
    )


def swatch(kind: CurveKind) -> Markup:
    """Return a short line in the style of a kind of curve, for a legend."""
    from markupsafe import Markup

    shape = f'<circle cx="8" cy="5" r="2.5" fill="{STYLES[kind].colour}"/>'
    if kind is not CurveKind.APEX:
        shape = f'<path d="M0 5H16" {_stroke(kind, 1.5)}/>'
    return Markup(f'<svg class="swatch" viewBox="0 0 16 10" aria-hidden="true">{shape}</svg>')


def _curve(kind: CurveKind, lines: tuple[Points, ...], closed: bool, scale: NDArray[np.float64]) -> str:
    if kind is CurveKind.APEX:
        row, column = (lines[0][0] + 0.5) * scale
        return f'<circle cx="{column:.1f}" cy="{row:.1f}" r="2.6" fill="{STYLES[kind].colour}"/>'
    path = "".join(_path(line, scale) + "Z" * closed for line in lines)
    return f'<path d="{path}" {_stroke(kind)}/>'


def _stroke(kind: CurveKind, factor: float = 1.0) -> str:
    style = STYLES[kind]
    width = style.width * _PX_PER_POINT * factor
    return f'fill="none" stroke="{style.colour}" stroke-width="{width:.2f}" stroke-opacity="{style.opacity:g}"'


def _path(line: Points, scale: NDArray[np.float64]) -> str:
    # Outlines come with two points per pixel, more than can be seen.
    kept = np.unique(np.linspace(0, len(line) - 1, min(len(line), _POINTS_PER_LINE)).round().astype(int))
    # Integer positions are pixel centres; the picture begins at a pixel's corner.
    points = (line[kept] + 0.5) * scale
    return "M" + "L".join(f"{column:.1f} {row:.1f}" for row, column in points)


def _png(image: NDArray[np.uint8]) -> str:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((_LARGEST_PX, _LARGEST_PX), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
