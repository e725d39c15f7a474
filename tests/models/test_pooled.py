"""Classifiers that pool: the formulas, every architecture, and the ways in and out."""

import pytest
import torch
from torch import nn
from transformers import AutoModel

from adaptkit import AdaptkitError, Host, Predictor, TaskCard, adapt, load_base, save_adapter
from adaptkit.models.pooled import Pool, find_class, of_one_size, pool
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.sequence import POOLINGS, sequence_class
from tests.host.store import LABELS, TEXTS
from tests.tiny import CONFIGS, inputs, randomize, tiny

ENCODER_DECODERS = ("t5", "mt5", "bart", "mbart", "marian", "pegasus", "m2m_100", "whisper")
READ_TEXT = [name for name in CONFIGS if name not in (*ENCODER_DECODERS, "vit")]


STATES = torch.tensor(
    [[[1.0, -2.0], [3.0, 5.0], [8.0, 0.0]], [[9.0, 9.0], [4.0, -1.0], [2.0, 7.0]]]
)
RIGHT, LEFT = torch.tensor([[1, 1, 0], [1, 0, 0]]), torch.tensor([[0, 1, 1], [0, 0, 1]])


@pytest.mark.parametrize(
    "pooling, right, left",
    [
        ("first", [[1, -2], [9, 9]], [[3, 5], [2, 7]]),
        ("last", [[3, 5], [9, 9]], [[8, 0], [2, 7]]),
        ("mean", [[2, 1.5], [9, 9]], [[5.5, 2.5], [2, 7]]),
        ("max", [[3, 5], [9, 9]], [[8, 5], [2, 7]]),
    ],
)
def test_padding_on_either_side_is_not_read(pooling, right, left):
    assert pool(STATES, RIGHT, pooling).tolist() == right
    assert pool(STATES, LEFT, pooling).tolist() == left
    assert torch.equal(pool(STATES, None, pooling), pool(STATES, torch.ones(2, 3), pooling))


def test_attention_weighs_tokens_by_a_map():
    module = Pool(2, "attention")
    nn.init.zeros_(module.weigh.weight)
    mean = of_one_size(pool(STATES, RIGHT, "mean"))
    torch.testing.assert_close(module(STATES, RIGHT), mean)
    module.weigh.weight.data[:] = torch.tensor([[100.0, 0.0]])  # the largest first number wins
    largest = torch.tensor([[8.0, 0.0], [2.0, 7.0]])
    torch.testing.assert_close(module(STATES, LEFT), of_one_size(largest))


def test_vectors_get_one_size_and_keep_their_direction():
    given = torch.tensor([[3.0, -4.0], [0.0, 0.0], [3e-3, 4e-3]])
    expected = torch.tensor([[0.6, -0.8], [0.0, 0.0], [0.6, 0.8]]) * 2**0.5
    torch.testing.assert_close(of_one_size(given), expected)
    assert of_one_size(given.bfloat16()).dtype == torch.bfloat16


def test_an_unknown_pooling_is_named():
    with pytest.raises(ValueError, match="'men' is none of first, mean, last and max"):
        pool(STATES, RIGHT, "men")
    with pytest.raises(AdaptkitError, match="unknown pooling 'men'; did you mean 'mean'"):
        Classify(pooling="men")


@pytest.mark.parametrize("name", READ_TEXT)
def test_logits_are_the_head_over_the_pooled_states_of_the_bare_model(name):
    batch = {k: v for k, v in inputs(name).items() if k in ("input_ids", "attention_mask")}
    batch["attention_mask"][1, 4:] = 0
    for pooling in POOLINGS:
        auto = find_class(sequence_class(pooling))
        model = tiny(name, auto, num_labels=3).eval()
        network = getattr(model, model.base_model_prefix)
        assert type(network) is type(tiny(name))
        with torch.no_grad():
            states = network(**batch)[0]
            wanted = model.score(model.pool(states, batch["attention_mask"]))
            torch.testing.assert_close(model(**batch).logits, wanted)
        assert type(model).__name__.endswith("PooledForSequenceClassification")


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_encoder_decoders_keep_their_own_classifiers(name):
    with pytest.raises(AdaptkitError, match="is an encoder-decoder.*--pooling native"):
        tiny(name, find_class(sequence_class("mean")))


def test_gradients_reach_every_token_that_is_read():
    model = tiny("bert", find_class(sequence_class("mean")), num_labels=2)
    batch = {k: v for k, v in inputs("bert").items() if k != "token_type_ids"}
    model(**batch).logits.sum().backward()
    assert model.bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An adapter of each pooling over one tiny BERT."""
    from adaptkit.models.untrained.scratch import make_model

    root = tmp_path_factory.mktemp("pooled")
    make_model("bert", TEXTS, root / "base", vocab_size=300, hidden_size=32, intermediate_size=48)
    for pooling in ("native", *POOLINGS):
        task = Classify(labels=LABELS, pooling=pooling)
        model = adapt(
            load_base(str(root / "base"), task=task.auto_class, labels=LABELS), "lora[r=4]"
        )
        randomize(model, std=0.4)
        card = TaskCard(task="classify", labels=LABELS, settings=task.settings(), max_length=32)
        save_adapter(model, root / pooling, card=card)
    return root


def test_a_new_process_and_a_host_answer_alike(folders):
    host = Host(str(folders / "base"), slots=8, slot_capacity="lora[r=4]")
    seen = {}
    for pooling in ("native", *POOLINGS):
        host.load(pooling, folders / pooling)
        alone = [(a["label"], a["score"]) for a in Predictor(folders / pooling)(TEXTS[:8])]
        hosted = [(a.label, a.score) for a in host(TEXTS[:8], pooling)]
        assert [label for label, _ in alone] == [label for label, _ in hosted]
        torch.testing.assert_close(
            torch.tensor([s for _, s in alone]),
            torch.tensor([s for _, s in hosted]),
            atol=2e-6,
            rtol=0,
        )
        seen[pooling] = tuple(round(score, 4) for _, score in alone)
    assert len(set(seen.values())) == len(seen)  # each reads something else
    mixed = host(TEXTS[:6], ["native", *POOLINGS])
    for text, name, answer in zip(TEXTS, ["native", *POOLINGS], mixed, strict=False):
        assert answer.score == pytest.approx(host([text], name)[0].score, abs=2e-6)


def test_peft_loads_it_by_name_or_refuses(folders):
    import peft

    with pytest.raises(ValueError, match="adaptkit.models.pooled"):
        peft.AutoPeftModel.from_pretrained(folders / "mean", num_labels=3)
    model = peft.AutoPeftModel.from_pretrained(
        folders / "mean", num_labels=3, import_allowlist=["adaptkit.models.pooled"]
    ).eval()
    ours = Predictor(folders / "mean")
    batch = ours.tokenizer(TEXTS[:4], padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, ours.model(**batch).logits)


def test_the_base_is_the_same_base(folders):
    plain = load_base(str(folders / "base"), task="classify", labels=2)
    pooled = load_base(str(folders / "base"), task=sequence_class("mean"), labels=2)
    assert plain.adaptkit_base.fingerprint == pooled.adaptkit_base.fingerprint
    assert pooled.adaptkit_base.head == ("score",)
    bare = AutoModel.from_pretrained(folders / "base")
    assert torch.equal(
        bare.embeddings.word_embeddings.weight, pooled.bert.embeddings.word_embeddings.weight
    )
