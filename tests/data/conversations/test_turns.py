"""What the model sees before a turn, where templates write it in one way and then in another."""

import pytest

from adaptkit import AdaptkitError
from adaptkit.data.conversations.examples import encode_conversation
from adaptkit.data.conversations.rendering import render
from adaptkit.data.conversations.turns import answer_of, trained_turns, without_greeting
from tests.helpers.model_templates import TEMPLATES, tokenizer_of
from tests.helpers.talks import ASK, SAY, SYSTEM, THINKS, learned, seen_before

HELLO = {"role": "assistant", "content": "Hello."}


def test_greetings_and_turns_without_loss_are_not_trained():
    assert trained_turns([HELLO, HELLO, ASK, SAY, ASK, SAY | {"train": False}]) == [3]
    assert trained_turns([SYSTEM, HELLO, ASK, SAY]) == [1, 3]
    assert trained_turns([ASK]) == []
    assert trained_turns([HELLO]) == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_greeting_is_context_or_left_out(name):
    tokenizer = tokenizer_of(name)
    talk = without_greeting(tokenizer, [HELLO, HELLO, ASK, SAY], None)
    if name in ("Llama 2", "Mistral", "Gemma"):  # whose turns alternate
        assert talk == [ASK, SAY]
    else:
        assert talk == [HELLO, HELLO, ASK, SAY]
    told = without_greeting(tokenizer, [SYSTEM, HELLO, ASK, SAY], None)
    assert (HELLO in told) == (HELLO in talk)
    [row] = encode_conversation(talk, tokenizer, 1000)
    [written], [before] = learned(tokenizer, row), seen_before(tokenizer, row)
    assert before == render(tokenizer, talk[:-1], True)
    assert "It is." in written


def test_two_answers_in_a_row_are_each_learned_behind_what_the_model_sees():
    tokenizer = tokenizer_of("Qwen 3")
    talk = [ASK, SAY, SAY | {"content": "No."}]
    [row] = encode_conversation(talk, tokenizer, 1000)
    empty = "<think>\n\n</think>\n\n"
    assert learned(tokenizer, row) == [f"{empty}It is.<|im_end|>\n", f"{empty}No.<|im_end|>\n"]
    assert seen_before(tokenizer, row) == [render(tokenizer, talk[:n], True) for n in (1, 2)]


def test_a_question_asked_before_is_not_taken_for_the_last_one():
    """Nor is one that the answer repeats, with what stands around it."""
    tokenizer = tokenizer_of("Mistral")
    repeats = SAY | {"content": "It is: [INST] Is it blue?[/INST] Yes."}
    before, written = answer_of(tokenizer, [SYSTEM, ASK, SAY, ASK, repeats], None)
    assert before == render(tokenizer, [SYSTEM, ASK, SAY, ASK], True)
    assert written == " It is: [INST] Is it blue?[/INST] Yes.[SEP]"


def test_thoughts_that_are_written_as_given_stand_once():
    """As Nemotron: the prompt opens them in a line of their own, and an answer holds its tag."""
    tokenizer = tokenizer_of("ChatML")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "assistant\n' }}", "assistant\n<think>\n' }}"
    )
    said = SAY | {"content": "<think>Hm.</think>It is."}
    before, written = answer_of(tokenizer, [ASK, said], None)
    assert before.endswith("<|im_start|>assistant\n<think>\n")
    assert written == "Hm.</think>It is.<|im_end|>\n"


def test_a_prompt_that_closes_the_thoughts_is_shown():
    tokenizer = tokenizer_of("Qwen 3")
    tokenizer.chat_template += (
        "{% if add_generation_prompt %}{{ '<think>\n\n</think>' }}{% endif %}"
    )
    said = r"'\\n</think>' stands before an answer where the whole conversation has 'Hm"
    with pytest.raises(AdaptkitError, match=f"the same way with and without its answer: {said}"):
        answer_of(tokenizer, [ASK, THINKS], None)
