"""The head of a language model over chosen tokens, beside all logits of the whole model."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from adaptkit import adapt
from adaptkit.models.language import head
from adaptkit.models.language.head import labelled_places, token_logits
from adaptkit.models.probe import network_below_head
from tests.helpers.architectures import small_config
from tests.tiny import inputs, randomize, tiny

MASKED = ("bert", "roberta", "xlm-roberta", "electra", "distilbert", "albert", "deberta-v2")
MASKED += ("modernbert",)
CAUSAL = ("gpt2", "opt", "opt-post-norm", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3")
CAUSAL += ("phi3",)
WRITING = ("t5", "mt5", "bart", "mbart", "marian", "pegasus", "m2m_100")
ALL = [(name, AutoModelForMaskedLM) for name in MASKED]
ALL += [(name, AutoModelForCausalLM) for name in CAUSAL]
ALL += [(name, AutoModelForSeq2SeqLM) for name in WRITING]


def labels_for(batch) -> torch.Tensor:
    """Some labels; one row has none."""
    ids = batch.get("decoder_input_ids", batch["input_ids"])
    labels = torch.where(torch.arange(ids.numel()).view(ids.shape) % 3 == 1, ids.flip(0), -100)
    labels[1] = -100
    return labels


def gradients(model, loss) -> dict[str, torch.Tensor]:
    named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    found = torch.autograd.grad(loss, [one for _, one in named], allow_unused=True)
    return {name: one for (name, _), one in zip(named, found, strict=True) if one is not None}


@pytest.mark.parametrize("chunk", [1, 300, 2**25])
@pytest.mark.parametrize(("name", "auto"), ALL)
def test_losses_and_gradients_are_those_of_all_logits(name, auto, chunk, monkeypatch):
    monkeypatch.setattr(head, "CHUNK", chunk)  # tokens at a time: 1, 3, all
    model = tiny(name, auto)
    adapted = adapt(model, "lora[r=2]")
    model.get_output_embeddings().weight.requires_grad_(True)
    randomize(adapted)
    batch, run = inputs(name), 0
    labels = labels_for(batch)
    network = network_below_head(model)
    assert network is not None

    def counted():
        nonlocal run
        run += 1
        return adapted(**batch)

    logits = adapted(**batch).logits
    plain = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    tokens = token_logits(model, network, counted, labels, labelled_places(labels, 4))
    loss = tokens.losses.sum()
    expected, found = gradients(model, plain), gradients(model, loss)
    assert run == 1
    assert len(tokens.labels) == -(-int((labels != -100).sum()) // 4) * 4
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    assert found.keys() == expected.keys()
    assert model.get_output_embeddings().weight.requires_grad
    for key, gradient in expected.items():
        assert torch.allclose(found[key], gradient, rtol=1e-4, atol=1e-5), key
    smooth = cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="sum", label_smoothing=0.1
    )
    again = token_logits(model, network, counted, labels, labelled_places(labels))
    assert again.cross_entropies(0.1).sum().item() == pytest.approx(smooth.item(), rel=1e-6)
    after = adapted(**batch).logits  # the model is as it was
    assert torch.equal(after, logits)


def test_no_more_than_a_chunk_of_logits_is_ever_made(monkeypatch):
    monkeypatch.setattr(head, "CHUNK", 500)  # 5 tokens
    model = tiny("llama", AutoModelForCausalLM)
    adapted, seen = adapt(model, "lora"), []
    model.lm_head.register_forward_hook(lambda module, args, out: seen.append(out.shape[:2]))
    batch = inputs("llama", rows=2, length=40)
    network_below_head(model)
    seen.clear()
    tokens = token_logits(
        model,
        network_below_head(model),
        lambda: adapted(**batch),
        batch["input_ids"],
        labelled_places(batch["input_ids"]),
    )
    tokens.losses.sum().backward()
    assert seen[0] == (2, 1)
    assert set(seen[1:]) == {(1, 5)}
    assert len(seen) == 1 + 2 * 16  # each chunk forward, and once more backward


def test_a_network_that_is_exchanged_is_found():
    model, other = (tiny("llama", AutoModelForCausalLM, seed=seed) for seed in (0, 1))
    batch = inputs("llama")
    labels = labels_for(batch)
    assert network_below_head(model) is model.model
    model.set_submodule("model", other.model)
    assert network_below_head(model) is other.model
    tokens = token_logits(
        model, other.model, lambda: model(**batch), labels, labelled_places(labels)
    )
    plain = cross_entropy(model(**batch).logits.flatten(0, 1), labels.flatten(), reduction="sum")
    assert tokens.losses.sum().item() == pytest.approx(plain.item(), rel=1e-6)


class Mixing(nn.Module):
    """A head that reads a token's neighbours, too."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, states):
        return self.inner(states + states.mean(1, keepdim=True))


def test_a_head_that_reads_other_tokens_gets_all_of_them():
    model = tiny("llama", AutoModelForCausalLM)
    model.lm_head = Mixing(model.lm_head)
    batch = inputs("llama")
    labels = labels_for(batch)
    assert network_below_head(model) is None
    tokens = token_logits(model, None, lambda: model(**batch), labels, labelled_places(labels))
    plain = cross_entropy(model(**batch).logits.flatten(0, 1), labels.flatten(), reduction="sum")
    assert tokens.losses.sum().item() == pytest.approx(plain.item(), rel=1e-6)


@pytest.mark.parametrize("auto", [AutoModelForSeq2SeqLM, AutoModelForCausalLM])
def test_a_head_that_reads_more_of_the_network_than_states_runs_with_it(auto):
    config = small_config("prophetnet")  # its head reads the states of several tokens ahead
    model, batch = auto.from_config(config).eval(), inputs("llama")
    if auto is AutoModelForSeq2SeqLM:
        batch["decoder_input_ids"] = batch["input_ids"].flip(1)
    labels = labels_for(batch)
    assert network_below_head(model) is None
    plain = cross_entropy(model(**batch).logits.flatten(0, 1), labels.flatten(), reduction="sum")
    tokens = token_logits(model, None, lambda: model(**batch), labels, labelled_places(labels))
    assert tokens.losses.sum().item() == pytest.approx(plain.item(), rel=1e-6)


def test_a_batch_without_labels_has_a_loss_of_zero_with_gradients():
    model = tiny("llama", AutoModelForCausalLM)
    adapted, batch = adapt(model, "lora"), inputs("llama")
    labels = torch.full_like(batch["input_ids"], -100)
    tokens = token_logits(
        model,
        network_below_head(model),
        lambda: adapted(**batch),
        labels,
        labelled_places(labels),
    )
    loss = tokens.losses.sum()
    assert loss.item() == 0
    assert all(not gradient.any() for gradient in gradients(model, loss).values())
