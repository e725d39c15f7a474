"""A recipe's command line: recipe flags, task flags and Trainer's flags, over a YAML file.

argparse parses adaptkit's flags, because transformers' parser takes seconds to import and `--help`
must be fast. transformers' own parser parses Trainer's flags when a recipe really runs, and for
`--help_all`. The command line takes precedence over `--config file.yaml`; unknown keys are refused.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit.errors import AdaptkitError, quoted, unknown
from adaptkit.recipe.arguments import MultitaskArguments, RecipeArguments
from adaptkit.tasks.base import Task
from adaptkit.tasks.flags import Flag, flags_of, task_flags
from adaptkit.utils.flag_errors import FlagErrors, Parser, unknown_flag

if TYPE_CHECKING:
    from transformers import HfArgumentParser

# Flags of transformers' example scripts that have another name here, or no use.
ELSEWHERE = {
    "task_name": "--dataset_name glue --dataset_config_name sst2 names a data set",
    "token": "set HF_TOKEN, or run hf auth login",
    "use_auth_token": "set HF_TOKEN, or run hf auth login",
    "cache_dir": "set HF_HOME",
    "overwrite_cache": "encoded rows are not kept on the disk",
    "trust_remote_code": "models whose code lies on the Hub are not loaded",
    "pad_to_max_length": "a batch is padded to its longest row",
    "preprocessing_num_workers": "tokenizers use all cores by themselves",
    "use_fast_tokenizer": "tokenizers are fast ones",
    "tokenizer_name": "the tokenizer is that of --model_name_or_path",
    "config_name": "the configuration is that of --model_name_or_path",
    "metric_name": "every metric of the task is reported; --metric_for_best_model chooses by one",
    "ignore_mismatched_sizes": "a head of another size is made anew by itself",
    "shuffle_train_dataset": "training rows are always shuffled",
    "max_length": "--max_seq_length is the number of tokens",
    "max_source_length": "--max_seq_length is the number of tokens",
    # of earlier versions of transformers, and of other tools
    "evaluation_strategy": "--eval_strategy is its name",
    "group_by_length": "texts of like length share a batch by default; --train_sampling_strategy "
    "random mixes them",
    "warmup_ratio": "--warmup_steps below 1 is a share of all steps",
    "no_cuda": "--use_cpu is its name",
    "per_gpu_train_batch_size": "--per_device_train_batch_size is its name",
    "per_gpu_eval_batch_size": "--per_device_eval_batch_size is its name",
    "batch_size": "--per_device_train_batch_size and --per_device_eval_batch_size are its names",
    "train_batch_size": "--per_device_train_batch_size is its name",
    "eval_batch_size": "--per_device_eval_batch_size is its name",
    "lr": "--learning_rate is its name",
    "epochs": "--num_train_epochs is its name",
    "num_epochs": "--num_train_epochs is its name",
    "logging_dir": "reports are in --output_dir",
    "save_safetensors": "weights are always saved as safetensors",
    "max_train_steps": "--max_steps is its name",
    "model_name": "--model_name_or_path is its name",
    "train_data": "--train_file is its name",
}


@dataclass(frozen=True)
class Parsed:
    """A recipe's command line.

    columns: part of a row -> the column named for it.
    settings: the task's settings.
    given: the names of all flags that the user set.
    make_training: defaults -> `transformers.TrainingArguments`, where flags of the user override
        the defaults.
    """

    arguments: RecipeArguments
    task: type[Task]
    columns: dict[str, str]
    settings: dict[str, Any]
    given: frozenset[str]
    make_training: Callable[..., Any]


def parse_recipe(
    task: type[Task],
    argv: list[str] | None,
    description: str,
    kind: type[RecipeArguments] = RecipeArguments,
    others: Iterable[str] = (),
) -> Parsed:
    """Parse the command line of a recipe.

    Args:
        kind: the class of the recipe's arguments, for recipes with additional ones.
        others: names of flags parsed elsewhere, for close matches.

    Raises:
        AdaptkitError: a flag or configuration key is unknown (with the closest name).
    """
    command = command_of(kind.recipe or task.name, argv)
    argv = words_of(argv)
    flags = recipe_flags(task, kind)
    parser = make_parser(flags, description, command)
    if "--help_all" in argv:
        _print_all_help(parser, task.defaults)
    own, rest = parser.parse_known_args(argv)
    if own.config:
        argv = [*_from_yaml(own.config, set(flags)), *argv]
        own, rest = parser.parse_known_args(argv)
    values = vars(own)
    values.pop("help_all")
    columns = {part: values.pop(f"{part}_column") for part in task.parts}
    settings = {name: values.pop(name) for name in task_flags(task) if name in values}
    known = {*flags, *others}
    return Parsed(
        arguments=kind(**values),
        task=task,
        columns={part: column for part, column in columns.items() if column},
        settings=settings,
        given=frozenset(flags_in(argv)),
        make_training=lambda **defaults: _training_arguments(rest, defaults, known),
    )


def words_of(argv: list[str] | None) -> list[str]:
    """The words of the command line; a flag may have - for _, as Trainer's flags may."""
    return [_with_underscores(word) for word in (sys.argv[1:] if argv is None else argv)]


def _with_underscores(word: str) -> str:
    name, equals, value = word.partition("=")
    return name[:2] + name[2:].replace("-", "_") + equals + value if word[:2] == "--" else word


def recipe_flags(
    task: type[Task], kind: type[RecipeArguments] = RecipeArguments
) -> dict[str, Flag]:
    """All flags of a recipe except Trainer's: its arguments with task defaults, and the task's."""
    own = set() if kind is RecipeArguments else set(vars(kind).get("__annotations__", ()))
    changed = {name: value for name, value in task.recipe_flags.items() if name not in own}
    shared = flags_of(kind) | changed
    useful = {"head_start": task.linear_head, "unlabelled_file": task.pseudo_labels}
    for name in {name for name, has_use in useful.items() if not has_use} - own:
        shared[name] = dataclasses.replace(shared[name], hidden=True)
    return shared | task_flags(task)


def parse_known(
    kind: type[MultitaskArguments], argv: list[str] | None, description: str | None
) -> tuple[Any, list[str]]:
    """Parse the known flags of a recipe; returns its arguments and the remaining words.

    A configuration file is read here for both.
    """
    parser = make_parser(flags_of(kind), description or "", command_of(kind.recipe, argv))
    argv = words_of(argv)
    own, rest = parser.parse_known_args(argv)
    if own.config:
        own, rest = parser.parse_known_args([*as_words(_read_yaml(own.config)), *argv])
    if own.help_all:
        _print_all_help(parser, {})
    return kind(**{name: value for name, value in vars(own).items() if name != "help_all"}), rest


def peek(name: str, argv: list[str] | None) -> str | None:
    """The value of one flag, or its value in `--config`, before the other flags are known."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{name}")
    parser.add_argument("--config")
    found, _ = parser.parse_known_args(words_of(argv))
    value = getattr(found, name)
    if value is None and found.config:
        value = _read_yaml(found.config).get(name)
    return value


def command_of(recipe: str, argv: list[str] | None) -> str | None:
    """How a recipe was called, for its usage line; None for a script, which has its own name."""
    if argv is None:
        return None
    return f"adaptkit {'check' if '--check' in argv else 'train'} {recipe}"


def make_parser(
    flags: dict[str, Flag], description: str, command: str | None = None
) -> argparse.ArgumentParser:
    """A parser of adaptkit's flags, without Trainer's.

    Args:
        command: what the usage line begins with; by default the name of the script.
    """
    parser = Parser(
        prog=command,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--help_all", action="store_true", help="show Trainer's flags too, and exit"
    )
    for name, flag in flags.items():
        shown = "" if flag.default in (None, False, "") else f" (default: {flag.default})"
        options: dict[str, Any] = {
            "default": flag.default,
            "help": argparse.SUPPRESS if flag.hidden else flag.help + shown,
            "type": flag.kind,
        }
        if flag.several:
            options |= {"nargs": "+", "metavar": name.upper()}
        if flag.kind is bool:
            options |= {"type": _boolean, "nargs": "?", "const": True, "metavar": "BOOL"}
        parser.add_argument(f"--{name}", **options)
    return parser


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "yes", "1"):
        return True
    if text.lower() in ("false", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"true or false, not {quoted(text)}")


def _trainer_parser() -> HfArgumentParser:
    from transformers import HfArgumentParser, TrainingArguments

    class TrainerParser(FlagErrors, HfArgumentParser):
        pass

    kind: Any = TrainingArguments  # its annotation lists fewer classes than it accepts
    return TrainerParser(kind, allow_abbrev=False)


def flags_in(words: list[str]) -> set[str]:
    """The names of the flags on a command line, written with dashes or underscores."""
    return {
        word.partition("=")[0].removeprefix("--").replace("-", "_")
        for word in words
        if word.startswith("--")
    }


def _print_all_help(own: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    """Print a recipe's flags and Trainer's, with adaptkit's defaults, and exit."""
    from adaptkit.training.defaults import DEFAULTS

    trainers = _trainer_parser()
    by_case = {
        "learning_rate": "by the method: lora 1e-3, all weights 5e-5",
        "num_train_epochs": "3, and up to 40 with few rows",
        "per_device_train_batch_size": "32, with few rows 8 or 16",
    }
    trainers.set_defaults(**(DEFAULTS | by_case | defaults))
    print(own.format_help() + "\n" + trainers.format_help())
    raise SystemExit(0)


def _training_arguments(rest: list[str], defaults: dict[str, Any], own: set[str]) -> Any:
    parser = _trainer_parser()
    known = {action.dest for action in parser._actions}
    parser.set_defaults(**{name: value for name, value in defaults.items() if name in known})
    given, _ = parser.parse_known_args(rest)
    asked = flags_in(rest)
    parser.set_defaults(**_evaluation_and_saving(given, asked))
    if given.fp16 and "bf16" not in asked:
        parser.set_defaults(bf16=False)
    try:
        training, left = parser.parse_args_into_dataclasses(
            args=rest, return_remaining_strings=True, look_for_args_file=False
        )
    except ValueError as problem:
        raise AdaptkitError(f"Trainer's flags contradict each other: {problem}") from problem
    if asked & {"do_train", "do_eval", "do_predict"} and not training.do_train:
        raise AdaptkitError(
            "recipes always train; adaptkit evaluate and adaptkit predict are for adapters that "
            "are trained."
        )
    if left:
        raise _unknown_flag(left[0], known | own)
    return training


def _unknown_flag(word: str, known: set[str]) -> AdaptkitError:
    stranger = word.lstrip("-").partition("=")[0].replace("-", "_")
    if instead := ELSEWHERE.get(stranger):
        return AdaptkitError(f"--{stranger} is no flag here: {instead}.")
    return unknown_flag(word, known, "--help and --help_all")


def _evaluation_and_saving(given: argparse.Namespace, asked: set[str]) -> dict[str, Any]:
    """Defaults that save every evaluated state: the best is chosen among states that are both."""
    if given.eval_strategy == "no" or given.save_strategy == "no":
        return {"load_best_model_at_end": False}
    if "save_strategy" not in asked:
        return {
            "save_strategy": given.eval_strategy,
            "save_steps": given.eval_steps or given.logging_steps,
        }
    if (
        "eval_strategy" not in asked
        and given.save_strategy != "best"
        and given.load_best_model_at_end
    ):
        return {"eval_strategy": given.save_strategy, "eval_steps": given.save_steps}
    return {}


def _read_yaml(path: str) -> dict[str, Any]:
    """The flags in a configuration file."""
    import yaml

    if not Path(path).is_file():
        raise AdaptkitError(f"there is no configuration file {path}.")
    try:
        content = yaml.safe_load(Path(path).read_text("utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise AdaptkitError(f"{path} is not valid YAML: {problem}") from problem
    if not isinstance(content, dict):
        raise AdaptkitError(f"{path} should hold lines of 'flag: value'.")
    return content


def _from_yaml(path: str, flags: set[str]) -> list[str]:
    """A configuration file as a command line."""
    content = _read_yaml(path)
    known = flags - {"config"}
    if content.keys() - known:
        known |= {action.dest for action in _trainer_parser()._actions}
    for key in content:
        if key not in known:
            error = unknown(f"key in {path}", str(key), known)
            raise AdaptkitError(str(error).partition(" Known: ")[0])
    return as_words(content)


def as_words(content: dict[str, Any]) -> list[str]:
    """Flags and their values as words of a command line."""
    words = []
    for key, value in content.items():
        if value is not None:
            values = value if isinstance(value, list) else [value]
            words += [f"--{key}", *map(_as_word, values)]
    return words


def _as_word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)
