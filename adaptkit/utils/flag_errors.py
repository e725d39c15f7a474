"""Errors of a command line in a sentence, instead of argparse's usage of a hundred flags."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import NoReturn

from adaptkit.errors import AdaptkitError, nearest, quoted, shorten, unknown

_NUMBERS = {"int": "a whole number", "float": "a number", "dict": "a JSON object"}
_ARGUMENT = re.compile(r"argument (?P<flag>[^:/]+)(?:/[^:]+)?: (?P<problem>.*)", re.DOTALL)
_INVALID = re.compile(r"invalid (\w+) value: (.*)", re.DOTALL)
_CHOICE = re.compile(r"invalid choice: (.*) \(choose from (.*)\)", re.DOTALL)
_TRUTH = re.compile(r"Truthy value expected: got (.*) but expected one of", re.DOTALL)
_TAKES = ("a whole number", "a number", "true or false")  # how our own types begin their messages


class FlagErrors:
    """A parser whose `error` raises an AdaptkitError; put it before argparse's class."""

    def error(self, message: str) -> NoReturn:
        raise AdaptkitError(_sentence(message)) from None


class Parser(FlagErrors, argparse.ArgumentParser):
    """argparse's parser with errors in a sentence; so are those of its subparsers."""


def unknown_flag(word: str, known: Iterable[str], see: str = "--help") -> AdaptkitError:
    """The error for a word that no flag takes, with the nearest flag.

    Args:
        word: as given, `--threshhold=0.5` or `reviews.csv`.
        known: the names of the flags, without dashes.
        see: where all of them are listed.
    """
    name = word.lstrip("-").partition("=")[0].replace("-", "_")
    if not word.startswith("-"):
        return AdaptkitError(
            f"unexpected word {quoted(word)} on the command line; see --help for flags that take "
            "several values."
        )
    close = nearest(name, known)
    guess = f"; did you mean '--{close}'?" if close else "."
    return AdaptkitError(f"unknown flag {quoted(f'--{name}')}{guess} See {see}.")


def _sentence(message: str) -> str:
    """argparse's message in the words of the other errors."""
    if required := re.fullmatch("the following arguments are required: (.*)", message):
        return f"missing: {required[1]}; see --help."
    found = _ARGUMENT.fullmatch(message)
    if not found:
        return f"{message}; see --help."
    flag, problem = found["flag"], found["problem"]
    if invalid := _INVALID.fullmatch(problem):
        kind = _NUMBERS.get(invalid[1], f"a {invalid[1]}")
        return f"{flag} takes {kind}, not {shorten(invalid[2])}."
    if choice := _CHOICE.fullmatch(problem):
        known = [name.strip(" '") for name in choice[2].split(",")]
        kind = "command" if flag == "COMMAND" else f"value of {flag}"
        return str(unknown(kind, choice[1].strip("'"), known))
    if truth := _TRUTH.match(problem):
        return f"{flag} takes true or false, not {quoted(truth[1])}."
    if problem.startswith("expected"):
        return f"{flag} needs a value; see --help."
    if ignored := re.fullmatch("ignored explicit argument (.*)", problem):
        return f"{flag} takes no value; it got {shorten(ignored[1])}."
    if problem.startswith(_TAKES):
        return f"{flag} takes {shorten(problem, 200)}."
    if other := re.fullmatch("not allowed with argument (.*)", problem):
        return f"{flag} and {other[1]} do not go together."
    return f"{flag}: {shorten(problem, 200)}."
