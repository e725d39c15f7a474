"""Explain classifier answers word by word with Captum: integrated gradients and occlusion.

integrated gradients   the gradient of the label's logit, integrated from padding to the text
                       (Sundararajan et al. 2017, arXiv:1703.01365); the words' shares add up to
                       the logit's difference between text and padding
occlusion              how much the logit falls when a word is replaced by padding
                       (Zeiler and Fergus 2014, arXiv:1311.2901)
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adaptkit.data.alignment import encode_windows
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.inference.predictor import Predictor
from adaptkit.models.backbone import bare_model
from adaptkit.tasks.classify import Classify
from adaptkit.utils.cudnn import disable_cudnn_sdpa

HOW = ("gradients", "occlusion")

COMPLETE = 0.01  # largest share of the difference that integrated gradients may miss

MOST_STEPS = 1024


@dataclass(frozen=True)
class Explanation:
    """The words of a text and what each adds to the label's logit.

    difference: the logit of the text minus that of padding alone; integrated gradients explain all
    of it. missed: the difference minus the sum of the shares (0 for occlusion, whose shares have no
    fixed sum).
    """

    label: str
    score: float
    words: list[str]
    shares: list[float]
    difference: float
    missed: float = 0.0


@disable_cudnn_sdpa()
def explain(
    predictor: Predictor, text: str, how: str = "gradients", label: str | None = None
) -> Explanation:
    """What each word of a text adds to a label.

    Args:
        predictor: an adapter or a fine-tuned model that gives one of several labels.
        how: `gradients` or `occlusion`.
        label: the label to explain; defaults to the answer.

    Raises:
        AdaptkitError: the task is another one, the label or `how` is unknown, Captum is not
            installed, or the sum is not within 1 %.
    """
    try:
        import captum  # noqa: F401
    except ImportError:
        raise AdaptkitError("explanations need Captum: pip install captum") from None
    if how not in HOW:
        raise unknown("way to explain", how, HOW)
    task = predictor.task
    if type(task) is not Classify or task.multi_label or task.input_fields() != ["text"]:
        several = " and gives several labels" if getattr(task, "multi_label", False) else ""
        what = f"{task.name}, reads {' and '.join(task.input_fields())}{several}"
        raise AdaptkitError(
            "explanations are for classifiers that give one label to one text; this one is for "
            f"{what}."
        )
    if label is not None and label not in task.labels:
        raise unknown("label", label, task.labels)
    model = predictor.model.eval()
    inputs, words, owner = _words(predictor, text)
    with torch.no_grad():
        logits = model(**inputs).logits[0].float()
    target = int(logits.argmax()) if label is None else task.labels.index(label)
    attribute = _gradients if how == "gradients" else _occlusion
    tokens, difference, missed = attribute(model, predictor.tokenizer, inputs, owner, target)
    shares = torch.zeros(len(words)).index_add(0, owner[owner >= 0], tokens[owner >= 0])
    probability = float(logits.softmax(-1)[target])
    return Explanation(task.labels[target], probability, words, shares.tolist(), difference, missed)


def _words(predictor: Predictor, text: str) -> tuple[dict[str, Tensor], list[str], Tensor]:
    """The text as the model reads it, its words, and each token's word index (-1 if special)."""
    device = next(predictor.model.parameters()).device
    encoded = predictor.tokenizer(
        text, truncation=True, max_length=predictor.max_length, return_tensors="pt"
    )
    tell = _told_words if predictor.tokenizer.is_fast else _found_words
    numbers, spans = tell(predictor, encoded, text)
    order = {number: index for index, number in enumerate(sorted(spans))}
    words = [text[slice(*spans[number])] for number in sorted(spans)]
    owner = torch.tensor([-1 if number is None else order[number] for number in numbers])
    return {name: tensor.to(device) for name, tensor in encoded.items()}, words, owner


Spans = dict[int, tuple[int, int]]  # the characters of each word


def _told_words(predictor: Predictor, encoded: Any, text: str) -> tuple[list[int | None], Spans]:
    """Each token's word, and where the words are, from the tokenizer."""
    numbers = encoded.word_ids(0)
    spans = {number: encoded.word_to_chars(number) for number in numbers if number is not None}
    return numbers, {number: (span.start, span.end) for number, span in spans.items()}


def _found_words(predictor: Predictor, encoded: Any, text: str) -> tuple[list[int | None], Spans]:
    """The same for tokenizers that do not tell: words are what stands between blanks."""
    windows = encode_windows(
        predictor.tokenizer, [(text,)], predictor.max_length, 0, Table([{}], "the text").bad
    )
    spans = {number: match.span() for number, match in enumerate(re.finditer(r"\S+", text))}
    word = {place: number for number, span in spans.items() for place in range(*span)}
    numbers = [
        next((word[place] for place in range(start, end) if place in word), None)
        for start, end in windows["_offsets"][0]
    ]
    seen = {number for number in numbers if number is not None}
    return numbers, {number: span for number, span in spans.items() if number in seen}


def _embedded(
    model: Any, tokenizer: Any, inputs: dict[str, Tensor], owner: Tensor, target: int
) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """The logit as a function of embeddings, the text's embeddings, and those of padding.

    Positions and masks stay those of the text.
    """
    embed, ids = bare_model(model).get_input_embeddings(), inputs["input_ids"]
    blank = torch.where(owner.to(ids.device) >= 0, tokenizer.pad_token_id, ids)
    more = {name: tensor for name, tensor in inputs.items() if name != "input_ids"}

    def logit(embedded: Tensor) -> Tensor:
        repeated = {name: tensor.expand(len(embedded), -1) for name, tensor in more.items()}
        return model(inputs_embeds=embedded, **repeated).logits[:, target].float()

    return logit, embed(ids).detach(), embed(blank).detach()


def _gradients(
    model: Any, tokenizer: Any, inputs: dict[str, Tensor], owner: Tensor, target: int
) -> tuple[Tensor, float, float]:
    """Each token's share, the difference of logits, and the part of it that the shares miss."""
    from captum.attr import IntegratedGradients

    logit, given, base = _embedded(model, tokenizer, inputs, owner, target)
    with torch.no_grad():
        difference = float(logit(given) - logit(base))
    method, steps = IntegratedGradients(logit), 32
    while True:
        shares = (
            method.attribute(given, base, n_steps=steps, internal_batch_size=32)[0]
            .sum(-1)
            .float()
            .cpu()
        )
        missed = difference - float(shares.sum())
        if abs(missed) <= COMPLETE * abs(difference):
            return shares, difference, missed
        if steps >= MOST_STEPS:
            raise AdaptkitError(
                f"the shares add up to {float(shares.sum()):.4f} of {difference:.4f} after "
                f"{steps} steps; use --how occlusion."
            )
        steps *= 2


def _occlusion(
    model: Any, tokenizer: Any, inputs: dict[str, Tensor], owner: Tensor, target: int
) -> tuple[Tensor, float, float]:
    """Each word's share on its first token, the difference of logits, and 0."""
    from captum.attr import FeatureAblation

    logit, given, blank = _embedded(model, tokenizer, inputs, owner, target)
    groups = torch.where(owner.to(given.device) >= 0, owner.to(given.device) + 1, 0)[
        None, :, None
    ].expand_as(given)
    with torch.no_grad():
        difference = float(logit(given) - logit(blank))
        falls = FeatureAblation(logit).attribute(
            given, blank, feature_mask=groups, perturbations_per_eval=32
        )
    falls = falls[0, :, 0].float().cpu()
    first = torch.tensor(
        [bool(number >= 0 and number not in owner[:place]) for place, number in enumerate(owner)]
    )
    return falls * first, difference, 0.0


def colored(found: Explanation) -> str:
    """The words for a terminal: green for the label, red against it, stronger for larger shares."""
    most = max(map(abs, found.shares), default=0.0) or 1.0

    def paint(word: str, share: float) -> str:
        depth = round(255 - 155 * abs(share) / most)
        color = f"{depth};255;{depth}" if share > 0 else f"255;{depth};{depth}"
        return f"\x1b[48;2;{color}m\x1b[30m{word}\x1b[0m"

    return " ".join(
        paint(word, share) for word, share in zip(found.words, found.shares, strict=True)
    )


def _colored(word: str, share: float, strength: float) -> str:
    """A word on green if it speaks for the label, on red if against it. strength: 0 to 1."""
    color = "0,160,0" if share > 0 else "210,0,0"
    style = f"background:rgba({color},{strength:.2f})"
    return f'<span title="{share:+.3f}" style="{style}">{html.escape(word)}</span>'


def as_html(found: list[Explanation]) -> str:
    """An HTML page with a paragraph per text; each word's share is in its title."""
    lines = []
    for one in found:
        most = max(map(abs, one.shares), default=0.0) or 1.0
        pairs = zip(one.words, one.shares, strict=True)
        words = " ".join(_colored(word, share, abs(share) / most) for word, share in pairs)
        lines.append(f"<p><b>{html.escape(one.label)}</b> {one.score:.3f}<br>{words}</p>")
    style = (
        "body{font:16px/1.8 sans-serif;max-width:50em;margin:2em auto}span{padding:.1em "
        ".2em;border-radius:.2em}"
    )
    return (
        f'<!doctype html><meta charset="utf-8"><title>Why</title><style>{style}</style>\n'
        + "\n".join(lines)
        + "\n"
    )
