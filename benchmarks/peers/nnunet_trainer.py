"""nnU-Net's trainer with a clock: its own steps, until the budget is spent."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from apical.files import write_text
from apical.network.training import autocast

CPU = torch.device("cpu")
CHANGES = (
    "nnU-Net's own; changed: its polynomial decay runs over the clock, an epoch is one pass over the frames, "
    "batch 12, bfloat16 where the processor has it; last epoch"
)


@dataclass
class Clock:
    """How much of the budget is spent, over all sittings."""

    seconds: float = 0.0
    iterations: int = 0


class BudgetTrainer(nnUNetTrainer):
    """Spends a wall-clock budget, training and its online validation together."""

    minutes: float  # set by `make_trainer`: nnU-Net allows its own arguments only

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.save_every = 1
        self.num_epochs = 10**6  # the clock ends it
        self.clock = Clock()
        self._sitting: float | None = None

    @property
    def share(self) -> float:
        """Share of the budget that is spent."""
        now = time.monotonic() - self._sitting if self._sitting is not None else 0.0
        return (self.clock.seconds + now) / (60 * self.minutes)

    @property
    def precision(self) -> str:
        """Number format of the convolutions."""
        return "bfloat16" if autocast(CPU)._enabled else "float32"

    @property
    def threads(self) -> int:
        """Threads of the network; nnU-Net's augmentation has processes of its own beside them."""
        return torch.get_num_threads()

    def initialize(self) -> None:
        """Build as nnU-Net does; its forward pass then uses bfloat16, which it does by itself on a GPU only."""
        super().initialize()
        train, validation = self.do_split()
        self.num_iterations_per_epoch = max(1, len(train) // self.batch_size)
        self.num_val_iterations_per_epoch = max(1, len(validation) // self.batch_size)
        self.network.forward = _in_bfloat16(self.network.forward)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """Return nnU-Net's optimizer, and its decay over the clock instead of over 1000 epochs."""
        optimizer, _ = super().configure_optimizers()
        return optimizer, _PolynomialOverClock(self, optimizer)

    def train_step(self, batch: dict) -> dict:
        """Do nnU-Net's step at the learning rate of this moment."""
        self.lr_scheduler.step()
        self.clock.iterations += 1
        return super().train_step(batch)

    def train_or_resume(self) -> None:
        """Train from where an earlier sitting was; with nothing left to do, load what it made."""
        folder = Path(self.output_folder)
        final, latest = folder / "checkpoint_final.pth", folder / "checkpoint_latest.pth"
        found = next((p for p in (final, latest) if p.exists()), None)
        if found is not None:
            self.initialize()
            self.load_checkpoint(str(found))
            self.clock = Clock(**json.loads((folder / "clock.json").read_text()))
        if found != final:
            self.run_training()

    def run_training(self) -> None:
        """Run nnU-Net's loop until the budget is spent; a started epoch ends early."""
        self.on_train_start()
        while self.share < 1:
            self._sitting = time.monotonic()
            self.on_epoch_start()
            self.on_train_epoch_start()
            outputs = []
            while len(outputs) < self.num_iterations_per_epoch and (self.share < 1 or not outputs):
                outputs.append(self.train_step(next(self.dataloader_train)))
            self.on_train_epoch_end(outputs)
            with torch.no_grad():
                self.on_validation_epoch_start()
                self.on_validation_epoch_end(
                    [self.validation_step(next(self.dataloader_val)) for _ in range(self.num_val_iterations_per_epoch)]
                )
            self.clock.seconds += time.monotonic() - self._sitting
            self._sitting = None
            write_text(Path(self.output_folder) / "clock.json", json.dumps(asdict(self.clock)), overwrite=True)
            self.on_epoch_end()
        self.on_train_end()


class _PolynomialOverClock:
    """nnU-Net's decay, (1 - share)^0.9, of the share of the budget that is spent."""

    def __init__(self, trainer: BudgetTrainer, optimizer: torch.optim.Optimizer) -> None:
        self.trainer = trainer
        self.optimizer = optimizer

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rate of this moment; the epoch does not matter."""
        rate = self.trainer.initial_lr * max(0.0, 1 - self.trainer.share) ** 0.9
        for group in self.optimizer.param_groups:
            group["lr"] = rate


def _in_bfloat16(forward: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
    def wrapped(x: torch.Tensor) -> Any:
        with autocast(CPU):
            scores = forward(x)
        return [s.float() for s in scores] if isinstance(scores, (list, tuple)) else scores.float()

    return wrapped


def make_trainer(preprocessed: Path, minutes: float) -> BudgetTrainer:
    """Return a trainer for a planned dataset and its only fold."""
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text())
    dataset = json.loads((preprocessed / "dataset.json").read_text())
    # Whether nnU-Net appends to its own log; what is resumed is decided in `train_or_resume`.
    trainer = BudgetTrainer(plans | {"continue_training": False}, "2d", 0, dataset, CPU)
    trainer.minutes = minutes
    return trainer


def predict(trainer: BudgetTrainer, images: Path, masks: Path) -> None:
    """Let nnU-Net predict a folder of images, with its mirroring, by the network as it is."""
    predictor = nnUNetPredictor(perform_everything_on_device=False, device=CPU, allow_tqdm=False)
    trainer.set_deep_supervision_enabled(False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    predictor.predict_from_files(
        str(images),
        str(masks),
        overwrite=True,
        num_processes_preprocessing=1,
        num_processes_segmentation_export=max(1, (os.cpu_count() or 2) // 2),
    )
