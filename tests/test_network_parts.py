"""Augmentation, network and loss by themselves, on tensors whose answer is known."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs `pip install apical[train]`")

from apical.anatomy import Structure
from apical.network.augment import Augment, AugmentConfig
from apical.network.losses import dice_per_frame, segmentation_loss
from apical.network.unet import UNet, UNetConfig


def test_image_and_mask_move_together():
    image = torch.zeros(6, 1, 64, 64, dtype=torch.uint8)
    image[:, :, 20:44, 24:40] = 200
    mask = (image[:, 0] > 0).to(torch.uint8)
    still = AugmentConfig(
        gamma=1.0,
        field_probability=0,
        speckle_probability=0,
        coarse_probability=0,
        dark_probability=0,
        reject_probability=0,
        shadow_probability=0,
    )
    moved, labels = Augment(still, torch.Generator().manual_seed(5))(image, mask)
    assert not torch.equal(labels[0], mask[0].long())
    agreement = ((moved[:, 0] > 100) == (labels > 0)).float().mean(dim=(1, 2))
    assert agreement.min() > 0.98
    assert moved.min() >= 0
    assert moved.max() <= 255


def test_no_heart_is_turned_upside_down():
    image = torch.zeros(64, 1, 64, 64, dtype=torch.uint8)
    image[:, :, 4:16, 16:48] = 255  # a mark at the top stays nearer to the top than to the bottom
    mask = (image[:, 0] > 0).to(torch.uint8)
    _, labels = Augment(AugmentConfig(), torch.Generator().manual_seed(1))(image, mask)
    rows = torch.arange(64)[None, :, None]
    there = labels.sum(dim=(1, 2)) > 50
    centre = (rows * labels).sum(dim=(1, 2))[there] / labels.sum(dim=(1, 2))[there]
    assert centre.max() < 36


def test_scores_do_not_depend_on_gain_or_offset():
    network = UNet(UNetConfig((8, 16))).eval()
    image = torch.rand(1, 2, 64, 64) * 100 + 20
    with torch.no_grad():
        plain, brighter = network(image)[0], network(image * 2 + 10)[0]
        empty = network(torch.zeros(1, 2, 64, 64))[0]
    torch.testing.assert_close(plain, brighter, atol=0.05, rtol=0.05)
    assert torch.isfinite(empty).all()


def test_loss_and_dice_on_hand_computable_masks():
    masks = torch.zeros(1, 4, 4, dtype=torch.long)
    masks[0, :2] = 1
    masks[0, 2, :2], masks[0, 3, :2] = 2, 3
    right = torch.nn.functional.one_hot(masks, 4).permute(0, 3, 1, 2).float() * 40
    assert segmentation_loss(right, masks) < 1e-3
    assert segmentation_loss(-right, masks) > 10
    predicted = masks.clone()
    predicted[0, 1] = 0  # half of the cavity is missed: 2 * 4 / (4 + 8)
    assert dice_per_frame(predicted, masks, Structure.ENDOCARDIUM).item() == pytest.approx(2 / 3)
    assert dice_per_frame(predicted, masks, Structure.EPICARDIUM).item() == pytest.approx(2 * 6 / (6 + 10))
    empty = torch.zeros_like(masks)
    assert dice_per_frame(empty, empty, Structure.LEFT_ATRIUM).item() == 1.0


def test_mirrored_pictures_are_the_same_the_other_way_round():
    still = {f: 0 for f in vars(AugmentConfig()) if f.endswith("_probability")}
    plain, mirrored = (
        AugmentConfig(rotation_degrees=0, scale=1, aspect=1, shear=0, shift=0, gamma=1, **still | mirror)
        for mirror in ({}, {"mirror_probability": 1})
    )
    image = torch.randint(0, 255, (2, 2, 32, 32), dtype=torch.uint8)
    mask = torch.randint(0, 4, (2, 32, 32), dtype=torch.uint8)
    (a, a_mask), (b, b_mask) = (Augment(c, torch.Generator().manual_seed(2))(image, mask) for c in (plain, mirrored))
    torch.testing.assert_close(a, image.float())
    torch.testing.assert_close(b, image.float().flip(-1))
    assert torch.equal(b_mask, mask.long().flip(-1))
    assert torch.equal(a_mask, mask.long())
