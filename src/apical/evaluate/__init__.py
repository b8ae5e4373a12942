"""Agreement of masks, volumes and models with the expert's, in the tables of the CAMUS papers.

>>> from apical.evaluate import evaluate, masks_from_folder
>>> # evaluate(read_studies(data), masks_from_folder(masks)).write(folder)
"""

from __future__ import annotations

from apical.evaluate.agreement import Agreement, PairedDifference, agreement, compare_models
from apical.evaluate.bootstrap import Bootstrap
from apical.evaluate.evaluation import Evaluation
from apical.evaluate.folds import pool
from apical.evaluate.geometry import FrameScore, StructureScore, compare_masks, score_frame
from apical.evaluate.masks import Predict, masks_from_folder
from apical.evaluate.saved import read_evaluation, read_frames
from apical.evaluate.scoring import evaluate
from apical.evaluate.summary import Summary, summarise
from apical.evaluate.tables import comparison_rows, to_markdown
from apical.evaluate.volumes import VolumeAgreement, VolumePair, pair_volumes, volume_agreements

__all__ = [
    "Agreement",
    "Bootstrap",
    "Evaluation",
    "FrameScore",
    "PairedDifference",
    "Predict",
    "StructureScore",
    "Summary",
    "VolumeAgreement",
    "VolumePair",
    "agreement",
    "compare_masks",
    "compare_models",
    "comparison_rows",
    "evaluate",
    "masks_from_folder",
    "pair_volumes",
    "pool",
    "read_evaluation",
    "read_frames",
    "score_frame",
    "summarise",
    "to_markdown",
    "volume_agreements",
]
