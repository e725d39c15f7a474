"""Data checks: each finding is good, a warning, or a failure.

Tasks add their own in `Task.findings` and `Task.encoding_issues`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

from adaptkit.data.samplers import lengths_of
from adaptkit.data.splits import Splits
from adaptkit.errors import quoted
from adaptkit.recipe.steps import Encoded
from adaptkit.tasks.base import Task
from adaptkit.tasks.finding import Finding

if TYPE_CHECKING:
    from datasets import Dataset

UNCUT = 10**6  # a number of tokens that truncates nothing
MOST_UNKNOWN = 1 / 3  # of the tokens
LOOKED_AT = 1000  # rows whose tokens are counted


def check_data(encoded: Encoded) -> list[Finding]:
    """All findings about the rows of a training, and about what encoding them loses."""
    task, splits, tokenizer = encoded.prepared.task, encoded.prepared.splits, encoded.tokenizer
    findings = task.findings(splits) + check_duplicates(task, splits)
    findings += check_one_text(task, splits)
    if task.long_texts != "are cut into blocks":
        whole = {
            name: lengths_of(task.encode(table, tokenizer, UNCUT)) for name, table in splits.items()
        }
        findings += check_lengths(task, whole, encoded.max_length)
    for name, table in splits.items():
        rows = task.encode(table, tokenizer, encoded.max_length)
        findings += check_unknown(name, rows, tokenizer)
        for issue in task.encoding_issues(rows, table):
            findings.append(dataclasses.replace(issue, text=f"{name}: {issue.text}"))
    baselines = task.baseline(splits.train, splits.validation) if splits.validation else {}
    return findings + [Finding("good", f"{name} {value:.4f}") for name, value in baselines.items()]


def check_duplicates(task: Task, splits: Splits) -> list[Finding]:
    """Duplicates inside a split, and overlap between splits."""
    findings: list[Finding] = []
    for name, table in splits.items():
        texts = [task.key(row) for row in table.rows]
        double = len(texts) - len(set(texts))
        findings.append(
            Finding(
                "warn" if double else "good",
                f"{name}: {len(texts)} rows, {double} of them repeat another",
            )
        )
    both = check_overlap(task, splits)
    return [*findings, *(both or [Finding("good", "no row stands in two splits")])]


def check_overlap(task: Task, splits: Splits) -> list[Finding]:
    """Rows of one split that stand in another too."""
    findings: list[Finding] = []
    seen: dict[str, set[str]] = {}
    for name, table in splits.items():
        texts = [task.key(row) for row in table.rows]
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
    return findings


def check_one_text(task: Task, splits: Splits) -> list[Finding]:
    """A warning if most rows that are scored hold one text."""
    findings = []
    for name, table in splits.items():
        if name == "train":
            continue
        text, count = Counter(task.key(row) for row in table.rows).most_common(1)[0]
        if count > 1 and count > len(table) / 2:
            findings.append(
                Finding(
                    "warn",
                    f"{name}: {count} of {len(table)} rows are one text, {quoted(text)}: their "
                    f"score says little. Give other rows with --{name}_file, or leave out those "
                    "that repeat",
                )
            )
    return findings


def check_unknown(name: str, rows: Dataset, tokenizer: Any) -> list[Finding]:
    """A warning if the tokenizer does not know many tokens of the rows, as of another language."""
    others = {token for token in tokenizer.all_special_ids if token != tokenizer.unk_token_id}
    marks = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    if tokenizer.unk_token_id in (None, *marks) or "input_ids" not in rows.column_names:
        return []
    first = rows.select(range(min(LOOKED_AT, len(rows))))["input_ids"]
    tokens_of = chain.from_iterable(first)
    if first and first[0] and isinstance(first[0][0], list):  # several texts a row
        tokens_of = chain.from_iterable(tokens_of)
    counts = Counter(tokens_of)
    tokens = sum(count for token, count in counts.items() if token not in others)
    unknown = counts[tokenizer.unk_token_id]
    if unknown <= MOST_UNKNOWN * tokens:
        return []
    return [
        Finding(
            "warn",
            f"{name}: {unknown / tokens:.0%} of the tokens are unknown to the tokenizer "
            f"({tokenizer.unk_token}): the model cannot read these texts. Give a base of their "
            "language with --model_name_or_path",
        )
    ]


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
