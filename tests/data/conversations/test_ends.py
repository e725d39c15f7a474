"""Where the answers of a chat template end."""

import pytest

from adaptkit.data.conversations.ends import turn_ends
from tests.helpers.model_templates import TEMPLATES, tokenizer_of
from tests.helpers.tokenizers import slow

ENDS = {
    "ChatML": ["<|im_end|>"],
    "Zephyr": ["[SEP]"],
    "Llama 2": ["[SEP]"],
    "Llama 3.1": ["<|eot_id|>"],
    "Mistral": ["[SEP]"],
    "Gemma": ["<end_of_turn>"],
    "Phi 3": ["<|end|>", "[SEP]"],
    "Qwen 2.5": ["<|im_end|>"],
    "Qwen 3": ["<|im_end|>"],
    "DeepSeek R1": ["[SEP]"],
    "gpt-oss": ["<|call|>", "<|return|>"],  # <|end|> stands between thoughts and words
    "SmolVLM": ["<end_of_utterance>"],
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_answer_ends_at_what_the_template_writes_behind_it_and_never_within(name):
    tokenizer = tokenizer_of(name)
    assert sorted(tokenizer.convert_ids_to_tokens(sorted(turn_ends(tokenizer)))) == ENDS[name]


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}",
        "{{ raise_exception('no') }}",
    ],
)
def test_a_template_without_such_a_token_has_none(template):
    tokenizer = tokenizer_of("ChatML")
    tokenizer.chat_template = template
    assert turn_ends(tokenizer) == set()


def test_the_plain_template_ends_at_the_end_token():
    tokenizer = slow("byt5")
    assert turn_ends(tokenizer) == {tokenizer.eos_token_id}
