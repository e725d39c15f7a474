"""Bases that are made for a comparison."""

from pathlib import Path

from adaptkit import load_base, load_tokenizer


def without_dropout(folder: Path) -> Path:
    """The packaged base with no dropout in its head: two processes never draw the same random
    numbers as one.
    """
    load_base("all-MiniLM-L6-v2", classifier_dropout=0.0).save_pretrained(folder)
    load_tokenizer("all-MiniLM-L6-v2").save_pretrained(folder)
    return folder
