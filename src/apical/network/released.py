"""What is exported: a network, and what its features tell of a picture beside its scores."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from apical.errors import InputError
from apical.network.augment import AugmentConfig
from apical.network.checkpoint import FAMILIARITY, ORIENTATION, read_tensors, write_tensors
from apical.network.dataset import Frames
from apical.network.doubt import Familiarity, confidence, described, fit_familiarity
from apical.network.orientation import fit_orientation
from apical.network.unet import UNet

OUTPUTS = ("scores", "views", "confidence", "unlike", "orientation")


class Released(nn.Module):
    """A network with its doubt and its eye for the display.

    Output, as named in `OUTPUTS`: scores (N, 4, H, W), view scores (N, 2), confidence (N, 4) in the order of
    `anatomy.Structure`, unlike (N,), orientation scores (N, 4) in the order of `anatomy.Orientation`.
    """

    def __init__(self, network: UNet, familiarity: Familiarity, orientation: nn.Linear) -> None:
        super().__init__()
        self.network, self.familiarity, self.orientation = network, familiarity, orientation

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        skips = self.network.encode(x)
        scores, views = self.network.decode(skips)
        features = described(skips)
        return scores, views, confidence(scores), self.familiarity(features), self.orientation(features)


def end_run(
    run: Path, network: UNet, learned: Frames, watched: Frames | None, config: AugmentConfig, seed: int
) -> None:
    """Find out what the features of a run's network tell, as far as its folder lacks it. That takes some minutes."""
    if not (run / FAMILIARITY).exists():
        familiarity = fit_familiarity(network, learned, watched, config, seed)
        write_tensors(run / FAMILIARITY, familiarity.state_dict(), {})
    if not (run / ORIENTATION).exists():
        write_tensors(run / ORIENTATION, fit_orientation(network, learned, config, seed).state_dict(), {})


def with_features(run: Path, network: UNet) -> Released:
    """Return a run's network with what `end_run` found.

    Raises
    ------
    InputError
        When the run has not ended.
    """
    if not has_ended(run):
        raise InputError(f"{run}: the run has not ended; go on with `apical train --resume`")
    known, _ = read_tensors(run / FAMILIARITY)
    familiarity = Familiarity(len(known["mean"]))
    familiarity.load_state_dict(known)
    shown, _ = read_tensors(run / ORIENTATION)
    orientation = nn.Linear(shown["weight"].shape[1], shown["weight"].shape[0])
    orientation.load_state_dict(shown)
    return Released(network, familiarity, orientation).eval()


def has_ended(run: Path) -> bool:
    """Tell whether a run's folder holds all that `export` needs beside the weights."""
    return (run / FAMILIARITY).is_file() and (run / ORIENTATION).is_file()
