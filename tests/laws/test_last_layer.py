"""The last layer cut to the token that the head reads changes nothing: logits and gradients of
every architecture with a head.
"""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from adaptkit import AdaptkitError, adapt
from adaptkit.training.last_layer import LastLayer, first, last
from tests.tiny import CONFIGS, inputs, randomize, tiny

READS_FIRST = [
    "bert",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "roberta",
    "xlm-roberta",
]
READS_LAST = ["gemma2", "gpt2", "llama", "mistral", "opt", "phi3", "qwen2", "qwen3"]
METHODS = (
    "lora",
    "bottleneck",
    "bottleneck[placement=parallel]",
    "prefix[length=3]+lora",
    "ia3",
    "bias",
    "reft",
    "miss[r=8]",
    "vera[r=8]",
    "mam",
    "unipelt",
)


def adapted(name, method="lora", auto=AutoModelForSequenceClassification, **more):
    model = adapt(tiny(name, auto, pad_token_id=1, num_labels=3, **more), method, head=[])
    randomize(model)
    return model.double().eval()


def batch_of(name, rows=4, tokens=9):
    batch = {
        key: value
        for key, value in inputs(name, rows=rows, length=tokens).items()
        if key in ("input_ids", "attention_mask")
    }
    batch["input_ids"].clamp_(min=2)
    for row, length in ((1, 5), (2, 7)):
        batch["input_ids"][row, length:] = 1
        batch["attention_mask"][row, length:] = 0
    return batch


def passed(model, batch):
    """Logits, and the gradients of their squares."""
    model.zero_grad()
    logits = model(**batch).logits
    logits.square().sum().backward()
    return {"logits": logits.detach()} | {
        key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None
    }


def found(model, batch):
    cut = LastLayer(model.get_base_model())
    return cut, cut.find(lambda: model(**batch).logits.square().sum(), batch["input_ids"])


def rows_of(module, seen):
    """How many tokens a module is asked for, kept in `seen`; OPT flattens rows and tokens, and only
    its attention is cut.
    """
    return module.register_forward_hook(
        lambda m, args, out: seen.append(args[0].shape[-2]) if args[0].dim() == 3 else None
    )


def check(model, batch, where):
    plain = passed(model, batch)
    cut, is_found = found(model, batch)
    assert is_found
    assert cut.where is where
    seen = []
    hooks = [rows_of(module, seen) for module in cut._maps]
    with cut:
        torch.testing.assert_close(passed(model, batch), plain, rtol=1e-7, atol=1e-9)
    assert seen
    assert set(seen) == {1}
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(passed(model, batch), plain, rtol=0, atol=0)


@pytest.mark.parametrize("name", READS_FIRST)
def test_encoders_read_the_first_token(name):
    check(adapted(name), batch_of(name), first)


@pytest.mark.parametrize("name", READS_LAST)
def test_decoders_read_the_last_token(name):
    check(adapted(name), batch_of(name), last)


def test_padding_in_front_is_seen():
    model, batch = adapted("llama"), batch_of("llama")
    batch = {key: value.flip(1) for key, value in batch.items()}
    check(model, batch, last)


@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method(name, method):
    check(adapted(name, method), batch_of(name), first if name == "bert" else last)


def test_other_lengths_than_those_it_was_found_with():
    model = adapted("llama")
    cut, _ = found(model, batch_of("llama"))
    for tokens, rows in ((1, 3), (17, 3), (9, 3)):
        batch = {key: value[:rows] for key, value in batch_of("llama", 5, max(tokens, 9)).items()}
        batch = {key: value[:, :tokens] for key, value in batch.items()}
        plain = passed(model, batch)
        with cut:
            torch.testing.assert_close(passed(model, batch), plain, rtol=1e-7, atol=1e-9)


def test_checkpointed_layers_are_cut_again():
    for name, where in (("bert", first), ("llama", last)):
        model, batch = adapted(name), batch_of(name)
        plain = passed(model, batch)
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        cut, is_found = found(model, batch)
        assert is_found
        assert cut.where is where
        with cut:
            torch.testing.assert_close(passed(model.train(), batch), plain, rtol=1e-7, atol=1e-9)


def test_a_head_that_reads_every_token_finds_none():
    model, batch = adapted("bert", auto=AutoModelForTokenClassification), batch_of("bert")
    assert not found(model, batch)[1]


def test_a_mean_over_tokens_finds_none():
    model, batch = adapted("modernbert", classifier_pooling="mean"), batch_of("modernbert")
    assert not found(model, batch)[1]


def test_a_head_that_reads_another_token_than_ours_finds_none():
    model, batch = adapted("llama"), batch_of("llama")
    batch["input_ids"][1, 4] = (
        1  # the last real token looks like padding to the head, and not to the mask
    )
    cut, is_found = found(model, batch)
    assert is_found  # by the ids, as the head does it
    plain = passed(model, batch)
    with cut:
        torch.testing.assert_close(passed(model, batch), plain, rtol=1e-7, atol=1e-9)


def test_states_that_are_asked_for_are_whole():
    model, batch = adapted("bert"), batch_of("bert")
    plain = model(**batch, output_hidden_states=True).hidden_states[-1]
    cut, _ = found(model, batch)
    with cut:
        torch.testing.assert_close(
            model(**batch, output_hidden_states=True).hidden_states[-1], plain, rtol=0, atol=0
        )


@pytest.mark.parametrize("name", ["albert", "bart", "t5"])
def test_models_without_one_last_layer_are_refused(name):
    assert name in CONFIGS
    with pytest.raises(AdaptkitError, match="comes last"):
        LastLayer(tiny(name))
