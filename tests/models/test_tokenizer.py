"""Tokenizers that are not there."""

import pytest

from adaptkit import AdaptkitError, load_tokenizer
from tests.tiny import tiny


@pytest.mark.parametrize(
    "name", ["bert", "roberta", "deberta-v2", "gpt2", "qwen2", "t5", "llama", "marian"]
)
def test_a_folder_without_a_tokenizer_is_refused(tmp_path, name):
    """transformers makes a tokenizer of special tokens alone, which reads every text as unknown."""
    tiny(name).save_pretrained(tmp_path / "base")
    with pytest.raises(AdaptkitError, match=r"holds no tokenizer|cannot load"):
        load_tokenizer(str(tmp_path / "base"))
