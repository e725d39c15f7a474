"""Small tokenizers of each kind, which drop characters in different ways."""

import functools
import tempfile
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertJapaneseTokenizer,
    ByT5Tokenizer,
    CanineTokenizer,
    PreTrainedTokenizerFast,
)
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from adaptkit import load_tokenizer

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
TEXTS = [
    "the new lamp in Bern was sold to Zoe, who has two cafes and a kettle! where? and when?",
    "हिन्दी में किताब है كتاب جديد في المدينة שלום עולם กินข้าว 北京 か\u3099く",
]


def _wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    pair = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=pair
    )
    names = dict(zip(("pad_token", "cls_token", "sep_token", "unk_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def byte_level() -> PreTrainedTokenizerFast:
    """As GPT-2 and Qwen: bytes, over composed characters; nothing is dropped but by composing."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _wrap(tokenizer)


def sentence_pieces() -> PreTrainedTokenizerFast:
    """As XLM-R and T5: pieces with a mark for blanks, over compatible characters."""
    tokenizer = Tokenizer(models.Unigram())
    blank = normalizers.Replace("\u200b", " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), blank])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _wrap(tokenizer)


def letters_only() -> PreTrainedTokenizerFast:
    """Letters of one script; its normalizer drops everything else."""
    tokenizer = Tokenizer(models.BPE())
    others = normalizers.Replace(Regex("[^a-z ]"), "")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), others])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(TEXTS[:1], trainer)
    return _wrap(tokenizer)


JAPANESE = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"東京都に行きました。私は日本語bern"]


def slow(name: str) -> Any:
    """One written in Python, without offsets: bert, japanese, canine or byt5."""
    if name in ("canine", "byt5"):
        return CanineTokenizer() if name == "canine" else ByT5Tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        numbers = kind("word pieces").get_vocab()
        known = sorted(numbers, key=numbers.__getitem__) if name == "bert" else JAPANESE
        file = Path(folder) / "vocab.txt"
        file.write_text("\n".join(known), encoding="utf-8")
        if name == "bert":
            return BertTokenizerLegacy(str(file))
        kinds = {"word_tokenizer_type": "basic", "subword_tokenizer_type": "character"}
        return BertJapaneseTokenizer(str(file), **kinds)


FAST = {
    "word pieces": lambda: load_tokenizer("all-MiniLM-L6-v2"),
    "bytes": byte_level,
    "sentence pieces": sentence_pieces,
    "letters only": letters_only,
}


@functools.cache
def kind(name: str) -> Any:
    return FAST[name]() if name in FAST else slow(name)
