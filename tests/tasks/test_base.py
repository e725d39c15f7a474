"""What every task does with rows: fields that are missing, steps that have nothing to learn."""

import json

import pytest
from adaptkit.recipes import pretrain, tag

from adaptkit import AdaptkitError, Table
from adaptkit.models.untrained.scratch import make_model
from adaptkit.tasks.answer import Answer
from adaptkit.tasks.relate import Relate
from adaptkit.tasks.tag import Tag
from adaptkit.tasks.translate import Translate


@pytest.mark.slow
def test_steps_without_a_label_do_no_harm(tmp_path, sixty_texts, sixty_rows):
    """A short block may hide no token, a window may hold one long word: nothing to learn is no
    reason for NaN.
    """
    bert = make_model("bert", sixty_texts, tmp_path / "bert", vocab_size=500)[0]
    flags = [
        "--max_steps",
        "40",
        "--per_device_train_batch_size",
        "1",
        "--disable_tqdm",
        "true",
        "--bf16",
        "false",
    ]
    flags += ["--eval_strategy", "no", "--logging_steps", "1", "--model_name_or_path", bert]
    pretrain.main(
        [
            *flags,
            "--train_file",
            sixty_rows,
            "--max_seq_length",
            "12",
            "--output_dir",
            str(tmp_path / "mlm"),
        ]
    )
    words = [{"tokens": ["x" * 70, "Bern"], "tags": ["O", "B-place"]}] * 20
    (tmp_path / "words.jsonl").write_text(
        "\n".join(json.dumps(row | {"id": i}) for i, row in enumerate(words))
    )
    few = ["--validation_file", str(tmp_path / "words.jsonl"), "--max_seq_length", "24"]
    tag.main(
        [
            *flags,
            "--train_file",
            str(tmp_path / "words.jsonl"),
            *few,
            "--output_dir",
            str(tmp_path / "tag"),
        ]
    )


@pytest.mark.parametrize(
    "task, row, message",
    [
        (Relate(), {"text": "a b", "head": "a", "label": "x", "tail": None}, "the tail is None"),
        (
            Relate(columns={"label": "r"}),
            {"text": "a b", "entities": [{"start": 0}], "relations": [{"head": 0, "tail": -1}]},
            "names no label and two of the row's entities",
        ),
        (
            Translate(source_lang="en", target_lang="de"),
            {"translation": {"en": "a"}},
            "'target' holds None",
        ),
        (
            Answer(),
            {"question": "a", "context": "b", "answers": {"text": ["b"], "answer_start": []}},
            "1 texts and not as many starts",
        ),
        (
            Tag(),
            {"text": "a b", "entities": [{"start": 0, "end": 1, "label": None}]},
            "a label is missing",
        ),
    ],
)
def test_missing_fields_are_placed(task, row, message):
    with pytest.raises(AdaptkitError, match=rf"x:7: .*{message}"):
        task.read(Table([row], "x", [7]))
