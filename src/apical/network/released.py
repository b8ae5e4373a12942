"""What is exported: a network, and what its features tell of a picture beside its scores."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from apical.errors import InputError
from apical.network.augment import AugmentConfig
from apical.network.checkpoint import CONFIDENCE, FAMILIARITY, ORIENTATION, read_tensors, write_tensors
from apical.network.dataset import Frames
from apical.network.doubt import Confidence, Familiarity, described, fit_confidence, fit_familiarity
from apical.network.orientation import fit_orientation
from apical.network.unet import UNet

OUTPUTS = ("scores", "views", "confidence", "unlike", "orientation")
FOUND_ON = "temperature_found_on"
"""Whose frames told the temperature: those watched, or for want of them those learned from."""
HOW_TO_END = "go on with `apical train --resume`; a mean or a restored run, make again with this version"
_FEATURES = (CONFIDENCE, FAMILIARITY, ORIENTATION)


class Released(nn.Module):
    """A network with its doubt and its eye for the display.

    Output, as named in `OUTPUTS`: scores (N, 4, H, W), view scores (N, 2), confidence (N, 4) in the order of
    `anatomy.Structure`, unlike (N,), orientation scores (N, 4) in the order of `anatomy.Orientation`.
    """

    def __init__(self, network: UNet, confidence: Confidence, familiarity: Familiarity, orientation: nn.Linear) -> None:
        super().__init__()
        self.network, self.confidence = network, confidence
        self.familiarity, self.orientation = familiarity, orientation

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        skips = self.network.encode(x)
        scores, views = self.network.decode(skips)
        features = described(skips)
        return scores, views, self.confidence(scores), self.familiarity(features), self.orientation(features)


def end_run(
    run: Path,
    network: UNet,
    learned: Frames,
    watched: Frames | None,
    config: AugmentConfig,
    seed: int,
    start: Path | None = None,
) -> None:
    """Find out what a run's network tells beside its scores, as far as its folder lacks it. That takes some minutes.

    How sure it may be of itself, only patients who were not learned from can tell: where none is watched, the run
    that this one started from knows, if it does. On whose frames it was found stands beside it.
    """
    if not (run / CONFIDENCE).exists():
        if watched is None and start is not None and (start / CONFIDENCE).exists():
            tensors, found_on = read_tensors(start / CONFIDENCE)
        else:
            tensors = fit_confidence(network, watched or learned, seed).state_dict()
            found_on = {FOUND_ON: "watched" if watched else "learned"}
        write_tensors(run / CONFIDENCE, tensors, found_on)
    if not (run / FAMILIARITY).exists():
        familiarity = fit_familiarity(network, learned, watched, config, seed)
        write_tensors(run / FAMILIARITY, familiarity.state_dict(), {})
    if not (run / ORIENTATION).exists():
        write_tensors(run / ORIENTATION, fit_orientation(network, learned, config, seed).state_dict(), {})


def begin_anew(run: Path) -> None:
    """Remove what an interrupted try may have left: it tells of another network."""
    for name in _FEATURES:
        (run / name).unlink(missing_ok=True)


def with_features(run: Path, network: UNet) -> Released:
    """Return a run's network with what `end_run` found.

    Raises
    ------
    InputError
        When the run has not ended.
    """
    if not has_ended(run):
        raise InputError(f"{run}: the run has not ended; {HOW_TO_END}")
    confidence = Confidence()
    confidence.load_state_dict(read_tensors(run / CONFIDENCE)[0])
    known, _ = read_tensors(run / FAMILIARITY)
    familiarity = Familiarity(len(known["mean"]))
    familiarity.load_state_dict(known)
    shown, _ = read_tensors(run / ORIENTATION)
    orientation = nn.Linear(shown["weight"].shape[1], shown["weight"].shape[0])
    orientation.load_state_dict(shown)
    return Released(network, confidence, familiarity, orientation).eval()


def has_ended(run: Path) -> bool:
    """Tell whether a run's folder holds all that `export` needs beside the weights."""
    return all((run / name).is_file() for name in _FEATURES)
