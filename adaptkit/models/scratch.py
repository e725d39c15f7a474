"""Make models from scratch: a tokenizer trained on the given texts, and random weights.

For experiments and for pretraining.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from adaptkit.errors import unknown
from adaptkit.utils.atomic_files import new_version

# Settings of a model that trains in a minute on two cores, by each architecture's own names.
SMALL: dict[str, dict[str, Any]] = {
    "bert": {
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 512,
    },
    "llama": {
        **{
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
        },
        **{"intermediate_size": 352, "max_position_embeddings": 1024, "tie_word_embeddings": True},
    },
    "t5": {
        "d_model": 128,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "d_ff": 256,
        "d_kv": 32,
    },
}

_CLASSES = {
    "bert": "AutoModelForMaskedLM",
    "llama": "AutoModelForCausalLM",
    "t5": "AutoModelForSeq2SeqLM",
}


def make_model(
    kind: str,
    texts: Iterable[str],
    folder: str | Path,
    vocab_size: int = 4000,
    seed: int = 0,
    **settings: Any,
) -> tuple[str, int]:
    """Write an untrained model and its tokenizer to `folder`.

    Args:
        kind: bert, llama or t5.
        texts: texts to train the tokenizer on.
        settings: settings of the architecture's configuration that override `SMALL`.

    Returns:
        The folder's name and the number of parameters.

    Raises:
        AdaptkitError: the kind or a setting is unknown.
    """
    import torch
    import transformers

    if kind not in SMALL:
        raise unknown("kind of model", kind, SMALL)
    tokenizer = make_tokenizer(kind, texts, vocab_size)
    config = transformers.AutoConfig.for_model(kind)
    for key in settings:
        if not hasattr(config, key):
            raise unknown("configuration setting", key, config.to_dict())
    ids = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")
    }
    chosen = {**SMALL[kind], **settings, "vocab_size": len(tokenizer), **ids}
    config = transformers.AutoConfig.for_model(kind, **chosen)
    if kind == "t5":
        config.decoder_start_token_id = tokenizer.pad_token_id
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, _CLASSES[kind]).from_config(config)
    tokenizer.model_max_length = getattr(config, "max_position_embeddings", None) or 512
    with new_version(folder) as staged:
        model.save_pretrained(staged)
        tokenizer.save_pretrained(staged)
    return str(folder), model.num_parameters()


def make_tokenizer(kind: str, texts: Iterable[str], vocab_size: int) -> Any:
    """Train a tokenizer on texts: WordPiece for bert (one word per Chinese character), else BPE.

    The same texts give the same tokenizer.
    """
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    if kind == "bert":
        names = {
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "mask_token": "[MASK]",
        }
        tokenizer = _word_pieces(list(texts), vocab_size, list(names.values()))
        ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
        )
    else:
        names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
        tokenizer = _byte_pairs(texts, vocab_size, list(names.values()))
    if kind == "t5":
        end = [("</s>", tokenizer.token_to_id("</s>"))]
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=end
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _byte_pairs(texts: Iterable[str], vocab_size: int, special: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    options: dict[str, Any] = {
        "vocab_size": vocab_size,
        "special_tokens": special,
        "show_progress": False,
    }
    trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **options)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _word_pieces(texts: list[str], vocab_size: int, special: list[str]) -> Any:
    """WordPiece whose vocabulary depends only on the texts.

    The trainer numbers the characters inside words (`##a`) in the order of a hash map, and these
    numbers break ties between equally frequent pairs (tokenizers issue 1794). So a first pass finds
    these characters, and a second pass gets them in order.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    def untrained(vocab: dict[str, int]) -> Any:
        tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return tokenizer

    def vocabulary(size: int, first: list[str]) -> dict[str, int]:
        tokenizer = untrained({})
        tokenizer.train_from_iterator(
            texts,
            trainers.WordPieceTrainer(vocab_size=size, special_tokens=first, show_progress=False),
        )
        return tokenizer.get_vocab()

    inside = sorted(sign for sign in vocabulary(0, special) if sign.startswith("##"))
    return untrained(vocabulary(vocab_size, special + inside))
