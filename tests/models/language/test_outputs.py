"""What a language task reads of a batch, with the places of its labels and without."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForTokenClassification,
)

from adaptkit import AdaptkitError, adapt
from adaptkit.models.language.head import labelled_places, token_logits
from adaptkit.models.language.outputs import PLACES, task_outputs, with_places
from adaptkit.models.probe import check_packing
from adaptkit.tasks.answer import Answer
from adaptkit.tasks.chat import Chat
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.language import write
from adaptkit.tasks.pretrain import Pretrain
from adaptkit.tasks.tag import Tag
from adaptkit.tasks.translate import Translate
from tests.tiny import inputs, randomize, tiny

CASES = [
    (Chat(), "llama", AutoModelForCausalLM),
    (Pretrain(), "bert", AutoModelForMaskedLM),
    (Translate(), "t5", AutoModelForSeq2SeqLM),
]


def batch_of(name):
    batch = {key: value for key, value in inputs(name).items() if key != "decoder_input_ids"}
    labels = torch.where(batch["input_ids"] % 3 == 0, batch["input_ids"].flip(1), -100)
    labels[0, 5:] = labels[2] = -100
    return batch, labels


@pytest.mark.parametrize(("task", "name", "auto"), CASES)
def test_the_sums_of_rows_are_those_of_all_logits(task, name, auto):
    model, (batch, labels) = tiny(name, auto), batch_of(name)
    logits = model(**task.model_inputs(model, batch, labels)).logits
    if task.causal:
        logits, labels_seen = logits[:, :-1], labels[:, 1:]
    else:
        labels_seen = labels
    each = cross_entropy(logits.flatten(0, 1), labels_seen.flatten(), reduction="none")
    wanted = each.view(labels_seen.shape).sum(1)
    places = with_places(task, batch | {"labels": labels})
    assert places[PLACES].shape == (64,)
    for given in (batch, batch | {PLACES: places[PLACES]}):
        outputs = task_outputs(task, model, given, labels, model)
        sums = task.postprocess(outputs, given, labels)
        torch.testing.assert_close(sums[:, 0], wanted, rtol=1e-5, atol=1e-5)
        assert sums[:, 1].tolist() == (labels_seen != -100).sum(1).tolist()
        assert task.loss(outputs, given, labels, 2).item() == pytest.approx(
            wanted.sum().item() / 2, rel=1e-6
        )
        whole = task_outputs(task, model, given, labels, model, in_one_piece=False)
        torch.testing.assert_close(whole.losses, outputs.losses, rtol=1e-5, atol=1e-5)


def test_other_tasks_read_the_models_own_outputs():
    model, batch = tiny("bert", AutoModelForMaskedLM), inputs("bert")
    labels = torch.zeros(3, dtype=torch.long)
    assert with_places(Classify(labels=["a", "b"]), {"labels": labels}) == {"labels": labels}
    outputs = task_outputs(Classify(labels=["a", "b"]), model, batch, labels, model)
    torch.testing.assert_close(outputs.logits, model(**batch).logits)


PROMPTS = ["PROMPT_TUNING[num_virtual_tokens=4]", "P_TUNING[num_virtual_tokens=3]"]


def prompted(name, auto, method):
    model = adapt(tiny(name, auto), f"peft:{method}", head=[]).eval()
    randomize(model)
    return model


@pytest.mark.parametrize("method", [*PROMPTS, "PREFIX_TUNING[num_virtual_tokens=4]"])
@pytest.mark.parametrize(
    ("task", "name", "auto"),
    [
        (Chat(), "llama", AutoModelForCausalLM),
        (Chat(), "gpt2", AutoModelForCausalLM),
        (Translate(), "bart", AutoModelForSeq2SeqLM),
    ],
)
def test_virtual_tokens_in_front_move_no_label(task, name, auto, method):
    model, (batch, labels) = prompted(name, auto, method), batch_of(name)
    if task.causal:
        labels[:, 0] = -100  # PEFT lets the prompt predict it
    loss = model(**batch, labels=labels).loss.item()
    for whole in (True, False):
        outputs = task_outputs(task, model, batch, labels, model, whole)
        count = (outputs.labels != -100).sum()
        assert task.loss(outputs, batch, labels, count).item() == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("method", PROMPTS)
def test_what_is_generated_behind_a_prompt_is_what_its_logits_say(method):
    model = prompted("llama", AutoModelForCausalLM, method)
    ids = inputs("llama", rows=1, length=6)["input_ids"]
    settings = {"do_sample": False, "max_new_tokens": 5, "min_new_tokens": 5}
    written = write(model, ids.tolist(), 0, settings)[0].tolist()
    longer = torch.cat([ids, torch.tensor([written])], 1)
    task, labels = Pretrain(objective="clm"), longer
    batch = {"input_ids": longer, "attention_mask": torch.ones_like(longer)}
    outputs = task_outputs(task, model, batch, labels, model)
    (best,) = outputs.each(lambda logits, labels, places: logits[:, 3:].argmax(-1) + 3)
    assert best[5:10].tolist() == written


@pytest.mark.parametrize("method", PROMPTS)
@pytest.mark.parametrize(
    ("task", "auto", "names"),
    [
        (Tag(), AutoModelForTokenClassification, ["logits"]),
        (Answer(), AutoModelForQuestionAnswering, ["start_logits", "end_logits"]),
    ],
)
def test_scores_of_tokens_are_those_of_the_text_alone(task, auto, names, method):
    model, (batch, _) = prompted("bert", auto, method), batch_of("bert")
    own, found = model(**batch), task_outputs(task, model, batch, None, model)
    for name in names:
        assert own[name].shape[1] > batch["input_ids"].shape[1]
        assert torch.equal(found[name], own[name][:, -batch["input_ids"].shape[1] :])


def test_states_of_another_number_of_tokens_are_refused():
    model, batch = tiny("llama", AutoModelForCausalLM), inputs("llama")
    labels = batch["input_ids"][:, :5]
    places = labelled_places(labels)
    with pytest.raises(AdaptkitError, match="gives 9 tokens where 5 were expected, or 3 more"):
        token_logits(model, model.model, lambda: model(**batch), labels, places, 3)


@pytest.mark.parametrize("method", PROMPTS)
def test_a_prompt_in_front_refuses_packing(method):
    with pytest.raises(AdaptkitError, match="would see each other in a llama"):
        check_packing(prompted("llama", AutoModelForCausalLM, method))
