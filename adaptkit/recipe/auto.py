"""Automatic choices of a recipe: method, base, length, attention and activation cache.

Each function returns a `Choice`, a value and the reason that is printed; none of them changes its
arguments.
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from adaptkit.adapters.card import existing_card
from adaptkit.adapters.full import FULL
from adaptkit.adapters.fuse import fusion_of
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.models.backbone import bare_model
from adaptkit.models.language.router import has_router_loss
from adaptkit.models.names import SMOLLM2
from adaptkit.models.tokenizer import longest_input
from adaptkit.models.untrained.scratch import make_model
from adaptkit.recipe.arguments import RecipeArguments
from adaptkit.recipe.steps import Encoded, Prepared
from adaptkit.training.activation_cache import ActivationCache
from adaptkit.training.fastest_attention import (
    AttentionChoice,
    Shape,
    earlier_choice,
    fastest_attention,
)
from adaptkit.training.frozen_layers import FrozenLayers, frozen_layers
from adaptkit.utils.hardware import emulated, free_memory, more_in_fp32
from adaptkit.utils.processes import is_main, log_main

FROZEN_TRUNK = ("auto", "memory", "disk", "off")
SHARE = 0.25  # of the free memory or disk that an automatic cache may take
T = TypeVar("T")


@dataclass(frozen=True)
class Choice(Generic[T]):
    """An automatically chosen value and the reason, which is empty if there is nothing to print."""

    value: T
    reason: str = ""


def announce(choice: Choice[T]) -> T:
    """Print the reason and return the value.

    Every automatic choice of a recipe passes through here.
    """
    if choice.reason:
        log_main(choice.reason)
    return choice.value


def choose_method(given: RecipeArguments, from_nothing: bool = False) -> str:
    """The method by --train, --fuse or --method, else of the --warm_start adapter, else LoRA.

    Args:
        from_nothing: the task starts from an untrained model; all its weights train unless a method
            is given.

    Raises:
        AdaptkitError: flags contradict each other, or the warm start is not an adaptkit adapter.
    """
    own_weights = given.train != "adapter" or given.method == FULL
    if own_weights and (given.fuse or given.warm_start):
        raise AdaptkitError(
            "--fuse and --warm_start are for adapters; --train and --method full are for a "
            "model's own weights."
        )
    if own_weights or (from_nothing and not given.method and not given.model_name_or_path):
        return FULL
    if given.fuse:
        if given.method:
            raise AdaptkitError(
                f"--fuse makes the method itself; leave --method {given.method} out."
            )
        return str(fusion_of(given.fuse))
    if given.method or not given.warm_start:
        return given.method or "lora"
    stored = existing_card(Path(given.warm_start)).method
    if stored == FULL:
        raise AdaptkitError(
            f"--warm_start needs an adapter; {given.warm_start} is a whole model: "
            "--model_name_or_path takes it."
        )
    return stored or "lora"


FROM_NOTHING = {"model_name_or_path", "model_type", "config_overrides", "vocab_size"}


def with_base(given: RecipeArguments, objective: Any, flags: frozenset[str]) -> RecipeArguments:
    """The arguments; the next token is learned over a small pretrained decoder by default.

    flags: those that the user set, some of which ask for another base, or for one from nothing.
    """
    if objective != "clm" or FROM_NOTHING & flags or given.recipe:
        return given
    return dataclasses.replace(given, model_name_or_path=SMOLLM2.rpartition("/")[2])


def check_compares(task: str, method: str, given: RecipeArguments) -> None:
    """Refuse what a task that compares with its base cannot do."""
    if method == FULL:
        raise AdaptkitError(
            f"{task} trains an adapter: the base without it is the reference. Leave --method full "
            "and --train out."
        )
    if given.search:
        raise AdaptkitError(f"--search is not for {task}; try --seeds with settings of your own.")


def choose_base(prepared: Prepared, folder: Path) -> Choice[str]:
    """The requested model, or a small one made from the training texts."""
    named = prepared.base or prepared.arguments.model_name_or_path
    if named:
        return Choice(named)
    task, training = prepared.task, prepared.training
    settings = task.small_model_settings()
    if settings["kind"] is None:
        raise AdaptkitError(f"{task.name} needs a pretrained model: give --model_name_or_path.")
    with training.main_process_first(desc="making a small model"):
        resumed = training.resume_from_checkpoint and (folder / "config.json").is_file()
        if is_main() and not resumed:
            rows = prepared.splits.train.rows
            texts = [text for row in rows for text in (task.text(row), task.reference_text(row))]
            make_model(texts=texts, folder=folder, seed=training.seed, **settings)
    use = (
        ""
        if not task.answers
        else (
            " It shows that everything runs; its answers are meaningless. For real use give "
            "--model_name_or_path."
        )
    )
    made = (
        f"a small untrained {settings['kind']} with a tokenizer of your texts was made in {folder}."
    )
    return Choice(str(folder), f"note: no model given, so {made}{use}")


def choose_max_length(length: int, config: Any, tokenizer: Any) -> Choice[int]:
    """`--max_seq_length`, or at most the base's number of positions."""
    limit = longest_input(config, tokenizer)
    if length <= limit:
        return Choice(length)
    return Choice(
        limit, f"note: the base takes {limit} tokens; --max_seq_length {length} is lowered to that"
    )


def choose_attention(encoded: Encoded) -> Choice[AttentionChoice | None]:
    """On a CPU, the fastest measured attention for a batch of long rows; else the model's own."""
    prepared, config = encoded.prepared, encoded.config
    training = prepared.training
    attends = getattr(config.get_text_config(), "num_attention_heads", 0)
    if not attends or prepared.arguments.attn_implementation or not training.use_cpu:
        return Choice(None)
    # a resumed run must compute as it began
    chosen = earlier_choice(prepared.output_dir) if training.resume_from_checkpoint else None
    if chosen is None:
        lengths = sorted(encoded.lengths())
        rows = training.per_device_train_batch_size * prepared.task.inputs_per_row
        shape = Shape.of(config, rows, lengths[int(0.9 * len(lengths))])
        chosen = fastest_attention(shape, torch.bfloat16 if training.bf16 else torch.float32)
    return Choice(chosen, f"attention: {chosen.name} ({chosen.why})")


def describe_dtype(model: Any, training: Any) -> Choice[torch.dtype | None]:
    """The base's dtype on this processor, and the dtype it is stored in if that differs."""
    if stored := bare_model(model).adaptkit_base.stored_in:
        why = f"it is stored in {str(stored)[6:]}, for which this CPU has no instructions"
        return Choice(stored, f"base in float32: {why}")
    if training.use_cpu and (slow := emulated(model)):
        faster = (
            f"--dtype float32 is many times as fast and takes {more_in_fp32(slow) / 1e9:.1f} GB "
            "more"
        )
        name = str(slow[0].dtype)[6:]
        return Choice(
            None, f"note: this CPU has no instructions for {name}, the base's dtype: {faster}"
        )
    return Choice(None)


def choose_activation_cache(encoded: Encoded, model: Any) -> Choice[ActivationCache | None]:
    """Whether to run the frozen layers once per text, and where to cache their outputs.

    Raises:
        AdaptkitError: `--frozen_trunk memory` or `disk` is set but not possible.
    """
    wish, folder = encoded.prepared.arguments.frozen_trunk, encoded.prepared.output_dir
    if wish not in FROZEN_TRUNK:
        raise unknown("--frozen_trunk", str(wish), FROZEN_TRUNK)
    if wish == "off":
        return Choice(None)
    bare = bare_model(model)
    layers = len(frozen_layers(bare))
    size = _cache_bytes(encoded, bare)
    where = wish if wish != "auto" else _place(encoded.prepared, size)
    problem = (
        _inputs_change(encoded.prepared)
        or _no_gain(encoded.prepared, model, layers)
        or _fails(bare)
    )
    if problem is None and where is None:
        problem = (
            f"it would take {size / 1e9:.1f} GB, more than a quarter of what is free in memory "
            "or on the disk"
        )
    if problem is not None and wish != "auto":
        raise AdaptkitError(f"--frozen_trunk {wish}: {problem}")
    if problem is not None:
        return Choice(None)
    what = "the lowest layer runs" if layers == 1 else f"the lower {layers} layers run"
    place = "in memory" if where == "memory" else f"on the disk of {folder} until the end"
    reason = (
        f"frozen layers: {what} once a text; their outputs take about {size / 1e9:.2f} GB {place}"
    )
    return Choice(ActivationCache(folder if where == "disk" else None), reason)


def _fails(bare: Any) -> str | None:
    """The error when a trial skips the frozen layers, if any."""
    if has_router_loss(bare):
        return "the loss of its router reads the frozen layers too."
    try:
        FrozenLayers(bare, ActivationCache()).check()
    except AdaptkitError as problem:
        return str(problem)
    return None


def _inputs_change(prepared: Prepared) -> str | None:
    """The reason why the lower layers' outputs change between epochs, if any."""
    arguments, training = prepared.arguments, prepared.training
    if arguments.base_dropout:
        return "--base_dropout makes the frozen layers give something else each time."
    if arguments.adversarial_epsilon:
        return "--adversarial_epsilon needs gradients down to the embeddings."
    if training.neftune_noise_alpha:
        return "--neftune_noise_alpha draws other noise each time."
    reentrant = (training.gradient_checkpointing_kwargs or {}).get("use_reentrant")
    if training.gradient_checkpointing and reentrant:
        return "reentrant checkpoints give no gradients where nothing below needs one."
    if not prepared.task.same_inputs:
        return f"{prepared.task.name} reads other tokens in each epoch."
    if training.world_size > 1 or training.n_gpu > 1:
        return "each of several processes would have to run every text."
    if training.torch_compile:
        return "--torch_compile compiles the layers that it skips."
    return None


def _no_gain(prepared: Prepared, model: Any, layers: int) -> str | None:
    """The reason why a cache would save nothing, if any."""
    arguments = prepared.arguments
    repeats = prepared.training.num_train_epochs > 1
    repeats = repeats or arguments.search or arguments.folds or arguments.seeds
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return f"{arguments.method} learns a prompt in front of every text."
    if not layers:
        return (
            f"the method {arguments.method} trains the lowest layer too; choose upper ones, as in "
            "lora[layers=last[2]]."
        )
    return None if repeats else "every text is read once."


def _cache_bytes(encoded: Encoded, bare: Any) -> int:
    """Estimated size of the cache: padding is not stored, equal texts are stored once."""
    prepared = encoded.prepared
    tokens = sum(sum(encoded.lengths(name)) for name in encoded.splits if name != "test")
    half = (
        prepared.training.bf16 and prepared.arguments.dtype == "auto"
    ) or bare.dtype.itemsize == 2
    width = bare.config.get_text_config().hidden_size
    return tokens * prepared.task.inputs_per_row * width * (2 if half else 4)


def _place(prepared: Prepared, size: int) -> str | None:
    """Memory if there is plenty, else disk if there is plenty."""
    if size <= SHARE * free_memory():
        return "memory"
    folder = next(parent for parent in prepared.output_dir.absolute().parents if parent.is_dir())
    return "disk" if size <= SHARE * shutil.disk_usage(folder).free else None
