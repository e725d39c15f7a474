"""Hidden states and attention maps of a teacher: the losses by hand, also at another width; what
stays in the student; refusals.
"""

import json

import pytest
import torch
from adaptkit.recipes import classify, distill
from safetensors.torch import load_file
from transformers import AutoModel

from adaptkit import AdaptkitError, cli
from adaptkit.distillation.attention_maps import AttentionMapLoss, Watched
from adaptkit.distillation.hidden_states import MAPS, HiddenStateLoss
from adaptkit.inference.predictor import Predictor
from adaptkit.models.backbone import bare_model
from adaptkit.models.scratch import make_model
from adaptkit.models.tokenizer import load_tokenizer
from tests.tiny import tiny

MINILM = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inside")
    rows = [
        {"text": f"a {word} day {i}", "label": label}
        for i in range(12)
        for word, label in (("bright", "good"), ("dull", "bad"))
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [
        "--train_file",
        str(folder / "rows.jsonl"),
        "--disable_tqdm",
        "true",
        "--num_train_epochs",
        "2",
    ]
    classify.main([*files, "--output_dir", str(folder / "teacher"), "--learning_rate", "3e-3"])
    return folder, files


def student(data, name, *more):
    folder, files = data
    out = folder / name
    given = [
        *files,
        "--teacher",
        str(folder / "teacher"),
        "--output_dir",
        str(out),
        "--overwrite_output_dir",
        *more,
    ]
    distill.main(given)
    return json.loads((out / "all_results.json").read_text()), out


@torch.no_grad()
@pytest.mark.parametrize("width", [32, 48])
def test_the_loss_is_that_of_the_formula(width):
    torch.manual_seed(0)
    teacher, learner = tiny("bert", hidden_size=32).eval(), tiny("bert", hidden_size=width).eval()
    ids = torch.randint(5, 60, (3, 7))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    inside = HiddenStateLoss([1, 0], weight=1.0)
    wanted = teacher(**batch, output_hidden_states=True)
    inside.keep(wanted, batch)
    given = learner(**batch, output_hidden_states=True)
    with inside.learning(learner):
        maps = getattr(learner, MAPS)
        found = inside.loss(given, batch)
        assert {id(p) for p in maps.parameters()} <= {id(p) for p in learner.parameters()}
        by_hand = torch.zeros(3)
        for one, layer, own in zip(maps, (1, 0), given.hidden_states[1:], strict=True):
            told = wanted.hidden_states[layer + 1].bfloat16().float()
            for row in range(3):
                seen = mask[row].bool()
                by_hand[row] += (
                    (one(own[row]) - told[row])[seen].square().sum()
                    / told[row][seen].square().sum()
                    / 2
                )
    torch.testing.assert_close(found, by_hand)
    assert not hasattr(learner, MAPS)


@torch.no_grad()
def test_the_teacher_is_at_no_distance_from_itself():
    model = AutoModel.from_pretrained(
        load_tokenizer(MINILM).name_or_path, dtype=torch.float32
    ).eval()
    batch = dict(
        load_tokenizer(MINILM)(
            ["one text", "another, longer one"], padding=True, return_tensors="pt"
        )
    )
    inside = HiddenStateLoss(range(6), weight=1.0)
    outputs = model(**batch, output_hidden_states=True)
    inside.keep(outputs, batch)
    with inside.learning(model):
        assert float(inside.loss(outputs, batch).max()) < 1e-4  # kept in bf16
        with pytest.raises(AdaptkitError, match="has not read these tokens"):
            inside.loss(
                outputs,
                {"input_ids": batch["input_ids"] + 1, "attention_mask": batch["attention_mask"]},
            )


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "width"), [("bert", 32), ("bert", 48), ("distilbert", 32), ("gpt2", 32)]
)
def test_attention_maps_are_those_of_the_models(name, width):
    """The loss from transformers' own attention weights; the teacher's queries and keys are kept in
    bf16.
    """
    torch.manual_seed(0)
    size = {"distilbert": "dim", "gpt2": "n_embd"}.get(name, "hidden_size")
    teacher, learner = (
        tiny(name, seed=seed, attn="eager", **{size: one}).eval()
        for seed, one in ((1, 32), (2, width))
    )
    ids = torch.randint(5, 60, (3, 7))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    feature_loss = AttentionMapLoss([1, 0], weight=1.0)
    with feature_loss.teaching(teacher):
        wanted = teacher(**batch, output_attentions=True)
        feature_loss.keep(wanted, batch)
    with feature_loss.learning(learner):
        given = learner(**batch, output_attentions=True)
        found = feature_loss.loss(given, batch)
    by_hand = torch.zeros(3)
    for layer, own in zip((1, 0), given.attentions, strict=True):
        for row in range(3):
            n = int(mask[row].sum())
            told, said = wanted.attentions[layer][row, :, :n, :n], own[row, :, :n, :n]
            by_hand[row] += (
                torch.where(told > 0, told * (told / said.clamp(min=1e-30)).log(), 0).sum(-1).mean()
                / 2
            )
    torch.testing.assert_close(found, by_hand, atol=2e-3, rtol=2e-2)
    assert found.min() > 0.01


@torch.no_grad()
@pytest.mark.parametrize("name", ["bert", "llama", "modernbert", "qwen2", "phi3", "deberta-v2"])
def test_a_teacher_looks_where_it_looks_itself(name):
    model, ids = tiny(name), torch.randint(5, 60, (3, 7))
    feature_loss, batch = (
        AttentionMapLoss([0, 1], weight=1.0),
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
    )
    with feature_loss.teaching(model):
        feature_loss.keep(model(**batch), batch)
    with feature_loss.learning(model):
        model(**batch)
        assert feature_loss.loss(None, batch).abs().max() < 1e-3
    other = tiny(name, seed=5)
    with feature_loss.learning(other):
        other(**batch)
        assert feature_loss.loss(None, batch).min() > 0.01
    assert not any(module._forward_hooks for one in (model, other) for module in one.modules())


def test_shared_layers_and_other_heads_have_no_maps_to_compare():
    with pytest.raises(AdaptkitError, match="no layers of its own"):
        AttentionMapLoss([0, 1], 1.0).teaching(tiny("albert"))
    feature_loss = AttentionMapLoss([0, 1], 1.0)
    feature_loss.teaching(tiny("bert"))
    with pytest.raises(AdaptkitError, match="heads is 4 in the teacher and 2 in the student"):
        feature_loss.learning(tiny("bert", num_attention_heads=2))
    with pytest.raises(
        AdaptkitError, match="causal is False in the teacher and True in the student"
    ):
        feature_loss.learning(tiny("llama"))
    with pytest.raises(AdaptkitError, match="from 0 on, not -1"):
        AttentionMapLoss([0], -1)


def test_maps_of_another_batch_or_without_gradients_are_refused():
    model, ids = tiny("bert"), torch.randint(5, 60, (3, 7))
    feature_loss, batch = (
        AttentionMapLoss([0, 1], 1.0),
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
    )
    with torch.no_grad(), feature_loss.teaching(model):
        feature_loss.keep(model(**batch), batch)
    with feature_loss.learning(model):
        model(**batch)
        assert feature_loss.loss(None, batch).requires_grad
        skipped, model.encoder.layer[0].forward = (
            model.encoder.layer[0].forward,
            lambda states, *_, **__: states,
        )
        model(**batch)
        with pytest.raises(AdaptkitError, match="every layer to run"):
            feature_loss.loss(None, batch)
        model.encoder.layer[0].forward = skipped
        model.requires_grad_(False)
        model(**batch)
        with pytest.raises(AdaptkitError, match="no gradient reaches"):
            feature_loss.loss(None, batch)


def test_shares_are_in_fp32_under_autocast():
    torch.manual_seed(0)
    watched, q, k = Watched(tiny("bert"), [0]), torch.randn(2, 5, 32) * 4, torch.randn(2, 5, 32) * 4
    seen = torch.ones(2, 5, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        found = watched.log_shares(q, k, seen)
    assert torch.equal(found, watched.log_shares(q, k, seen))


@torch.no_grad()
def distance(data, out, kind) -> float:
    """How far a student of two layers is from its teacher."""
    teacher, learner = Predictor(data[0] / "teacher"), Predictor(out)
    rows = dict(
        teacher.tokenizer(
            [f"a bright day {i}" for i in range(4)], return_tensors="pt", padding=True
        )
    )
    feature_loss = kind([2, 5], 1.0)
    with feature_loss.teaching(bare_model(teacher.model)):
        feature_loss.keep(teacher.model(**rows, **feature_loss.extra_outputs), rows)
    with feature_loss.learning(bare_model(learner.model)):
        return float(
            feature_loss.loss(learner.model(**rows, **feature_loss.extra_outputs), rows).mean()
        )


def test_students_learn_where_to_look(data):
    _, without = student(data, "plain-maps", "--student_layers", "2")
    _, drawn = student(data, "drawn-maps", "--student_layers", "2", "--attention_map_weight", "20")
    assert (
        load_file(drawn / "model.safetensors").keys()
        == load_file(without / "model.safetensors").keys()
    )

    assert distance(data, drawn, AttentionMapLoss) < 0.9 * distance(data, without, AttentionMapLoss)


def test_students_come_nearer_and_keep_no_maps(data):
    _, without = student(data, "without", "--student_layers", "2")
    _, drawn = student(data, "drawn", "--student_layers", "2", "--hidden_state_weight", "5")
    assert not any(MAPS in name for name in load_file(drawn / "model.safetensors"))
    assert (
        load_file(drawn / "model.safetensors").keys()
        == load_file(without / "model.safetensors").keys()
    )

    assert distance(data, drawn, HiddenStateLoss) < 0.9 * distance(data, without, HiddenStateLoss)


def test_a_run_that_was_stopped_ends_the_same(data):
    flags = ["--student_layers", "1", "--hidden_state_weight", "2", "--save_total_limit", "5"]
    _, whole = student(data, "whole", *flags)
    cache = load_file(whole / "model.safetensors")
    first = sorted(whole.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))[0]
    student(data, "whole", *flags, "--resume_from_checkpoint", str(first))
    again = load_file(whole / "model.safetensors")
    assert all(torch.equal(cache[name], again[name]) for name in cache)


def test_the_layers_are_the_teachers_whoever_gives_the_students(data, tmp_path):
    """--teacher_base of another depth: the layers of the student come from there, the layers that
    pull are the teacher's.
    """
    cli.main(
        [
            "mix",
            MINILM,
            "--num_hidden_layers",
            "9",
            "--beta",
            "1",
            "--output_dir",
            str(tmp_path / "nine"),
        ]
    )
    flags = [
        "--teacher_base",
        str(tmp_path / "nine"),
        "--student_layers",
        "1",
        "--hidden_state_weight",
        "1",
    ]
    found, _ = student(data, "from-nine", *flags, "--max_steps", "2")
    assert found["train_loss"] > 0


def test_an_encoder_with_a_decoder_has_no_one_stack_to_pull(data, tmp_path):
    folder, files = data
    texts = [json.loads(line)["text"] for line in (folder / "rows.jsonl").read_text().splitlines()]
    make_model("t5", texts, tmp_path / "base", vocab_size=100)
    teacher = [
        "--model_name_or_path",
        str(tmp_path / "base"),
        "--output_dir",
        str(tmp_path / "teacher"),
        "--max_steps",
        "1",
    ]
    classify.main([*files, *teacher])
    given = [
        *files,
        "--teacher",
        str(tmp_path / "teacher"),
        "--student_layers",
        "1",
        "--layer_map",
        "first",
        "--max_steps",
        "1",
    ]
    distill.main(
        [*given, "--output_dir", str(tmp_path / "student")]
    )  # from its logits it learns like any other
    with pytest.raises(AdaptkitError, match="need one stack of layers"):
        distill.main(
            [*given, "--output_dir", str(tmp_path / "refused"), "--hidden_state_weight", "1"]
        )


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--student", "cnn"], "a Transformer as student"),
        (["--student_layers", "2", "--method", "lora"], "own weights all train"),
        (["--student_layers", "2", "--train", "last[1]"], "own weights all train"),
        (["--student_layers", "2", "--hidden_state_weight", "nan"], "from 0 on, not nan"),
        (["--student_layers", "2", "--search", "2"], "no --search"),
    ],
)
def test_what_does_not_go_together_is_refused(data, flags, problem):
    with pytest.raises(AdaptkitError, match=problem):
        student(
            data, "refused", "--hidden_state_weight", "1", "--attention_map_weight", "1", *flags
        )
