"""Train several tasks over one base at once: one shared adapter with a head for each task, or an adapter for each.

    python recipes/multitask.py                                         intents, sentiment and names of the embedded corpus
    python recipes/multitask.py --tasks tasks.yaml --method bottleneck --output_dir runs/all
    python recipes/multitask.py --tasks tasks.yaml --sampling_temperature 2 --task_weighting balanced
    accelerate launch recipes/multitask.py --tasks tasks.yaml           on all GPUs
    adaptkit train multitask ...                                        the same, once installed

tasks.yaml names the tasks; each has the recipe it belongs to and flags of that recipe:

    intent:    {recipe: classify, train_file: intents.csv}
    reviews:   {recipe: classify, train_file: reviews.csv, label_column: stars, task_weight: 0.5}
    names:     {recipe: tag, train_file: news.conll}

All other flags (--model_name_or_path, --method, --max_seq_length, ... and Trainer's) hold for every task. Each step belongs to
one task; the epoch with the best mean of the tasks' metrics is kept, or the last one where a task has fewer than 100 validation
rows. The output folder holds a folder for each task, with an adapter that answers, serves and loads like one that was trained
alone, and README.md with a row for each task.
"""

from dataclasses import dataclass

from adaptkit.arguments import flag, parse_known
from adaptkit.errors import guarded


@dataclass
class MultitaskArguments:
    """The flags of this recipe; what it does not know goes to the recipes of the tasks."""

    tasks: str | None = flag(None, "a YAML file of tasks: NAME: {recipe: RECIPE, FLAG: VALUE, ...} (default: the embedded corpus)")
    share: str = flag("adapter", "what the tasks have in common: adapter (and the base), or base alone: an adapter each")
    sampling_temperature: float = flag(1.0, "a task has steps by its rows to the power of 1 / T: 1 by size; more: evener")
    task_weighting: str = flag(
        "fixed", "how much losses count: fixed (task_weight in the file, 1), uncertainty, balanced (by gradients)"
    )
    output_dir: str = flag("runs/multitask", "where a folder for each task goes")
    overwrite_output_dir: bool = flag(False, "write to an output_dir that is not empty")
    resume_from_checkpoint: str | None = flag(None, "a checkpoint of this recipe to go on from; true: the last one in output_dir")
    config: str | None = flag(None, "a YAML file of flags, these and those for all tasks; the command line wins")


def main(argv: list[str] | None = None) -> None:
    """Train all tasks, evaluate, save and report each."""
    own, rest = parse_known(MultitaskArguments, argv, __doc__)

    from adaptkit.transfer.multitask_run import train_tasks

    train_tasks(own, rest)


if __name__ == "__main__":
    guarded(main)
