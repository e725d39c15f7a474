"""Models from nothing are the same for the same texts and seed."""

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from adaptkit.data.corpus import load_corpus
from adaptkit.models.untrained.scratch import make_model, make_tokenizer

TEXTS = [row["text"] for row in load_corpus("train")[:40]]


@pytest.mark.parametrize("kind", ["bert", "llama", "t5"])
def test_the_same_texts_give_the_same_tokenizer(kind):
    """Many pairs of letters are equally frequent in forty texts: whatever chooses between them by
    chance shows within a few.
    """
    made = {make_tokenizer(kind, TEXTS, 300).backend_tokenizer.to_str() for _ in range(8)}
    assert len(made) == 1


def test_word_pieces_are_plain_tokens_and_read_what_they_were_made_of():
    tokenizer = make_tokenizer("bert", [*TEXTS, "北京大学"], 300)
    assert len(tokenizer) == 300
    assert tokenizer.all_special_tokens == ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"]
    ids = tokenizer(TEXTS[0].lower() + " 北京")["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == (
        TEXTS[0].lower() + "北京"
    ).replace(" ", "")
    assert tokenizer.tokenize("b ##a") == ["b", "#", "#", "a"]  # no special token is found in it


def test_the_same_seed_gives_the_same_model(tmp_path):
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        make_model("bert", TEXTS, tmp_path / name, vocab_size=300, seed=seed)
    one, same, other = (
        AutoModel.from_pretrained(tmp_path / name).get_input_embeddings().weight
        for name in ("one", "same", "other")
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert (
        AutoTokenizer.from_pretrained(tmp_path / "one").get_vocab()
        == AutoTokenizer.from_pretrained(tmp_path / "same").get_vocab()
    )
