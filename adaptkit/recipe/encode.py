"""From checked rows to token ids, for training, validation and test."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from adaptkit.data.augmentation import Augmentation, augment, read_synonyms
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.models.names import load_config
from adaptkit.models.tokenizer import load_tokenizer
from adaptkit.recipe.auto import announce, choose_base, choose_max_length
from adaptkit.recipe.data_checks import check_unknown
from adaptkit.recipe.steps import Encoded, Prepared
from adaptkit.training.options import EncodedSplit
from adaptkit.utils.processes import log_main


def encode(prepared: Prepared, base_folder: Path | None = None) -> Encoded:
    """Tokenize every split, including augmented copies of training rows.

    Args:
        base_folder: where to write a small untrained base if no model is named (default: `base` in
            the output folder).

    Raises:
        AdaptkitError: the model does not exist, or rows cannot be encoded.
    """
    base = announce(choose_base(prepared, base_folder or prepared.output_dir / "base"))
    prepared, revision = dataclasses.replace(prepared, base=base), prepared.arguments.model_revision
    tokenizer, config = load_tokenizer(base, revision), load_config(base, revision)
    max_length = announce(choose_max_length(prepared.arguments.max_seq_length, config, tokenizer))
    splits = {}
    for name, table in prepared.splits.items():
        table = _augmented(prepared, table) if name == "train" else table
        rows = prepared.task.encode(table, tokenizer, max_length, train=name == "train")
        splits[name] = EncodedSplit(table, rows)
    if not prepared.arguments.check:  # which prints all findings
        for finding in check_unknown("train", splits["train"].encoded, tokenizer):
            log_main(f"warning: {finding.text}")
    unlabelled = None
    if prepared.unlabelled is not None:
        unlabelled = prepared.task.encode(prepared.unlabelled, tokenizer, max_length, False)
    return Encoded(prepared, tokenizer, config, max_length, splits, unlabelled)


def _augmented(prepared: Prepared, table: Table) -> Table:
    """The training rows, followed by augmented copies if requested."""
    arguments, task = prepared.arguments, prepared.task
    if not arguments.augment_copies:
        return table
    parts = [part for part in task.changeable if part in table.columns]
    if not parts:
        raise AdaptkitError(
            f"--augment_copies moves words and leaves some out, but {task.name} needs its texts "
            "as they are."
        )
    synonyms = read_synonyms(arguments.synonym_file)
    how = Augmentation(
        arguments.augment_copies, arguments.word_dropout, arguments.word_swap, synonyms=synonyms
    )
    return augment(table, parts, how, prepared.training.seed)
