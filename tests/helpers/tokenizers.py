"""Small tokenizers of each kind, which drop characters in different ways."""

import functools

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

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


KINDS = {
    "word pieces": lambda: load_tokenizer("all-MiniLM-L6-v2"),
    "bytes": byte_level,
    "sentence pieces": sentence_pieces,
    "letters only": letters_only,
}


@functools.cache
def kind(name: str) -> PreTrainedTokenizerFast:
    return KINDS[name]()
