"""What reading and writing a store have in common: its version, its names, and who must stay together."""

from __future__ import annotations

from typing import Any

SCHEMA_VERSION = 1
FORMAT = "apical store"


def group_patients(patients: Any) -> list[tuple[str, ...]]:
    """Group the patients of an HDF5 group that share an identical image."""
    owner: dict[str, str] = {}
    parent = {p: p for p in sorted(patients)}

    def root(p: str) -> str:
        while parent[p] != p:
            p = parent[p]
        return p

    for patient in parent:
        for digest in patients[patient].attrs["image_sha256"]:
            parent[root(patient)] = root(owner.setdefault(str(digest), patient))
    members: dict[str, list[str]] = {}
    for patient in parent:
        members.setdefault(root(patient), []).append(patient)
    return [tuple(m) for m in members.values()]
