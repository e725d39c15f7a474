"""Features of sources are what a fresh head reads."""

import pytest
import torch

from adaptkit import adapt, save_adapter
from adaptkit.heads.text_features import task_model
from adaptkit.models.probe import HeadInput
from adaptkit.transfer.rank_sources import started_from
from tests.tiny import randomize, tiny


@pytest.mark.parametrize(
    "name",
    [
        "bert",
        "roberta",
        "electra",
        "distilbert",
        "deberta-v2",
        "modernbert",
        "gpt2",
        "llama",
        "qwen3",
    ],
)
def test_features_are_what_a_fresh_head_reads(name, tmp_path):
    network = tiny(name)
    network.save_pretrained(tmp_path)
    ids, mask = torch.arange(1, 19).reshape(2, 9), torch.ones(2, 9, dtype=torch.long)
    ids[1, 6:], mask[1, 6:] = 0, 0
    model = task_model(str(tmp_path))
    model.config.pad_token_id = 0
    with torch.no_grad():
        outputs = network(input_ids=ids, attention_mask=mask)
    states = outputs.last_hidden_state
    if name == "bert":
        expected = outputs.pooler_output
    elif name in ("gpt2", "llama", "qwen3"):
        expected = torch.stack([states[0, 8], states[1, 5]])
    else:
        expected = states[:, 0]
    torch.testing.assert_close(
        HeadInput(model)({"input_ids": ids, "attention_mask": mask}), expected
    )


def test_a_source_is_in_the_base_while_it_is_looked_at(tmp_path):
    tiny("bert").save_pretrained(tmp_path / "base")
    model, inputs = task_model(str(tmp_path / "base")), {"input_ids": torch.arange(1, 10)[None]}
    adapted = adapt(task_model(str(tmp_path / "base")), "lora[r=2]")
    randomize(adapted)
    save_adapter(adapted, tmp_path / "one")
    before = HeadInput(model)(inputs)
    with started_from(model, tmp_path / "one"):
        inside = HeadInput(model)(inputs)
    torch.testing.assert_close(inside, HeadInput(adapted.get_base_model())(inputs))
    assert not torch.allclose(inside, before, atol=1e-2)
    assert torch.equal(HeadInput(model)(inputs), before)
