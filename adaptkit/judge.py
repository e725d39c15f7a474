"""Judging data: each finding is good or a warning. Rows that cannot be used at all are errors when they are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from adaptkit.data import Splits
from adaptkit.report import gold_labels, majority

RARE = 5


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `verdict`: good or warn."""

    verdict: str
    text: str

    def __str__(self) -> str:
        return f"  {self.verdict:<4}  {self.text}"


def judge_labels(splits: Splits, columns: dict[str, str], labels: list[str]) -> list[Finding]:
    """Counts of labels, rare ones, and what guessing would score."""
    findings = []
    counts = Counter(gold_labels(splits.train, columns))
    shown = ", ".join(f"{label} {counts[label]}" for label in labels[:12]) + (", ..." if len(labels) > 12 else "")
    findings.append(Finding("good", f"{len(labels)} labels in {len(splits.train)} training rows: {shown}"))
    rare = [label for label in labels if counts[label] < RARE]
    if rare:
        findings.append(Finding("warn", f"{len(rare)} labels have fewer than {RARE} training rows: {', '.join(rare[:10])}"))
    guess, share = majority(gold_labels(splits.train, columns))
    findings.append(Finding("warn" if share > 0.8 else "good", f"always answering {guess!r} would be right on {share:.1%} of them"))
    return findings


def judge_texts(splits: Splits, text_columns: list[str]) -> list[Finding]:
    """Duplicates inside a split, and overlap between splits."""
    findings: list[Finding] = []
    seen: dict[str, set[str]] = {}
    for name, table in splits.items():
        texts = [" ".join(str(row[column]) for column in text_columns).strip().lower() for row in table.rows]
        double = len(texts) - len(set(texts))
        verdict = "warn" if double else "good"
        findings.append(Finding(verdict, f"{name}: {len(texts)} rows, {double} of them repeat another"))
        for other, known in seen.items():
            both = [index for index, text in enumerate(texts) if text in known]
            if both:
                where = table.where(both[0])
                findings.append(
                    Finding("warn", f"{len(both)} {name} rows stand in {other} too, the first at {where}: scores are too good")
                )
        seen[name] = set(texts)
    if not any("stand in" in finding.text for finding in findings):
        findings.append(Finding("good", "no row stands in two splits"))
    return findings


def judge_lengths(lengths: dict[str, list[int]], max_length: int) -> list[Finding]:
    """How much is cut. `lengths`: tokens of each row before cutting, by split."""
    findings = []
    for name, counts in lengths.items():
        cut = sum(count > max_length for count in counts)
        verdict = "warn" if cut > 0.02 * len(counts) else "good"
        text = f"{name}: {cut} of {len(counts)} rows exceed {max_length} tokens and are cut (longest {max(counts)})"
        findings.append(Finding(verdict, text))
    return findings
