"""The next token of each row of a batch: the likeliest, or one that is drawn."""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor

from adaptkit.host.answers import TokenLogprob
from adaptkit.host.backbone import Backbone
from adaptkit.host.writing.sampling import draw
from adaptkit.host.writing.sequence import Sequence


def choose_tokens(rows: list[Sequence], logits: Tensor, backbone: Backbone) -> None:
    """Give each row its next token; those that have ended get none.

    logits: behind the last token of each row, `(rows, vocabulary)`.
    """
    logits = logits.float()
    scores = logits.clone() if any(row.how.min_new_tokens for row in rows) else logits
    for i, row in enumerate(rows):
        ends = [token for token in row.how.ends if token < scores.shape[1]]
        if len(row.ids) < row.how.min_new_tokens and ends:
            scores[i, ends] = -torch.inf
    chosen = scores.argmax(-1)
    drawn = [i for i, row in enumerate(rows) if row.how.warpers is not None]
    for _, same in groupby(drawn, key=lambda i: id(rows[i].how.warpers)):
        places = list(same)
        chosen[places] = draw([rows[i] for i in places], scores[places])
    for i, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
        if row.finish_reason is not None:
            continue
        if row.how.logprobs is not None:
            row.logprobs.append(_logprob(logits[i], token, row.how.logprobs, backbone))
        row.take(token)


def _logprob(logits: Tensor, token: int, count: int, backbone: Backbone) -> TokenLogprob:
    shares = logits.log_softmax(-1)

    def told(one: int, *top: TokenLogprob) -> TokenLogprob:
        return TokenLogprob(one, backbone.tokenizer.decode([one]), float(shares[one]), [*top])

    likeliest = shares.topk(count).indices.tolist() if count else []
    return told(token, *map(told, likeliest))
