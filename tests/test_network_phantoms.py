"""Synthetic hearts beside real ones: how many an epoch sees, and that none passes for a patient."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs `pip install apical[train]`")

from apical.anatomy import Phase, View
from apical.errors import InputError
from apical.network.dataset import Frames
from apical.network.training import TrainConfig, train
from apical.network.unet import UNetConfig
from apical.phantom import as_frame_study, as_study, make_beating, make_patient
from apical.split import Split
from apical.store import Store, StoreWriter
from apical.study import Study

SMALL = TrainConfig(size=64, epochs=1, batch=2, warmup_steps=2, phantom_share=0.5, unet=UNetConfig((8, 16)))
SPLIT = Split(("patient0001",), (), (), "by hand")


def store_of(path: Path, *studies: tuple[str, Study]) -> Path:
    writer = StoreWriter(path)
    for id, study in studies:
        writer.add(replace(study, patient=replace(study.patient, id=id)))
    writer.close()
    return path


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = store_of(tmp_path_factory.mktemp("real") / "real.h5", ("patient0001", as_study(make_patient(1))))
    with Store(path) as store:
        yield store


@pytest.fixture(scope="module")
def beating() -> Study:
    return as_frame_study(make_beating(7, n_beats=1, frame_rate_hz=20.0, spacing_mm=(1.5, 1.5)))


def frames(n: int, first: int = 0) -> Frames:
    same = torch.arange(n)
    return Frames(torch.full((n, 2, 4, 4), first), torch.zeros(n, 4, 4), torch.zeros(n), same)


def test_an_epoch_sees_all_real_frames_and_a_share_of_phantoms():
    both = frames(20).beside(frames(30, first=1), share=0.25)
    seen = set()
    for epoch in range(40):
        picked = both.pick_renditions(np.random.default_rng(epoch))
        assert sorted(picked[picked < 20]) == list(range(20))
        assert (picked >= 20).sum() == 5
        seen |= set(picked[picked >= 20])
    assert seen == set(range(20, 50))  # in time every phantom has its turn
    assert (both.images[20:] == 1).all()


def test_no_share_no_phantoms():
    real = frames(20)
    assert real.beside(frames(30), share=0.0) is real


def test_a_run_with_phantoms_names_their_store(real: Store, beating: Study, tmp_path: Path):
    path = store_of(tmp_path / "phantoms.h5", ("phantom7", beating))
    steps = []
    with Store(path) as phantoms:
        train(
            real, SPLIT, tmp_path / "run", SMALL, phantoms=phantoms, device="cpu", on_step=lambda i, n: steps.append(n)
        )
        manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
        assert [d["content_sha256"] for d in manifest["data"]] == [real.content_sha256]
        assert manifest["phantoms"] == {"name": "phantoms.h5", "content_sha256": phantoms.content_sha256}
    assert steps == [3, 3, 3]  # four real frames and two phantoms, two at a time


def test_a_phantom_with_a_patients_id_is_refused(real: Store, beating: Study, tmp_path: Path):
    more = store_of(tmp_path / "more.h5", ("patient0009", beating))
    for bad, refusal in (("patient0001", r".*real\.h5"), ("patient0009", r".*more\.h5")):
        with (
            Store(more) as other,
            Store(store_of(tmp_path / f"{bad}.h5", (bad, beating))) as phantoms,
            pytest.raises(InputError, match=rf"{bad}\.h5: {bad} is a patient of {refusal}"),
        ):
            train(real, SPLIT, tmp_path / "run", SMALL, more=(other,), phantoms=phantoms, device="cpu")
    assert not (tmp_path / "run").exists()


def test_frames_are_those_that_a_clip_shows_at_its_turns(beating: Study):
    phantom = make_beating(7, n_beats=1, frame_rate_hz=20.0, spacing_mm=(1.5, 1.5))
    assert [(f.view, f.phase) for f in beating.frames] == [(v, p) for v in View for p in Phase]
    for frame in beating.frames:
        masks, volumes = phantom.masks(frame.view), phantom.volumes_ml(frame.view)
        turn = volumes.argmax() if frame.phase == Phase.ED else volumes.argmin()
        np.testing.assert_array_equal(frame.reference, masks[turn])
        picture = phantom.clip(frame.view).images[turn].astype(float)
        assert np.corrcoef(picture.ravel(), frame.image.astype(float).ravel())[0, 1] > 0.95


def test_the_last_epoch_is_kept_where_asked_for(beating: Study, tmp_path: Path):
    with Store(store_of(tmp_path / "two.h5", ("patient0001", as_study(make_patient(1))), ("w", beating))) as store:
        split, config = Split(("patient0001",), ("w",), (), "by hand"), replace(SMALL, epochs=3, keep="last")
        progress = train(store, split, tmp_path / "run", config, device="cpu")
    assert progress.best_epoch == progress.epoch == 3
    assert "val_dice_mean" in progress.history[-1]
