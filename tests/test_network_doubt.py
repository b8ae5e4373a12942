"""The network's own doubt: expected Dice from probabilities, and distance from what was learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs `pip install apical[train]`")

from apical.anatomy import Orientation, Structure
from apical.network.augment import AugmentConfig
from apical.network.dataset import Frames
from apical.network.doubt import Confidence, Familiarity, described, fit_confidence, fit_familiarity
from apical.network.orientation import fit_orientation
from apical.network.unet import UNet, UNetConfig


def frames(images: torch.Tensor) -> Frames:
    n = len(images)
    masks = torch.zeros(n, *images.shape[-2:], dtype=torch.uint8)
    return Frames(images, masks, torch.zeros(n, dtype=torch.long), torch.arange(n))


def ramps(n: int, seed: int) -> torch.Tensor:
    """Smooth pictures of one kind: a bright ramp from the top, of any strength, with little noise."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.linspace(0, 1, 64)[None, None, :, None]
    images = 200 * (1 - rows) * (0.6 + 0.4 * torch.rand(n, 1, 1, 1, generator=random)) * torch.ones(1, 1, 1, 64)
    return torch.cat([images + 10 * torch.rand(n, 1, 64, 64, generator=random), torch.zeros(n, 1, 64, 64)], 1).byte()


def test_confidence_is_the_dice_that_the_probabilities_promise():
    probability = torch.full((1, 4, 2, 2), 1e-9)
    probability[0, 0, 0], probability[0, 1, 0] = 0.1, 0.9  # two pixels of cavity, at 90 %
    probability[0, 0, 1], probability[0, 1, 1] = 0.8, 0.2  # two of background, with 20 % of cavity
    found = dict(zip(Structure, Confidence()(probability.log())[0].tolist(), strict=True))
    assert found[Structure.ENDOCARDIUM] == pytest.approx(2 * 1.8 / (2.2 + 2))
    assert found[Structure.EPICARDIUM] == pytest.approx(2 * 1.8 / (2.2 + 2))  # no myocardium anywhere
    assert found[Structure.LEFT_ATRIUM] == pytest.approx(0, abs=1e-6)
    sure = Confidence()(50 * torch.eye(4).reshape(1, 4, 2, 2))
    torch.testing.assert_close(sure, torch.ones(1, 4))


class Guessing(UNet):
    """Gives what it was made with, whatever it sees."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__(UNetConfig((8, 16)))
        self.scores = scores

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scores[: len(x)], torch.zeros(len(x), 2)


@pytest.mark.parametrize("too_sure", [0.5, 1.0, 2.5])
def test_the_temperature_is_how_much_too_sure_the_network_is(too_sure: float):
    random = torch.Generator().manual_seed(0)
    true = 2 * torch.randn(4, 4, 64, 64, generator=random)
    chances = true.softmax(dim=1).permute(0, 2, 3, 1).reshape(-1, 4)
    drawn = torch.multinomial(chances, 1, generator=random).reshape(4, 64, 64).byte()
    seen = Frames(torch.zeros(4, 2, 64, 64, dtype=torch.uint8), drawn, torch.zeros(4).long(), torch.arange(4))
    confidence = fit_confidence(Guessing(true * too_sure), seen, seed=0)
    assert float(confidence.temperature) == pytest.approx(too_sure, rel=0.05)
    torch.testing.assert_close(confidence(true * too_sure), Confidence()(true), rtol=0.02, atol=0.01)


def test_distance_is_mahalanobis():
    random = np.random.default_rng(0)
    mixing = random.normal(size=(5, 5))
    covariance = mixing @ mixing.T
    familiarity = Familiarity(5)
    familiarity.whitening.copy_(torch.linalg.cholesky(torch.linalg.inv(torch.from_numpy(covariance))))
    x = random.normal(size=(3, 5))
    expected = np.sqrt(np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x) / 5)
    found = familiarity.distance(torch.from_numpy(x).float())
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3)


def test_pictures_of_another_kind_are_unlike_those_learned():
    torch.manual_seed(0)
    network = UNet(UNetConfig((8, 16))).eval()
    familiarity = fit_familiarity(network, frames(ramps(60, 1)), frames(ramps(20, 2)), AugmentConfig(), seed=0)
    noise = 255 * torch.rand(8, 2, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        alike, unlike = (familiarity(described(network.encode(x.float()))) for x in (ramps(8, 4), noise))
    assert alike.max() < 1
    assert unlike.min() > 2


def test_the_same_seed_finds_the_same_familiarity_and_the_limit_needs_no_watched_patients():
    torch.manual_seed(0)
    network = UNet(UNetConfig((8, 16))).eval()
    learned = frames(ramps(20, 1))
    first, second = (fit_familiarity(network, learned, None, AugmentConfig(), seed=0) for _ in range(2))
    other = fit_familiarity(network, learned, None, replace(AugmentConfig(), dark_probability=1.0), seed=0)
    for name, values in first.state_dict().items():
        torch.testing.assert_close(values, second.state_dict()[name])
    assert first.limit > 0
    assert other.limit != first.limit


def test_features_come_finest_first():
    skips = UNet(UNetConfig((8, 16, 24))).eval().encode(torch.zeros(1, 2, 64, 64))
    assert [tuple(s.shape[1:]) for s in skips] == [(8, 32, 32), (16, 16, 16), (24, 8, 8)]


def test_a_display_is_told_from_what_pictures_look_like():
    """Ramps that are bright at the top and the left: four displays of one thing."""
    columns = torch.linspace(1, 0.2, 64)[None, None, None, :]
    torch.manual_seed(0)
    network = UNet(UNetConfig((8, 16))).eval()

    def shown(n: int, seed: int) -> torch.Tensor:
        return (ramps(n, seed).float() * columns).byte()

    told = fit_orientation(network, frames(shown(60, 1)), AugmentConfig(), seed=0)
    again = fit_orientation(network, frames(shown(60, 1)), AugmentConfig(), seed=0)
    torch.testing.assert_close(told.state_dict(), again.state_dict())
    unseen = shown(10, 2).float()
    with torch.no_grad():
        for number, orientation in enumerate(Orientation):
            turned = unseen.flip([axis + 2 for axis in orientation.axes])
            assert told(described(network.encode(turned))).argmax(dim=1).eq(number).all(), orientation
