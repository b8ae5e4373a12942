"""New names, numbers and dates, all from one secret key: the same key gives the same ones, another none.

Everything is HMAC-SHA256 of the original under the key. Without the key nobody can redo it, or try all
hospital numbers until one fits.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime, timedelta
from typing import Any

from pydicom.dataset import Dataset

from apical.errors import InputError
from apical.report.dicom_object import uid_from_digest

SHORTEST_KEY_BYTES = 16
_MAX_SHIFT_DAYS = 3650
_SECONDS_PER_DAY = 86400
_TIME = re.compile(r"(\d\d)(\d\d)?(\d\d)?(\.\d{1,6})?")


class Pseudonyms:
    """Replaces identifiers under one key.

    Raises
    ------
    InputError
        The key is shorter than 16 bytes, and could be guessed.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < SHORTEST_KEY_BYTES:
            raise InputError(
                f"the key has {len(key)} bytes: give {SHORTEST_KEY_BYTES} or more random ones, and keep them secret"
            )
        self._key = key

    def person(self, dataset: Dataset) -> str:
        """Return by what one patient is told from another; secret, never written."""

        def text(*keywords: str) -> str:
            return "\n".join(str(dataset.get(k) or "").strip() for k in keywords)

        if text("PatientID"):
            return text("IssuerOfPatientID", "PatientID")
        if text("PatientName"):
            return text("PatientName", "PatientBirthDate")
        return text("StudyInstanceUID")

    def patient_id(self, person: str) -> str:
        """Return the patient's new number, which is also the new name."""
        return "P" + self._digest("patient", person).hex()[:16].upper()

    def uid(self, uid: str) -> str:
        """Return the UID that replaces another."""
        return uid_from_digest(self._digest("uid", uid))

    def shifted(self, person: str, date: Any, time: Any) -> tuple[str, str]:
        """Return a date and time moved back by this patient's own span, so that intervals stay.

        A time without a date, and what is no date, become empty.
        """
        digest = self._digest("date", person)
        days = 1 + int.from_bytes(digest[:8], "big") % _MAX_SHIFT_DAYS
        seconds = int.from_bytes(digest[8:16], "big") % _SECONDS_PER_DAY
        try:
            day = datetime.strptime(str(date or "").strip(), "%Y%m%d")
            match = _TIME.fullmatch(str(time or "").strip())
            if match is None:
                return f"{day - timedelta(days=days):%Y%m%d}".zfill(8), ""
            hour, minute, second = (int(part or 0) for part in match.groups()[:3])
            moment = day.replace(hour=hour, minute=minute, second=min(second, 59))
            moment -= timedelta(days=days, seconds=seconds)
        except (ValueError, OverflowError):
            return "", ""
        return f"{moment:%Y%m%d}".zfill(8), f"{moment:%H%M%S}{match[4] or ''}"

    def _digest(self, purpose: str, value: str) -> bytes:
        return hmac.digest(self._key, f"{purpose}\n{value}".encode(), hashlib.sha256)
