"""The flags of every recipe, and of recipes with more flags than their task's.

Only the standard library is imported here, so `--help` is fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adaptkit.tasks.flags import flag

FORMAT_NAMES = (
    *("csv", "tsv", "json", "jsonl", "yaml", "parquet", "arrow", "xlsx", "squad", "folder"),
    *("conll", "conllu", "words_beside", "brat", "semeval", "label_first", "fasttext"),
    *("parallel", "tmx", "lines"),
)

UNTRAINED = "untrained"  # for --model_name_or_path: a small network made on the spot


@dataclass
class RecipeArguments:
    """The flags of every recipe."""

    recipe: ClassVar[str] = ""  # the recipe's name, if it is not its task's

    model_name_or_path: str | None = flag(
        "all-MiniLM-L6-v2", "pretrained model: a folder or a name on the Hub"
    )
    model_revision: str | None = flag(None, "branch, tag or commit of the model on the Hub")
    method: str | None = flag(
        None,
        "method to inject: lora, bottleneck, prefix, ia3, bias, reft, miss, vera, a union a+b, "
        "mam, unipelt, peft:NAME; full: all weights (default: that of the --warm_start adapter, "
        "else lora)",
    )
    train: str = flag(
        "adapter",
        "which weights train: adapter (see --method), or the model's own: full, head, norms, "
        "biases, last[k]",
    )
    layerwise_lr_decay: float = flag(
        1.0,
        "with --train full or last[k]: factor on the learning rate per layer, from the top down",
    )
    l2_sp: float = flag(
        0.0,
        "with --train: strength of the L2-SP penalty that pulls towards the pretrained weights, "
        "against forgetting",
    )
    gradual_unfreezing: bool = flag(
        False, "with --train full or last[k]: unfreeze one more layer per epoch, from the top"
    )
    warm_start: str | None = flag(
        None, "folder of an adapter of the same base to initialize the new one from"
    )
    fuse: list[str] | None = flag(
        None, "folders of bottleneck adapters (pfeiffer) to combine with AdapterFusion"
    )
    head_start: str = flag(
        "probe",
        "where the task's new head starts: probe (a regularised linear map fitted on the frozen "
        "base's features), prior (the frequencies of the labels), random",
    )
    head_learning_rate: float | None = flag(
        None,
        "learning rate of the task's new head (default: --learning_rate; twice that if the "
        "head of a classifier starts from a probe of few rows)",
    )
    lora_plus_ratio: float = flag(
        1.0, "with lora: learning rate of its matrices B over that of all else (LoRA+)"
    )
    max_tokens_per_batch: int | None = flag(
        None,
        "batches of as many rows as have this many tokens together, padding included, instead of "
        "--per_device_train_batch_size rows",
    )
    quantize: str | None = flag(None, "load the base in int8 or nf4 (bitsandbytes)")
    dtype: str = flag("auto", "dtype of the base: auto, float32, bfloat16, float16")
    attn_implementation: str | None = flag(
        None, "attention implementation of the base: sdpa, eager, flash_attention_2"
    )
    base_dropout: bool = flag(False, "keep the frozen base's own dropout during training")
    frozen_trunk: str = flag(
        "auto",
        "run the frozen layers below the first trained one once per text and cache their outputs: "
        "auto, memory, disk (where to cache), off; see lora[layers=last[2]]",
    )
    whole_last_layer: bool = flag(
        False, "compute the last layer for every token, even if the head reads one"
    )
    cuda_graphs: bool = flag(
        True, "on one GPU: record a training step per batch shape and replay it (CUDA graphs)"
    )
    train_file: str | None = flag(
        None, "training rows, in one of the formats of --format; file.json#part reads one part"
    )
    validation_file: str | None = flag(
        None, "validation rows (default: split off the training rows)"
    )
    test_file: str | None = flag(None, "test rows, used once at the end")
    unlabelled_file: str | None = flag(
        None,
        "texts without labels, for few labelled ones: those on whose label the parts of the "
        "training rows agree join the probe that the head starts from",
    )
    dataset_name: str | None = flag(
        None, "a dataset on the Hub instead of files (default: the embedded corpus)"
    )
    dataset_config_name: str | None = flag(None, "configuration of that dataset")
    format: str | None = flag(
        None, f"format of the files: {' '.join(FORMAT_NAMES)} (default: detected)"
    )
    encoding: str = flag("utf-8", "encoding of the files")
    column_names: list[str] | None = flag(None, "column names, for tables without a header line")
    validation_split_percentage: int = flag(
        10,
        "share of the training rows to split off if there is no validation split; 0: train on all "
        "rows without evaluation",
    )
    test_split_percentage: int = flag(
        0, "share of the training rows to split off if there is no test split; 0: none"
    )
    max_train_samples: int | None = flag(
        None, "train on this many rows, sampled with the seed (default: all)"
    )
    max_eval_samples: int | None = flag(
        None, "evaluate on this many validation rows (default: all)"
    )
    max_predict_samples: int | None = flag(None, "test on this many rows (default: all)")
    reference_rows: int | None = flag(
        None,
        "training rows whose states are kept beside the adapter, so that a drift of its inputs can "
        "be seen; 0: none (default: 500, for tasks that write texts none)",
    )
    max_seq_length: int = flag(128, "maximum length of the model's input in tokens")
    output_dir: str | None = flag(
        None, "folder for the adapter and its reports (default: runs/RECIPE)"
    )
    overwrite_output_dir: bool = flag(False, "write to a non-empty output_dir")
    early_stopping_patience: int = flag(
        0, "stop after this many evaluations without improvement; 0: never"
    )
    adversarial_epsilon: float = flag(
        0.0, "FGM: also train on embeddings moved by this much against the loss; 0: off"
    )
    augment_copies: int = flag(0, "augmented copies of each training text")
    word_dropout: float = flag(0.1, "in copies: share of words to drop")
    word_swap: float = flag(0.05, "in copies: share of words to swap with the next one")
    synonym_file: str | None = flag(
        None, "in copies: file of interchangeable words, one group per line, separated by commas"
    )
    seeds: list[int] | None = flag(
        None, "train once with each seed; reports mean and spread of the scores"
    )
    folds: int = flag(
        0,
        "cross-validation: train this many times, each time evaluating on another part of the "
        "training rows",
    )
    search: int = flag(
        0,
        "try this many settings first (Optuna: learning rate, batch size, rank), then train with "
        "the best",
    )
    config: str | None = flag(None, "YAML file of flags; the command line takes precedence")
    check: bool = flag(
        False,
        "check the data, show examples, try one training step, one save and one load, then stop",
    )

    def __post_init__(self) -> None:
        if self.model_name_or_path == UNTRAINED:
            self.model_name_or_path = None

    def embedded(self) -> bool:
        """True if the embedded corpus is used."""
        return not self.train_file and self.dataset_name in (None, "embedded")

    def file_for_probe(self) -> str | None:
        """The file of texts without labels, of which the probe may learn."""
        return self.unlabelled_file

    def default_rate(self) -> float:
        """The default learning rate."""
        from adaptkit.training.defaults import FROM_NOTHING, learning_rate

        method = self.method if self.train == "adapter" else self.train
        return learning_rate(method or "lora") if self.model_name_or_path else FROM_NOTHING

    def default_objective(self) -> str | None:
        """The default language-modelling objective; None for the one the model was made for."""
        return None

    def default_kind(self) -> str | None:
        """The default kind of a model that rewrites texts; None for what the model is."""
        return None


@dataclass
class StudentArguments(RecipeArguments):
    """The flags of distillation."""

    recipe = "distill"

    model_name_or_path: str | None = flag(
        None, "student: a pretrained model, a folder or a name on the Hub"
    )
    method: str | None = flag(
        "full", "method for the student: full trains all weights; or an adapter method"
    )
    output_dir: str | None = flag("runs/distill", "folder for the student and its reports")
    teacher: str | None = flag(
        None,
        "folder of a teacher that classifies, tags or generates (an adapter or a model), or a "
        "file of its logits",
    )
    teacher_base: str | None = flag(
        None, "model whose layers or tokenizer the student uses (default: the teacher's base)"
    )
    student: str | None = flag(
        None, "student: a small randomly initialized network, bilstm or (classification only) cnn"
    )
    student_layers: int = flag(0, "student: this many layers of the teacher's base")
    student_decoder_layers: int = flag(
        0, "with an encoder-decoder: this many decoder layers (default: as many, if it has them)"
    )
    layer_map: str = flag(
        "every", "layers to take: every (evenly spaced), first, last, or indices such as 0,2,5"
    )
    temperature: float = flag(
        2.0,
        "divides the logits of teacher and student; higher values give unlikely labels more weight",
    )
    hard_label_share: float = flag(
        0.1, "share of the label loss; the rest is the distillation loss"
    )
    hidden_state_weight: float = flag(
        0.0, "weight of the loss between hidden states of student and teacher; 0: off"
    )
    attention_map_weight: float = flag(
        0.0, "weight of the loss between attention maps of student and teacher; 0: off"
    )
    unlabelled_file: str | None = flag(None, "additional texts, labelled only by the teacher")

    def file_for_probe(self) -> str | None:
        return None

    def default_rate(self) -> float:
        from adaptkit.training.defaults import FROM_NOTHING, LAYERS_RATE

        if self.model_name_or_path:
            return super().default_rate()
        return LAYERS_RATE if self.student_layers else FROM_NOTHING

    def default_objective(self) -> str | None:
        return "clm"  # what a teacher teaches that writes

    def default_kind(self) -> str | None:
        from pathlib import Path

        from adaptkit.adapters.card import read_card

        teacher = Path(self.teacher or "")
        card = read_card(teacher) if self.teacher and teacher.is_dir() else None
        return card.settings.get("model_kind", "encoder-decoder") if card else None


@dataclass
class MultitaskArguments:
    """The flags of multi-task training; other flags go to the recipes of the tasks."""

    recipe: ClassVar[str] = "multitask"

    tasks: str | None = flag(
        None,
        "YAML file of tasks: NAME: {recipe: RECIPE, FLAG: VALUE, ...} (default: the embedded "
        "corpus)",
    )
    share: str = flag(
        "adapter",
        "what the tasks share: adapter (and base), or base alone with one adapter per task",
    )
    sampling_temperature: float = flag(
        1.0,
        "tasks are sampled by their number of rows to the power of 1 / T; 1: proportional; "
        "higher: more even",
    )
    task_weighting: str = flag(
        "fixed",
        "weights of the losses: fixed (task_weight in the file, default 1), uncertainty, balanced "
        "(by gradients)",
    )
    output_dir: str = flag("runs/multitask", "folder for one subfolder per task")
    overwrite_output_dir: bool = flag(False, "write to a non-empty output_dir")
    resume_from_checkpoint: str | None = flag(
        None, "checkpoint of this recipe to resume from; true: the last one in output_dir"
    )
    config: str | None = flag(
        None,
        "YAML file of flags, of this recipe and for all tasks; the command line takes precedence",
    )
