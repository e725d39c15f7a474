"""Adapters answer texts, in batches as alone, wherever their folders lie."""

import json
import shutil
from pathlib import Path

import pytest
from adaptkit.recipes import chat, classify

from adaptkit import AdaptkitError, Predictor, Table, load_adapter, pipeline, read_table
from adaptkit.data.corpus import load_corpus
from adaptkit.models.untrained.scratch import make_model
from tests.helpers.rows import IN_FP32, TWO_STEPS


def test_an_adapter_for_pairs_does_not_answer_single_texts(folders):
    with pytest.raises(AdaptkitError, match="was trained on text and text_pair, not on text"):
        Predictor(folders / "pair")("just one")
    rows = folders / "rows.jsonl"
    rows.write_text('{"text": "x", "other": "y"}\n')
    assert len(Predictor(folders / "pair").answer(read_table(rows))) == 1


@pytest.mark.slow
def test_answers_over_a_decoder_do_not_depend_on_the_batch(tmp_path, sixty_texts, sixty_rows):
    """Its configuration names no padding token, the tokenizer does: the head must not read that."""
    folder = Path(make_model("llama", sixty_texts, tmp_path / "llama", vocab_size=500)[0])
    settings = json.loads((folder / "config.json").read_text())
    settings.pop("pad_token_id")
    (folder / "config.json").write_text(json.dumps(settings))
    flags = [
        "--train_file",
        sixty_rows,
        "--model_name_or_path",
        str(folder),
        "--learning_rate",
        "1e-2",
        "--max_steps",
        "20",
        *IN_FP32,
    ]
    classify.main([*flags, "--output_dir", str(tmp_path / "out"), "--eval_strategy", "no"])
    predictor = Predictor(tmp_path / "out")
    table = Table([{"text": row["text"]} for row in load_corpus("test")[:24]], "x")
    together, alone = (predictor.answer(table, batch_size=size) for size in (24, 1))
    assert [answer["label"] for answer in together] == [answer["label"] for answer in alone]
    assert [answer["score"] for answer in together] == pytest.approx(
        [answer["score"] for answer in alone], abs=1e-5
    )
    piped = pipeline(tmp_path / "out")([row["text"] for row in table.rows], batch_size=24)
    assert [answer["label"] for answer in piped] == [answer["label"] for answer in alone]


@pytest.mark.slow
def test_what_lies_in_the_folder_moves_with_it(tmp_path, rows, bert):
    """A whole model, and an adapter whose small base was made beside it."""
    flags = ["--train_file", rows, *TWO_STEPS]
    classify.main(
        [
            *flags,
            "--model_name_or_path",
            bert,
            "--method",
            "full",
            "--output_dir",
            str(tmp_path / "full"),
        ]
    )
    talk = [
        "--train_file",
        rows,
        "--prompt_column",
        "text",
        "--completion_column",
        "label",
        "--max_new_tokens",
        "2",
        "--model_name_or_path",
        "untrained",
        *TWO_STEPS,
    ]
    chat.main([*talk, "--output_dir", str(tmp_path / "chat")])
    (tmp_path / "other").mkdir()
    for name in ("full", "chat"):
        before = Predictor(tmp_path / name)("Hello there")
        shutil.move(tmp_path / name, tmp_path / "other" / name)
        assert Predictor(tmp_path / "other" / name)("Hello there") == before
    assert load_adapter(tmp_path / "other/full").num_labels == 3
