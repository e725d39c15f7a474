"""Train an adapter to classify texts or text pairs, with one label each or any number of them.

    # intents of the embedded corpus, in a minute
    python recipes/classify.py

    python recipes/classify.py --train_file reviews.csv --text_column review \\
        --label_column stars --method bottleneck

    python recipes/classify.py --train_file pairs.tsv --text_column question \\
        --text_pair_column answer

    python recipes/classify.py --train_file films.csv --label_column genres --multi_label

    python recipes/classify.py --dataset_name ag_news \\
        --model_name_or_path FacebookAI/roberta-base --learning_rate 5e-4

    # check the data and try one step, then stop
    python recipes/classify.py --config my.yaml --check

    # on all GPUs
    accelerate launch recipes/classify.py --train_file reviews.csv

    # the same, once installed
    adaptkit train classify ...

The output folder holds the adapter (adapter_model.safetensors, adapter_config.json, task.json),
all_results.json, README.md, predictions_test.tsv, per_label.tsv, curves.png and confusion.png.
Trainer's flags work too (--num_train_epochs, --learning_rate, --seed, ...); --help_all shows them.
"""

from adaptkit.recipe.main import recipe
from adaptkit.utils.terminal import guarded


def main(argv: list[str] | None = None) -> None:
    """Train (or check), evaluate, save and report."""
    recipe("classify", argv, __doc__)


if __name__ == "__main__":
    guarded(main)
