"""What is chosen for a run before it trains, and said: method and model where none are given, the attention, the frozen trunk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit.cards import existing_card
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.fastest import Shape, earlier_choice, fastest_attention
from adaptkit.full import FULL
from adaptkit.kept import Kept
from adaptkit.launch import IS_MAIN, say
from adaptkit.machine import emulated, free_memory, more_in_fp32
from adaptkit.sampling import lengths_of
from adaptkit.scratch import make_model
from adaptkit.trainer import bare_model
from adaptkit.trunk import Trunk, frozen_layers

if TYPE_CHECKING:
    from adaptkit.run import Run

FROZEN_TRUNK = ("auto", "memory", "disk", "off")
SHARE = 0.25  # of the free memory or disk that a trunk may take by itself


def choose_method(given: Any) -> str:
    """What trains: by --train, --fuse or --method; where none is given, as in the adapter of --warm_start, else LoRA.

    Raises:
        AdaptkitError: flags that do not go together, or a warm start from what is no adapter of adaptkit's.
    """
    own_weights = given.train != "adapter" or given.method == FULL
    if own_weights and (given.fuse or given.warm_start):
        raise AdaptkitError("--fuse and --warm_start are for adapters; --train and --method full are for a model's own weights.")
    if own_weights:
        return FULL
    if given.fuse:
        from adaptkit.transfer.fuse import fusion_of

        if given.method:
            raise AdaptkitError(f"--fuse makes the method itself; leave --method {given.method} out.")
        return str(fusion_of(given.fuse))
    if given.method or not given.warm_start:
        return given.method or "lora"
    stored = existing_card(Path(given.warm_start)).method
    if stored == FULL:
        raise AdaptkitError(f"--warm_start wants an adapter; {given.warm_start} is a whole model: --model_name_or_path takes it.")
    return stored or "lora"


def choose_base(run: Run, folder: Path) -> None:
    """The model that was asked for, or a small one made on the spot from the training texts."""
    if run.base or run.arguments.model_name_or_path:
        run.base = run.base or run.arguments.model_name_or_path
        return
    settings = {"kind": run.task.small_model} | run.arguments.from_nothing()
    with run.training.main_process_first(desc="making a small model"):
        if IS_MAIN and not (run.training.resume_from_checkpoint and (folder / "config.json").is_file()):
            texts = [text for row in run.splits.train.rows for text in (run.task.text(row), run.task.gold_text(row))]
            make_model(texts=texts, folder=folder, seed=run.training.seed, **settings)
    run.base = str(folder)
    use = "" if not run.task.answers else " It shows that all works and answers nonsense; for real use give --model_name_or_path"
    say(f"note: no model given, so a small untrained {settings['kind']} with a tokenizer of your texts was made in {folder}.{use}")


def choose_attention(run: Run, config: Any) -> None:
    """On a CPU, measure which attention is the fastest for a batch of long rows; elsewhere the model chooses."""
    import torch

    attends = getattr(config.get_text_config(), "num_attention_heads", 0)
    if not attends or run.attention or run.arguments.attn_implementation or not run.training.use_cpu:
        return
    if run.training.resume_from_checkpoint:  # a run that goes on must compute as it began
        run.attention = earlier_choice(run.output_dir)
    if not run.attention:
        lengths = sorted(lengths_of(run.parts["train"].encoded))
        rows = run.training.per_device_train_batch_size * run.task.inputs_per_row
        shape = Shape.of(config, rows, lengths[int(0.9 * len(lengths))])
        run.attention = fastest_attention(shape, torch.bfloat16 if run.training.bf16 else torch.float32)
    say(f"attention: {run.attention['attention']} ({run.attention['why']})")


def say_dtype(run: Run) -> None:
    """What the dtype of the base means on this processor."""
    if stored := bare_model(run.model).adaptkit_base.stored_in:
        say(f"base in float32: it is stored in {str(stored)[6:]}, for which this CPU has no instructions")
    elif run.training.use_cpu and (slow := emulated(run.model)):
        faster = f"in --dtype float32 it is many times as fast and takes {more_in_fp32(slow) / 1e9:.1f} GB more"
        say(f"note: this CPU has no instructions for {str(slow[0].dtype)[6:]}, the base's: {faster}")


def choose_trunk(run: Run) -> None:
    """Whether the frozen layers below all that trains run once a text, and where what they give is kept.

    Raises:
        AdaptkitError: `--frozen_trunk memory` or `disk`, and it cannot be.
    """
    wish = run.arguments.frozen_trunk
    if wish not in FROZEN_TRUNK:
        raise unknown("--frozen_trunk", str(wish), FROZEN_TRUNK)
    if wish == "off" or run.kept is not None:
        return
    model = bare_model(run.model)
    layers = len(frozen_layers(model))
    why_not = _no_trunk(run) or _no_use(run, layers)
    if why_not is None:
        try:
            Trunk(model, Kept()).check()
        except AdaptkitError as problem:
            why_not = str(problem)
    size = _trunk_bytes(run, model)
    where = wish if wish != "auto" else _place(run, size)
    if why_not is None and where is None:
        why_not = f"it would take {size / 1e9:.1f} GB, more than a quarter of what is free in memory or on the disk"
    if why_not is None:
        run.kept = Kept(run.output_dir / "trunk" if where == "disk" else None)
        what = "the lowest layer runs" if layers == 1 else f"the lower {layers} layers run"
        place = "in memory" if where == "memory" else f"in {run.output_dir / 'trunk'}, and is removed at the end"
        say(f"frozen trunk: {what} once a text; what comes out takes about {size / 1e9:.2f} GB {place}")
    elif wish != "auto":
        raise AdaptkitError(f"--frozen_trunk {wish}: {why_not}")


def _no_trunk(run: Run) -> str | None:
    """What keeps the lower layers from giving the same every time, if anything."""
    arguments, training = run.arguments, run.training
    if arguments.base_dropout:
        return "--base_dropout makes the frozen layers give something else each time."
    if arguments.adversarial_epsilon:
        return "--adversarial_epsilon needs gradients down to the embeddings."
    if training.neftune_noise_alpha:
        return "--neftune_noise_alpha draws other noise each time."
    if training.gradient_checkpointing and (training.gradient_checkpointing_kwargs or {}).get("use_reentrant"):
        return "reentrant checkpoints give no gradients where nothing below needs one."
    if not run.task.same_inputs:
        return f"{run.task.name} reads other tokens in each epoch."
    if training.world_size > 1 or training.n_gpu > 1:
        return "each of several processes would have to run every text."
    if training.torch_compile:
        return "--torch_compile compiles the layers that it skips."
    return None


def _no_use(run: Run, layers: int) -> str | None:
    """Why it would save nothing, if so."""
    again = run.training.num_train_epochs > 1 or run.arguments.search or run.arguments.folds or run.arguments.seeds
    if getattr(getattr(run.model, "active_peft_config", None), "is_prompt_learning", False):
        return f"{run.arguments.method} learns a prompt in front of every text."
    if not layers:
        return f"the method {run.arguments.method} trains the lowest layer too; choose upper ones, as in lora[layers=last[2]]."
    return None if again else "every text is read once."


def _trunk_bytes(run: Run, model: Any) -> int:
    """What all texts take, about: padding is not kept, equal texts are kept once."""
    tokens = sum(sum(lengths_of(part.encoded)) for name, part in run.parts.items() if name != "test")
    half = (run.training.bf16 and run.extras().half_base) or model.dtype.itemsize == 2
    return tokens * run.task.inputs_per_row * model.config.get_text_config().hidden_size * (2 if half else 4)


def _place(run: Run, size: int) -> str | None:
    """Memory where there is plenty, else the disk where there is plenty."""
    if size <= SHARE * free_memory():
        return "memory"
    folder = next(parent for parent in run.output_dir.absolute().parents if parent.is_dir())
    return "disk" if size <= SHARE * shutil.disk_usage(folder).free else None


def within_positions(length: int, config: Any, tokenizer: Any) -> int:
    """A length that the base has positions for."""
    positions = getattr(config, "max_position_embeddings", None) or length
    if config.model_type in ("roberta", "xlm-roberta"):  # the first ones are spent on padding
        positions -= config.pad_token_id + 1
    limit = min(positions, tokenizer.model_max_length)
    if length > limit:
        say(f"note: the base takes {limit} tokens; --max_seq_length {length} is lowered to that")
    return min(length, limit)
