"""Templates as other tools read them."""

import pytest

from adaptkit.data.conversations.rendering import render, template_of
from tests.helpers.model_templates import TEMPLATES, tokenizer_of
from tests.helpers.talks import ASK, SAY, SYSTEM


@pytest.mark.parametrize("system", [None, SYSTEM["content"]])
@pytest.mark.parametrize("name", TEMPLATES)
def test_transformers_writes_with_the_kept_template_what_was_trained(name, system):
    """Also where the template reads contents as parts, and is given texts."""
    if name == "Gemma":  # refuses a system message
        system = None
    talk = [ASK, SAY, ASK]
    tokenizer = tokenizer_of(name)
    wanted = render(tokenizer, [SYSTEM, *talk] if system else talk, True)
    assert wanted.count("Is it blue?") == 2
    tokenizer.chat_template = template_of(tokenizer, system)
    given = {"tokenize": False, "add_generation_prompt": True}
    assert tokenizer.apply_chat_template(talk, **given) == wanted
    assert render(tokenizer, talk, True) == wanted
