"""The flags of recipes: a dataclass of the recipe's own, Trainer's behind it, and a YAML file under both.

Only the standard library is imported here, so `--help` is quick. Trainer's flags are read when a recipe really runs; `--help_all`
shows them too. What is given on the command line wins over `--config file.yaml`; a key that nobody knows is refused.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptkit.errors import AdaptkitError, unknown

FORMAT_NAMES = ("csv", "tsv", "json", "jsonl", "parquet", "squad", "folder", "conll", "semeval", "label_first", "parallel", "lines")

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
}


def flag(default: Any = None, help: str = "", **more: Any) -> Any:
    """A field of an arguments class: its default and its help."""
    return field(default=default, metadata={"help": help, **more})


@dataclass
class RecipeArguments:
    """The flags that every recipe has."""

    model_name_or_path: str = flag("all-MiniLM-L6-v2", "pretrained model: a folder or a name on the Hub")
    model_revision: str | None = flag(None, "branch, tag or commit of the model on the Hub")
    method: str | None = flag(
        None,
        "what is injected: lora, bottleneck, prefix, ia3, a union a+b, mam, unipelt, peft:NAME; full: all weights "
        "(default: that of the adapter of --warm_start, else lora)",
    )
    train: str = flag(
        "adapter", "what trains: adapter (see --method), or of the model's own weights full, head, norms, biases, last[k]"
    )
    layerwise_lr_decay: float = flag(1.0, "with --train full or last[k]: each layer's rate is so much of that of the layer above")
    l2_sp: float = flag(0.0, "with --train: strength of the pull towards the pretrained weights, against forgetting (L2-SP)")
    gradual_unfreezing: bool = flag(False, "with --train full or last[k]: one more layer from the top trains in each epoch")
    warm_start: str | None = flag(None, "folder of an adapter of the same base, whose weights the new one starts from")
    fuse: list[str] | None = flag(None, "folders of bottleneck adapters (pfeiffer) that an AdapterFusion learns to mix")
    quantize: str | None = flag(None, "load the base in int8 or nf4 (bitsandbytes)")
    dtype: str = flag("auto", "dtype of the base: auto, float32, bfloat16, float16")
    attn_implementation: str | None = flag(None, "attention of the base: sdpa, eager, flash_attention_2")
    base_dropout: bool = flag(False, "keep the frozen base's own dropout while training")
    frozen_trunk: str = flag(
        "auto", "layers below all that trains run once a text: auto, memory, disk (where it is kept), off; see lora[layers=last[2]]"
    )
    whole_last_layer: bool = flag(False, "compute the last layer for every token, also where the head reads one")
    cuda_graphs: bool = flag(True, "on one GPU: record a training step for each shape of batch, and replay it")
    train_file: str | None = flag(None, "training rows, in one of the formats of --format; file.json#part takes a part of it")
    validation_file: str | None = flag(None, "validation rows; cut off the training rows when not given")
    test_file: str | None = flag(None, "test rows, used once, at the end")
    dataset_name: str | None = flag(None, "a dataset on the Hub instead of files (default: the embedded corpus)")
    dataset_config_name: str | None = flag(None, "configuration of that dataset")
    format: str | None = flag(None, f"format of the files: {' '.join(FORMAT_NAMES)} (default: detected)")
    encoding: str = flag("utf-8", "encoding of the files")
    column_names: list[str] | None = flag(None, "names of the columns, for tables without a header line")
    validation_split_percentage: int = flag(
        10, "how much of the training rows is cut off where there is no validation split; 0: all rows train, no epoch is judged"
    )
    test_split_percentage: int = flag(0, "how much of the training rows is cut off where there is no test split; 0: none")
    max_train_samples: int | None = flag(None, "train on so many rows, drawn by the seed (default: all)")
    max_eval_samples: int | None = flag(None, "judge by so many validation rows (default: all)")
    max_predict_samples: int | None = flag(None, "test on so many rows (default: all)")
    max_seq_length: int = flag(128, "tokens that the model reads at once")
    output_dir: str | None = flag(None, "where the adapter and its reports go (default: runs/RECIPE)")
    overwrite_output_dir: bool = flag(False, "write to an output_dir that is not empty")
    early_stopping_patience: int = flag(0, "stop after so many epochs without a better one; 0: never")
    adversarial_epsilon: float = flag(0.0, "FGM: train on embeddings moved by so much against the loss, too; 0: not")
    augment_copies: int = flag(0, "changed copies of each training text")
    word_dropout: float = flag(0.1, "in copies: the share of words left out")
    word_swap: float = flag(0.05, "in copies: the share of words swapped with the next")
    synonym_file: str | None = flag(None, "in copies: words that may stand for each other, a line a group, parted by commas")
    seeds: list[int] | None = flag(None, "train once with each seed; mean and spread of the scores")
    folds: int = flag(0, "cross-validation: train so many times, each time judged on another part of the training rows")
    search: int = flag(0, "try so many settings first (Optuna: learning rate, batch, rank), then train with the best")
    config: str | None = flag(None, "a YAML file of flags; the command line wins")
    check: bool = flag(False, "judge the data, show examples, one training step, one save and load; then stop")

    def embedded(self) -> bool:
        """Whether the embedded corpus is meant."""
        return not self.train_file and self.dataset_name in (None, "embedded")

    def default_rate(self) -> float:
        """The learning rate where none is given."""
        from adaptkit.defaults import FROM_NOTHING, learning_rate

        method = self.method if self.train == "adapter" else self.train
        return learning_rate(method) if self.model_name_or_path else FROM_NOTHING

    def from_nothing(self) -> dict[str, Any]:
        """The kind of model to make where none is given, and its settings; the task's own kind where this is empty."""
        return {}


def parse(kind: type, argv: list[str] | None, description: str, others: Iterable[str] = ()) -> tuple[Any, Any]:
    """Read the command line.

    Args:
        kind: the recipe's arguments class.
        others: names of flags that somebody else has read, for near matches.

    Returns:
        The recipe's arguments, and a function that makes Trainer's arguments from defaults for its flags.

    Raises:
        AdaptkitError: an unknown flag or configuration key (with the nearest name).
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = own_parser(kind, description)
    if "--help_all" in argv:
        _print_all_help(parser)
    own, rest = parser.parse_known_args(argv)
    if own.config:
        argv = [*_from_yaml(own.config, kind), *argv]
        own, rest = parser.parse_known_args(argv)
    arguments = kind(**{name: value for name, value in vars(own).items() if name != "help_all"})
    return arguments, lambda **defaults: _training_arguments(rest, defaults, {*names_of(kind), *others})


def parse_known(kind: type, argv: list[str] | None, description: str | None) -> tuple[Any, list[str]]:
    """Read the flags of a recipe that hands what it does not know to others: its arguments, and the words that are left.

    A configuration file is read here for all of them.
    """
    parser = own_parser(kind, description or "")
    argv = list(sys.argv[1:] if argv is None else argv)
    own, rest = parser.parse_known_args(argv)
    if own.config:
        own, rest = parser.parse_known_args([*as_words(_read_yaml(own.config)), *argv])
    if own.help_all:
        _print_all_help(parser)
    return kind(**{name: value for name, value in vars(own).items() if name != "help_all"}), rest


def peek(name: str, argv: list[str] | None) -> str | None:
    """The value of one flag, before it is known which other flags there are; from `--config` where the command line has none."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{name}")
    parser.add_argument("--config")
    found, _ = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    value = getattr(found, name)
    if value is None and found.config:
        value = _read_yaml(found.config).get(name)
    return value


def own_parser(kind: type, description: str) -> argparse.ArgumentParser:
    """The parser of a recipe's own flags, without Trainer's."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--help_all", action="store_true", help="show Trainer's flags too, and exit")
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        wanted = _plain_type(hints[item.name])
        shown = "" if item.default in (None, False) else f" (default: {item.default})"
        options: dict[str, Any] = {"default": item.default, "help": item.metadata["help"] + shown, "type": wanted}
        if typing.get_origin(wanted) is list:
            options |= {"type": typing.get_args(wanted)[0], "nargs": "+", "metavar": item.name.upper()}
        if wanted is bool:
            options |= {"type": _boolean, "nargs": "?", "const": True, "metavar": "BOOL"}
        parser.add_argument(f"--{item.name}", **options)
    return parser


def _plain_type(hint: Any) -> type:
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    return options[0] if options else hint


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "yes", "1"):
        return True
    if text.lower() in ("false", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"true or false, not {text!r}")


def _trainer_parser() -> argparse.ArgumentParser:
    from transformers import HfArgumentParser, TrainingArguments

    return HfArgumentParser(TrainingArguments, allow_abbrev=False)


def flags_in(words: list[str]) -> set[str]:
    """The names of the flags on a command line, which may be written with dashes or underscores."""
    return {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}


def names_of(kind: type) -> set[str]:
    """The flags that an arguments class has."""
    return {item.name for item in dataclasses.fields(kind)}


def _print_all_help(own: argparse.ArgumentParser) -> None:
    """A recipe's flags and Trainer's, with our defaults, and the end."""
    from adaptkit.defaults import DEFAULTS

    trainers = _trainer_parser()
    trainers.set_defaults(**DEFAULTS, learning_rate="by the method: lora 1e-3, all weights 5e-5")
    print(own.format_help() + "\n" + trainers.format_help())
    raise SystemExit(0)


def _training_arguments(rest: list[str], defaults: dict[str, Any], own: set[str]) -> Any:
    parser = _trainer_parser()
    known = {action.dest for action in parser._actions}
    parser.set_defaults(**{name: value for name, value in defaults.items() if name in known})
    given, _ = parser.parse_known_args(rest)
    asked = flags_in(rest)
    parser.set_defaults(**_when_to_judge_and_save(given, asked))
    try:
        training, left = parser.parse_args_into_dataclasses(args=rest, return_remaining_strings=True, look_for_args_file=False)
    except ValueError as problem:
        raise AdaptkitError(f"Trainer's flags contradict each other: {problem}") from problem
    if asked & {"do_train", "do_eval", "do_predict"} and not training.do_train:
        raise AdaptkitError("recipes always train; adaptkit evaluate and adaptkit predict are for adapters that are trained.")
    if left:
        stranger = left[0].lstrip("-").partition("=")[0].replace("-", "_")
        if instead := ELSEWHERE.get(stranger):
            raise AdaptkitError(f"--{stranger} is no flag here: {instead}.")
        error = unknown("flag", f"--{stranger}", [f"--{name}" for name in known | own])
        raise AdaptkitError(str(error).partition(" Known: ")[0] + " See --help and --help_all.")
    return training


def _when_to_judge_and_save(given: argparse.Namespace, asked: set[str]) -> dict[str, Any]:
    """Defaults by which what is judged is saved too, since the best is chosen among what is both; one follows the other."""
    if given.eval_strategy == "no" or given.save_strategy == "no":
        return {"load_best_model_at_end": False}
    if "save_strategy" not in asked:
        return {"save_strategy": given.eval_strategy, "save_steps": given.eval_steps or given.logging_steps}
    if "eval_strategy" not in asked and given.save_strategy != "best" and given.load_best_model_at_end:
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


def _from_yaml(path: str, kind: type) -> list[str]:
    """A configuration file as a command line."""
    content = _read_yaml(path)
    known = names_of(kind) - {"config"}
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
            words += [f"--{key}", *map(str, values)]
    return words
