"""What running a command gives to a test (fixture `apical`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Result(NamedTuple):
    """What a command ended with and printed."""

    code: int
    out: str
    err: str

    @property
    def one_line(self) -> bool:
        """Whether a person was told once, in one line, without a traceback."""
        lines = [line for line in self.err.splitlines() if line.startswith("apical:")]
        return "Traceback" not in self.err and len(lines) == 1


Run = Callable[..., Result]
