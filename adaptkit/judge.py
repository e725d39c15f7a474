"""Judging data: each finding is good, a warning, or reason to stop. Tasks add their own in `Task.findings` and `Task.lost`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptkit.tables import Splits

if TYPE_CHECKING:
    from adaptkit.tasks.base import Task


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `verdict`: good, warn or fail."""

    verdict: str
    text: str

    def __str__(self) -> str:
        return f"  {self.verdict:<4}  {self.text}"


def judge_texts(task: Task, splits: Splits) -> list[Finding]:
    """Duplicates inside a split, and overlap between splits."""
    findings: list[Finding] = []
    seen: dict[str, set[str]] = {}
    for name, table in splits.items():
        texts = [task.key(row) for row in table.rows]
        double = len(texts) - len(set(texts))
        findings.append(Finding("warn" if double else "good", f"{name}: {len(texts)} rows, {double} of them repeat another"))
        for other, known in seen.items():
            both = [index for index, text in enumerate(texts) if text in known]
            if both:
                verdict = "fail" if len(both) == len(texts) else "warn"
                where = table.where(both[0])
                text = f"{len(both)} {name} rows stand in {other} too, the first at {where}: scores are too good"
                findings.append(Finding(verdict, text))
        seen[name] = set(texts)
    if not any("stand in" in finding.text for finding in findings):
        findings.append(Finding("good", "no row stands in two splits"))
    return findings


def judge_lengths(task: Task, lengths: dict[str, list[int]], max_length: int) -> list[Finding]:
    """How many rows are too long. `lengths`: tokens of each row before cutting, by split."""
    findings = []
    for name, counts in lengths.items():
        long = sum(count > max_length for count in counts)
        verdict = "warn" if task.long_texts != "are read in windows" and long > 0.02 * len(counts) else "good"
        text = f"{name}: {long} of {len(counts)} rows exceed {max_length} tokens and {task.long_texts} (longest {max(counts)})"
        findings.append(Finding(verdict, text))
    return findings
