"""Classifiers that pool: transformers' network, one vector a text, and one linear map.

transformers' own classifiers read the token that their architecture was pretrained with, through
a pooler or a layer of their own: BERT the first token behind a tanh, Llama the last one. A base
that was made for sentence embeddings carries its meaning in the mean over tokens, which no setting
of those classes reaches. The classes here are made as transformers makes its generic heads: a
mixin over the `PreTrainedModel` of the family, so paths, loading and quantization are those of the
family's other models. They have an `Auto` class per pooling, with the interface of transformers'.

    first, last    the states of the first or the last token
    mean, max      over all tokens
    attention      a mean with learned weights, softmax(a x)

The vector is divided by its root mean square: sentence encoders are trained and compared by angle,
and a head then sees numbers of one size whatever the base, so one learning rate suits it.
"""

from __future__ import annotations

import functools
import inspect
import os
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from adaptkit.errors import AdaptkitError
from adaptkit.models.pooled_files import write_code
from adaptkit.tasks.sequence import sequence_class


def pool(states: Tensor, mask: Tensor | None, pooling: str) -> Tensor:
    """One vector a row from states `(rows, tokens, width)` and a mask `(rows, tokens)` of 0 and 1.

    Padding may be on either side. The vector's length is not changed here.

    Raises:
        ValueError: the pooling is unknown, or needs weights.
    """
    if mask is None:
        mask = states.new_ones(states.shape[:2])
    mask = mask.to(states.device)
    if pooling == "mean":
        shares = mask.to(states)[..., None]
        return (states * shares).sum(1) / shares.sum(1).clamp(min=1)
    if pooling == "max":
        return states.masked_fill(mask[..., None] == 0, torch.finfo(states.dtype).min).amax(1)
    if pooling not in ("first", "last"):
        raise ValueError(f"{pooling!r} is none of first, mean, last and max")
    places = torch.arange(mask.shape[1], device=states.device)
    read = mask != 0
    chosen = (
        torch.where(read, places, len(places)).amin(1)
        if pooling == "first"
        else torch.where(read, places, -1).amax(1)
    )
    chosen = chosen.clamp(0, len(places) - 1)  # a row may be empty
    return states[torch.arange(len(states), device=states.device), chosen]


def of_one_size(vectors: Tensor) -> Tensor:
    """Vectors divided by their root mean square, which is found in fp32."""
    size = vectors.float().square().mean(-1, keepdim=True).add(1e-12).rsqrt()
    return (vectors * size).to(vectors)


class Pool(nn.Module):
    """Pooling as a module, to vectors of one size; only `attention` has weights."""

    def __init__(self, width: int, pooling: str):
        super().__init__()
        self.pooling = pooling
        if pooling == "attention":
            self.weigh = nn.Linear(width, 1, bias=False)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        if self.pooling != "attention":
            return of_one_size(pool(states, mask, self.pooling))
        scores = self.weigh(states)[..., 0]
        if mask is not None:
            scores = scores.masked_fill(mask.to(scores.device) == 0, torch.finfo(scores.dtype).min)
        return of_one_size((scores.softmax(-1)[..., None] * states).sum(1))


class PooledClassifier:
    """What every pooling classifier does, over the bare model of class `network`."""

    network: Any

    def __init__(self, config: Any):
        me: Any = self
        super().__init__(config)  # type: ignore[call-arg]
        text = config.get_text_config()
        me.num_labels = config.num_labels
        takes = inspect.signature(self.network).parameters
        without = {"add_pooling_layer": False} if "add_pooling_layer" in takes else {}
        setattr(me, me.base_model_prefix, self.network(config, **without))
        me.pool = Pool(text.hidden_size, config.adaptkit_pooling)
        me.dropout = nn.Dropout(getattr(config, "classifier_dropout", None) or 0.0)
        me.score = nn.Linear(text.hidden_size, config.num_labels)
        me.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Logits `(rows, labels)` of token ids, or of embeddings; with `labels` a loss, too."""
        me: Any = self
        outputs = me.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        logits = me.score(me.dropout(me.pool(outputs[0], attention_mask)))
        loss = None
        if labels is not None:
            loss = me.loss_function(labels=labels, pooled_logits=logits, config=me.config)
        return SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=getattr(outputs, "hidden_states", None),
            attentions=getattr(outputs, "attentions", None),
        )


class SavedWithCode:
    """Writes the code of a pooling classifier beside it, see `adaptkit.models.pooled_files`.

    Apart from `PooledClassifier`, whose source is written: what is loaded from there is saved by
    transformers, which copies the file.
    """

    network: Any

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, Tensor] | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """As in transformers; the folder is loaded with `trust_remote_code=True`.

        Raises:
            AdaptkitError: `push_to_hub` is set.
        """
        if push_to_hub:
            raise AdaptkitError(
                "save_pretrained(push_to_hub=True) would upload the model without its code, and "
                "it would be loaded with a random head: call push_to_hub, which saves and uploads."
            )
        me: Any = super()
        me.save_pretrained(save_directory, is_main_process, state_dict, **kwargs)
        if is_main_process:
            parts = (pool, of_one_size, Pool, PooledClassifier)
            write_code(Path(save_directory), self.network, family_of(self.network), parts)


@functools.cache
def pooled_class(config_class: type) -> type[PreTrainedModel]:
    """The pooling classifier of the architecture with this class of configuration.

    Raises:
        AdaptkitError: transformers has no plain encoder or decoder for it.
    """
    try:
        network = MODEL_MAPPING[config_class]
    except KeyError:
        network = None
    family = family_of(network) if isinstance(network, type) else None
    if family is None or not family.base_model_prefix:
        raise AdaptkitError(
            f"{config_class.__name__} has no model that reads text and can be pooled: choose "
            "--pooling native."
        )
    name = f"{network.__name__.removesuffix('Model')}PooledForSequenceClassification"
    bases = (SavedWithCode, PooledClassifier, family)
    return type(name, bases, {"__module__": __name__, "network": network})


def family_of(network: type) -> type[PreTrainedModel] | None:
    """The abstract class of a network's family, `BertPreTrainedModel`."""
    below = network.__mro__[: network.__mro__.index(PreTrainedModel)]
    return below[-1] if len(below) > 1 and below[-1] is not network else None


class AutoPooled:
    """The `Auto` class of one pooling: `from_pretrained` and `from_config` as in transformers."""

    def __init__(self, pooling: str):
        self.pooling = pooling

    def from_config(self, config: Any, **kwargs: Any) -> PreTrainedModel:
        return self._class(config)._from_config(config, **kwargs)

    def from_pretrained(self, name: str, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        if config is None:
            config, kwargs = AutoConfig.from_pretrained(name, return_unused_kwargs=True, **kwargs)
        return self._class(config).from_pretrained(name, *args, config=config, **kwargs)

    def _class(self, config: Any) -> Any:
        if config.is_encoder_decoder:
            raise AdaptkitError(
                f"{config.model_type} is an encoder-decoder, whose classifiers read the decoder: "
                "choose --pooling native."
            )
        config.adaptkit_pooling = self.pooling
        return pooled_class(config.__class__)


AutoModelForFirstPooledClassification = AutoPooled("first")
AutoModelForMeanPooledClassification = AutoPooled("mean")
AutoModelForLastPooledClassification = AutoPooled("last")
AutoModelForMaxPooledClassification = AutoPooled("max")
AutoModelForAttentionPooledClassification = AutoPooled("attention")


def find_class(name: str) -> Any:
    """A class of models by name, transformers' or an Auto class of this file; None: unknown."""
    own = globals().get(name)
    return own if isinstance(own, AutoPooled) else getattr(transformers, name, None)


def auto_mapping(model: Any) -> dict[str, str] | None:
    """How PEFT finds the class of a pooling classifier; None of transformers' own models."""
    if not isinstance(model, PooledClassifier):
        return None
    pooling = cast(Any, model).config.adaptkit_pooling
    return {"base_model_class": sequence_class(pooling), "parent_library": __name__}
