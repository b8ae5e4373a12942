"""How a model holds on pictures of another kind: unseen frames of a store, distorted as other scanners would.

Every distorted picture goes the whole way (sector, network, repair, native grid) and is scored against the expert
mask that was moved along. Prints the mean Dice per structure, the worst cavity, how often the doubt fires, the picture
is turned and the view recognised, and writes all of it as JSON.

    python benchmarks/robustness.py MODEL STORE -o robustness.json [--patients 20]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw
from rich.console import Console
from rich.progress import track
from rich.table import Table

from apical.anatomy import FOREGROUND, Structure
from apical.evaluate.geometry import score_frame
from apical.measure.quality import LIMITS
from apical.segment import Segmenter
from apical.store import Store
from apical.study import Frame, Grid, Study

Image = NDArray[np.uint8]
Distortion = Callable[[Image, Image, np.random.Generator], tuple[Image, Image]]


def resized(image: Image, mask: Image, shape: tuple[int, int]) -> tuple[Image, Image]:
    size = shape[1], shape[0]
    return (
        np.asarray(Picture.fromarray(image).resize(size, Picture.Resampling.BOX)),
        np.asarray(Picture.fromarray(mask).resize(size, Picture.Resampling.NEAREST)),
    )


def on_canvas(image: Image, mask: Image, shape: tuple[int, int], top: int, left: int) -> tuple[Image, Image]:
    canvases = np.zeros((2, *shape), np.uint8)
    rows, columns = slice(top, top + image.shape[0]), slice(left, left + image.shape[1])
    canvases[0][rows, columns], canvases[1][rows, columns] = image, mask
    return canvases[0], canvases[1]


def unchanged(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    return image, mask


def dark(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    return (image * 0.35).astype(np.uint8), mask


def rejecting(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    """Faint echoes turned black, the rest brightened: a high reject setting."""
    return np.clip((image.astype(float) - 35) * 1.4, 0, 255).astype(np.uint8), mask


def small(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    return resized(image, mask, (112, 112))


def large(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    return resized(image, mask, (700, 840))


def cropped(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    """The near field and a side are missing: the sector begins neither at the top nor in the middle."""
    rows, columns = image.shape
    cut = slice(round(0.07 * rows), None), slice(round(0.10 * columns), None)
    return image[cut], mask[cut]


def on_a_screen(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    """A sector off the middle of a screen with text, a depth scale and an ECG trace."""
    image, mask = resized(image, mask, (380, 440))
    image, mask = on_canvas(image, mask, (480, 640), 60, 150)
    picture = Picture.fromarray(image)
    pen = ImageDraw.Draw(picture)
    pen.text((8, 8), "ADULT ECHO  FR 52 Hz  17 cm", fill=200)
    pen.text((8, 22), "HR 71", fill=200)
    for row in range(60, 440, 20):
        pen.line((620, row, 630, row), fill=255)
    beat = [(x, 465 - (14 if x % 150 < 5 else 0)) for x in range(20, 620, 3)]
    pen.line(beat, fill=220)
    return np.asarray(picture), mask


def heart_small(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    """A deeper picture: the same sector at two thirds, the far field empty."""
    rows, columns = image.shape
    image, mask = resized(image, mask, (round(rows / 1.5), round(columns / 1.5)))
    return on_canvas(image, mask, (rows, columns), 0, (columns - image.shape[1]) // 2)


def turned(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    angle = float(random.choice([-15, 15]))
    return (
        np.asarray(Picture.fromarray(image).rotate(angle, Picture.Resampling.BILINEAR)),
        np.asarray(Picture.fromarray(mask).rotate(angle, Picture.Resampling.NEAREST)),
    )


def mirrored(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    """Left and right exchanged, as some laboratories show the heart."""
    return np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])


def upside_down(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    """The apex at the bottom, as paediatric laboratories show the heart."""
    return np.ascontiguousarray(image[::-1]), np.ascontiguousarray(mask[::-1])


def half_a_turn(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    """Upside down and mirrored."""
    return np.ascontiguousarray(image[::-1, ::-1]), np.ascontiguousarray(mask[::-1, ::-1])


def noisy(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    grain = random.rayleigh(1 / np.sqrt(np.pi / 2), image.shape)
    return np.clip(image * (0.5 + 0.5 * grain), 0, 255).astype(np.uint8), mask


def shadowed(image: Image, mask: Image, random: np.random.Generator) -> tuple[Image, Image]:
    """A rib's shadow: a dark wedge from the probe, over a fifth of the angle."""
    rows, columns = np.indices(image.shape)
    angle = np.arctan2(columns - image.shape[1] / 2, rows + 1)
    middle = float(random.uniform(-0.4, 0.4))
    gain = 1 - 0.85 * np.exp(-(((angle - middle) / 0.09) ** 2))
    return (image * gain).astype(np.uint8), mask


DISTORTIONS: tuple[Distortion, ...] = (
    unchanged,
    dark,
    rejecting,
    small,
    large,
    cropped,
    on_a_screen,
    heart_small,
    turned,
    mirrored,
    upside_down,
    half_a_turn,
    noisy,
    shadowed,
)


def distorted(study: Study, distort: Distortion, seed: int) -> Study:
    """Distort all frames of a study alike."""

    def change(frame: Frame) -> Frame:
        assert frame.reference is not None
        image, mask = distort(frame.image, frame.reference, np.random.default_rng(seed))
        return replace(frame, image=image, reference=mask, grid=Grid(image.shape, None), region=None)

    return replace(study, frames=tuple(change(f) for f in study.frames if f.reference is not None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("store", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--patients", type=int, default=20, help="of the model's unseen patients, the first so many")
    given = parser.parse_args()
    segmenter = Segmenter.load(given.model)
    unseen = segmenter.model.config["training"]["split"]["test"][: given.patients]
    if not unseen:
        parser.error(f"{given.model} was trained on all patients: take the model of the run before it")
    results = {}
    with Store(given.store) as store:
        for distort in track(DISTORTIONS, console=Console(stderr=True)):
            scores: dict[Structure, list[float]] = {s: [] for s in Structure}
            unsure = unlike = turned = recognised = 0
            for number, study in enumerate(store.studies(unseen)):
                other = distorted(study, distort, number)
                masks = segmenter.segment(other)
                for frame in other.frames:
                    for score in score_frame(frame, masks[frame.name], study.patient.id).structures:
                        scores[score.structure].append(score.dice)
                    unlike += masks.doubts[frame.name].unlike > LIMITS.unlike_caution
                    turned += bool((shown := masks.orientations.get(frame.name)) and shown.axes)
                    recognised += masks.views[frame.name][0] == frame.view
                    sure = masks.doubts[frame.name].confidence[Structure.ENDOCARDIUM]
                    unsure += sure < LIMITS.confidence_caution
            n = len(scores[Structure.ENDOCARDIUM])
            results[distort.__name__] = {
                **{f"dice_{s}": float(np.mean(v)) for s, v in scores.items()},
                "dice_foreground": float(np.mean([np.mean(scores[s]) for s in FOREGROUND])),
                "worst_endo": float(np.min(scores[Structure.ENDOCARDIUM])),
                "share_unsure": unsure / n,
                "share_unlike": unlike / n,
                "share_turned": turned / n,
                "share_view_recognised": recognised / n,
                "n_frames": n,
            }
    table = Table(
        "distortion", "endo", "epi", "la", "myo", "foreground", "worst endo", "unsure", "unlike", "turned", "view"
    )
    for name, row in results.items():
        table.add_row(name, *(f"{v:.3f}" for k, v in row.items() if k != "n_frames"))
    Console().print(table)
    if given.output:
        given.output.write_text(json.dumps({"model": segmenter.model.name, "distortions": results}, indent=1))


if __name__ == "__main__":
    main()
