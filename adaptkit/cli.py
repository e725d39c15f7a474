"""Train, combine, evaluate and use adapters. Each command explains itself with --help."""

from __future__ import annotations

import argparse
import sys
from types import ModuleType

from adaptkit.commands import (
    combine,
    convert,
    drift,
    evaluate,
    explain,
    export,
    forgetting,
    label,
    listing,
    mix,
    predict,
    refresh,
    serve,
    show,
    shrink,
    sources,
    train,
)
from adaptkit.utils.flag_errors import Parser, unknown_flag
from adaptkit.utils.terminal import guarded

EPILOG = """examples:
  adaptkit train classify --train_file reviews.csv --method bottleneck --output_dir runs/reviews
  adaptkit check classify --train_file reviews.csv
  adaptkit predict runs/reviews "what a lovely day"
  adaptkit predict runs/reviews --file new.csv > answers.jsonl
  adaptkit evaluate runs/reviews --file test.csv
  adaptkit export runs/reviews --output_dir reviews-model
  adaptkit serve runs
  adaptkit list runs
"""
RECIPE_COMMANDS = ("train", "check")
SEVERAL = {"predict": "text", "evaluate": "folder"}  # what may stand behind flags, too
COMMANDS: dict[str, ModuleType] = {
    "predict": predict,
    "evaluate": evaluate,
    "serve": serve,
    "drift": drift,
    "refresh": refresh,
    "mix": mix,
    "combine": combine,
    "shrink": shrink,
    "sources": sources,
    "label": label,
    "explain": explain,
    "forgetting": forgetting,
    "export": export,
    "convert": convert,
    "list": listing,
    "show": show,
}


def entry() -> None:
    """Entry point of the console script."""
    guarded(main)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and run the command.

    Raises:
        AdaptkitError: for any error that the user can correct.
    """
    argv = [*(sys.argv[1:] if argv is None else argv)]
    if argv and argv[0] in RECIPE_COMMANDS and argv[1:2] not in ([], ["--help"], ["-h"]):
        train.run_with_flags(argv[0], argv[1], argv[2:])
        return
    parser = make_parser()
    argv, columns = _take_columns(argv)
    given, left = parser.parse_known_args(argv)
    given.columns = columns
    several = SEVERAL.get(given.command)
    if left and several and not any(word.startswith("-") for word in left):
        vars(given)[several] += left  # argparse assigns words behind a flag to no positional
    elif left:
        raise unknown_flag(left[0], flags_of_command(parser, given.command))
    given.run(given)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; recipes parse their own flags."""
    parser = Parser(
        prog="adaptkit",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in RECIPE_COMMANDS:
        text = train.HELP[name]
        shown = f"{text}; its flags: adaptkit {name} RECIPE --help"
        command = commands.add_parser(name, help=text, description=shown)
        train.add_arguments(command, name)
        command.set_defaults(run=train.run)
    for name, module in COMMANDS.items():
        description = getattr(module, "DESCRIPTION", module.HELP)
        command = commands.add_parser(name, help=module.HELP, description=description)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def flags_of_command(parser: argparse.ArgumentParser, command: str) -> list[str]:
    """The names of a command's flags, without dashes."""
    (commands,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    words = commands.choices[command]._option_string_actions
    return [word[2:] for word in words if word.startswith("--")]


def _take_columns(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Split `--PART_column NAME` flags from the other words; any part of any task may be named."""
    if argv[:1] not in (["predict"], ["evaluate"]):
        return argv, {}
    rest, columns, words = [], {}, iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name.startswith("--") and name.endswith("_column") and name != "--tag_column":
            columns[name[2 : -len("_column")]] = value if equals else next(words, "")
        else:
            rest.append(word)
    return rest, columns


if __name__ == "__main__":
    entry()
