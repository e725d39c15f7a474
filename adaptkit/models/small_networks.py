"""Small student networks that are not Transformers: BiLSTM and CNN over word pieces."""

from __future__ import annotations

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

from adaptkit.errors import unknown
from adaptkit.utils.atomic_files import new_version

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = {"classify": ("bilstm", "cnn"), "tag": ("bilstm",)}  # of small networks, by task


class SmallConfig(PretrainedConfig):
    """A small network over word pieces.

    kind: bilstm or cnn; widths: kernel widths of the convolutions, in tokens.
    """

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
        self.kind, self.vocab_size, self.embedding_size, self.hidden_size = (
            kind,
            vocab_size,
            embedding_size,
            hidden_size,
        )
        self.widths, self.dropout = list(widths), dropout


class SmallModel(PreTrainedModel):
    """Embeddings of word pieces, and the parts shared by all small networks."""

    config_class = SmallConfig
    base_model_prefix = ""
    main_input_name = "input_ids"

    def __init__(self, config: SmallConfig):
        super().__init__(config)
        width, hidden = config.embedding_size, config.hidden_size
        self.embeddings = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.lstm = (
            nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
            if config.kind == "bilstm"
            else None
        )
        convolutions = [nn.Conv1d(width, hidden, size, padding=size - 1) for size in config.widths]
        self.convolutions: Any = nn.ModuleList(convolutions if config.kind == "cnn" else [])
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(
            hidden * (2 if config.kind == "bilstm" else len(config.widths)), config.num_labels or 0
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings

    def _init_weights(self, module: nn.Module) -> None:
        """Initialize as torch does, except that the padding row of embeddings is zero."""

    def read(
        self, input_ids: Tensor | None, mask: Tensor | None, embeds: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """States `(rows, tokens, width)`, after the LSTM if any, and mask `(rows, tokens)`."""
        states = self.embeddings(input_ids) if embeds is None else embeds
        mask = states.new_ones(states.shape[:2], dtype=torch.long) if mask is None else mask
        states = self.dropout(states)
        if self.lstm is not None:
            packed = pack_padded_sequence(
                states, mask.sum(1).clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
            )
            states = pad_packed_sequence(
                self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1]
            )[0]
        return states, mask


class SmallForSequenceClassification(SmallModel):
    """BiLSTM or convolutions (Kim 2014, arXiv:1408.5882), max-pooling over tokens, a linear map."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **more: Any,
    ) -> SequenceClassifierOutput:
        """Token ids or embeddings, and mask `(rows, tokens)` -> logits `(rows, labels)`."""
        states, mask = self.read(input_ids, attention_mask, inputs_embeds)
        if self.lstm is not None:
            found = states.masked_fill(mask[..., None] == 0, float("-inf")).amax(1)
        else:
            columns, lengths = (states * mask[..., None]).transpose(1, 2), mask.sum(1)
            found = torch.cat(
                [
                    _strongest(F.relu(one(columns)), lengths + one.kernel_size[0] - 1)
                    for one in self.convolutions
                ],
                -1,
            )
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(found)))


class SmallForTokenClassification(SmallModel):
    """A BiLSTM and a linear map per token."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **more: Any,
    ) -> TokenClassifierOutput:
        """Token ids or embeddings, and mask `(rows, tokens)` -> logits `(rows, tokens, labels)`."""
        states, _ = self.read(input_ids, attention_mask, inputs_embeds)
        return TokenClassifierOutput(logits=self.classifier(self.dropout(states)))


def _strongest(found: Tensor, lengths: Tensor) -> Tensor:
    """The maximum over the first windows of `(rows, width, windows)`, those that hold any text."""
    return found.masked_fill(
        torch.arange(found.shape[-1], device=found.device) >= lengths[:, None, None], 0.0
    ).amax(-1)


AutoConfig.register(SmallConfig.model_type, SmallConfig)

AutoModelForSequenceClassification.register(SmallConfig, SmallForSequenceClassification)

AutoModelForTokenClassification.register(SmallConfig, SmallForTokenClassification)

NETWORKS = {"classify": SmallForSequenceClassification, "tag": SmallForTokenClassification}


def make_small(
    kind: str, tokenizer: Any, labels: int, folder: Path, seed: int = 0, task: str = "classify"
) -> Path:
    """Write an untrained small network and its given tokenizer; task: classify or tag."""
    if kind not in KINDS[task]:
        raise unknown(f"student of {task}", kind, KINDS[task])
    set_seed(seed)
    config = SmallConfig(
        kind, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, num_labels=labels
    )
    with new_version(folder) as staged:
        NETWORKS[task](config).save_pretrained(staged)
        tokenizer.save_pretrained(staged)
    return folder
