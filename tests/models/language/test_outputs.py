"""What a language task reads of a batch, with the places of its labels and without."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from adaptkit.models.language.outputs import PLACES, task_outputs, with_places
from adaptkit.tasks.chat import Chat
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.pretrain import Pretrain
from adaptkit.tasks.translate import Translate
from tests.tiny import inputs, tiny

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
