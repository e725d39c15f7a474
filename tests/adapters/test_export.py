"""Adapters merged into their bases are models that transformers loads by itself, and answer as the
adapters did.
"""

import re
import shutil
import stat

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from adaptkit import (
    AdaptkitError,
    Predictor,
    Table,
    TaskCard,
    adapt,
    load_adapter,
    load_base,
    save_adapter,
)
from adaptkit.adapters.export import export
from adaptkit.cli import main
from adaptkit.data.corpus import load_corpus
from adaptkit.models.untrained.scratch import make_model
from tests.helpers.templates import WITH_TOOLS
from tests.tiny import inputs, randomize, tiny

TEXTS = [row["text"] for row in load_corpus("train")[:40]]
LABELS = ["down", "level", "up"]
SIZES = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Two tiny models with tokenizers, one of them in bf16, too."""
    root = tmp_path_factory.mktemp("bases")
    for kind in ("bert", "llama"):
        make_model(kind, TEXTS, root / kind, vocab_size=300, **SIZES)
    for path in (root / "bert", root / "half"):
        model = AutoModelForSequenceClassification.from_pretrained(root / "bert").base_model
        model.to(torch.bfloat16 if path.name == "half" else torch.float32).save_pretrained(path)
        AutoTokenizer.from_pretrained(root / "bert").save_pretrained(path)
    return root


def adapter(folder, base, method="lora[r=4]", task="classify", labels=LABELS, **settings):
    """A random adapter with its card."""
    model = adapt(
        load_base(
            str(base), task="AutoModelForCausalLM" if task == "pretrain" else task, labels=labels
        ),
        method,
    )
    randomize(model)
    save_adapter(
        model,
        folder,
        card=TaskCard(task=task, labels=labels or [], settings=settings, max_length=64),
    )
    return folder


@pytest.mark.parametrize(
    "method", ["lora[r=4]", "ia3", "lora[r=2]+ia3[sites=attn.k]", "bias+miss[r=8]+vera[r=8]"]
)
def test_what_is_exported_answers_as_the_adapter_does(method, bases, tmp_path, capsys):
    folder = adapter(tmp_path / "a", bases / "bert", method)
    main(["export", str(folder), "--output_dir", str(tmp_path / "whole")])
    capsys.readouterr()
    main(["list", str(tmp_path)])
    main(["show", str(tmp_path / "whole")])
    said = capsys.readouterr().out
    size = (tmp_path / "whole/model.safetensors").stat().st_size / 1000
    assert re.search(rf"^whole +classify +3 +full +{size:.0f} ", said, re.M)
    assert re.search(r"^method +full$", said, re.M)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole").eval()
    assert list(whole.config.id2label.values()) == LABELS
    assert whole.config.hidden_dropout_prob == 0.1  # the base's own, for who trains it further
    batch = tokenizer(TEXTS[:4], return_tensors="pt", padding=True, truncation=True, max_length=64)
    before = Predictor(folder)
    with torch.no_grad():
        torch.testing.assert_close(
            whole(**batch).logits, before.model(**batch).logits, atol=1e-4, rtol=1e-4
        )
    after = Predictor(tmp_path / "whole")
    for one, other in zip(before(TEXTS[:8]), after(TEXTS[:8]), strict=True):
        assert one["label"] == other["label"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
    assert all(
        stat.S_IMODE(path.stat().st_mode) == 0o644 for path in (tmp_path / "whole").iterdir()
    )


@pytest.mark.parametrize(
    "name", ["roberta", "deberta-v2", "modernbert", "albert", "gpt2", "qwen3", "t5", "bart"]
)
def test_heads_of_every_shape_come_along(name, bases, tmp_path):
    tiny(name).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(bases / "bert").save_pretrained(tmp_path / "base")
    export(adapter(tmp_path / "a", tmp_path / "base", "lora[r=2]"), tmp_path / "whole")
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole").eval()
    batch = {key: value for key, value in inputs(name).items() if "decoder" not in key}
    if name in ("t5", "bart"):
        batch["input_ids"][:, -1] = whole.config.eos_token_id
    with torch.no_grad():
        torch.testing.assert_close(
            whole(**batch).logits,
            load_adapter(tmp_path / "a")(**batch).logits,
            atol=1e-5,
            rtol=1e-4,
        )


@pytest.mark.parametrize("template", [None, WITH_TOOLS])
@pytest.mark.parametrize("system", [None, "Be 'brief'."])
def test_a_chat_keeps_the_template_and_the_system_message_of_its_training(
    bases, tmp_path, template, system
):
    """transformers and others then read a conversation as it was trained."""
    shutil.copytree(bases / "llama", tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path / "base")
    settings = {"system": system, "max_new_tokens": 4}
    folder = adapter(tmp_path / "a", tmp_path / "base", task="chat", labels=None, **settings)
    export(folder, tmp_path / "whole")
    before, after = Predictor(folder), Predictor(tmp_path / "whole")
    rows = before.task.read(Table([{"prompt": "Hi."}], "x"), labelled=False)
    wanted = before.task.prompts(before.model, rows, before.tokenizer, 512)[0]
    exported = AutoTokenizer.from_pretrained(tmp_path / "whole")
    given = [{"role": "user", "content": "Hi."}]
    read = exported.apply_chat_template(given, add_generation_prompt=True)["input_ids"]
    assert read == wanted
    assert after("Hi.") == before("Hi.")


def test_a_model_that_writes(bases, tmp_path):
    folder = adapter(tmp_path / "a", bases / "llama", task="pretrain", labels=None, objective="clm")
    whole = export(folder, tmp_path / "whole")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "whole").eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        expected = Predictor(folder).model(input_ids=ids).logits
        torch.testing.assert_close(again(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            whole.eval()(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize(
    "dtype, written",
    [("auto", torch.bfloat16), ("float32", torch.float32), ("float16", torch.float16)],
)
def test_weights_have_the_dtype_of_the_base_or_the_one_that_is_asked_for(
    dtype, written, bases, tmp_path
):
    folder = adapter(tmp_path / "a", bases / "half")
    export(folder, tmp_path / "whole", dtype=dtype)
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole", dtype="auto")
    assert whole.dtype == written


def test_several_labels_are_judged_each_by_itself_by_transformers_too(bases, tmp_path):
    folder = adapter(tmp_path / "a", bases / "bert", multi_label=True)
    export(folder, tmp_path / "whole")
    scores = pipeline("text-classification", str(tmp_path / "whole"), top_k=None)(TEXTS[:1])[0]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    with torch.no_grad():
        logits = Predictor(folder).model(**tokenizer(TEXTS[:1], return_tensors="pt")).logits[0]
    expected = dict(zip(LABELS, torch.sigmoid(logits).tolist(), strict=True))
    assert {one["label"]: one["score"] for one in scores} == pytest.approx(expected, abs=1e-4)


def test_a_score_is_given_by_transformers_as_the_head_gives_it(bases, tmp_path):
    """Without a sigmoid around it; `mean` and `spread` of the card make an answer of it."""
    folder = adapter(
        tmp_path / "a", bases / "bert", task="score", labels=["score"], mean=3.0, spread=2.0
    )
    export(folder, tmp_path / "whole")
    short = TEXTS[0][:60]
    raw = pipeline("text-classification", str(tmp_path / "whole"))(short)[0]["score"]
    assert 3.0 + 2.0 * raw == pytest.approx(Predictor(folder)(short)[0]["score"], abs=1e-4)


def test_what_cannot_be_exported_leaves_nothing(bases, tmp_path):
    folder = adapter(tmp_path / "a", bases / "bert", "prefix[length=2]")
    for given, more, message in (
        (folder, [], "cannot be merged.*not a linear change"),
        (
            adapter(tmp_path / "p", bases / "bert", "peft:PREFIX_TUNING[num_virtual_tokens=2]"),
            [],
            "cannot be merged: .* adds to what the model reads",
        ),
        (folder, ["--dtype", "int8"], "--dtype is auto, float32"),
        (folder, ["--dtype", "rand"], "--dtype is auto, float32"),
        (tmp_path / "b", [], "there is no adapter folder"),
        (bases / "bert", [], "is not an adapter"),
    ):
        with pytest.raises(AdaptkitError, match=message):
            main(["export", str(given), "--output_dir", str(tmp_path / "whole"), *more])
        assert not (tmp_path / "whole").exists()
    with pytest.raises(AdaptkitError, match="is not empty"):
        main(["export", str(adapter(tmp_path / "c", bases / "bert")), "--output_dir", str(bases)])


def test_a_bias_that_the_class_has_no_place_for_is_refused(bases, tmp_path):
    """transformers would drop it while loading, with a warning at most."""
    folder = adapter(tmp_path / "a", bases / "llama", "bias+lora[r=2]")
    with pytest.raises(AdaptkitError, match=r"q_proj a bias, and Llama\w+ has none there"):
        export(folder, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_a_base_that_is_stored_quantized_takes_no_adapter_in(bases, tmp_path):
    load_base(str(bases / "bert"), quantize="nf4").save_pretrained(tmp_path / "packed")
    AutoTokenizer.from_pretrained(bases / "bert").save_pretrained(tmp_path / "packed")
    with pytest.raises(AdaptkitError, match="stored quantized"):
        export(adapter(tmp_path / "a", tmp_path / "packed"), tmp_path / "whole")
