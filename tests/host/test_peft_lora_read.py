"""LoRA adapters that PEFT wrote, with PEFT's own outputs as the reference."""

import json
import shutil

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
)

from adaptkit import AdaptkitError, Host, load_adapter
from tests.host.build import auto_of, batch_for, hidden_alone, seen
from tests.host.store import edit
from tests.tiny import inputs, randomize, tiny

CONFIGS = {
    "one rank": {"r": 4, "lora_alpha": 3, "target_modules": ["query", "value"]},
    "rank-stabilized": {
        "r": 5,
        "lora_alpha": 7,
        "use_rslora": True,
        "target_modules": ["query", "key", "value"],
    },
    "patterns": {
        **{"r": 4, "lora_alpha": 8, "target_modules": ["query", "intermediate.dense"]},
        **{
            "rank_pattern": {"layer.1.attention.self.query": 2},
            "alpha_pattern": {"layer.0.intermediate.dense": 32},
        },
    },
    "the upper layer": {"r": 4, "target_modules": ["query", "value"], "layers_to_transform": [1]},
    "by a pattern": {"r": 2, "target_modules": r".*layer\.\d\.output\.dense"},
}


def save(model, folder, seed: int = 0):
    randomize(model, seed=seed, std=0.2)
    model.eval().save_pretrained(folder, save_embedding_layers=False)
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_lora_of_any_kind_over_a_bare_network(name, tmp_path):
    theirs = save(
        peft.get_peft_model(tiny("bert"), peft.LoraConfig(**CONFIGS[name])), tmp_path / "lora"
    )
    host = Host(tiny("bert"), slots=2)
    host.load("lora", tmp_path / "lora")
    batch = batch_for("bert", 4)
    with torch.no_grad():
        torch.testing.assert_close(
            host.hidden(batch, "lora")[seen(batch)],
            theirs(**batch)[0][seen(batch)],
            atol=1e-5,
            rtol=1e-5,
        )
        with theirs.disable_adapter():
            expected = theirs(**batch)[0][seen(batch)]
    torch.testing.assert_close(host.hidden(batch)[seen(batch)], expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "name, targets",
    [
        ("gpt2", ["c_attn", "c_fc"]),
        ("llama", "all-linear"),
        ("phi3", ["qkv_proj"]),
        ("t5", "all-linear"),
    ],
)
def test_packed_and_transposed_maps(name, targets, tmp_path):
    more = {"fan_in_fan_out": True} if name == "gpt2" else {}
    task = "SEQ_2_SEQ_LM" if name == "t5" else "CAUSAL_LM"
    config = peft.LoraConfig(r=4, target_modules=targets, task_type=task, **more)
    theirs = save(peft.get_peft_model(tiny(name, auto_of(name)), config), tmp_path / "lora")
    host = Host(tiny(name, auto_of(name)), slots=1)
    host.load("lora", tmp_path / "lora")
    batch = batch_for(name, 4)
    expected = hidden_alone(name, theirs.get_base_model(), batch)
    torch.testing.assert_close(
        host.hidden(batch, "lora")[seen(batch)], expected[seen(batch)], atol=1e-5, rtol=1e-5
    )


def logits_of(host: Host, name: str, batch: dict) -> torch.Tensor:
    """What an adapter's head makes of the hidden states."""
    loaded = host.slots.loaded_adapters[name]
    with torch.no_grad():
        outputs = host.backbone.hidden(
            batch, host._engine.choose([loaded] * len(batch["input_ids"]))
        )
        return loaded.adapter.head(outputs, batch)


@pytest.mark.parametrize(
    "name, targets",
    [("bert", ["query", "dense"]), ("roberta", ["query", "value"]), ("distilbert", ["q_lin"])],
)
def test_classifiers_with_their_heads_and_a_changed_pooler(name, targets, tmp_path):
    """`dense` on BERT also names the pooler, which is part of the head for us."""
    base = tiny(name, AutoModelForSequenceClassification, num_labels=3)
    config = peft.LoraConfig(
        r=4,
        lora_alpha=3,
        target_modules=targets,
        task_type="SEQ_CLS",
        exclude_modules=r".*classifier.*",
    )
    theirs = save(peft.get_peft_model(base, config), tmp_path / "theirs")
    bare = tiny(name, AutoModelForSequenceClassification, num_labels=3)
    host = Host(getattr(bare, bare.base_model_prefix), slots=1)
    host.load("theirs", tmp_path / "theirs")
    batch = batch_for(name, 4)
    with torch.no_grad():
        expected = theirs(**batch).logits
    torch.testing.assert_close(
        logits_of(host, "theirs", batch).logits, expected, atol=1e-5, rtol=1e-5
    )
    assert host.slots.loaded_adapters["theirs"].adapter.task.labels == [
        "LABEL_0",
        "LABEL_1",
        "LABEL_2",
    ]


def test_answers_and_own_label_names(tmp_path):
    base = tiny("bert", AutoModelForQuestionAnswering)
    config = peft.LoraConfig(
        r=4, target_modules=["value"], task_type="QUESTION_ANS", modules_to_save=["qa_outputs"]
    )
    theirs = save(peft.get_peft_model(base, config), tmp_path / "qa")
    host = Host(tiny("bert", AutoModelForQuestionAnswering).bert, slots=2)
    host.load("qa", tmp_path / "qa", check_base=False)
    batch = batch_for("bert", 3)
    with torch.no_grad():
        expected = theirs(**batch)
    torch.testing.assert_close(
        logits_of(host, "qa", batch).start_logits, expected.start_logits, atol=1e-5, rtol=1e-5
    )


def test_generation_with_pefts_adapters(tmp_path):
    prompts = [ids.tolist() for ids in inputs("llama", rows=4)["input_ids"]]
    host = Host(tiny("llama", AutoModelForCausalLM), slots=2)
    models = []
    for i in range(2):
        config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
        models.append(
            save(
                peft.get_peft_model(tiny("llama", AutoModelForCausalLM), config),
                tmp_path / str(i),
                seed=i,
            )
        )
        host.load(str(i), tmp_path / str(i))
    together = host.generate(prompts, ["0", "1", "0", "1"], max_new_tokens=6)
    for i, ids in enumerate(together):
        given = torch.tensor([prompts[i]])
        alone = models[i % 2].generate(
            input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=6, pad_token_id=0
        )
        assert ids[: alone.shape[1] - len(prompts[i])] == alone[0, len(prompts[i]) :].tolist()
    assert together[0] != together[1] or together[2] != together[3]


@pytest.mark.parametrize(
    "config, message",
    [
        (
            peft.LoraConfig(use_dora=True, target_modules=["query"]),
            "plain LoRA; this one has use_dora",
        ),
        (peft.LoraConfig(bias="all", target_modules=["query"]), "bias=all"),
        (peft.LoraConfig(lora_bias=True, target_modules=["query"]), "lora_bias"),
        (peft.LoraConfig(target_modules=["word_embeddings"]), "changes no linear map of a layer"),
        (peft.IA3Config(target_modules=["query"], feedforward_modules=[]), "this one is IA3"),
    ],
)
def test_what_is_no_plain_lora_is_refused(config, message, tmp_path):
    save(peft.get_peft_model(tiny("bert"), config), tmp_path / "other")
    host = Host(tiny("bert"), slots=1)
    with pytest.raises(AdaptkitError, match=message):
        host.load("other", tmp_path / "other")
    assert host.names() == []


def test_half_a_pair_a_strange_tensor_and_a_missing_head_are_refused(tmp_path):
    config = peft.LoraConfig(r=4, target_modules=["query"], task_type="SEQ_CLS")
    save(
        peft.get_peft_model(tiny("bert", AutoModelForSequenceClassification), config),
        tmp_path / "one",
    )
    path = tmp_path / "one/adapter_model.safetensors"
    whole = load_file(path)
    host = Host(tiny("bert"), slots=1)
    b = next(key for key in whole if "lora_B" in key)
    head = {key: tensor for key, tensor in whole.items() if "classifier" not in key}
    for tensors, message in (
        (
            {key: tensor for key, tensor in whole.items() if key != b},
            "1 tensors are missing, the first is .*query.lora_B",
        ),
        ({**whole, b: whole[b][:-1].clone()}, r"lora_B.weight has shape \(31, 4\)"),
        ({**whole, "base_model.model.bert.encoder.odd": torch.ones(2)}, "odd belong nowhere"),
        (head, "2 tensors are missing, the first is base_model.model.classifier.bias"),
    ):
        save_file(tensors, path, metadata={"format": "pt"})
        with pytest.raises(AdaptkitError, match=message):
            host.load("one", tmp_path / "one", check_base=False)
        assert host.names() == []


@pytest.mark.parametrize(
    "settings",
    [
        {"lora_alpha": "x"},
        {"lora_alpha": None},
        {"alpha_pattern": 5},
        {"alpha_pattern": {"(": 3}},
        {"base_model_name_or_path": 5},
    ],
)
def test_absurd_settings_of_pefts_are_refused(settings, tmp_path):
    model = peft.get_peft_model(tiny("bert"), peft.LoraConfig(r=2, target_modules=["query"]))
    model.save_pretrained(tmp_path / "one", save_embedding_layers=False)
    edit(tmp_path / "one", "adapter_config.json", **settings)
    with pytest.raises(AdaptkitError):
        Host(tiny("bert"), slots=1).load("one", tmp_path / "one")


@pytest.mark.parametrize(
    "shape_a, shape_b",
    [((), (32, 2)), ((2,), (32, 2)), ((0, 32), (32, 0)), ((2, 32), (1, 2)), ((2, 2, 32), (32, 2))],
)
def test_lora_of_odd_shapes_is_refused(shape_a, shape_b, tmp_path):
    model = peft.get_peft_model(
        tiny("bert"), peft.LoraConfig(r=2, target_modules=["query", "pooler.dense"])
    )
    model.save_pretrained(tmp_path / "one", save_embedding_layers=False)
    path = tmp_path / "one/adapter_model.safetensors"
    for part in ("layer.0.attention.self.query", "pooler.dense"):
        tensors = load_file(path)
        key = next(key for key in tensors if f"{part}.lora_A" in key)
        changed = {key: torch.ones(shape_a), key.replace("lora_A", "lora_B"): torch.ones(shape_b)}
        (tmp_path / part).mkdir()
        shutil.copy(tmp_path / "one/adapter_config.json", tmp_path / part)
        save_file({**tensors, **changed}, tmp_path / part / "adapter_model.safetensors")
        with pytest.raises(AdaptkitError):
            Host(tiny("bert"), slots=1).load("one", tmp_path / part)


CLASSES = {
    "llama": (AutoModelForCausalLM, ["q_proj"]),
    "bert": (AutoModelForSequenceClassification, ["query"]),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_lora_without_task_type_is_known_by_its_class(name, tmp_path):
    auto, targets = CLASSES[name]
    more = {"modules_to_save": ["classifier"]} if name == "bert" else {}
    theirs = peft.get_peft_model(
        tiny(name, auto), peft.LoraConfig(r=4, target_modules=targets, **more)
    )
    randomize(theirs, std=0.2)
    theirs.eval().save_pretrained(tmp_path / "one", save_embedding_layers=False)
    assert json.loads((tmp_path / "one/adapter_config.json").read_text())["task_type"] is None
    base = tiny(name, auto) if name == "llama" else tiny(name, auto).bert
    host = Host(base, slots=1)
    host.load("one", tmp_path / "one", check_base=False)
    batch = batch_for(name, 3)
    expected = theirs(**batch, output_hidden_states=True).hidden_states[-1].detach()
    seen = batch["attention_mask"].bool()
    torch.testing.assert_close(
        host.hidden(batch, "one")[seen], expected[seen], atol=1e-5, rtol=1e-5
    )


def spoiled(folder, change):
    """A LoRA of rank 8 at the queries of both layers, changed on disk."""
    config = peft.LoraConfig(r=8, target_modules=["query"])
    save(peft.get_peft_model(tiny("bert"), config), folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file(change(tensors), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


INCOMPLETE = {
    "a layer is missing": (
        lambda t: {key: value for key, value in t.items() if "layer.1" not in key},
        "2 tensors are missing, the first is base_model.model.encoder.layer.1",
    ),
    "another rank than it says": (
        lambda t: {
            key: (value[:4] if "lora_A" in key else value[:, :4]).clone()
            for key, value in t.items()
        },
        r"has shape \(4, 32\), this base wants \(8, 32\)",
    ),
    "a layer too many": (
        lambda t: t | {key.replace("query", "key"): value.clone() for key, value in t.items()},
        "4 tensors belong nowhere, the first is base_model.model.encoder.layer.0.attention.self.k",
    ),
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_a_file_that_is_not_what_its_settings_say_is_refused_by_every_road(name, tmp_path):
    """PEFT itself fills the gaps with fresh weights; a host served them."""
    change, message = INCOMPLETE[name]
    folder = spoiled(tmp_path / "one", change)
    host = Host(tiny("bert"), slots=1)
    for load in (lambda: host.load("one", folder), lambda: load_adapter(folder, tiny("bert"))):
        with pytest.raises(AdaptkitError, match=message):
            load()
    assert host.names() == []


def test_a_head_that_the_settings_name_is_wanted(tmp_path):
    config = peft.LoraConfig(
        r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", modules_to_save=["lm_head"]
    )
    save(peft.get_peft_model(tiny("llama", AutoModelForCausalLM), config), tmp_path / "one")
    path = tmp_path / "one/adapter_model.safetensors"
    save_file({key: one for key, one in load_file(path).items() if "lm_head" not in key}, path)
    host = Host(tiny("llama", AutoModelForCausalLM), slots=1)
    with pytest.raises(AdaptkitError, match="1 tensors are missing, the first is .*lm_head.weight"):
        host.load("one", tmp_path / "one")


@pytest.mark.parametrize("labels", [["a", "a"], ["a", 1], "ab", [["a"], "b"]])
def test_labels_are_different_texts(labels, tmp_path):
    config = peft.LoraConfig(r=4, target_modules=["query"], task_type="SEQ_CLS")
    model = tiny("bert", AutoModelForSequenceClassification)
    save(peft.get_peft_model(model, config), tmp_path / "one")
    host = Host(tiny("bert"), slots=1)
    with pytest.raises(AdaptkitError, match="labels are different texts"):
        host.load("one", tmp_path / "one", labels=labels, check_base=False)
