"""Outputs of models, made by hand."""

from adaptkit.models.language.head import labelled_places, token_logits


class Outputs:
    def __init__(self, **named):
        self.__dict__.update(named)


def token_outputs(logits, labels, causal):
    """What a language task reads of logits `(rows, tokens, vocabulary)`."""
    if causal:
        labels = labels.roll(-1, 1).index_fill(1, labels.new_tensor([labels.shape[1] - 1]), -100)
    return token_logits(
        None, None, lambda: Outputs(logits=logits), labels, labelled_places(labels, 4)
    )
