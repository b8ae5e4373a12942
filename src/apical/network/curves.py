"""History of a run as CSV, and as the picture one looks at first."""

from __future__ import annotations

from pathlib import Path

from apical.anatomy import Structure
from apical.files import atomic_write, csv_text, write_text


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write one row per epoch."""
    write_text(path, csv_text(history), overwrite=True)


def draw_curves(path: Path, history: list[dict[str, float]]) -> None:
    """Draw loss, pixel accuracy and Dice per structure over the epochs into a PNG."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no window

    figure = Figure(figsize=(13, 3.8), layout="constrained")
    loss, accuracy, dice = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in history]
    panels = [
        (loss, "Loss", {"train_loss": "training", "val_loss": "validation"}),
        (accuracy, "Pixel accuracy", {"train_pixel_accuracy": "training", "val_pixel_accuracy": "validation"}),
        (dice, "Validation Dice", {f"val_dice_{s}": s.name.lower().replace("_", " ") for s in Structure}),
    ]
    for axes, title, series in panels:
        for key, name in series.items():
            if key in history[-1]:
                axes.plot(epochs, [row.get(key) for row in history], label=name)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    # Training pictures are augmented, so their curve may lie below the validation curve's quality.
    accuracy.set_ylim(top=1.0)
    dice.set_ylim(top=1.0)
    with atomic_write(path, overwrite=True) as target:
        figure.savefig(target, format="png", dpi=110)
