"""The result of one data check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One data check's result. `severity`: good, warn or fail."""

    severity: str
    text: str

    def __str__(self) -> str:
        return f"  {self.severity:<4}  {self.text}"
