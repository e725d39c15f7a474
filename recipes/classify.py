"""Train an adapter that puts texts, or pairs of texts, into classes.

    python recipes/classify.py                                          intents of the embedded corpus, in a minute
    python recipes/classify.py --train_file reviews.csv --text_column review --label_column stars --method bottleneck
    python recipes/classify.py --train_file pairs.tsv --text_column question --text_pair_column answer
    python recipes/classify.py --dataset_name ag_news --model_name_or_path FacebookAI/roberta-base --learning_rate 5e-4
    python recipes/classify.py --config my.yaml --check                 judge the data and try one step, then stop
    accelerate launch recipes/classify.py --train_file reviews.csv      on all GPUs
    adaptkit train classify ...                                         the same, once installed

The output folder holds the adapter (adapter_model.safetensors, adapter_config.json, task.json), all_results.json, README.md,
predictions_test.tsv, curves.png and confusion.png. Trainer's flags work too (--num_train_epochs, --learning_rate, --seed, ...);
see them with --help_all.
"""

from dataclasses import dataclass

from adaptkit.arguments import RecipeArguments, flag, parse
from adaptkit.errors import guarded


@dataclass
class ClassifyArguments(RecipeArguments):
    """The flags of this recipe."""

    text_column: str = flag("text", "column of the text")
    text_pair_column: str | None = flag(None, "column of a second text, for pairs")
    label_column: str | None = flag(None, "column of the label (default: label; intent for the embedded corpus)")

    def columns(self) -> dict[str, str]:
        """What a row has -> the column where it is."""
        embedded = not self.train_file and self.dataset_name in (None, "embedded")
        label = self.label_column or ("intent" if embedded else "label")
        pair = {"text_pair": self.text_pair_column} if self.text_pair_column else {}
        return {"text": self.text_column, **pair, "label": label}


def main(argv: list[str] | None = None) -> None:
    """Train (or check), evaluate, save, report."""
    arguments, make_training_arguments = parse(ClassifyArguments, argv, __doc__)

    from adaptkit import run as recipe
    from adaptkit.tasks.classify import Classify

    run = recipe.start(Classify(), arguments, make_training_arguments, arguments.columns())
    recipe.load(run)
    if arguments.check:
        recipe.check(run)
        return
    fitted = recipe.train(run)
    recipe.finish(run, fitted)


if __name__ == "__main__":
    guarded(main)
