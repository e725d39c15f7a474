"""From texts to an adapter that answers, and on: each command explains itself with --help."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from adaptkit.aligned import aligned
from adaptkit.errors import AdaptkitError, guarded, unknown

RECIPES = ("classify", "score", "tag", "answer", "relate", "translate", "summarize", "chat", "embed", "pretrain")
ROADS = (*RECIPES, "distill", "multitask")  # a recipe for each task, and those that bring knowledge from elsewhere

_EPILOG = """examples:
  adaptkit train classify --train_file reviews.csv --method bottleneck --output_dir runs/reviews
  adaptkit check classify --train_file reviews.csv
  adaptkit predict runs/reviews "what a lovely day"
  adaptkit predict runs/reviews --file new.csv > answers.jsonl
  adaptkit evaluate runs/reviews --file test.csv
  adaptkit export runs/reviews --output_dir reviews-model
  adaptkit list runs
"""
_MIX = "W = beta * W_source + (1 - beta) * W_target, tensor by tensor; the result is a base, or a model that answers"
_COMBINE = (
    "average: all weights, any method; stack: one behind the other; cat: LoRA, the weighted sum exactly; else PEFT's merges of LoRA"
)
_SOURCES = "scores of frozen features, without training: LogME, H-score, a linear probe, nearest neighbours"
_FORGETTING = "the loss of general text under the base's language head, before training and after it"
_EXPORT = "an ordinary transformers model, which from_pretrained loads; adaptkit answers with it as with the adapter"
_EXPLAIN = "what each word adds to the logit of a label, by Captum: green for it, red against it"


def entry() -> None:
    """The console script."""
    guarded(main)


def main(argv: list[str] | None = None) -> None:
    """Read the command line and do it.

    Raises:
        AdaptkitError: whatever the user can mend.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] in (["train"], ["check"]) and argv[1:2] not in ([], ["--help"], ["-h"]):
        _recipe(argv[0], argv[1], argv[2:])
        return
    parser = _parser()
    argv, columns = _take_columns(argv)
    arguments, left = parser.parse_known_args(argv)
    arguments.columns = columns
    if left and arguments.command == "predict" and not any(word.startswith("-") for word in left):
        arguments.text += left  # argparse gives texts behind a flag to nobody
    elif left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    arguments.run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="adaptkit", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (("train", "train an adapter with a recipe"), ("check", "judge the data and try one step")):
        command = commands.add_parser(name, help=text, description=f"{text}; its flags: adaptkit {name} RECIPE --help")
        command.add_argument("recipe", choices=ROADS if name == "train" else RECIPES)
        command.set_defaults(run=lambda given: _recipe(given.command, given.recipe, []))
    for name, text, run in (
        ("predict", "answer texts or a file, a JSON line each", _predict),
        ("evaluate", "score an adapter on a labelled file", _evaluate),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("folder", help="the adapter")
        if name == "predict":
            command.add_argument("text", nargs="*", help="texts to answer")
        else:
            command.add_argument("--tag_column", type=_positive, help="in CoNLL files: the column of the tags (default: detected)")
            view = command.add_mutually_exclusive_group()
            view.add_argument("--by", metavar="COLUMN", help="every metric for each value of a column, with 95 %% intervals")
            view.add_argument("--confusions", type=_positive, metavar="N", help="the N most frequent mistakes, with examples")
        command.add_argument(
            "--file",
            required=name == "evaluate",
            help="rows, in any format that recipes read; --PART_column NAME says where a part is",
        )
        command.add_argument("--format", help="format of the file (default: detected)")
        command.add_argument("--encoding", default="utf-8", help="encoding of the file")
        command.add_argument("--batch_size", type=_positive, default=64, help="rows at once (default: 64)")
        command.add_argument("--quantize", help="load the base in int8, nf4 or none (default: as in training)")
        command.set_defaults(run=run)
    command = commands.add_parser("mix", help="start a network from the weights of others", description=_MIX)
    command.add_argument("source", nargs="+", help="networks to take weights from: folders or names; several count as their mean")
    command.add_argument("--target", help="the network that they are mixed into")
    command.add_argument("--num_hidden_layers", type=_positive, help="or: a network of the source's kind with so many layers")
    command.add_argument("--config_overrides", help="its other settings: hidden_size=192,num_attention_heads=6")
    command.add_argument(
        "--beta", nargs="+", type=float, default=[0.5], help="the source's share, 0 to 1 (default: 0.5); several are tried"
    )
    command.add_argument(
        "--layers", default="every", help="the source's layers: every (default), first, last, or numbers as in 0,2,5"
    )
    command.add_argument("--leave_unmapped", action="store_true", help="leave tensors without a counterpart as they are")
    command.add_argument("--validation_file", help="labelled rows, by which the best beta is kept")
    command.add_argument("--seed", type=int, default=0, help="of random weights")
    command.add_argument("--output_dir", required=True, help="where the network goes")
    command.set_defaults(run=_mix)
    command = commands.add_parser("combine", help="make one adapter of several", description=_COMBINE)
    command.add_argument("folder", nargs="+", help="adapters of one base with the same labels")
    command.add_argument(
        "--how", default="average", help="average (default), cat, stack, magnitude_prune, ties, dare_linear, dare_ties"
    )
    command.add_argument("--weights", nargs="+", type=float, help="of each adapter (default: alike)")
    command.add_argument(
        "--density", type=float, default=0.5, help="share of the values that pruning, TIES and DARE keep (default: 0.5)"
    )
    command.add_argument("--seed", type=int, default=0, help="of the values that DARE drops")
    command.add_argument("--output_dir", required=True, help="where the adapter goes")
    command.set_defaults(run=_combine)
    command = commands.add_parser("sources", help="rank bases and adapters as starts for a new task", description=_SOURCES)
    command.add_argument("--target", required=True, help="labelled texts, or pairs of texts, of the new task")
    command.add_argument("--store", help="folder of adapters; their bases are ranked too")
    command.add_argument("--base", nargs="+", default=[], help="bases: folders or names")
    command.add_argument("--text_column", help="column of the text (default: text)")
    command.add_argument("--text_pair_column", help="column of a second text (default: none)")
    command.add_argument("--label_column", help="column of the label (default: label)")
    command.add_argument("--format", help="format of the file (default: detected)")
    command.add_argument("--rows", type=_positive, default=1000, help="rows to look at, at most (default: 1000)")
    command.add_argument("--by", default="neighbours", help="sort by neighbours (default), probe, log_me or h_score")
    command.add_argument("--seed", type=int, default=0, help="of the rows that are looked at")
    command.set_defaults(run=_sources)
    command = commands.add_parser("explain", help="which words an answer rests on", description=_EXPLAIN)
    command.add_argument("folder", help="an adapter or a tuned model of recipes/classify.py")
    command.add_argument("text", nargs="+", help="texts to explain")
    command.add_argument("--how", default="gradients", help="gradients (integrated gradients; default) or occlusion")
    command.add_argument("--label", help="the label to explain (default: the answer)")
    command.add_argument("--html", help="write a page with coloured words, too")
    command.set_defaults(run=_explain)
    command = commands.add_parser("forgetting", help="how much language a model unlearned with its task", description=_FORGETTING)
    command.add_argument("folder", nargs="+", help="adapters, or models whose own weights were trained")
    command.add_argument("--file", required=True, help="general text that was not trained on")
    command.add_argument("--format", help="format of the file (default: detected)")
    command.add_argument("--text_column", help="column of the texts (default: text)")
    command.add_argument("--head", help="model of the same base with a language head (default: the base)")
    command.add_argument("--max_seq_length", type=_positive, default=128, help="tokens read at once (default: 128)")
    command.add_argument("--batch_size", type=_positive, default=16, help="texts at once (default: 16)")
    command.set_defaults(run=_forgetting)
    command = commands.add_parser("export", help="merge an adapter into its base, for other tools", description=_EXPORT)
    command.add_argument("folder", help="the adapter")
    command.add_argument(
        "--dtype", default="auto", help="of the weights: auto (as the base's; default), float32, float16, bfloat16"
    )
    command.add_argument("--output_dir", required=True, help="where the model goes")
    command.set_defaults(run=_export)
    command = commands.add_parser("list", help="the adapters in a folder", description="the adapters in a folder")
    command.add_argument("folder", nargs="?", default="runs")
    command.set_defaults(run=_list)
    command = commands.add_parser("show", help="what an adapter is", description="what an adapter is")
    command.add_argument("folder")
    command.set_defaults(run=_show)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number, 1 or more, not {text!r}")
    return int(text)


def _recipe(command: str, name: str, flags: list[str]) -> None:
    import importlib

    if name not in ROADS:
        raise unknown("recipe", name, ROADS)
    recipe = importlib.import_module(f"adaptkit.recipes.{name}")
    recipe.main([*flags, "--check"] if command == "check" else flags)


def _take_columns(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """The words without `--PART_column NAME`, and these: any part of any task may be named."""
    rest, columns, words = [], {}, iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name.startswith("--") and name.endswith("_column") and name != "--tag_column" and argv[0] in ("predict", "evaluate"):
            columns[name[2 : -len("_column")]] = value if equals else next(words, "")
        else:
            rest.append(word)
    return rest, columns


def _predict(arguments: argparse.Namespace) -> None:
    if bool(arguments.text) == bool(arguments.file):
        raise AdaptkitError("give texts, or --file with rows (one of the two).")
    from adaptkit.predict import Predictor

    table = _read(arguments) if arguments.file else None
    predictor = Predictor(arguments.folder, quantize=arguments.quantize)
    answers = predictor.answer(table, arguments.columns, arguments.batch_size) if table else predictor(*arguments.text)
    for answer in answers:
        print(json.dumps(answer, ensure_ascii=False))


def _evaluate(arguments: argparse.Namespace) -> None:
    from adaptkit.predict import Predictor

    table = _read(arguments)
    predictor = Predictor(arguments.folder, quantize=arguments.quantize)
    if arguments.by:
        from adaptkit.slices import show

        found = predictor.slices(table, arguments.by, arguments.columns, arguments.batch_size)
        print(show(found, predictor.task.reported, arguments.by))
        return
    if arguments.confusions:
        from adaptkit.confusions import show as show_confusions

        mistakes = predictor.confusions(table, arguments.columns, arguments.batch_size)
        print(show_confusions(mistakes, arguments.confusions, len(table)))
        return
    metrics = predictor.evaluate(table, arguments.columns, arguments.batch_size)
    print(json.dumps({**metrics, "samples": len(table)}, indent=2))


def _read(arguments: argparse.Namespace) -> Any:
    """The rows of --file; what a header may hold is known from the adapter's card."""
    from adaptkit.cards import existing_card
    from adaptkit.readers import Reading, read

    card = existing_card(Path(arguments.folder))
    by = getattr(arguments, "by", None)
    wanted = (*(card.columns | arguments.columns).values(), *([by] if by else []))
    source, target = card.settings.get("source_lang"), card.settings.get("target_lang")
    reading = Reading(
        format=arguments.format,
        encoding=arguments.encoding,
        wanted=wanted,
        tag_column=getattr(arguments, "tag_column", None),
        languages=(source, target) if source and target else None,
        gold=arguments.command == "evaluate",
    )
    table = read(arguments.file, reading)
    for note in table.notes:
        print(f"note: {note}", file=sys.stderr)
    return table


def _mix(arguments: argparse.Namespace) -> None:
    from adaptkit.transfer import mix_command

    mix_command.run(arguments)


def _combine(arguments: argparse.Namespace) -> None:
    from adaptkit.cards import refuse_full
    from adaptkit.transfer.combine import HOW, combine
    from adaptkit.transfer.stack import stack

    given = arguments
    if given.how not in (*HOW, "stack"):
        raise unknown("way to combine", given.how, (*HOW, "stack"))
    refuse_full(given.output_dir)
    if given.how == "stack" and given.weights:
        raise AdaptkitError("--how stack takes no --weights: each adapter acts in full.")
    if given.how == "stack":
        stack(given.folder, given.output_dir)
    else:
        combine(given.folder, given.output_dir, given.how, given.weights, given.density, given.seed)
    print(f"{given.how} of {len(given.folder)} adapters is in {given.output_dir}")


def _sources(arguments: argparse.Namespace) -> None:
    from adaptkit.transfer import sources_command

    sources_command.run(arguments)


def _forgetting(arguments: argparse.Namespace) -> None:
    from adaptkit.transfer.forgetting import run

    run(arguments)


def _explain(arguments: argparse.Namespace) -> None:
    from adaptkit.explain import as_html, colored, explain
    from adaptkit.files import new_file
    from adaptkit.predict import Predictor

    predictor = Predictor(arguments.folder)
    found = [explain(predictor, text, arguments.how, arguments.label) for text in arguments.text]
    for one in found:
        words = colored(one) if sys.stdout.isatty() else " ".join(one.words)
        shares = sorted(zip(one.words, one.shares, strict=True), key=lambda pair: -abs(pair[1]))[:8]
        print(f"{one.label} {one.score:.3f}  {words}\n    " + ", ".join(f"{word} {share:+.3f}" for word, share in shares))
    if arguments.html:
        with new_file(arguments.html) as staged:
            staged.write_text(as_html(found), "utf-8")


def _export(arguments: argparse.Namespace) -> None:
    from adaptkit.export import export

    whole = export(arguments.folder, arguments.output_dir, arguments.dtype)
    print(f"{type(whole).__name__} in {str(whole.dtype)[6:]} is in {arguments.output_dir}")


def _list(arguments: argparse.Namespace) -> None:
    from adaptkit.cards import existing_card

    store = Path(arguments.folder)
    if not store.is_dir():
        raise AdaptkitError(f"there is no folder {store}.")
    rows = [("name", "task", "labels", "method", "kB", "score")]
    for folder in sorted(path.parent for path in store.glob("*/task.json")):
        card = existing_card(folder)
        size = sum(path.stat().st_size for path in folder.glob("*model*.safetensors")) / 1000  # of an adapter or a whole model
        scores = [f"{value:.4f} {name}" for on in ("test_", "eval_") for name, value in card.metrics.items() if name.startswith(on)]
        rows.append(
            (folder.name, card.task or "-", str(len(card.labels)), _short(card.method or "-"), f"{size:.0f}", (scores or ["-"])[0])
        )
    if len(rows) == 1:
        raise AdaptkitError(f"{store} holds no adapters (folders with a task.json).")
    print(aligned(rows))


def _short(method: str) -> str:
    return method if len(method) <= 40 else method[:37] + "..."


def _show(arguments: argparse.Namespace) -> None:
    from adaptkit.cards import existing_card

    card = existing_card(Path(arguments.folder))
    for key, value in dataclasses.asdict(card).items():
        if key == "fingerprint" and value:
            value = value[:24] + "..."
        if isinstance(value, dict):
            value = ", ".join(f"{name} {part:.4f}" if isinstance(part, float) else f"{name} {part}" for name, part in value.items())
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        if value not in (None, ""):
            print(f"{key.ljust(14)} {value}")


if __name__ == "__main__":
    entry()
