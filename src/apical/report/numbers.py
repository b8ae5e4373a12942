"""How a report writes a number."""

from __future__ import annotations

ABSENT = "–"


def number(value: float | None) -> str:
    """Return a number with three significant digits, whole from 100 on, or a dash where there is none.

    Examples
    --------
    >>> number(63.249), number(122.69), number(0.3904), number(None)
    ('63.2', '123', '0.390', '–')
    """
    if value is None:
        return ABSENT
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{decimals}f}".replace("-", "−")
