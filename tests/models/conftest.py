"""Checkpoints that the tests of models load."""

import pytest

from tests.tiny import tiny


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Checkpoints of bare backbones, as they are published."""
    root = tmp_path_factory.mktemp("bases")
    for name in (
        "bert",
        "roberta",
        "distilbert",
        "deberta-v2",
        "modernbert",
        "gpt2",
        "llama",
        "t5",
        "bart",
        "vit",
    ):
        tiny(name).save_pretrained(root / name)
    tiny("llama", hidden_size=64, intermediate_size=128).save_pretrained(
        root / "wide"
    )  # 4-bit blocks hold 64 weights
    tiny("bert", hidden_size=64, intermediate_size=128).save_pretrained(root / "wide-bert")
    return root
