"""Preferences: forms of rows, the tokens that carry loss, scores, refusals."""

import numpy as np
import pytest

from adaptkit import AdaptkitError, Table, load_tokenizer
from adaptkit.data.corpus import load_corpus
from adaptkit.data.splits import Splits
from adaptkit.tasks.prefer import Prefer
from tests.helpers.talks import ASK, SAY, SYSTEM, learned, seen_before

NO = {"role": "assistant", "content": "No idea."}
TEXTS = {"prompt": ASK["content"], "chosen": SAY["content"], "rejected": NO["content"]}
ANSWERS = {"prompt": [SYSTEM, ASK], "chosen": [SAY], "rejected": [NO]}
WHOLE = {"chosen": [SYSTEM, ASK, SAY], "rejected": [SYSTEM, ASK, NO]}
# UltraFeedback's: the prompt stands in both conversations, too
BOTH = {"prompt": ASK["content"], "chosen": [ASK, SAY], "rejected": [ASK, NO]}


@pytest.mark.parametrize(
    "row, asked",
    [(TEXTS, [ASK]), (ANSWERS, [SYSTEM, ASK]), (WHOLE, [SYSTEM, ASK]), (BOTH, [ASK])],
)
def test_each_form_is_a_conversation_and_another_last_answer(row, asked):
    found = Prefer().read(Table([row], "pairs.jsonl")).rows[0]
    assert found == {"messages": [*asked, SAY], "tools": [], "rejected": NO}


def test_a_prompt_alone_is_answered():
    rows = Prefer(system="Be brief.").read(Table([{"prompt": "Is it blue?"}], "x"), labelled=False)
    assert rows.rows[0]["messages"] == [SYSTEM, ASK]


def test_only_the_last_answers_carry_loss(llama):
    tokenizer = load_tokenizer(llama)
    before = [ASK, SAY, {"role": "user", "content": "Is it big?"}]
    row = {"chosen": [*before, SAY], "rejected": [*before, NO]}
    task = Prefer()
    found = task.encode(task.read(Table([row], "x")), tokenizer, 512)
    assert [learned(tokenizer, one) for one in found] == [
        [f" {answer['content']}{tokenizer.eos_token}\n"] for answer in (SAY, NO)
    ]
    assert len({str(seen_before(tokenizer, one)) for one in found}) == 1
    assert found["_row"] == [0, 0]


def test_both_lose_the_same_beginning(llama):
    tokenizer = load_tokenizer(llama)
    row = {"prompt": "Is it blue? " * 20, "chosen": "It is.", "rejected": "It is green, I think."}
    task = Prefer()
    rows = task.read(Table([row], "x"))
    whole, cut = task.encode(rows, tokenizer, 512), task.encode(rows, tokenizer, 40)
    over = max(whole["length"]) - 40
    assert over > 0
    for key in ("input_ids", "labels", "attention_mask"):
        assert list(cut[key]) == [values[over:] for values in whole[key]]


def test_an_answer_without_room_for_its_prompt_is_refused(llama):
    task = Prefer()
    rows = task.read(Table([TEXTS | {"rejected": "No idea. " * 30}], "pairs.jsonl"))
    with pytest.raises(AdaptkitError, match=r"row 0: an answer has \d+ tokens.*raise --max_seq"):
        task.encode(rows, load_tokenizer(llama), 40)


@pytest.mark.parametrize(
    "row, problem",
    [
        ({"prompt": "Is it?", "chosen": "Yes."}, "no column 'rejected'"),
        (
            {"chosen": [ASK, SAY], "rejected": [SYSTEM, ASK, NO]},
            "row 0: chosen and rejected are to differ in the last answer only.*from message 1 on",
        ),
        ({"chosen": [ASK, SAY], "rejected": [ASK]}, "the last message is of 'user'"),
        (TEXTS | {"rejected": " "}, "row 0.*rejected.*empty"),
    ],
)
def test_rows_that_are_no_pairs_are_refused(row, problem):
    with pytest.raises(AdaptkitError, match=problem):
        Prefer().read(Table([row], "pairs.jsonl"))


def test_equal_answers_are_reported_and_count_nowhere(llama):
    task, tokenizer = Prefer(), load_tokenizer(llama)
    table = task.read(Table([TEXTS, TEXTS | {"rejected": TEXTS["chosen"]}], "pairs.jsonl"))
    findings = [str(one) for one in task.findings(Splits(table))]
    assert any("in 1 rows the chosen answer equals the rejected one" in one for one in findings)
    for train in (True, False):
        assert task.encode(table, tokenizer, 99, train=train)["_row"] == [0, 0]
    with pytest.raises(AdaptkitError, match="each chosen answer equals the rejected one"):
        task.encode(table.take([1]), tokenizer, 99, train=True)


def test_the_scores_of_pairs():
    """Losses and tokens with the adapter and without: 2 of 3 rewards rank the chosen one higher."""
    outputs = np.array(
        [
            [10.0, 5, 12, 5],  # reward 0.2
            [20.0, 10, 19, 10],  # -0.1
            [8.0, 4, 8, 4],  # 0
            [9.0, 3, 8, 3],  # -0.1
            [6.0, 2, 4, 2],  # -0.2
            [5.0, 2, 6, 2],  # 0.1
        ]
    )
    found = Prefer().metrics(outputs, None, Table([{}] * 3, "x"))
    assert found == pytest.approx(
        {
            "reward_accuracy": 2 / 3,
            "reward_margin": (0.3 + 0.1 - 0.3) / 3,
            "chosen_likelier": 1 / 3,
            "base_chosen_likelier": 2 / 3,
            "perplexity": np.exp(24 / 11),
            "base_perplexity": np.exp(24 / 11),
        }
    )


def test_the_perplexity_of_a_row_is_that_of_its_chosen_answer():
    outputs = np.arange(16.0).reshape(4, 4)
    found = Prefer().losses_by_row(outputs, {"_row": [0, 0, 2, 2]}, 3)
    assert found.tolist() == [[0, 1], [0, 0], [8, 9]]


def test_messages_are_answered_as_in_chat():
    rows = [{"messages": [SYSTEM, ASK]}]
    assert Prefer().read(Table(rows, "x"), labelled=False).rows[0]["messages"] == [SYSTEM, ASK]


@pytest.mark.parametrize("loss_type, beta", [("dpo", 0.1), ("simpo", 2.0)])
def test_the_beta_that_is_used_is_kept(loss_type, beta):
    assert Prefer(loss_type=loss_type).settings()["beta"] == beta
    assert Prefer(loss_type=loss_type, beta=0.5).settings()["beta"] == 0.5


@pytest.mark.parametrize(
    "settings, problem",
    [({"loss_type": "dop"}, "'dop'.*dpo"), ({"beta": 0.0}, "--beta is more than 0; it got 0")],
)
def test_settings_that_are_none_are_refused(settings, problem):
    with pytest.raises(AdaptkitError, match=problem):
        Prefer(**settings)


def test_the_other_reply_of_the_corpus_is_of_the_same_intent_and_split():
    rows = load_corpus()
    replies = {row["reply"]: (row["split"], row["intent"]) for row in rows}
    assert all(replies[row["other_reply"]] == (row["split"], row["intent"]) for row in rows)
    assert not any(row["other_reply"] == row["reply"] for row in rows)
