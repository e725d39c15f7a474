"""Networks to put knowledge into: the same architecture with fewer layers, or a small network that is no Transformer at all."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PretrainedConfig,
    PreTrainedModel,
    set_seed,
)
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

from adaptkit.errors import AdaptkitError, unknown
from adaptkit.sites import layer_paths
from adaptkit.transfer.mix import Mixed, layer_map, mix

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_SETTINGS = {  # of a network that is to be like another
    "model_type": "it is the source's",
    "vocab_size": "the source's tokenizer goes with it",
    "num_hidden_layers": "--num_hidden_layers says it",
}
ENCODER = ("num_hidden_layers", "num_layers", "encoder_layers", "num_encoder_layers")  # depth of the first or only stack
DECODER = ("num_decoder_layers", "decoder_layers")  # depth of a decoder behind an encoder
KINDS = {"classify": ("bilstm", "cnn"), "tag": ("bilstm",)}  # of small networks, by task


class SmallConfig(PretrainedConfig):
    """A small network over word pieces. kind: bilstm or cnn; widths: of the convolutions, in tokens."""

    model_type = "adaptkit-small"

    def __init__(
        self,
        kind: str = "bilstm",
        vocab_size: int = 30522,
        embedding_size: int = 128,
        hidden_size: int = 128,
        widths: Sequence[int] = (3, 4, 5),
        dropout: float = 0.3,
        pad_token_id: int = 0,
        **more: Any,
    ):
        super().__init__(**more)
        self.pad_token_id = pad_token_id
        self.kind, self.vocab_size, self.embedding_size, self.hidden_size = kind, vocab_size, embedding_size, hidden_size
        self.widths, self.dropout = list(widths), dropout


class SmallModel(PreTrainedModel):
    """Embeddings of word pieces, and what the networks over them share."""

    config_class = SmallConfig
    base_model_prefix = ""
    main_input_name = "input_ids"

    def __init__(self, config: SmallConfig):
        super().__init__(config)
        width, hidden = config.embedding_size, config.hidden_size
        self.embeddings = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True) if config.kind == "bilstm" else None
        convolutions = [nn.Conv1d(width, hidden, size, padding=size - 1) for size in config.widths]
        self.convolutions = nn.ModuleList(convolutions if config.kind == "cnn" else [])
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(hidden * (2 if config.kind == "bilstm" else len(config.widths)), config.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings

    def _init_weights(self, module: nn.Module) -> None:
        """As torch initialises them, but for embeddings, whose padding row is zero."""

    def read(self, input_ids: Tensor | None, mask: Tensor | None, embeds: Tensor | None) -> tuple[Tensor, Tensor]:
        """States `(rows, tokens, width)`, behind the LSTM where there is one, and the mask `(rows, tokens)`."""
        states = self.embeddings(input_ids) if embeds is None else embeds
        mask = states.new_ones(states.shape[:2], dtype=torch.long) if mask is None else mask
        states = self.dropout(states)
        if self.lstm is not None:
            packed = pack_padded_sequence(states, mask.sum(1).clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
            states = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1])[0]
        return states, mask


class SmallForSequenceClassification(SmallModel):
    """A BiLSTM or convolutions (Kim 2014, arXiv:1408.5882), the maximum over the tokens, a linear map."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Token ids and mask `(rows, tokens)`, or embeddings in place of ids, -> logits `(rows, labels)`."""
        states, mask = self.read(input_ids, attention_mask, inputs_embeds)
        if self.lstm is not None:
            found = states.masked_fill(mask[..., None] == 0, float("-inf")).amax(1)
        else:
            columns, lengths = (states * mask[..., None]).transpose(1, 2), mask.sum(1)
            found = torch.cat([_strongest(F.relu(one(columns)), lengths + one.kernel_size[0] - 1) for one in self.convolutions], -1)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(found)))


class SmallForTokenClassification(SmallModel):
    """A BiLSTM and a linear map for each token."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **_: Any,
    ) -> TokenClassifierOutput:
        """Token ids and mask `(rows, tokens)`, or embeddings in place of ids, -> logits `(rows, tokens, labels)`."""
        states, _ = self.read(input_ids, attention_mask, inputs_embeds)
        return TokenClassifierOutput(logits=self.classifier(self.dropout(states)))


def _strongest(found: Tensor, lengths: Tensor) -> Tensor:
    """The maximum over the windows `(rows, width, windows)` that hold any text: the first so many."""
    return found.masked_fill(torch.arange(found.shape[-1], device=found.device) >= lengths[:, None, None], 0.0).amax(-1)


AutoConfig.register(SmallConfig.model_type, SmallConfig)
AutoModelForSequenceClassification.register(SmallConfig, SmallForSequenceClassification)
AutoModelForTokenClassification.register(SmallConfig, SmallForTokenClassification)
NETWORKS = {"classify": SmallForSequenceClassification, "tag": SmallForTokenClassification}


def make_small(kind: str, tokenizer: Any, labels: int, folder: Path, seed: int = 0, task: str = "classify") -> Path:
    """Write an untrained small network that reads what a tokenizer gives, and the tokenizer; task: classify or tag."""
    if kind not in KINDS[task]:
        raise unknown(f"student of {task}", kind, KINDS[task])
    set_seed(seed)
    config = SmallConfig(kind, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, num_labels=labels)
    NETWORKS[task](config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fresh(
    base: Any,
    num_layers: int,
    layers: str | Sequence[int] = "every",
    seed: int = 0,
    head: str | None = None,
    settings: dict[str, Any] | None = None,
    decoder_layers: int | None = None,
) -> Any:
    """The network of a base with so many layers, from random weights; each of the kind of the layer that it will take.

    Args:
        num_layers: of each stack, but for a decoder behind an encoder that has fewer. decoder_layers: of such a decoder.
        head: the Auto class of transformers that gives it a head; None: the bare network.
        settings: what else of its configuration is to be otherwise.

    Raises:
        AdaptkitError: its configuration has no number of layers, or not the settings; or no network comes of them that runs.
    """
    config = copy.deepcopy(base.config)
    if not hasattr(config, "num_hidden_layers") or num_layers < 1:
        raise AdaptkitError(f"a {config.model_type} cannot be made with {num_layers} layers.")
    taken = layer_map(layers, config.num_hidden_layers, num_layers)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[index] for index in taken]
    try:
        set_depths(config, num_layers, decoder_layers or min(num_layers, depths_of(config)[-1]))
        set_seed(seed)
        model = _with(config, head, settings) if settings else _network(config, head)
    except (ValueError, NotImplementedError) as problem:  # other settings of its configuration depend on the depth
        raise AdaptkitError(f"a {config.model_type} cannot be made with {num_layers} layers: {problem}") from problem
    if hasattr(base, "generation_config"):
        model.generation_config = copy.deepcopy(base.generation_config)
    if config.is_encoder_decoder and [len(paths) for _, paths in layer_paths(model)] != depths_of(config):
        raise AdaptkitError(f"a {config.model_type} cannot be made with {num_layers} layers: its depth stands elsewhere.")
    return model


def depths_of(config: Any) -> list[int]:
    """How many layers the stacks of a model have: one number, or the encoder's and the decoder's; none where it says nothing."""
    stacks = ENCODER, DECODER if config.is_encoder_decoder else ()
    names = [[name for name in stack if hasattr(config, name)] for stack in stacks]
    return [getattr(config, found[0]) for found in names if found]


def set_depths(config: Any, encoder: int, decoder: int) -> None:
    """Give a configuration other numbers of layers."""
    for names, count in ((ENCODER, encoder), (DECODER if config.is_encoder_decoder else (), decoder)):
        for name in names:
            if hasattr(config, name):
                setattr(config, name, count)


def _network(config: Any, head: str | None) -> Any:
    import transformers

    return getattr(transformers, head or "AutoModel").from_config(config, dtype=torch.float32)


def _with(config: Any, head: str | None, settings: dict[str, Any]) -> Any:
    """A network with other settings, which has read two tokens and whose configuration can be read again."""
    refused = NOT_SETTINGS | {config.attribute_map.get(name, name): why for name, why in NOT_SETTINGS.items()}
    known = (config.to_dict().keys() | config.attribute_map.keys()) - refused.keys()
    for name in settings:
        if name in refused:
            raise AdaptkitError(f"{name} is no setting of a network like its source: {refused[name]}.")
        if name not in known:
            raise unknown(f"setting of a {config.model_type}", name, known)
    try:  # what transformers raises for values that do not go together is of every kind
        for name, value in settings.items():
            setattr(config, name, value)
        model = _network(config, head)
        type(config).from_dict(config.to_dict())
        ids = torch.ones(1, 2, dtype=torch.long)
        with torch.no_grad():
            model(input_ids=ids, **({"decoder_input_ids": ids} if config.is_encoder_decoder else {}))
    except Exception as problem:
        given = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise AdaptkitError(f"no {config.model_type} that works can be made with {given}: {problem}") from problem
    return model


def make_shallow(
    source: str,
    num_layers: int,
    folder: Path,
    layers: str | Sequence[int] = "every",
    seed: int = 0,
    head: str | None = None,
    decoder_layers: int | None = None,
) -> Mixed:
    """Write the network of a base with so many of its layers, and its tokenizer; `layers`: as for `mix`, the rest as for `fresh`.

    Raises:
        AdaptkitError: the base has no such layers.
    """
    from adaptkit.base import load_base, load_tokenizer

    base = load_base(source, task=head, dtype="float32", base_dropout=True)
    target = fresh(base, num_layers, layers, seed, head, decoder_layers=decoder_layers)
    mixed = mix(target, base, 1.0, layers)
    target.save_pretrained(folder)
    load_tokenizer(source).save_pretrained(folder)
    return mixed
