"""Train several tasks over one base at once, with one shared adapter or one adapter per task.

    # intents, sentiment and names of the embedded corpus
    python recipes/multitask.py

    python recipes/multitask.py --tasks tasks.yaml --method bottleneck --output_dir runs/all

    python recipes/multitask.py --tasks tasks.yaml --sampling_temperature 2 \\
        --task_weighting balanced

    # on all GPUs
    accelerate launch recipes/multitask.py --tasks tasks.yaml

    # the same, once installed
    adaptkit train multitask ...

tasks.yaml names the tasks; each has a recipe and flags of that recipe:

    intent:    {recipe: classify, train_file: intents.csv}
    reviews:   {recipe: classify, train_file: reviews.csv, label_column: stars, task_weight: 0.5}
    names:     {recipe: tag, train_file: news.conll}

All other flags (--model_name_or_path, --method, --max_seq_length, ... and Trainer's) apply to every
task. Each step belongs to one task. The epoch with the best mean of the tasks' metrics is kept, or
the last one if a task has fewer than 100 validation rows. The output folder holds a folder per
task, with an adapter that answers, serves and loads like one trained alone, and README.md with a
row per task.
"""

from adaptkit.recipe.arguments import MultitaskArguments
from adaptkit.recipe.parser import parse_known
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Train all tasks; evaluate, save and report each."""
    given, rest = parse_known(MultitaskArguments, argv, __doc__)

    from adaptkit.recipe.many_tasks import train_tasks

    train_tasks(given, rest)


if __name__ == "__main__":
    guarded(main)
