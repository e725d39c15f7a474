"""Ask for labels on a terminal, one text at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adaptkit.data.tables import Table
from adaptkit.errors import nearest, quoted, shorten
from adaptkit.labelling.label_file import LabelFile
from adaptkit.labelling.pool import Pool, Proposal
from adaptkit.labelling.rows import Labelled
from adaptkit.utils.terminal import say

SKIP, UNDO, QUIT = "/s", "/u", "/q"
KEYS = f"{SKIP} skips, {UNDO} takes the last answer back, {QUIT} or Ctrl-D ends"
MARKS = {*"?!.,;:"}  # alone no label, but + and - may be two
MOST_NUMBERED = 30  # labels
LONGEST = 2000  # characters of a text that are shown


def ask_for_labels(
    pool: Pool,
    further: Sequence[Table],
    collected: LabelFile,
    count: int,
    read: Callable[[str], str] = input,
) -> None:
    """Ask round by round, until the user ends or no row is left; every answer is kept at once.

    Args:
        further: tables with labels that are not in the file.
        collected: gets the labels.
        count: of rows a round; each round knows the labels of those before.
        read: shows a prompt and returns a line; raises EOFError at the end.
    """
    say(f"Enter accepts the guess; {KEYS}")
    skipped: set[int] = set()
    while True:
        known = Labelled.read(pool.task, [*further, collected.table])
        proposals = pool.propose(known, count, skipped)
        labels = list(dict.fromkeys([*pool.task.labels, *known.labels]))
        if not proposals:
            say("no row is left to label")
            return
        if not _ask_round(pool, proposals, labels, collected, skipped, read):
            return


def _ask_round(
    pool: Pool,
    proposals: list[Proposal],
    labels: list[str],
    collected: LabelFile,
    skipped: set[int],
    read: Callable[[str], str],
) -> bool:
    """Ask for each proposal; False if the user ends. New labels and skipped rows are added."""
    place = 0
    while place < len(proposals):
        proposal = proposals[place]
        text = pool.text(proposal.row)
        answer = ask_label(f"{place + 1}/{len(proposals)}  {text}", proposal, labels, read)
        if answer == QUIT:
            return False
        if answer == UNDO:
            if not place:
                say("nothing to take back in this round")
                continue
            place -= 1
            if proposals[place].row in skipped:
                skipped.remove(proposals[place].row)
            else:
                collected.take_back()
            continue
        place += 1
        if answer == SKIP:
            skipped.add(proposal.row)
            continue
        collected.add(pool.table, proposal, answer)
        if answer not in labels:
            labels.append(answer)
    return True


def ask_label(
    text: str, proposal: Proposal, labels: Sequence[str], read: Callable[[str], str] = input
) -> str:
    """The label that a user gives a text, or one of `SKIP`, `UNDO` and `QUIT`.

    Enter accepts the guess, a number is a label's place in the list, and all else is a label. One
    that is spelled nearly as a known one is asked for twice. What is like a key, a number beyond
    the list, or nothing but punctuation is no label: it is said why, and asked again.

    Args:
        labels: the labels so far.
        read: shows a prompt and returns a line; raises EOFError at the end.
    """
    numbered = _numbered(labels)
    say(f"\n{shorten(text, LONGEST)}")
    if numbered:
        say("  ".join(f"{number} {shorten(name)}" for number, name in numbered.items()))
    guess = proposal.guess
    sure = f" ({proposal.probability:.2f})" if proposal.probability is not None else ""
    prompt = f"label [{shorten(guess)}{sure}]: " if guess is not None else "label: "
    while True:
        try:
            given = read(prompt).strip()
        except EOFError:
            return QUIT
        if given in (SKIP, UNDO, QUIT) or given in labels:
            return given
        if not given and guess is not None:
            return guess
        if given in numbered:
            return numbered[given]
        if problem := _why_no_label(given, len(numbered)):
            say(problem)
        elif _is_new(given, labels, read):
            return given


def _numbered(labels: Sequence[str]) -> dict[str, str]:
    """Number -> label; empty if there are many, or if labels are numbers themselves."""
    if len(labels) > MOST_NUMBERED or any(name.isdecimal() for name in labels):
        return {}
    return {str(number): name for number, name in enumerate(labels, 1)}


def _why_no_label(given: str, numbered: int) -> str:
    """Why a line is not taken as a new label; empty if it is.

    Args:
        numbered: the labels that a number stands for.
    """
    if not given:
        return f"There is no guess to accept: type a label; {KEYS}."
    if given.startswith("/") or f"/{given}" in (SKIP, UNDO, QUIT):
        return f"{quoted(given)} is neither a key nor taken as a label: {KEYS}."
    if numbered and given.isdecimal():
        return f"There is no label {given}: the list ends at {numbered}. Type a number or a label."
    if set(given) <= MARKS:
        number = " or its number" * bool(numbered)
        return f"{quoted(given)} is no label: type a label{number}; {KEYS}."
    return ""


def _is_new(given: str, labels: Sequence[str], read: Callable[[str], str]) -> bool:
    """True if a label is meant that was not there before."""
    if (close := nearest(given, labels)) is None:
        return True
    try:
        answer = read(f"{quoted(given)} is new; did you mean {quoted(close)}? Keep it [y/N]: ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")
