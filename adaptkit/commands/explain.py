"""`adaptkit explain`: show which words an answer depends on."""

from __future__ import annotations

import argparse
import sys

from adaptkit.errors import escaped
from adaptkit.utils.atomic_files import new_file

HELP = "show which words an answer depends on"
DESCRIPTION = "what each word adds to the logit of a label, by Captum: green for it, red against it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="an adapter or a fine-tuned model of recipes/classify.py")
    parser.add_argument("text", nargs="+", help="texts to explain")
    parser.add_argument(
        "--how", default="gradients", help="gradients (integrated gradients; default) or occlusion"
    )
    parser.add_argument("--label", help="the label to explain (default: the answer)")
    parser.add_argument("--html", help="also write an HTML page with coloured words")


def run(given: argparse.Namespace) -> None:
    """Print the words with their shares."""
    from adaptkit.inference.explain import as_html, colored, explain
    from adaptkit.inference.predictor import Predictor

    predictor = Predictor(given.folder)
    explanations = [explain(predictor, text, given.how, given.label) for text in given.text]
    for one in explanations:
        words = colored(one) if sys.stdout.isatty() else escaped(" ".join(one.words))
        pairs = zip(one.words, one.shares, strict=True)
        largest = sorted(pairs, key=lambda pair: -abs(pair[1]))[:8]
        shares = ", ".join(f"{escaped(word)} {share:+.3f}" for word, share in largest)
        print(f"{escaped(one.label)} {one.score:.3f}  {words}\n    {shares}")
    if given.html:
        with new_file(given.html) as staged:
            staged.write_text(as_html(explanations), "utf-8")
