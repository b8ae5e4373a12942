"""Synthetic hearts whose volumes and ejection fraction are known, written in the real file formats.

>>> from apical.phantom import make_patient
>>> patient = make_patient(1, edv_ml=120.0, ef_percent=60.0)
>>> round(patient.truth.edv_ml, 6), round(patient.truth.ef_percent, 6)
(120.0, 60.0)
"""

from apical.phantom.beating import BeatingPhantom, Recording, TrueBeat, as_clip_study, as_frame_study, make_beating
from apical.phantom.files import resampled, write_camus_mhd, write_camus_nifti, write_camus_png
from apical.phantom.heart import Heart, TruncatedEllipsoid, blend
from apical.phantom.patient import PhantomPatient, Truth, as_study, make_patient
from apical.phantom.scene import Pose, Sector, render
from apical.phantom.tissue import Appearance
from apical.phantom.ultrasound import ultrasound

__all__ = [
    "Appearance",
    "BeatingPhantom",
    "Heart",
    "PhantomPatient",
    "Pose",
    "Recording",
    "Sector",
    "TrueBeat",
    "TruncatedEllipsoid",
    "Truth",
    "as_clip_study",
    "as_frame_study",
    "as_study",
    "blend",
    "make_beating",
    "make_patient",
    "render",
    "resampled",
    "ultrasound",
    "write_camus_mhd",
    "write_camus_nifti",
    "write_camus_png",
]
