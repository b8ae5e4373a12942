"""The picture and the film of a clip: what they show, and that they hide what is outside the sector."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from apical.anatomy import View
from apical.cycle import ViewClip, find_cycle, frame_volumes_ml, measure_clips, measure_stability
from apical.errors import OutputError
from apical.phantom import as_clip_study, make_beating
from apical.report.beat_table import beat_table
from apical.report.clip import curve_alone, draw_clip, frame_rate_hz, write_clip_film
from apical.report.clip_frames import ClipPainter
from apical.report.clip_report import write_clip_report
from apical.report.content import report_content
from apical.report.pdf import draw_pages
from apical.report.pictures import outlined_picture, shown_box
from apical.report.video import gif_frames, write_gif, write_mp4
from apical.study import Grid

VIEW = View.A4C
YELLOW = np.array([240, 228, 66])


@pytest.fixture(scope="module")
def seen() -> ViewClip:
    phantom = make_beating(7, heart_rate_bpm=75, frame_rate_hz=30, n_beats=1, spacing_mm=(1.0, 1.3))
    clip = phantom.clip(VIEW)
    cycle = find_cycle(clip.reference, clip.frame_times_ms, clip.grid.spacing_mm)
    return ViewClip(clip, VIEW, None, cycle, measure_stability(clip.reference))


def film(path: Path) -> np.ndarray:
    with av.open(str(path)) as opened:
        return np.stack([f.to_ndarray(format="rgb24") for f in opened.decode(video=0)])


def is_near(picture: np.ndarray, colour: np.ndarray, within: int = 40) -> np.ndarray:
    return (np.abs(picture.astype(int) - colour) < within).all(axis=-1)


def test_mp4_has_every_frame_in_true_time(tmp_path: Path, seen: ViewClip):
    path = tmp_path / "clip.mp4"
    write_clip_film(seen, seen.clip.reference, path)
    frames = film(path)
    assert len(frames) == len(seen.clip.images)
    assert frames.shape[1] > 480
    with av.open(str(path)) as opened:
        assert float(opened.streams.video[0].average_rate) == pytest.approx(30.0)
        assert opened.streams.video[0].codec_context.name in ("h264", "mpeg4")
    assert is_near(frames[0][:480], YELLOW, 60).sum() > 200


def test_gif_runs_as_long_as_the_clip(tmp_path: Path, seen: ViewClip):
    path = tmp_path / "clip.gif"
    write_clip_film(seen, seen.clip.reference, path)
    with Image.open(path) as gif:
        assert gif.info["loop"] == 0
        lengths = []
        for k in range(gif.n_frames):
            gif.seek(k)
            lengths.append(gif.info["duration"])
        assert gif.n_frames == len(gif_frames(len(seen.clip.images), 30.0))
    assert sum(lengths) == pytest.approx(1000 * len(seen.clip.images) / 30.0, abs=30)
    assert path.stat().st_size < 2_000_000


@pytest.mark.parametrize("rate", [12.5, 25.0, 50.0, 120.0])
def test_gif_frames_keep_the_pace(rate: float):
    chosen = gif_frames(100, rate)
    assert chosen[0] == 0
    assert chosen == sorted(set(chosen))
    assert len(chosen) == pytest.approx(100 * min(1.0, 25.0 / rate), abs=1)


def test_outlines_lie_on_the_border(seen: ViewClip):
    masks = seen.clip.reference
    index = seen.cycle.beats[0].es_index
    painter = ClipPainter(seen, masks, None, 480)
    blank = ClipPainter(seen, np.zeros_like(masks), None, 480)
    drawn = is_near(painter.paint(index)[:480], YELLOW, 10) & ~is_near(blank.paint(index)[:480], YELLOW, 10)
    rows, columns = np.nonzero(drawn)
    cavity = masks[index] == 1
    spacing = seen.clip.grid.spacing_mm
    scale = 480 / masks.shape[1]
    top, left = (np.flatnonzero(cavity.any(axis=a))[[0, -1]] for a in (1, 0))
    # The lower border is also the atrium's, drawn below it.
    assert rows.min() == pytest.approx(top[0] * scale, abs=3)
    offset = (painter.paint(index).shape[1] - round(masks.shape[2] * scale * spacing[1] / spacing[0])) // 2
    assert columns.min() - offset == pytest.approx(left[0] * scale * spacing[1] / spacing[0], abs=4)
    assert columns.max() - offset == pytest.approx((left[1] + 1) * scale * spacing[1] / spacing[0], abs=4)


def test_cursor_moves_with_time(seen: ViewClip):
    painter = ClipPainter(seen, seen.clip.reference, None, 300)
    cursors = []
    for k in (0, len(seen.clip.images) // 2, len(seen.clip.images) - 1):
        strip = painter.paint(k)[302:]
        cursors.append(int(is_near(strip, np.array([255, 255, 255]), 5).sum(axis=0).argmax()))
    assert cursors[0] == pytest.approx(12, abs=1)
    assert cursors[0] < cursors[1] < cursors[2]
    assert cursors[2] == pytest.approx(painter.paint(0).shape[1] - 12, abs=1)


def test_what_lies_outside_the_region_is_not_shown(tmp_path: Path, seen: ViewClip):
    images = np.pad(seen.clip.images, ((0, 0), (40, 0), (0, 0)))
    images[:, :30] = 255  # where scanners write names
    rows, columns = images.shape[1:]
    masks = np.pad(seen.clip.reference, ((0, 0), (40, 0), (0, 0)))
    grid = replace(seen.clip.grid, shape=(rows, columns))
    framed = replace(seen, clip=replace(seen.clip, images=images, grid=grid, region=(40, 0, rows, columns)))
    same = ClipPainter(framed, masks, None, 300).paint(3)
    assert np.array_equal(
        same,
        ClipPainter(
            replace(seen, clip=replace(seen.clip, region=(0, 0, *seen.clip.grid.shape))), seen.clip.reference, None, 300
        ).paint(3),
    )


def test_frames_without_masks_and_times(tmp_path: Path, seen: ViewClip):
    masks = seen.clip.reference.copy()
    masks[5:8] = 0
    clip = replace(seen.clip, frame_times_ms=None, grid=replace(seen.clip.grid, spacing_mm=None))
    untimed = ViewClip(clip, VIEW, None, find_cycle(masks), measure_stability(masks))
    assert frame_rate_hz(untimed) == 25.0
    write_clip_film(untimed, masks, tmp_path / "a.mp4")
    assert len(film(tmp_path / "a.mp4")) == len(masks)
    draw_clip(untimed, masks, tmp_path / "a.png")


@pytest.mark.parametrize("with_volumes", [False, True])
def test_picture_of_curve_and_frames(tmp_path: Path, seen: ViewClip, with_volumes: bool):
    volumes = frame_volumes_ml(seen.clip, seen.clip.reference, VIEW) if with_volumes else None
    path = tmp_path / "clip.png"
    draw_clip(seen, seen.clip.reference, path, volumes_ml=volumes)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    curve, stills = pixels[: pixels.shape[0] * 4 // 10], pixels[pixels.shape[0] * 5 // 10 :]
    assert is_near(curve, np.array([204, 121, 167]), 20).sum() > 20  # end-systole
    assert is_near(curve, np.array([86, 180, 233]), 20).sum() > 200  # the line
    assert is_near(stills, YELLOW, 20).sum() > 200  # endocardium


def test_a_clip_that_does_not_beat_is_drawn_all_the_same(tmp_path: Path, seen: ViewClip):
    masks = np.zeros_like(seen.clip.reference)
    still = replace(seen, cycle=find_cycle(masks, seen.clip.frame_times_ms))
    draw_clip(still, masks, tmp_path / "a.png")
    write_clip_film(still, masks, tmp_path / "a.gif")
    assert {p.name for p in tmp_path.iterdir()} == {"a.png", "a.gif"}


def test_nothing_is_overwritten_unasked(tmp_path: Path, seen: ViewClip):
    for name, write in (("a.png", draw_clip), ("a.mp4", write_clip_film), ("a.gif", write_clip_film)):
        (tmp_path / name).write_bytes(b"mine")
        with pytest.raises(OutputError, match="exists already"):
            write(seen, seen.clip.reference, tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"mine"
    with pytest.raises(OutputError, match=r"\.mp4 and \.gif"):
        write_clip_film(seen, seen.clip.reference, tmp_path / "a.avi")


def test_films_need_a_picture(tmp_path: Path):
    for write in (write_mp4, write_gif):
        with pytest.raises(OutputError, match="at least one picture"):
            write(tmp_path / "a.film", [], 25.0)
    assert not list(tmp_path.iterdir())


def test_film_of_odd_grey_pictures(tmp_path: Path):
    pictures = [np.full((31, 45), k, np.uint8) for k in (0, 128, 255)]
    write_mp4(tmp_path / "a.mp4", pictures, 10.0, quality=0)
    frames = film(tmp_path / "a.mp4")
    assert frames.shape == (3, 32, 46, 3)
    assert frames.mean(axis=(1, 2, 3)) == pytest.approx([0, 128, 255], abs=3)


def test_a_gif_keeps_the_colours_that_few_pixels_have(tmp_path: Path):
    random = np.random.default_rng(5)
    pictures = [random.integers(0, 255, (60, 80, 3)).astype(np.uint8) for _ in range(2)]
    colour = (204, 121, 167)
    pictures[1][30, 40] = colour
    write_gif(tmp_path / "a.gif", pictures, 10.0, colours=[colour])
    with Image.open(tmp_path / "a.gif") as film_:
        film_.seek(1)
        assert film_.convert("RGB").getpixel((40, 30)) == colour


def test_the_table_has_every_beat_or_why_it_was_left_out(tmp_path: Path):
    phantom = make_beating(4, heart_rate_bpm=80, frame_rate_hz=25, n_beats=4, rhythm="premature", spacing_mm=(1.2, 1.2))
    study = as_clip_study(phantom, with_images=False)
    masks = {clip.name: clip.reference for clip in study.clips}
    result = measure_clips(study, masks)
    table = beat_table(result)
    cycles = [seen.cycle for seen in result.views.values()]
    pairs = [row for row in table.rows if row.beat.startswith("biplane")]
    assert len(table.rows) - len(pairs) == sum(len(cycle.beats) for cycle in cycles)
    assert len(pairs) == len(result.beats) == result.summary.n_beats
    left_out = [row for row in table.rows if row.remark.startswith("left out: it is")]
    assert len(left_out) == sum(beat.rejected is not None for cycle in cycles for beat in cycle.beats) > 0
    assert {row.ef for row in left_out} == {"–"}
    assert [row.shown for row in table.rows].count(True) == 1
    low, high = result.summary.ef_range_percent
    assert table.summary == f"median of {len(pairs)} beats ({low:.1f} to {high:.1f} %)"
    paths = write_clip_report(study, masks, result, tmp_path, film=False)
    page = next(path for path in paths if path.suffix == ".html").read_text(encoding="utf-8")
    assert f"EF {result.summary.ef_percent:.1f} %" in page
    assert table.summary in page
    assert all(row.beat in page and row.ed in page for row in table.rows)
    drawn = [curve_alone(path) for path in paths if path.name.endswith("_curve.png")]
    assert [b64decode(png) for png in re.findall(r'src="data:image/png;base64,([^"]+)"', page)] == drawn
    assert len(drawn) == len(result.views)


def test_the_pdf_has_each_curve_with_every_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    phantom = make_beating(4, heart_rate_bpm=80, frame_rate_hz=25, n_beats=4, rhythm="premature", spacing_mm=(1.5, 1.5))
    study = as_clip_study(phantom, with_images=False)
    masks = {clip.name: clip.reference for clip in study.clips}
    result = measure_clips(study, masks)
    built = []
    monkeypatch.setattr(
        "apical.report.content.report_content", lambda *given: built.append(report_content(*given)) or built[-1]
    )
    write_clip_report(study, masks, result, tmp_path, film=False)
    assert len(built) == 1, "put together once for page and PDF"
    assert len(re.findall(rb"/Type /Page\b", (tmp_path / "report.pdf").read_bytes())) == 3
    page = draw_pages(built[0])[2]
    assert len(page.axes) == len(result.views) == 2
    for axes, seen in zip(page.axes, result.views.values(), strict=True):
        volumes_ml = frame_volumes_ml(seen.clip, masks[seen.clip.name], seen.view)
        times = seen.cycle.frame_times_ms / 1000.0
        line = next(drawn for drawn in axes.lines if drawn.get_label() == "volume")
        np.testing.assert_allclose(line.get_xydata(), np.column_stack([times, volumes_ml]))
        for marker, index in (("v", "ed_index"), ("^", "es_index")):
            marked = {
                tuple(drawn.get_xydata()[0])
                for drawn in axes.lines
                if drawn.get_marker() == marker and drawn.get_markersize() == 7 and len(drawn.get_xdata())
            }
            frames = [getattr(beat, index) for beat in seen.cycle.beats]
            assert marked == {(times[k], volumes_ml[k]) for k in frames}
        shaded = [patch.get_x() for patch in axes.patches if isinstance(patch, Rectangle)]
        assert shaded == [times[beat.ed_index] for beat in seen.cycle.beats if beat.rejected] != []
        assert 0 < axes.get_position().y0 < axes.get_position().y1 < 1
    words = " ".join(text.get_text() for text in page.texts)
    assert all(seen.clip.name in words for seen in result.views.values())


def test_the_volume_of_every_frame_is_measured_only_to_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    study = as_clip_study(make_beating(4, n_beats=1, frame_rate_hz=20, spacing_mm=(1.5, 1.5)), with_images=False)
    masks = {clip.name: clip.reference for clip in study.clips}
    result = measure_clips(study, masks)
    monkeypatch.setattr("apical.report.clip_report.frame_volumes_ml", lambda *_: pytest.fail("measured for nothing"))
    assert write_clip_report(study, masks, result, tmp_path, report=False, film=False) == []


def test_both_instants_are_shown_at_one_scale():
    image = np.zeros((100, 100), np.uint8)
    image[10:90, 10:60] = 200
    narrow = np.zeros_like(image)
    narrow[20:60, 30:50] = 1
    wide = np.zeros_like(image)
    wide[20:95, 30:95] = 1
    box = shown_box((image, narrow), (image, wide))
    assert (box.bottom, box.right) == (95, 95)
    assert outlined_picture(image, Grid(image.shape), narrow, "ES", box).image.shape == box.shape
