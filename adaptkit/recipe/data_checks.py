"""Data checks: each finding is good, a warning, or a failure.

Tasks add their own in `Task.findings` and `Task.encoding_issues`.
"""

from __future__ import annotations

import dataclasses

from adaptkit.data.samplers import lengths_of
from adaptkit.data.splits import Splits
from adaptkit.recipe.steps import Encoded
from adaptkit.tasks.base import Task
from adaptkit.tasks.finding import Finding

UNCUT = 10**6  # a number of tokens that truncates nothing


def check_data(encoded: Encoded) -> list[Finding]:
    """All findings about the rows of a training, and about what encoding them loses."""
    task, splits, tokenizer = encoded.prepared.task, encoded.prepared.splits, encoded.tokenizer
    findings = task.findings(splits) + check_duplicates(task, splits)
    if task.long_texts != "are cut into blocks":
        whole = {
            name: lengths_of(task.encode(table, tokenizer, UNCUT)) for name, table in splits.items()
        }
        findings += check_lengths(task, whole, encoded.max_length)
    for name, table in splits.items():
        rows = task.encode(table, tokenizer, encoded.max_length)
        for issue in task.encoding_issues(rows, table):
            findings.append(dataclasses.replace(issue, text=f"{name}: {issue.text}"))
    baselines = task.baseline(splits.train, splits.validation) if splits.validation else {}
    return findings + [Finding("good", f"{name} {value:.4f}") for name, value in baselines.items()]


def check_duplicates(task: Task, splits: Splits) -> list[Finding]:
    """Duplicates inside a split, and overlap between splits."""
    findings: list[Finding] = []
    seen: dict[str, set[str]] = {}
    for name, table in splits.items():
        texts = [task.key(row) for row in table.rows]
        double = len(texts) - len(set(texts))
        findings.append(
            Finding(
                "warn" if double else "good",
                f"{name}: {len(texts)} rows, {double} of them repeat another",
            )
        )
        for other, known in seen.items():
            both = [index for index, text in enumerate(texts) if text in known]
            if both:
                severity = "fail" if len(both) == len(texts) else "warn"
                where = table.where(both[0])
                text = (
                    f"{len(both)} {name} rows stand in {other} too, the first at {where}: scores "
                    "are too good"
                )
                findings.append(Finding(severity, text))
        seen[name] = set(texts)
    if not any("stand in" in finding.text for finding in findings):
        findings.append(Finding("good", "no row stands in two splits"))
    return findings


def check_lengths(task: Task, lengths: dict[str, list[int]], max_length: int) -> list[Finding]:
    """How many rows are too long. `lengths`: tokens of each row before truncation, by split."""
    findings = []
    for name, counts in lengths.items():
        long = sum(count > max_length for count in counts)
        severity = (
            "warn"
            if task.long_texts != "are read in windows" and long > 0.02 * len(counts)
            else "good"
        )
        text = (
            f"{name}: {long} of {len(counts)} rows exceed {max_length} tokens and "
            f"{task.long_texts} (longest {max(counts)})"
        )
        findings.append(Finding(severity, text))
    return findings
