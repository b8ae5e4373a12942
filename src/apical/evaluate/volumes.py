"""Volumes and ejection fraction from predicted masks beside those from the expert's, per patient and definition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apical.evaluate.agreement import Agreement, agreement
from apical.evaluate.bootstrap import Bootstrap
from apical.evaluate.summary import ALL

if TYPE_CHECKING:
    from apical.measure.results import Measurements, Volumes

QUANTITIES = {"edv_ml": "mL", "esv_ml": "mL", "ef_percent": "%"}
"""What is compared, and its unit."""

SAME_METHOD = "same method"
"""Patients that were measured alike, biplane or single plane, on predicted and on expert masks."""


@dataclass(frozen=True)
class VolumePair:
    """EDV, ESV and EF of one patient under one definition, from predicted and from expert masks.

    Attributes
    ----------
    definition
        "ase" or "camus".
    predicted, reference
        Number by name of `QUANTITIES`; None where it could not be measured.
    predicted_method, reference_method
        Biplane or single plane, as `measure` names it.
    predicted_status, reference_status
        measured, caution or refused.
    reasons
        Codes of the findings on the predicted masks.
    ef_interval
        Ends of the interval that the model itself gave for EF, in percent; None where it gave none.
    """

    patient: str
    definition: str
    predicted: Mapping[str, float | None]
    reference: Mapping[str, float | None]
    predicted_method: str
    reference_method: str
    predicted_status: str
    reference_status: str
    reasons: tuple[str, ...] = ()
    ef_interval: tuple[float, float] | None = None

    @property
    def same_method(self) -> bool:
        """Whether both are biplane, or both the same single plane: else their difference is not one of contours."""
        return self.predicted_method == self.reference_method

    def error(self, quantity: str) -> float | None:
        """Return predicted - reference, or None where either is absent."""
        predicted, reference = self.predicted[quantity], self.reference[quantity]
        return None if predicted is None or reference is None else predicted - reference


@dataclass(frozen=True)
class VolumeAgreement:
    """Agreement of one quantity under one definition.

    Attributes
    ----------
    group
        Which patients: `ALL`; `SAME_METHOD`, listed only where it is not all; or the status of the predicted
        measurement.
    """

    definition: str
    quantity: str
    unit: str
    group: str
    agreement: Agreement

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "definition": self.definition,
            "quantity": self.quantity,
            "unit": self.unit,
            "group": self.group,
            **self.agreement.as_dict(),
        }


def pair_volumes(patient: str, predicted: Measurements, reference: Measurements) -> list[VolumePair]:
    """Pair what was measured on predicted and on expert masks of one patient, one entry per definition."""
    return [
        VolumePair(
            patient=patient,
            definition=definition.value,
            predicted=_numbers(predicted.volumes[definition]),
            reference=_numbers(expert),
            predicted_method=predicted.volumes[definition].method,
            reference_method=expert.method,
            predicted_status=predicted.volumes[definition].status.value,
            reference_status=expert.status.value,
            reasons=tuple(dict.fromkeys(f.reason.value for f in predicted.volumes[definition].findings)),
            ef_interval=predicted.volumes[definition].ef_interval.ends,
        )
        for definition, expert in reference.volumes.items()
    ]


def volume_agreements(pairs: Iterable[VolumePair], bootstrap: Bootstrap = Bootstrap()) -> list[VolumeAgreement]:
    """Return the agreement of EDV, ESV and EF under each definition, for all patients and by status."""
    everything = list(pairs)
    table = []
    for definition in dict.fromkeys(p.definition for p in everything):
        members = [p for p in everything if p.definition == definition]
        groups = {ALL: members}
        if not all(p.same_method for p in members):
            groups[SAME_METHOD] = [p for p in members if p.same_method]
        # The test of the quality gate: whether it is right to be less sure of these patients.
        for status in sorted({p.predicted_status for p in members}):
            groups[status] = [p for p in members if p.predicted_status == status]
        for group, chosen in groups.items():
            for quantity, unit in QUANTITIES.items():
                result = agreement(
                    [p.predicted[quantity] for p in chosen], [p.reference[quantity] for p in chosen], bootstrap
                )
                table.append(VolumeAgreement(definition, quantity, unit, group, result))
    return table


def _numbers(volumes: Volumes) -> dict[str, float | None]:
    return {quantity: getattr(volumes, quantity) for quantity in QUANTITIES}
