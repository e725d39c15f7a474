"""Combined adapters: the mean of one is itself, sums are exact, merges are PEFT's, and what comes
out loads and serves.
"""

import shutil

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from adaptkit import AdaptkitError, Host, adapt, cli, load_adapter, load_base, save_adapter
from adaptkit.adapters.card import TaskCard, read_card
from adaptkit.adapters.combine import HOW, MERGES, add_weighted_adapter, combine
from tests.helpers.minilm import BASE, LORA, make, states
from tests.host.store import edit
from tests.tiny import inputs, randomize, tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("combine")
    return [make(folder, name, seed=seed) for seed, name in enumerate(("a", "b", "c"))]


@pytest.mark.parametrize("method", [LORA, "bottleneck[placement=pfeiffer]", "prefix[length=4]+ia3"])
@pytest.mark.parametrize("weights", [None, [0.1, 0.7, 0.3]])
def test_the_average_of_an_adapter_with_itself_is_the_adapter(tmp_path, method, weights):
    one = make(tmp_path, "one", method)
    combine([one, one, one], tmp_path / "out", weights=weights)
    before, after = (
        load_file(folder / "adapter_model.safetensors") for folder in (one, tmp_path / "out")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    torch.testing.assert_close(states(tmp_path / "out"), states(one), rtol=0, atol=0)
    assert read_card(tmp_path / "out").method == read_card(one).method


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("count", [2, 3])
def test_every_way_makes_of_equal_adapters_that_adapter(tmp_path, how, count):
    one = make(tmp_path, "one")
    combine([one] * count, tmp_path / "out", how, density=1.0)
    torch.testing.assert_close(states(tmp_path / "out"), states(one), rtol=1e-4, atol=1e-4)


def test_an_average_is_that_of_every_tensor(made, tmp_path):
    combine(made, tmp_path / "out", weights=[1, 2, 1])
    parts = [load_file(folder / "adapter_model.safetensors") for folder in made]
    for key, value in load_file(tmp_path / "out/adapter_model.safetensors").items():
        torch.testing.assert_close(
            value, 0.25 * parts[0][key] + 0.5 * parts[1][key] + 0.25 * parts[2][key]
        )


def test_cat_adds_the_changes_exactly(tmp_path):
    parts = [
        make(tmp_path, "a", "lora[r=4,alpha=6,sites=attn.q|attn.v]"),
        make(tmp_path, "b", "lora[r=3,sites=attn.q|attn.v]", 1),
    ]
    combine(parts, tmp_path / "out", "cat", [0.75, 0.5])
    found = load_adapter(tmp_path / "out")
    models = [load_adapter(part) for part in parts]
    base = (
        load_base(BASE, task="classify", labels=["no", "yes"])
        .bert.encoder.layer[2]
        .attention.self.value
    )
    x = torch.randn(3, 384)

    def change(model):
        return model.get_base_model().bert.encoder.layer[2].attention.self.value(x) - base(x)

    with torch.no_grad():
        torch.testing.assert_close(
            change(found), 0.75 * change(models[0]) + 0.5 * change(models[1]), rtol=1e-4, atol=1e-5
        )
    assert "r=7" in read_card(tmp_path / "out").method


@pytest.mark.parametrize("how", MERGES)
def test_merges_are_those_of_peft(tmp_path, how):
    """Over the bare base: PEFT merges no adapters with heads."""
    names, shares = ("a", "b", "c"), [1.0, 0.5, 0.25]
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        model = adapt(load_base(BASE), LORA)
        randomize(model)
        save_adapter(model, tmp_path / name)
    combine([tmp_path / name for name in names], tmp_path / "out", how, shares, density=0.6)
    model = peft.PeftModel.from_pretrained(load_base(BASE), str(tmp_path / "a"), adapter_name="a")
    for name in names[1:]:
        model.load_adapter(str(tmp_path / name), adapter_name=name)
    model.add_weighted_adapter(list(names), shares, "mixed", combination_type=how, density=0.6)
    theirs = peft.get_peft_model_state_dict(model, adapter_name="mixed")
    ours = load_file(tmp_path / "out/adapter_model.safetensors")
    assert len(ours) == 24
    for key, value in ours.items():
        if how.startswith("dare"):  # which values are dropped depends on the order of the draws
            assert float(value.abs().mean()) == pytest.approx(
                float(theirs[key].abs().mean()), rel=0.2
            )
        else:
            torch.testing.assert_close(value, theirs[key])


def test_dare_is_repeatable(made, tmp_path):
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        combine(made, tmp_path / name, "dare_ties", seed=seed)
    one, same, other = (states(tmp_path / name) for name in ("one", "same", "other"))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_combination_is_served_beside_its_parts(made, tmp_path):
    cli.main(["combine", *map(str, made), "--how", "ties", "--output_dir", str(tmp_path / "ties")])
    host = Host(BASE)
    for name, folder in (("a", made[0]), ("ties", tmp_path / "ties")):
        host.load(name, folder)
    answers = host(["a fine day", "a fine day"], ["a", "ties"])
    alone = [host(["a fine day"], [name])[0] for name in ("a", "ties")]
    for together, one in zip(answers, alone, strict=True):
        assert together.label == one.label
        assert together.score == pytest.approx(one.score, abs=1e-5)
    assert answers[0].score != answers[1].score


def test_what_does_not_go_together_is_refused(made, tmp_path):
    other = make(tmp_path, "other", "lora[r=8,sites=attn.q|attn.v]")
    labels = make(tmp_path, "labels", labels=("no", "maybe"))
    bottleneck = make(tmp_path, "bottleneck", "bottleneck")
    bare = tmp_path / "bare"
    shutil.copytree(made[0], bare)
    (bare / "task.json").unlink()
    out = tmp_path / "out"
    for folders, settings, problem in (
        ([made[0], other], {}, "average wants the same"),
        ([made[0], labels], {}, "answers otherwise"),
        ([bottleneck, bottleneck], {"how": "ties"}, "ties is for plain LoRA"),
        ([made[0], bare], {}, "no task card"),
        ([made[0]], {}, "two adapters"),
        (made, {"how": "tys"}, "ties"),
        (made, {"weights": [1, 2]}, "each of the 3"),
        (made, {"weights": [0, 0, 0]}, "not all 0"),
        (made, {"weights": [1, -1, 1]}, "none below 0"),
        (made, {"how": "ties", "density": 0.0}, "density"),
    ):
        with pytest.raises(AdaptkitError, match=problem):
            combine(folders, out, **settings)
        assert not out.exists()


@pytest.mark.parametrize(
    "one, two, columns, message",
    [
        ({"multi_label": True}, {}, ({}, {}), "multi_label is True and False"),
        ({}, {"threshold": 0.4}, ({}, {}), "threshold is 0.5 and 0.4"),
        ({}, {}, ({"text_pair": "other"}, {}), "what they read is "),
    ],
)
def test_adapters_that_read_or_answer_in_another_way_are_not_combined(
    tmp_path, one, two, columns, message
):
    folders = []
    for name, settings, more in (("one", one, columns[0]), ("two", two, columns[1])):
        folder = make(tmp_path, name)
        edit(folder, "task.json", settings=settings, columns={"text": "text"} | more)
        folders.append(folder)
    for given in (folders, folders[::-1]):
        with pytest.raises(AdaptkitError, match="answers otherwise than"):
            combine(given, tmp_path / "out")
    with pytest.raises(AdaptkitError, match=message):
        combine(folders[::-1], tmp_path / "out")


def test_adapters_that_were_trained_in_another_way_are_combined(tmp_path):
    one, two = make(tmp_path, "one"), make(tmp_path, "two", seed=1)
    edit(two, "task.json", settings={"class_weights": True, "weights": [1.0, 2.0]})
    edit(two, "task.json", columns={"text": "review", "label": "mood"})
    combine([one, two], tmp_path / "out")
    assert read_card(tmp_path / "out").labels == ["no", "yes"]


@pytest.mark.parametrize("how", ["ties", "magnitude_prune"])
def test_merged_packed_projections_say_the_same_in_peft(tmp_path, how):
    base = tiny("gpt2")
    base.save_pretrained(tmp_path / "base")
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        model = adapt(load_base(str(tmp_path / "base")), "lora[r=4,alpha=32]")
        randomize(model, seed)
        save_adapter(model, tmp_path / name)
    combine([tmp_path / "a", tmp_path / "b"], tmp_path / "out", how, density=1.0)
    ours = load_adapter(tmp_path / "out", load_base(str(tmp_path / "base")))
    theirs = peft.PeftModel.from_pretrained(
        load_base(str(tmp_path / "base")), str(tmp_path / "out")
    ).eval()
    batch = inputs("gpt2")
    with torch.no_grad():
        torch.testing.assert_close(ours(**batch)[0], theirs(**batch)[0], rtol=1e-4, atol=1e-5)


def test_adapters_of_peft_with_other_settings_are_not_averaged(tmp_path):
    for name, alpha, rank in (("a", 4, 4), ("b", 64, 4), ("c", 4, 8)):
        method = f"peft:LORA[r={rank},lora_alpha={alpha},target_modules=query|value]"
        model = adapt(load_base(BASE, task="classify", labels=["no", "yes"]), method)
        save_adapter(model, tmp_path / name, card=TaskCard(task="classify", labels=["no", "yes"]))
    for other in "bc":
        with pytest.raises(AdaptkitError, match="different settings"):
            combine([tmp_path / "a", tmp_path / other], tmp_path / "out")


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_adapters_of_a_model_are_added_to_it_as_a_new_one(name):
    """Over GPT-2 the projections are packed; the sum of the changes is exact for separate maps."""
    model = adapt(tiny(name, AutoModelForCausalLM), "lora[r=3]", adapter_name="one")
    model = adapt(model, "lora[r=3]", adapter_name="two")
    randomize(model)
    how = "cat" if name == "llama" else "ties"
    batch = inputs(name)
    add_weighted_adapter(model, ["one", "two"], [0.5, 2.0], "both", how, density=1.0)
    assert model.active_adapters == ["both"]
    with torch.no_grad():
        found = model.eval()(**batch).logits
        model.set_adapter("one")
        assert not torch.allclose(model(**batch).logits, found)
    if how == "cat":
        layer = model.get_base_model().model.layers[0].self_attn.q_proj
        changes = {}
        for one in ("one", "two", "both"):
            model.set_adapter(one)
            x = torch.eye(layer.base_layer.in_features)
            changes[one] = layer(x) - layer.base_layer(x)
        expected = 0.5 * changes["one"] + 2.0 * changes["two"]
        torch.testing.assert_close(changes["both"], expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(AdaptkitError, match="has an adapter 'both' already"):
        add_weighted_adapter(model, ["one"], [1.0], "both")
