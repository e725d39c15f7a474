"""The flags that every recipe has, and those of recipes that have more than their task's.

Only the standard library is imported here, so `--help` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass

from adaptkit.tasks.flags import flag

FORMAT_NAMES = (
    *("csv", "tsv", "json", "jsonl", "parquet", "squad", "folder", "conll"),
    *("semeval", "label_first", "parallel", "lines"),
)


@dataclass
class RecipeArguments:
    """The flags that every recipe has."""

    model_name_or_path: str | None = flag(
        "all-MiniLM-L6-v2", "pretrained model: a folder or a name on the Hub"
    )
    model_revision: str | None = flag(None, "branch, tag or commit of the model on the Hub")
    method: str | None = flag(
        None,
        "what is injected: lora, bottleneck, prefix, ia3, a union a+b, mam, unipelt, peft:NAME; "
        "full: all weights "
        "(default: that of the adapter of --warm_start, else lora)",
    )
    train: str = flag(
        "adapter",
        "what trains: adapter (see --method), or of the model's own weights full, head, norms, "
        "biases, last[k]",
    )
    layerwise_lr_decay: float = flag(
        1.0, "with --train full or last[k]: each layer's rate is so much of that of the layer above"
    )
    l2_sp: float = flag(
        0.0,
        "with --train: strength of the pull towards the pretrained weights, against forgetting "
        "(L2-SP)",
    )
    gradual_unfreezing: bool = flag(
        False, "with --train full or last[k]: one more layer from the top trains in each epoch"
    )
    warm_start: str | None = flag(
        None, "folder of an adapter of the same base, whose weights the new one starts from"
    )
    fuse: list[str] | None = flag(
        None, "folders of bottleneck adapters (pfeiffer) that an AdapterFusion learns to mix"
    )
    quantize: str | None = flag(None, "load the base in int8 or nf4 (bitsandbytes)")
    dtype: str = flag("auto", "dtype of the base: auto, float32, bfloat16, float16")
    attn_implementation: str | None = flag(
        None, "attention of the base: sdpa, eager, flash_attention_2"
    )
    base_dropout: bool = flag(False, "keep the frozen base's own dropout while training")
    frozen_trunk: str = flag(
        "auto",
        "layers below all that trains run once a text: auto, memory, disk (where it is kept), "
        "off; see lora[layers=last[2]]",
    )
    whole_last_layer: bool = flag(
        False, "compute the last layer for every token, also where the head reads one"
    )
    cuda_graphs: bool = flag(
        True, "on one GPU: record a training step for each shape of batch, and replay it"
    )
    train_file: str | None = flag(
        None, "training rows, in one of the formats of --format; file.json#part takes a part of it"
    )
    validation_file: str | None = flag(
        None, "validation rows; cut off the training rows when not given"
    )
    test_file: str | None = flag(None, "test rows, used once, at the end")
    dataset_name: str | None = flag(
        None, "a dataset on the Hub instead of files (default: the embedded corpus)"
    )
    dataset_config_name: str | None = flag(None, "configuration of that dataset")
    format: str | None = flag(
        None, f"format of the files: {' '.join(FORMAT_NAMES)} (default: detected)"
    )
    encoding: str = flag("utf-8", "encoding of the files")
    column_names: list[str] | None = flag(
        None, "names of the columns, for tables without a header line"
    )
    validation_split_percentage: int = flag(
        10,
        "how much of the training rows is cut off where there is no validation split; 0: all "
        "rows train, no epoch is judged",
    )
    test_split_percentage: int = flag(
        0, "how much of the training rows is cut off where there is no test split; 0: none"
    )
    max_train_samples: int | None = flag(
        None, "train on so many rows, drawn by the seed (default: all)"
    )
    max_eval_samples: int | None = flag(None, "judge by so many validation rows (default: all)")
    max_predict_samples: int | None = flag(None, "test on so many rows (default: all)")
    max_seq_length: int = flag(128, "tokens that the model reads at once")
    output_dir: str | None = flag(
        None, "where the adapter and its reports go (default: runs/RECIPE)"
    )
    overwrite_output_dir: bool = flag(False, "write to an output_dir that is not empty")
    early_stopping_patience: int = flag(
        0, "stop after so many epochs without a better one; 0: never"
    )
    adversarial_epsilon: float = flag(
        0.0, "FGM: train on embeddings moved by so much against the loss, too; 0: not"
    )
    augment_copies: int = flag(0, "changed copies of each training text")
    word_dropout: float = flag(0.1, "in copies: the share of words left out")
    word_swap: float = flag(0.05, "in copies: the share of words swapped with the next")
    synonym_file: str | None = flag(
        None, "in copies: words that may stand for each other, a line a group, parted by commas"
    )
    seeds: list[int] | None = flag(None, "train once with each seed; mean and spread of the scores")
    folds: int = flag(
        0,
        "cross-validation: train so many times, each time judged on another part of the training "
        "rows",
    )
    search: int = flag(
        0,
        "try so many settings first (Optuna: learning rate, batch, rank), then train with the best",
    )
    config: str | None = flag(None, "a YAML file of flags; the command line wins")
    check: bool = flag(
        False, "judge the data, show examples, one training step, one save and load; then stop"
    )

    def embedded(self) -> bool:
        """Whether the embedded corpus is meant."""
        return not self.train_file and self.dataset_name in (None, "embedded")

    def default_rate(self) -> float:
        """The learning rate where none is given."""
        from adaptkit.training.defaults import FROM_NOTHING, learning_rate

        method = self.method if self.train == "adapter" else self.train
        return learning_rate(method or "lora") if self.model_name_or_path else FROM_NOTHING

    def default_objective(self) -> str | None:
        """The language-modelling objective when none is given; None: what the model was made for."""
        return None


@dataclass
class StudentArguments(RecipeArguments):
    """Who teaches whom."""

    model_name_or_path: str | None = flag(
        None, "student: a pretrained model, a folder or a name on the Hub"
    )
    method: str | None = flag(
        "full", "what of the student trains: full, all weights; or an adapter's method"
    )
    output_dir: str | None = flag("runs/distill", "where the student and its reports go")
    teacher: str | None = flag(
        None,
        "folder of an adapter or a model that classifies, tags or writes, or a file of its logits",
    )
    teacher_base: str | None = flag(
        None, "model whose layers or tokenizer the student takes (default: the teacher's base)"
    )
    student: str | None = flag(
        None, "student: a small network from random weights, bilstm or (texts alone) cnn"
    )
    student_layers: int = flag(0, "student: this number of layers of the teacher's base")
    student_decoder_layers: int = flag(
        0, "and this number of its decoder's, behind an encoder (default: as many, if it has them)"
    )
    layer_map: str = flag(
        "every", "which of them: every (spread evenly), first, last, or their numbers, as in 0,2,5"
    )
    temperature: float = flag(2.0, "divides the logits of both, so that unlikely labels count more")
    hard_label_share: float = flag(
        0.1, "share of the labels in the loss; the rest is the teacher's"
    )
    hidden_state_weight: float = flag(
        0.0, "weight of the loss between the hidden states of student and teacher; 0: none"
    )
    attention_map_weight: float = flag(
        0.0, "weight of the loss between the attention maps of student and teacher; 0: none"
    )
    unlabelled_file: str | None = flag(None, "more texts, which only the teacher labels")

    def default_rate(self) -> float:
        from adaptkit.training.defaults import FROM_NOTHING, LAYERS_RATE

        if self.model_name_or_path:
            return super().default_rate()
        return LAYERS_RATE if self.student_layers else FROM_NOTHING

    def default_objective(self) -> str | None:
        return "clm"  # what a teacher teaches that writes


@dataclass
class MultitaskArguments:
    """The flags of this recipe; what it does not know goes to the recipes of the tasks."""

    tasks: str | None = flag(
        None,
        "a YAML file of tasks: NAME: {recipe: RECIPE, FLAG: VALUE, ...} (default: the embedded "
        "corpus)",
    )
    share: str = flag(
        "adapter",
        "what the tasks have in common: adapter (and the base), or base alone: an adapter each",
    )
    sampling_temperature: float = flag(
        1.0, "a task has steps by its rows to the power of 1 / T: 1 by size; more: evener"
    )
    task_weighting: str = flag(
        "fixed",
        "how much losses count: fixed (task_weight in the file, 1), uncertainty, balanced (by "
        "gradients)",
    )
    output_dir: str = flag("runs/multitask", "where a folder for each task goes")
    overwrite_output_dir: bool = flag(False, "write to an output_dir that is not empty")
    resume_from_checkpoint: str | None = flag(
        None, "a checkpoint of this recipe to go on from; true: the last one in output_dir"
    )
    config: str | None = flag(
        None, "a YAML file of flags, these and those for all tasks; the command line wins"
    )
