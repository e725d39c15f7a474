"""The frozen network of a host, loaded once, with a layer around each module that has sites."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from adaptkit.adapters.layer import Wrapper
from adaptkit.compute.attention import NotCapturedError
from adaptkit.compute.capture import capture
from adaptkit.compute.precision import INT8
from adaptkit.compute.program import BOUNDS, Program
from adaptkit.errors import AdaptkitError
from adaptkit.host.layers import Batch, BatchContext, NotByRowError, wrap
from adaptkit.host.options import check_names, with_precision
from adaptkit.models.backbone import backbone_of
from adaptkit.models.find_sites import find_sites
from adaptkit.models.forward_wrapper import ForwardWrapper
from adaptkit.models.load import fingerprint_now, load_base
from adaptkit.models.names import load_config
from adaptkit.models.objective import is_decoder
from adaptkit.models.quantization import is_packed, let_pack
from adaptkit.models.tokenizer import align_padding, load_tokenizer
from adaptkit.utils.cudnn import disable_cudnn_sdpa


class Backbone:
    """One base.

    model: the model that generates, a transformers model with a language head; the bare network if
        there is no such head.
    network: the transformers model without any head, whose hidden states the heads read.
    """

    def __init__(self, model: Any, tokenizer: Any = None):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        record = getattr(model, "adaptkit_base", None)
        self.name = (
            record.name if record else getattr(model, "name_or_path", "") or type(model).__name__
        )
        self.fingerprint = record.fingerprint if record else fingerprint_now(model)
        self.writes = bool(model.can_generate())
        self.network = _network(model)
        self.sites = find_sites(self.network)
        self.mixes = True  # rows with different adapters can share a batch
        let_pack(model)
        self._context = BatchContext()
        self._layers = wrap(self.network, self.sites, self._context)
        self.program: Program | None = None
        self.not_captured: str | None = "it was not asked for"
        self.int8 = False  # a captured network is quantized
        # One forward at a time: several threads would only wait for each other.
        self._forward_lock = threading.RLock()
        for whole in {id(self.model): self.model, id(self.network): self.network}.values():
            LockedForward(whole, self._forward_lock).place(whole)
        if tokenizer is not None:
            align_padding(model, tokenizer)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return self.network.dtype

    @property
    def pad(self) -> int:
        """The id that pads short rows."""
        known = (getattr(self.tokenizer, "pad_token_id", None), self.model.config.pad_token_id, 0)
        return next(token for token in known if token is not None)

    @property
    def longest(self) -> int:
        """The base's number of positions in tokens; 512 if it does not say."""
        known = getattr(self.model.config, "max_position_embeddings", None) or 512
        embeddings = getattr(getattr(self.network, "embeddings", None), "position_embeddings", None)
        skipped = getattr(
            embeddings, "padding_idx", None
        )  # RoBERTa's positions start after the padding index
        return known - (skipped + 1 if skipped is not None else 0)

    @property
    def bytes(self) -> int:
        tensors = {
            tensor.data_ptr(): tensor.nbytes
            for tensor in (*self.model.parameters(), *self.model.buffers())
        }
        return sum(tensors.values())

    @contextmanager
    def running(self, batch: Batch):
        """Forward passes of this thread inside the block use the batch's adapters."""
        self._context.batch = batch
        try:
            with disable_cudnn_sdpa():
                yield
        except NotByRowError:
            self.mixes = False
            raise
        finally:
            self._context.batch = None
            batch.give_back()

    def capture(self) -> None:
        """Run batches by a captured network from now on, see `adaptkit.compute`.

        If that is not possible, the modules answer as before, and `not_captured` says why.

        Raises:
            AdaptkitError: it is not possible, and int8 was asked for.
        """
        try:
            with self._forward_lock:
                self.program = self._program()
            self.not_captured = None
        except NotCapturedError as problem:
            self.not_captured = str(problem)
            if self.int8:
                raise AdaptkitError(f'compute="int8" is not possible: {problem}.') from None

    def _program(self) -> Program:
        if self.writes or self.device.type != "cpu" or self.dtype not in BOUNDS:
            raise NotCapturedError("captured networks are encoders on a CPU, in fp32 or bf16")
        if any(map(is_packed, self.network.parameters())):
            raise NotCapturedError("its weights are quantized")
        self._context.capturing = True
        try:
            captured = capture(self.network)
        finally:
            self._context.capturing = False
        special = self._special()
        return Program(self.network, captured, self._layers, self.pad, special, self.int8)

    def _special(self) -> set[int]:
        """The ids of special tokens, of the tokenizer and of the configuration."""
        known = {*getattr(self.tokenizer, "all_special_ids", ())}
        settings = self.network.config.to_dict().items()
        known |= {value for name, value in settings if name.endswith("_token_id")}
        return {
            one for one in known if type(one) is int and 0 <= one < self.network.config.vocab_size
        }

    def forward_lock(self) -> threading.RLock:
        """Held while the network or a head runs."""
        return self._forward_lock

    def hidden(self, inputs: dict[str, Any], batch: Batch) -> Any:
        """The network's outputs; the first is `(rows, tokens, width)`."""
        inputs = dict(inputs)
        if self.model.config.is_encoder_decoder and "decoder_input_ids" not in inputs:
            # Task heads over encoder-decoders read the decoder's states of the same text, shifted
            # one place to the right.
            inputs["decoder_input_ids"] = self.model.prepare_decoder_input_ids_from_labels(
                inputs["input_ids"]
            )
        if not self.model.config.is_encoder_decoder and self.writes:
            inputs["use_cache"] = False
        with torch.no_grad(), self.running(batch):
            return self.network(**inputs)


def load_backbone(base: Any, tokenizer: Any = None, **options: Any) -> Backbone:
    """A `Backbone` from a model's name or folder, or from a loaded model.

    `options`: as in `load_base`, and `compute`.

    Raises:
        AdaptkitError: the model does not exist.
    """
    if isinstance(base, Backbone):
        return base
    int8, options = options.get("compute") == INT8, with_precision(options)
    if not isinstance(base, str):
        from transformers import PreTrainedModel

        if not isinstance(base, PreTrainedModel) or any(
            isinstance(module, Wrapper) for module in base.modules()
        ):
            raise AdaptkitError(
                "a base is a name, a folder or a transformers model without adapters; it got "
                f"{type(base).__name__}."
            )
        check_names(options, base.config)
        if options:
            raise AdaptkitError(f"the base is loaded already; {', '.join(options)} came too late.")
        return Backbone(base, tokenizer)
    config = load_config(base, options.get("revision"))
    check_names(options, config)
    model = load_base(base, task=_writing_class(config), **options)
    if model.adaptkit_base.head and _writing_class(
        config
    ):  # the checkpoint has no language head: it cannot generate
        model = load_base(base, **options)
    backbone = Backbone(model, tokenizer or load_tokenizer(base, options.get("revision")))
    backbone.int8 = int8
    return backbone


class LockedForward(ForwardWrapper):
    """A module's forward that holds a lock, however it ends."""

    def __init__(self, module: nn.Module, lock: threading.RLock):
        super().__init__(module)
        self.lock = lock

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.lock:
            return self.forward(*args, **kwargs)


def _writing_class(config: Any) -> str | None:
    from transformers.models.auto import modeling_auto as known

    if config.is_encoder_decoder:
        return (
            "AutoModelForSeq2SeqLM"
            if config.model_type in known.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
            else None
        )
    return "AutoModelForCausalLM" if is_decoder(config) else None


def _network(model: Any) -> Any:
    """The model without its head, put together from its modules if it has no such part (T5)."""
    network, prefix = backbone_of(model)
    if prefix or not model.can_generate():
        return network
    import transformers

    with torch.device("meta"):
        network = transformers.AutoModel.from_config(model.config)
    for name, module in model.named_children():
        if hasattr(network, name):
            setattr(network, name, module)
    if any(parameter.is_meta for parameter in network.parameters()):
        raise AdaptkitError(
            f"{type(model).__name__} has no network of its own that heads could read."
        )
    return network.eval()
