"""The frames of a clip's film, drawn with Pillow: matplotlib would take minutes for what takes seconds here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from apical.cycle.measured import ViewClip
from apical.report.pictures import STYLES, clip_box, mask_curves

_DARK, _LIGHT, _GREY = (20, 23, 26), (232, 234, 237), (95, 99, 104)
_LINE, _CURSOR = (86, 180, 233), (255, 255, 255)
_ED, _ES = (240, 228, 66), (204, 121, 167)
COLOURS = (_LINE, _ED, _ES)
"""What the curve is drawn with: a film of few colours must keep them."""
_STRIP_SHARE = 0.28
"""Height of the strip with the curve, as a share of the picture's."""
_FINE = 2
"""The strip is drawn so many times larger and shrunk: its lines are smooth, and it is drawn once."""
_LEAST_WIDTH_PX = 320
_MARK_PX = 5


class ClipPainter:
    """Paints the frames of one clip: image, outlines, and the curve with a cursor at the present frame.

    Parameters
    ----------
    seen
        Clip and cycle.
    masks
        (time, row, column), labels 0-3.
    volumes_ml
        (time,) or None for the area curve.
    height_px
        Least height of the picture; a larger clip keeps its size, with pixels made square.
    """

    def __init__(
        self, seen: ViewClip, masks: NDArray[np.uint8], volumes_ml: NDArray[np.float64] | None, height_px: int
    ) -> None:
        self._clip, self._cycle, self._masks = seen.clip, seen.cycle, masks
        self._box = clip_box(seen.clip, masks)
        rows, columns = self._box.shape
        high, wide = seen.clip.grid.spacing_mm or (1.0, 1.0)
        scale = height_px / rows
        self._scale = scale, scale * wide / high
        self._size = max(1, round(columns * self._scale[1])), height_px
        width = max(self._size[0], _LEAST_WIDTH_PX)
        self._width = width + width % 2
        self._strip_height = 2 * round(_STRIP_SHARE * height_px / 2)
        self._font_px = max(9, round(height_px / 38))
        self._font = ImageFont.load_default(self._font_px)
        self._values = seen.cycle.area if volumes_ml is None else volumes_ml
        # Pillow's own font has no raised 2.
        self._unit = seen.cycle.unit.replace("²", "2") if volumes_ml is None else "mL, single plane"
        self._is_area = volumes_ml is None
        self._marks = {b.ed_index: "ED" for b in seen.cycle.good_beats}
        self._marks |= {b.next_ed_index: "ED" for b in seen.cycle.good_beats if b.next_ed_index is not None}
        self._marks |= {b.es_index: "ES" for b in seen.cycle.good_beats}
        self._x, self._y = self._axes()
        self._strip = self._draw_strip()

    def paint(self, index: int) -> NDArray[np.uint8]:
        """Return one frame of the film, RGB, (row, column, 3)."""
        height = self._size[1]
        canvas = Image.new("RGB", (self._width, height + self._strip_height), _DARK)
        still = Image.fromarray(np.ascontiguousarray(self._clip.images[index][self._box.slices]))
        left = (self._width - self._size[0]) // 2
        canvas.paste(still.resize(self._size, Image.Resampling.BILINEAR).convert("RGB"), (left, 0))
        canvas.paste(self._strip, (0, height))
        draw = ImageDraw.Draw(canvas)
        self._outline(draw, index, left)
        x = float(self._x[index])
        draw.line([(x, height + 2), (x, height + self._strip_height - 2)], fill=_CURSOR, width=1)
        if np.isfinite(self._y[index]):
            y = height + float(self._y[index])
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=_CURSOR)
        draw.text((6, 4), self._caption(index), fill=_LIGHT, font=self._font)
        mark = self._marks.get(index)
        if mark:
            colour = _ED if mark == "ED" else _ES
            draw.text((self._width - 6, 4), mark, fill=colour, font=self._font, anchor="ra")
        return np.asarray(canvas)

    def _outline(self, draw: ImageDraw.ImageDraw, index: int, left: int) -> None:
        for curve in mask_curves(self._masks[index][self._box.slices])[0]:
            style = STYLES[curve.kind]
            for line in curve.lines:
                # Pixel centres lie half a pixel inside the picture.
                y = (line[:, 0] + 0.5) * self._scale[0]
                x = (line[:, 1] + 0.5) * self._scale[1] + left
                points = list(zip(x.tolist(), y.tolist(), strict=True))
                draw.line([*points, points[0]], fill=style.colour, width=2, joint="curve")

    def _caption(self, index: int) -> str:
        times = self._clip.frame_times_ms
        when = "time unknown" if times is None else f"{times[index] / 1000:.2f} s"
        value = self._values[index]
        known = self._cycle.plausible[index] and np.isfinite(value)
        much = self._much(value).removesuffix(", single plane")
        return f"frame {index + 1}, {when}, {much if known else 'not measured'}"

    def _much(self, *values: float) -> str:
        """Return values with their unit: mL and pixels whole, other areas to a tenth."""
        digits = 0 if not self._is_area or self._unit == "pixels" else 1
        return " to ".join(f"{v:.{digits}f}" for v in values) + f" {self._unit}"

    def _axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the (time,) positions of all frames on the strip, in its pixels."""
        times = self._clip.frame_times_ms
        instants = np.arange(len(self._values), dtype=np.float64) if times is None else times
        reach = max(float(instants[-1] - instants[0]), 1e-9)
        x = 12 + (instants - instants[0]) / reach * (self._width - 24)
        known = self._cycle.plausible & np.isfinite(self._values)
        y = np.full(x.shape, np.nan)
        if known.any():
            low, high = float(self._values[known].min()), float(self._values[known].max())
            top, bottom = 3.0 + self._font_px + 2 * _MARK_PX + 2, self._strip_height - 2.0 * _MARK_PX - 2
            y[known] = bottom - (self._values[known] - low) / max(high - low, 1e-9) * (bottom - top)
        return x, y

    def _draw_strip(self) -> Image.Image:
        strip = Image.new("RGB", (self._width * _FINE, self._strip_height * _FINE), _DARK)
        draw = ImageDraw.Draw(strip)
        for beat in self._cycle.beats:
            if beat.rejected and beat.next_ed_index is not None:
                ends = [float(self._x[k]) * _FINE for k in (beat.ed_index, beat.next_ed_index)]
                draw.rectangle([ends[0], 0, ends[1], strip.height], fill=(60, 40, 30))
        known = np.isfinite(self._y)
        # Broken where frames are missing: a line across would show what was not seen.
        for run in np.split(np.arange(len(known)), np.flatnonzero(np.diff(known)) + 1):
            if known[run[0]] and len(run) > 1:
                points = [(float(self._x[k]) * _FINE, float(self._y[k]) * _FINE) for k in run]
                draw.line(points, fill=_LINE, width=2 * _FINE, joint="curve")
        for index, mark in self._marks.items():
            if known[index]:
                x, y = float(self._x[index]) * _FINE, float(self._y[index]) * _FINE
                half = _MARK_PX * _FINE
                side = -half if mark == "ED" else half
                triangle = [(x, y + 0.4 * side), (x - half, y + 2 * side), (x + half, y + 2 * side)]
                draw.polygon(triangle, fill=_ED if mark == "ED" else _ES)
        draw.line([(0, 0), (strip.width, 0)], fill=_GREY, width=_FINE)
        small = strip.resize((self._width, self._strip_height), Image.Resampling.BOX)
        if known.any():
            low, high = (float(f(self._values[known])) for f in (np.min, np.max))
            text = f"{'area' if self._is_area else 'volume'} {self._much(low, high)}"
            rate = self._cycle.heart_rate_bpm
            text += "" if rate is None else f"; {rate:.0f} beats/min"
            ImageDraw.Draw(small).text((8, 3), text, fill=_LIGHT, font=self._font)
        return small
