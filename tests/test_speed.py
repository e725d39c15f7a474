"""What makes training fast changes no result: precisions, the attention that is chosen, the frozen
trunk in a recipe.
"""

import copy
import itertools
import json
import math
import re

import pytest
import torch
from adaptkit.recipes import classify
from safetensors.torch import load_file

from adaptkit import AdaptkitError, adapt, load_base
from adaptkit.data.corpus import load_corpus
from adaptkit.models.backbone import backbone_of
from adaptkit.models.scratch import make_model
from adaptkit.training.activation_cache import ActivationCache
from adaptkit.training.fastest_attention import (
    AttentionChoice,
    Shape,
    earlier_choice,
    fastest_attention,
    keep_choice,
    measure,
)
from adaptkit.training.precision import NotAutocast, Precision
from adaptkit.training.zero_grad import quick_zero_grad
from tests.tiny import inputs, randomize, tiny

UPPER = "lora[layers=last[1],dropout=0.1]"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A BERT of three layers, and 64 rows."""
    root = tmp_path_factory.mktemp("small")
    rows = load_corpus("train")[:64]
    make_model(
        "bert", [row["text"] for row in rows], root / "bert", vocab_size=500, num_hidden_layers=3
    )
    for name, part in (("train", rows[:48]), ("dev", rows[48:])):
        lines = [json.dumps({key: row[key] for key in ("text", "sentiment")}) for row in part]
        (root / f"{name}.jsonl").write_text("\n".join(lines))
    return root


def run(small, out, *more):
    files = [
        "--train_file",
        str(small / "train.jsonl"),
        "--validation_file",
        str(small / "dev.jsonl"),
    ]
    same = [
        "--label_column",
        "sentiment",
        "--learning_rate",
        "3e-3",
        "--disable_tqdm",
        "true",
        "--logging_steps",
        "1",
    ]
    same += [
        "--model_name_or_path",
        str(small / "bert"),
        "--per_device_train_batch_size",
        "8",
        "--num_train_epochs",
        "3",
    ]
    classify.main([*files, *same, "--output_dir", str(out), "--seed", "3", *more])
    return (
        json.loads((out / "all_results.json").read_text())
        if (out / "all_results.json").exists()
        else {}
    )


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")


# Precision


@pytest.mark.parametrize("name", ["bert", "llama", "t5", "m2m_100"])
def test_a_frozen_base_is_halved_and_comes_back_to_the_bit(name):
    model = adapt(tiny(name), "lora[r=2]", head=[])
    randomize(model)
    before = {key: parameter.clone() for key, parameter in model.named_parameters()}
    buffers = {key: buffer.clone() for key, buffer in model.named_buffers()}
    with Precision(torch.bfloat16).of(model):
        for parameter in model.parameters():
            assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16)
            if parameter.requires_grad:
                parameter.data += 1.0
    for key, parameter in model.named_parameters():
        assert torch.equal(
            parameter, before[key] + 1.0 if parameter.requires_grad else before[key]
        ), key
    for key, buffer in model.named_buffers():
        assert torch.equal(buffer, buffers[key]), key


@pytest.mark.parametrize("name", ["bert", "llama", "t5", "modernbert", "m2m_100", "gpt2"])
@pytest.mark.parametrize("method", ["lora", "bottleneck", "prefix[length=3]", "unipelt"])
def test_a_backbone_in_bf16_is_not_autocast_inside(name, method):
    """It gives bf16 from bf16; fp32 weights outside of it are still cast, and gradients reach all
    that trains.
    """
    model = adapt(tiny(name), method, head=[])
    randomize(model, std=0.05)
    batch, seen = inputs(name, rows=2), []
    expected = model(**batch)[0]
    for layer in model.modules():
        if type(layer).__name__.endswith("Norm"):
            layer.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    with Precision(torch.bfloat16).of(model), torch.autocast("cpu", torch.bfloat16):
        found = model(**batch)[0]
        assert torch.is_autocast_enabled("cpu")
        found.float().square().mean().backward()
    assert seen
    assert not any(seen)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)
    assert all(
        p.grad is not None and p.grad.dtype == torch.float32
        for p in model.parameters()
        if p.requires_grad
    )
    assert "forward" not in vars(backbone_of(model.get_base_model())[0])


@pytest.mark.parametrize("method", ["peft:LoRA[r=2]", "peft:LoHa[r=2]"])
def test_a_backbone_that_holds_fp32_is_autocast(method):
    model = adapt(tiny("bert"), method, head=[])
    with Precision(torch.bfloat16).of(model):
        assert "forward" not in vars(backbone_of(model.get_base_model())[0])


def test_inside_nothing_is_cast_but_what_comes_in():
    model = adapt(tiny("bert"), "lora", head=[])
    embedded = torch.randn(2, 5, 32)
    for precision in (
        Precision(torch.bfloat16, copied=True),
        Precision(torch.float16),
        Precision(torch.bfloat16, half_base=False),
    ):
        with precision.of(model):
            assert "forward" not in vars(model.get_base_model())
    with Precision(torch.bfloat16).of(model):
        assert isinstance(vars(model.get_base_model())["forward"], NotAutocast)
        assert model(inputs_embeds=embedded)[0].dtype == torch.bfloat16  # without autocast outside


def test_a_copy_of_a_model_that_trains_is_a_copy():
    """As averages of weights take them."""
    model = adapt(tiny("bert"), "lora", head=[])
    batch = inputs("bert", rows=2)
    with Precision(torch.bfloat16).of(model), quick_zero_grad(model):
        copied = copy.deepcopy(model)
        for parameter in copied.parameters():
            parameter.data.zero_()
        assert not copied(**batch)[0].any()
        assert model(**batch)[0].any()
        copied(**batch)[0].sum().backward()
        copied.zero_grad()
        assert all(parameter.grad is None for parameter in copied.parameters())


def test_gradients_go_as_the_model_lets_them():
    model = adapt(tiny("bert"), "lora", head=[])
    with quick_zero_grad(model):
        model(**inputs("bert", rows=2))[0].sum().backward()
        model.zero_grad(set_to_none=False)
        grads = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
        assert not any(grad.any() for grad in grads)
        model.zero_grad()
        assert all(parameter.grad is None for parameter in model.parameters())
    assert "zero_grad" not in vars(model)


def test_what_is_asked_to_stay_stays():
    model = adapt(tiny("bert").to(torch.bfloat16), "lora[r=2]", head=[])
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    with Precision(torch.float16).of(model):
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    for precision in (
        Precision(None),
        Precision(torch.bfloat16, half_base=False),
        Precision(torch.float16),
    ):
        model = adapt(tiny("bert"), "lora[r=2]", head=[])
        with precision.of(model):
            assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_quantized_weights_are_left_alone(quantize):
    base = load_base("all-MiniLM-L6-v2", task="classify", labels=2, quantize=quantize)
    packed = {key: p.dtype for key, p in base.named_parameters() if not p.is_floating_point()}
    assert packed
    with Precision(torch.bfloat16).of(adapt(base, "lora[r=2]")) as _:
        assert {
            key.replace(".base_layer", ""): p.dtype
            for key, p in base.named_parameters()
            if not p.is_floating_point()
        } == packed


# Attention


def test_the_attention_is_measured():
    times = measure(Shape(4, 16, 2, 8, 2), torch.float32)
    assert times.keys() == {"eager", "sdpa"}
    assert all(0 < value < 1000 for value in times.values())
    choice = fastest_attention(Shape(4, 16, 2, 8, 2), torch.float32)
    assert choice.name in times
    assert "4 rows of 16 tokens" in choice.why


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="attention is measured on CPUs, and this machine has a GPU"
)
def test_a_run_that_goes_on_takes_the_attention_it_began_with(small, tmp_path, capsys):
    run(small, tmp_path / "out", "--max_steps", "4", "--method", "lora[r=2]")
    assert "attention: " in capsys.readouterr().out
    assert earlier_choice(tmp_path / "out").name in ("eager", "sdpa")
    keep_choice(tmp_path / "out", AttentionChoice("sdpa", "said before"))
    run(
        small,
        tmp_path / "out",
        "--max_steps",
        "8",
        "--method",
        "lora[r=2]",
        "--resume_from_checkpoint",
        "true",
    )
    assert "attention: sdpa (said before)" in capsys.readouterr().out
    assert earlier_choice(tmp_path / "elsewhere") is None


def test_a_run_that_is_refused_leaves_nothing_behind(small, tmp_path):
    with pytest.raises(AdaptkitError, match="trains the lowest layer too"):
        run(small, tmp_path / "out", "--method", "lora", "--frozen_trunk", "memory")
    assert not (tmp_path / "out").exists()


def test_scores_that_would_fill_the_memory_are_not_kept():
    choice = fastest_attention(Shape(64, 1024, 16, 64, 24), torch.bfloat16)
    assert choice.name == "sdpa"
    assert re.search(r"51\.5 GB", choice.why)


@pytest.mark.parametrize(
    "kind", ["bert", "gpt2", "llama", "qwen3", "bart", "t5", "modernbert", "deberta-v2"]
)
def test_the_shape_of_every_kind_is_read(kind):
    config = tiny(kind).config
    shape = Shape.of(config, 8, 16)
    assert (shape.heads, shape.layers) == (4, 2)
    assert shape.width == {"qwen3": 8, "t5": 6}.get(kind, 8)


# The frozen trunk


@pytest.mark.parametrize("precision", ["false", "true"])
def test_a_recipe_trains_the_same_adapter_over_a_frozen_trunk(small, tmp_path, capsys, precision):
    results = {}
    for where in ("off", "memory", "disk"):
        results[where] = run(
            small, tmp_path / where, "--method", UPPER, "--frozen_trunk", where, "--bf16", precision
        )
        said = capsys.readouterr().out
        assert ("frozen layers: the lower 2 layers run once a text" in said) == (where != "off")
        assert not (tmp_path / where / "trunk").exists()
    assert results["memory"]["trunk_gb"] == results["disk"]["trunk_gb"] > 0
    assert "trunk_gb" not in results["off"]
    off = weights(tmp_path / "off")
    far = {}
    for where in ("memory", "disk"):
        again = weights(tmp_path / where)
        far[where] = max(
            (again[key] - tensor).norm() / tensor.norm() for key, tensor in off.items()
        )
    # In bf16 a text's states differ in their last bits with its company in the batch, and Adam
    # makes small gradients large.
    assert max(far.values()) < (1e-4 if precision == "false" else 0.1), far
    assert max(tensor.abs().max() for key, tensor in off.items() if "lora_B" in key) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("more", [["--search", "3"], ["--folds", "2"], ["--seeds", "1", "2"]])
def test_trials_folds_and_seeds_share_one_trunk(small, tmp_path, capsys, monkeypatch, more):
    puts = []
    put = ActivationCache.put
    monkeypatch.setattr(
        ActivationCache,
        "put",
        lambda self, digest, states: (puts.append(digest), put(self, digest, states)),
    )
    run(small, tmp_path / "on", "--method", UPPER, "--bf16", "false", *more)
    assert capsys.readouterr().out.count("frozen layers:") == 1
    texts = {
        json.loads(line)["text"]
        for name in ("train", "dev")
        for line in (small / f"{name}.jsonl").read_text().splitlines()
    }
    check = 2  # texts that `FrozenLayers.check` tries out each time
    assert len(set(puts)) == len(texts) + check
    assert len(puts) <= len(texts) + check * 8
    run(
        small,
        tmp_path / "off",
        "--method",
        UPPER,
        "--bf16",
        "false",
        "--frozen_trunk",
        "off",
        *more,
    )
    if "--search" in more:
        pairs = [
            [line.split("\t") for line in (tmp_path / name / "search.tsv").read_text().splitlines()]
            for name in ("on", "off")
        ]
        assert [line[:1] + line[2:] for line in pairs[0]] == [
            line[:1] + line[2:] for line in pairs[1]
        ]
    one, other = (
        json.loads((tmp_path / name / "all_results.json").read_text()) for name in ("on", "off")
    )
    assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)


@pytest.mark.parametrize(
    "more, message",
    [
        (["--method", "lora"], "the method lora trains the lowest layer too; choose upper ones"),
        (["--method", UPPER, "--num_train_epochs", "1"], "every text is read once"),
        (
            ["--method", UPPER, "--adversarial_epsilon", "1"],
            "needs gradients down to the embeddings",
        ),
        (["--method", UPPER, "--base_dropout"], "something else each time"),
        (["--method", UPPER, "--neftune_noise_alpha", "5"], "other noise each time"),
        (
            [
                "--method",
                UPPER,
                "--gradient_checkpointing",
                "--gradient_checkpointing_kwargs",
                '{"use_reentrant": true}',
            ],
            "reentrant checkpoints give no gradients",
        ),
        (["--method", UPPER, "--frozen_trunk", "ram"], "unknown --frozen_trunk 'ram'"),
        (["--method", "lora[layers=3-]"], "this model has 3 layers, 0 to 2; '3-' goes beyond them"),
        (
            ["--method", "lora[layers=upper]"],
            "'upper' is no choice of layers; write 6, 6-, 2-5 or last",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_plain_words(small, tmp_path, more, message):
    with pytest.raises(AdaptkitError, match=message):
        run(small, tmp_path / "no", "--frozen_trunk", "memory", *more)


def test_it_is_left_out_silently_where_nobody_asked(small, tmp_path, capsys):
    run(small, tmp_path / "plain", "--method", "lora", "--num_train_epochs", "1")
    assert "frozen layers" not in capsys.readouterr().out


def test_kept_states_come_back_whole(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for folder, dtype in itertools.product(
        (None, tmp_path / "kept"), (torch.float32, torch.bfloat16)
    ):
        kept = ActivationCache(folder)
        texts = {
            bytes([i]): torch.randn(1 + i % 9, 5, generator=generator).to(dtype) for i in range(200)
        }
        for digest, states in texts.items():
            kept.put(digest, states)
        found = kept.batch([bytes([17]), bytes([3])], [0, 2], 12)
        assert found.shape == (2, 12, 5)
        assert torch.equal(found[0, :9], texts[bytes([17])])
        assert torch.equal(found[1, 2:6], texts[bytes([3])])
        assert not found[0, 9:].any()
        assert not found[1, :2].any()
        assert len(kept) == 200
        kept.clear()
        assert len(kept) == 0 == kept.size


def test_a_folder_with_other_files_is_left_as_it_was(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    kept = ActivationCache(tmp_path)
    kept.put(b"1", torch.ones(2, 3))
    assert len(list(tmp_path.iterdir())) == 2
    kept.clear()
    kept.put(b"1", torch.ones(2, 3))
    del kept
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_blocks_grow(tmp_path, monkeypatch):
    import adaptkit.training.activation_cache

    monkeypatch.setattr(adaptkit.training.activation_cache, "BLOCK", 400)
    kept = ActivationCache(tmp_path / "kept")
    states = {bytes([i]): torch.full((1 + i, 4), float(i)) for i in range(40)}
    for digest, rows in states.items():
        kept.put(digest, rows)
    assert len(list((tmp_path / "kept").rglob("*.bin"))) > 5
    for digest, rows in states.items():
        assert torch.equal(kept.batch([digest], [0], len(rows))[0], rows)
    assert kept.size >= sum(math.prod(rows.shape) * 4 for rows in states.values())


# Memory


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
@pytest.mark.parametrize("method", ["lora[r=4]", "bottleneck", "prefix[length=4]", "ia3"])
def test_checkpointing_over_a_quantized_base_gives_the_same_gradients(quantize, method):
    grads = []
    batch = {"input_ids": torch.arange(1000, 1024).view(2, 12), "labels": torch.tensor([0, 1])}
    for checkpointing in (False, True):
        model = adapt(
            load_base("all-MiniLM-L6-v2", task="classify", labels=2, quantize=quantize), method
        ).train()
        randomize(model, std=0.05)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
        model(**batch).loss.backward()
        grads.append({key: p.grad for key, p in model.named_parameters() if p.requires_grad})
    assert all(grad is not None and grad.any() for grad in grads[0].values())
    for key, grad in grads[0].items():
        torch.testing.assert_close(grads[1][key], grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_a_quantized_base_has_a_trunk_too(small, tmp_path, quantize):
    found = run(
        small,
        tmp_path / "out",
        "--method",
        UPPER,
        "--frozen_trunk",
        "memory",
        "--bf16",
        "true",
        "--quantize",
        quantize,
        "--max_steps",
        "8",
    )
    assert found["trunk_gb"] > 0


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
@pytest.mark.parametrize("before", [False, True])
def test_gradients_pass_a_quantized_base_after_an_evaluation(quantize, before):
    """bitsandbytes packs 4-bit weights for evaluation on some CPUs, and the packed ones give no
    gradients.
    """
    base = load_base(
        "all-MiniLM-L6-v2", task="classify", labels=2, quantize=quantize, dtype=torch.bfloat16
    )
    batch = {"input_ids": torch.arange(1000, 1032).view(2, 16), "labels": torch.tensor([0, 1])}

    def evaluate(model):
        with torch.no_grad():
            return model.eval()(**batch).logits

    if before:
        evaluate(base)
    model = adapt(base, "lora[r=4]")
    randomize(model, std=0.05)
    grads = []
    for _ in range(2):
        model.zero_grad()
        model.eval()(**batch).loss.backward()
        grads.append(
            {key: p.grad.clone() for key, p in model.named_parameters() if p.requires_grad}
        )
        evaluate(model)
    assert all(grad.any() for grad in grads[0].values())
    for key, grad in grads[0].items():
        assert torch.equal(grads[1][key], grad), key


def test_adam_in_8_bits_trains(small, tmp_path):
    found = run(
        small,
        tmp_path / "out",
        "--method",
        "full",
        "--optim",
        "adamw_bnb_8bit",
        "--bf16",
        "false",
        "--num_train_epochs",
        "4",
    )
    assert found["train_loss"] < 1.2
    state = torch.load(
        next((tmp_path / "out").glob("checkpoint-*/optimizer.pt")), weights_only=False
    )["state"]
    dtypes = {
        tensor.dtype
        for entry in state.values()
        for tensor in entry["__bnb_optimizer_quant_state__"].values()
    }
    assert torch.uint8 in dtypes
