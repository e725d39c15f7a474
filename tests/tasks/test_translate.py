"""Translations begin and end as they are trained; the loss is the model's own."""

import dataclasses
import importlib

import pytest
import torch
import transformers
from transformers import AutoModelForSeq2SeqLM

from adaptkit import AdaptkitError, load_base, load_tokenizer
from adaptkit.data.collate import IGNORED
from adaptkit.data.corpus import load_corpus
from adaptkit.data.tables import Table
from adaptkit.models.language.outputs import task_outputs
from adaptkit.tasks.translate import Translate
from tests.tiny import tiny


@pytest.mark.parametrize(
    ("kind", "start"),
    [("MBartTokenizer", "decoder_start_token_id"), ("MBart50Tokenizer", "forced_bos_token_id")],
)
def test_a_translation_begins_as_it_is_trained(kind, start):
    """What the decoder reads first in training is what it is given in writing."""
    names = importlib.import_module(
        f"transformers.models.{kind.removesuffix('Tokenizer').lower()}.tokenization_{kind[:-9].lower()}"
    )
    letters = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "\u2581",
        *"abcdefgh",
        *names.FAIRSEQ_LANGUAGE_CODES,
        "<mask>",
    ]
    tokenizer = getattr(transformers, kind)(vocab=[(letter, 0.0) for letter in letters])
    task = Translate(source_lang="en_XX", target_lang="de_DE", max_target_length=4, num_beams=1)
    german = tokenizer.convert_tokens_to_ids("de_DE")
    table = task.read(Table([{"source": "abc", "target": "fgh"}], "x"))
    encoded = task.features(table, tokenizer, 16)
    model = tiny(
        "mbart",
        AutoModelForSeq2SeqLM,
        vocab_size=len(letters),
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    read = task.model_inputs(model, {}, torch.tensor(encoded["labels"]))["decoder_input_ids"][
        0
    ].tolist()
    chosen = task.generation(tokenizer, model)
    assert chosen[start] == german
    written = model.generate(torch.tensor(encoded["input_ids"]), pad_token_id=1, **chosen)[
        0
    ].tolist()
    first = read.index(german) + 1
    assert written[:first] == read[:first]
    with pytest.raises(AdaptkitError, match="'de_DD'; did you mean 'de_DE'"):
        dataclasses.replace(task, target_lang="de_DD").generation(tokenizer, model)


def test_the_least_length_of_another_task_is_put_off(t5):
    model = load_base(t5, task="translate").eval()
    model.generation_config.min_length = 9
    with torch.no_grad():
        model.lm_head.weight.zero_()
    tokenizer, ids = load_tokenizer(t5), torch.tensor([[5, 6, 1]])
    for least in (0, 5):  # a model that would end at once
        bias = {"sequence_bias": {(tokenizer.eos_token_id,): 9.0}}
        chosen = Translate(min_target_length=least, num_beams=1, max_target_length=12).generation(
            tokenizer, model
        )
        assert (
            model.generate(ids, **chosen, **bias).shape[1] == 1 + least + 1
        )  # where it starts, and its end


def test_a_sequence_to_sequence_loss_is_the_models_own(t5):
    tokenizer = load_tokenizer(t5)
    task = Translate()
    table = task.read(
        Table([{"source": r["text"], "target": r["summary"]} for r in load_corpus("test")[:4]], "x")
    )
    batch = task.collator(tokenizer)(list(task.encode(table, tokenizer, 64)))
    model = load_base(t5, task="translate").eval()
    labels = batch.pop("labels")
    outputs = task_outputs(task, model, batch, labels, model)
    ours = task.loss(outputs, batch, labels, (labels != IGNORED).sum())
    torch.testing.assert_close(ours, model(**batch, labels=labels).loss)
    answers = task.generate(model, table, tokenizer, 64, 2)
    assert len(answers) == 4
