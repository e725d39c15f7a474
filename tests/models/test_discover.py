"""Models that are not in the table: what is found, and what is said where nothing is clear."""

import pytest
from torch import nn

from adaptkit import AdaptkitError, adapt, find_sites
from tests.tiny import tiny


@pytest.mark.parametrize("name", ["bert", "llama", "vit", "opt", "distilbert"])
def test_discovery_finds_what_the_table_says(name, monkeypatch):
    wanted = {
        (s.name, s.module, s.layer)
        for s in find_sites(tiny(name))
        if s.kind in ("map", "attention")
    }
    monkeypatch.setattr("adaptkit.models.find_sites.table_entry", lambda config: None)
    assert {(s.name, s.module, s.layer) for s in find_sites(tiny(name))} == wanted


def test_an_unclear_structure_is_an_error_that_shows_the_entry_to_write(monkeypatch):
    monkeypatch.setattr("adaptkit.models.find_sites.table_entry", lambda config: None)
    with pytest.raises(AdaptkitError) as error:
        adapt(tiny("gpt2"), "lora")
    assert "h.0" in str(error.value)
    assert "attn.c_attn: 32 -> 96" in str(error.value)
    assert "register_architecture('gpt2'" in str(error.value)


def test_a_model_without_layers_is_refused():
    class Config:
        model_type = "mystery"

    class Model(nn.Module):
        config = Config()

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

    with pytest.raises(AdaptkitError, match="No list of equal layers"):
        find_sites(Model())
