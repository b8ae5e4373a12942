"""The report's files: what they hold, that they are safe to open, and that none is half written or replaced unasked."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from apical.anatomy import Label, Phase, View
from apical.errors import OutputError
from apical.evaluate.evaluation import WorstFrame
from apical.evaluate.geometry import score_frame
from apical.grid import Box
from apical.measure import measure
from apical.phantom import as_study, make_patient
from apical.report import write_report
from apical.report.beat_table import BeatRow, BeatTable
from apical.report.content import report_content
from apical.report.html import html_report
from apical.report.overlay import draw_overlay
from apical.report.pdf import draw_pages, write_pdf
from apical.report.pictures import CurveKind, clip_instants, geometry_curves, mask_curves, outlined_picture, shown_box
from apical.report.svg import to_svg
from apical.report.worst_frames import write_worst_frames
from apical.study import Clip, Frame, Grid, Patient, Segmentation, Study

HOSTILE = "<script>alert(1)</script>$\\frac{ & \"'\n心"


@pytest.fixture(scope="module")
def study() -> Study:
    return as_study(make_patient(5, edv_ml=120.0, ef_percent=60.0))


def test_stills_are_shown_in_the_view_that_the_model_recognised(study: Study, tmp_path: Path) -> None:
    nameless = replace(study, frames=tuple(replace(f, view=None) for f in study.frames))
    masks = Segmentation(study.references, views={f.name: (f.view, 0.99) for f in study.frames})
    write_report(nameless, masks, measure(nameless, masks), tmp_path, pdf=False)
    page = (tmp_path / "report.html").read_text()
    assert "2CH ED, 2CH ES, 4CH ED, 4CH ES" in page
    assert "recognised by the model (99 %)" in page


@pytest.fixture(scope="module")
def hostile(study: Study) -> Study:
    """Every text that can come from a file is an attack."""
    frames = tuple(replace(f, name=f"{HOSTILE}{k}") for k, f in enumerate(study.frames))
    patient = replace(study.patient, id=HOSTILE, sex=HOSTILE, image_quality={View.A2C: HOSTILE})
    return Study(patient, frames, notes=(HOSTILE,))


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_html_is_self_contained_and_has_no_script(hostile: Study) -> None:
    masks = Segmentation(hostile.references, HOSTILE, HOSTILE)
    page = html_report(report_content(hostile, masks, measure(hostile, masks), HOSTILE))
    parsed = _Tags()
    parsed.feed(page)
    assert "script" not in parsed.tags
    assert "&lt;script&gt;" in page
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert ("content", policy) in parsed.attributes
    links = [value or "" for name, value in parsed.attributes if name in ("href", "src")]
    assert len(links) == 4
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]


def test_html_shows_what_was_measured(study: Study) -> None:
    page = html_report(report_content(study, study.references, measure(study, study.references)))
    for text in (
        "Definition ase",
        "Definition camus",
        "LV mass at ED",
        "20 disks",
        "Research only. Not a medical device.",
    ):
        assert text in page
    assert page.count("<figure>") == 4
    assert "@page { size: A4" in page


def test_pdf_is_two_a4_pages(hostile: Study, tmp_path: Path) -> None:
    masks = hostile.references
    write_pdf(report_content(hostile, masks, measure(hostile, masks)), tmp_path / "report.pdf")
    content = (tmp_path / "report.pdf").read_bytes()
    assert len(re.findall(rb"/Type /Page\b", content)) == 2
    boxes = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", content)
    assert {(round(float(w)), round(float(h))) for w, h in boxes} == {(595, 842)}
    assert b"CreationDate" not in content


def test_many_findings_stay_on_the_page(study: Study) -> None:
    result = measure(study, {name: np.zeros_like(m) for name, m in study.references.items()})
    finding = result.findings[0]
    many = replace(result, findings=tuple(replace(finding, sentence=f"Sentence {k}.") for k in range(200)))
    for page in draw_pages(report_content(study, study.references, many)):
        heights = [text.get_position()[1] for text in page.texts]
        assert min(heights) > 0
        assert sum(h < 15 / 297 for h in heights) == 1, "nothing but the footer in the lower margin"
    assert "more: see report.html" in " ".join(
        t.get_text() for t in draw_pages(report_content(study, {}, many))[0].texts
    )


@pytest.mark.parametrize("n_beats", [1, 12, 40])
def test_many_beats_stay_on_the_page(study: Study, n_beats: int) -> None:
    remark = "left out: " + "it is far shorter than the others, as after a premature beat, " * 3
    row = BeatRow("2CH", "1 (0.00 s)", "9 (0.36 s)", "800 ms", "120", "48", "60.0", remark, shown=False)
    rows = tuple(replace(row, beat=f"2CH {k}") for k in range(1, n_beats + 1))
    beats = BeatTable(rows, 60.0, "", "Median of all beats.")
    person = replace(study.patient, sex="F", height_cm=170.0, weight_kg=65.0)
    study = replace(study, patient=person)
    page = draw_pages(report_content(study, study.references, measure(study, study.references), beats=beats))[2]
    texts = {text.get_text(): text.get_position()[1] for text in page.texts}
    assert sum(text.get_position()[1] < 15 / 297 for text in page.texts) == 1, "nothing but the footer in the margin"
    left_out = n_beats - sum(row.beat in texts for row in rows)
    assert (left_out > 0) == (n_beats > 1)
    assert (f"{left_out} more: see report.html." in texts) == (left_out > 0)
    assert "Median of all beats." in texts


def test_report_is_reproducible_and_not_overwritten_unasked(study: Study, tmp_path: Path) -> None:
    masks = study.references
    result = measure(study, masks)
    paths = write_report(study, masks, result, tmp_path / "a")
    assert [p.name for p in paths] == ["report.html", "report.json", "report.pdf", "overlay.png"]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(p.name for p in paths), (
        "no temporary file stays"
    )
    again = write_report(study, masks, result, tmp_path / "b")
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]
    with pytest.raises(OutputError, match="exists already"):
        write_report(study, masks, result, tmp_path / "a")


def test_nothing_is_written_when_one_file_exists(study: Study, tmp_path: Path) -> None:
    (tmp_path / "overlay.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"overlay\.png: exists already"):
        write_report(study, {}, measure(study, {}), tmp_path, pdf=False)
    assert [p.name for p in tmp_path.iterdir()] == ["overlay.png"]
    write_report(study, {}, measure(study, {}), tmp_path, pdf=False, overwrite=True)
    assert (tmp_path / "overlay.png").read_bytes() != b"mine"


def test_a_study_without_anything_still_has_a_report(tmp_path: Path) -> None:
    nobody = Study(Patient("nobody"))
    paths = write_report(nobody, {}, measure(nobody, {}), tmp_path)
    assert all(p.stat().st_size for p in paths)
    assert "There is no end-diastolic frame in either view." in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_overlay_shows_frames_in_true_proportions(study: Study, tmp_path: Path) -> None:
    """A frame of 100 x 200 pixels of 0.4 x 0.1 mm is twice as high as wide."""
    image = np.full((100, 200), 120, np.uint8)
    sizes = {}
    for name, spacing in (("known", (0.4, 0.1)), ("unknown", None)):
        picture = outlined_picture(image, Grid((100, 200), spacing), None, "frame", Box.whole((100, 200)))
        sizes[name] = picture.size
        assert ("pixel aspect unknown" in picture.caption) == (name == "unknown")
        frame = Frame("frame", image, Grid((100, 200), spacing), View.A4C, Phase.ED)
        draw_overlay(Study(Patient("p"), (frame,)), {}, tmp_path / f"{name}.png")
        grey = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")) == 120
        rows, columns = np.nonzero(grey.all(axis=2))
        drawn = (np.ptp(rows) + 1) / (np.ptp(columns) + 1)
        assert drawn == pytest.approx(sizes[name][0] / sizes[name][1], rel=0.02)
    assert sizes["known"][0] / sizes["known"][1] == pytest.approx(2.0)
    assert sizes["unknown"][0] / sizes["unknown"][1] == pytest.approx(0.5)


def test_overlay_draws_any_study(study: Study, hostile: Study, tmp_path: Path) -> None:
    frame = study.frames[0]
    loose = tuple(replace(frame, name=f"loose{k}", view=None, phase=None) for k in range(3))
    images = np.stack([f.image for f in study.frames[:2]] * 4)
    clip = Clip("cine", images, frame.grid)
    studies = {
        "hostile": (hostile, hostile.references),
        "loose": (Study(Patient("p"), loose, (clip,)), {"cine": np.stack([frame.reference] * 8)}),
        "bare": (Study(Patient("p"), loose, (clip,)), {}),
    }
    for name, (subject, masks) in studies.items():
        draw_overlay(subject, masks, tmp_path / f"{name}.png")  # type: ignore[arg-type]
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) > 300
    with pytest.raises(OutputError, match="exists already"):
        draw_overlay(study, {}, tmp_path / "bare.png")


def test_margins_are_not_shown() -> None:
    """Text outside the sector can be a person's name."""
    image = np.zeros((300, 400), np.uint8)
    image[80:280, 100:300] = 120
    image[5:12, 5:100] = 255
    mask = np.zeros_like(image)
    mask[60:100, 150:200] = Label.LV_CAVITY
    picture = outlined_picture(image, Grid((300, 400)), mask, "frame", shown_box((image, mask)))
    assert picture.image.max() == 120
    assert picture.image.shape[0] == pytest.approx(220, abs=8), "from the mask's first row to the sector's last"
    top = picture.curves[0].lines[0][:, 0].min()
    assert top == pytest.approx(-0.5, abs=0.3), "curves move with the image"


def test_what_a_file_says_lies_outside_the_ultrasound_is_in_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sector that fills its frame but for some rows of text: by its looks alone all of it would be shown."""
    images = np.full((4, 200, 200), 120, np.uint8)
    images[:, 20:] += np.random.default_rng(0).integers(0, 9, (4, 180, 200)).astype(np.uint8)
    images[:, 4:14, 10:190] = 255
    masks = np.zeros_like(images)
    masks[:, 60:100, 80:120] = Label.LV_CAVITY
    grid, region = Grid((200, 200), (0.5, 0.5)), (20, 0, 200, 200)
    frame = Frame("f", images[0], grid, View.A4C, Phase.ED, masks[0], region=region)
    study = Study(Patient("p"), (frame,), (Clip("c", images, grid, view=View.A4C, region=region),))
    (picture,) = report_content(study, {"f": masks[0]}, measure(study, {"f": masks[0]})).pictures
    drawn, shown = Axes.imshow, [picture.image]

    def imshow(axes: Axes, image: np.ndarray, **style: object) -> object:
        shown.append(np.asarray(image))
        return drawn(axes, image, **style)

    monkeypatch.setattr(Axes, "imshow", imshow)
    draw_overlay(study, {"f": masks[0], "c": masks}, tmp_path / "overlay.png")
    write_worst_frames(tmp_path / "worst.png", [WorstFrame(score_frame(frame, masks[0], "p"), frame, masks[0])])
    assert len(shown) == 1 + 1 + len(images) + 1
    assert {image.shape[:2] for image in shown} == {(180, 200)}
    assert max(image.max() for image in shown) < 255


def test_mask_curves_are_sub_pixel_and_complete() -> None:
    rows, columns = np.mgrid[:120, :140]
    distance = np.hypot(rows - 60.3, columns - 50.7)
    mask = np.where(distance < 30.0, Label.LV_CAVITY, Label.BACKGROUND).astype(np.uint8)
    mask[(distance >= 30.0) & (distance < 40.0)] = Label.MYOCARDIUM
    mask[58:63, 48:53] = Label.BACKGROUND
    mask[100:110, 120:130] = Label.LV_CAVITY
    curves, left_out = mask_curves(mask)
    assert left_out == 0
    by_kind = {c.kind: c for c in curves}
    assert set(by_kind) == {CurveKind.ENDOCARDIUM, CurveKind.EPICARDIUM}
    assert len(by_kind[CurveKind.ENDOCARDIUM].lines) == 3, "cavity, stray piece and hole"
    for kind, radius in ((CurveKind.ENDOCARDIUM, 30.0), (CurveKind.EPICARDIUM, 40.0)):
        outline = by_kind[kind].lines[0]
        reach = np.hypot(outline[:, 0] - 60.3, outline[:, 1] - 50.7)
        assert np.abs(reach - radius).max() < 0.6


def test_a_mask_of_noise_is_drawn_in_part_and_says_so() -> None:
    noise = np.random.default_rng(1).integers(0, 2, (200, 200)).astype(np.uint8)
    picture = outlined_picture(noise, Grid((200, 200), (0.3, 0.3)), noise, "noise", Box.whole((200, 200)))
    assert "smaller pieces are not outlined" in picture.caption
    assert len(picture.curves[0].lines) == 100


def test_empty_and_missing_masks_are_told_apart() -> None:
    image = np.zeros((50, 50), np.uint8)
    grid = Grid((50, 50), (0.3, 0.3))
    box = Box.whole((50, 50))
    assert outlined_picture(image, grid, None, "f", box).caption == "no mask"
    assert outlined_picture(image, grid, image, "f", box).caption == "the mask is empty"


def test_geometry_is_drawn_in_pixels(study: Study) -> None:
    frame = study.frame(View.A4C, Phase.ED)
    assert frame is not None
    assert frame.reference is not None
    geometry = measure(study, study.references).geometry[View.A4C, Phase.ED]
    curves = {c.kind: c for c in geometry_curves(geometry)}
    assert set(curves) == set(CurveKind)
    assert len(curves[CurveKind.DISKS].lines) == 20
    widths = [np.hypot(*((line[1] - line[0]) * frame.grid.spacing_mm)) for line in curves[CurveKind.DISKS].lines]
    assert widths == pytest.approx(geometry.disks.diameters_mm.tolist(), rel=1e-6)
    cavity = np.argwhere(frame.reference == Label.LV_CAVITY)
    outline = curves[CurveKind.ENDOCARDIUM].lines[0]
    assert outline.min(axis=0) == pytest.approx(cavity.min(axis=0), abs=2)
    assert outline.max(axis=0) == pytest.approx(cavity.max(axis=0), abs=2)


def test_svg_draws_pixel_centres_where_they_are() -> None:
    """One pixel of 2 x 1 mm at (3, 5) of a 10 x 20 image: its diamond lies about the middle of that pixel."""
    mask = np.zeros((10, 20), np.uint8)
    mask[3, 5] = Label.LEFT_ATRIUM
    svg = str(
        to_svg(
            outlined_picture(
                np.full((10, 20), 9, np.uint8), Grid((10, 20), (2.0, 1.0)), mask, "<b>", Box.whole((10, 20))
            )
        )
    )
    assert 'viewBox="0 0 400 400.0"' in svg
    assert "<b>" not in svg
    path = re.search(r' d="M([^"]*)Z"', svg)
    assert path is not None
    points = np.array([p.split() for p in path[1].split("L")], float)
    assert points.mean(axis=0) == pytest.approx([5.5 * 20, 3.5 * 40], abs=1)


def test_clip_instants_hold_ed_and_es() -> None:
    images = np.zeros((30, 8, 8), np.uint8)
    areas = np.zeros_like(images)
    for k in range(30):
        areas[k].ravel()[: 20 + abs(k - 17)] = Label.LV_CAVITY
    clip = Clip("cine", images, Grid((8, 8)))
    found = clip_instants(clip, areas)
    assert len(found) == 6
    assert list(found) == sorted(found)
    assert {found[0], found[17]} == {"ED-like", "ES-like"}
    marked = clip_instants(replace(clip, marked={Phase.ED: 2, Phase.ES: 11}), areas)
    assert (marked[2], marked[11], len(marked)) == ("ED", "ES", 6)
    assert clip_instants(replace(clip, images=images[:1]), areas[:1]) == {0: ""}
    assert list(clip_instants(replace(clip, images=images[:3]), None)) == [0, 1, 2]


def test_importing_the_report_loads_no_drawing_library() -> None:
    modules = ("overlay", "html", "pdf", "tables", "json_report")
    code = f"import sys, {', '.join(f'apical.report.{m}' for m in modules)}\n"
    code += "assert not {'matplotlib', 'jinja2', 'PIL', 'torch', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
