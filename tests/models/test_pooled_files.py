"""A saved pooling classifier: other tools answer as it does with its code, or refuse it."""

import json
import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoTokenizer, Trainer, TrainingArguments

from adaptkit import (
    AdaptkitError,
    Predictor,
    TaskCard,
    adapt,
    load_adapter,
    load_base,
    load_tokenizer,
    save_adapter,
)
from adaptkit.adapters.export import export
from adaptkit.models.pooled import find_class
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.sequence import sequence_class
from tests.host.store import LABELS, TEXTS
from tests.models.test_pooled import READ_TEXT
from tests.tiny import randomize, tiny

WITHOUT_ADAPTKIT = """
import json, pathlib, sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
sys.modules["adaptkit"] = None
folders, batch, texts = json.loads(sys.argv[1])
batch = {name: torch.tensor(rows) for name, rows in batch.items()}

def logits(folder):
    try:
        AutoModelForSequenceClassification.from_pretrained(folder)
    except ValueError as problem:
        assert "trust_remote_code=True" in str(problem), problem
    else:
        raise AssertionError(f"{folder} was loaded as something else")
    load = AutoModelForSequenceClassification.from_pretrained
    model, seen = load(folder, trust_remote_code=True, output_loading_info=True)
    assert not any(seen.values()), (folder, seen)
    with torch.no_grad():
        return model, model.eval()(**batch).logits.tolist()

def answers(model, folder):
    if not pathlib.Path(folder, "tokenizer.json").exists():
        return []
    tokenizer = AutoTokenizer.from_pretrained(folder)
    answer = pipeline("text-classification", model=model, tokenizer=tokenizer)
    return answer(texts, truncation=True, max_length=32)

found = {}
for folder in folders:
    model, first = logits(folder)
    answered = answers(model, folder)
    torch.nn.init.ones_(model.score.weight)  # trained on, and saved again
    torch.nn.init.zeros_(model.score.bias)
    model.save_pretrained(folder + "-again")
    with torch.no_grad():
        trained = model(**batch).logits.tolist()
    found[folder] = first, trained, logits(folder + "-again")[1], answered
print("FOUND" + json.dumps(found))
"""


def read_without_adaptkit(folders, batch, cache):
    """By folder: logits as saved, with a new head, and of that saved again; and answers."""
    plain = {name: rows.tolist() for name, rows in batch.items()}
    what = json.dumps([[str(folder) for folder in folders], plain, TEXTS[:5]])
    command = [sys.executable, "-c", WITHOUT_ADAPTKIT, what]
    environment = os.environ | {"HF_MODULES_CACHE": str(cache)}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.rpartition("FOUND")[2])


def check(folders, batch, wanted, cache):
    found = read_without_adaptkit(folders, batch, cache)
    assert len(found) == len(folders)
    for folder, model in zip(folders, wanted, strict=True):
        first, trained, again = (torch.tensor(one) for one in found[str(folder)][:3])
        with torch.no_grad():
            torch.testing.assert_close(first, model.eval()(**batch).logits)
        assert torch.equal(trained, again)
        assert not torch.allclose(first, trained)
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Adapters of two poolings over one tiny BERT."""
    from adaptkit.models.untrained.scratch import make_model

    root = tmp_path_factory.mktemp("pooled")
    make_model("bert", TEXTS, root / "base", vocab_size=300, hidden_size=32, intermediate_size=48)
    for pooling in ("mean", "attention"):
        task = Classify(labels=LABELS, pooling=pooling)
        base = load_base(str(root / "base"), task=task.auto_class, labels=LABELS)
        model = adapt(base, "lora[r=4]")
        randomize(model, std=0.4)
        card = TaskCard(task="classify", labels=LABELS, settings=task.settings(), max_length=32)
        save_adapter(model, root / pooling, card=card)
    return root


def test_every_way_of_saving_writes_the_code(root, tmp_path):
    merged = load_adapter(root / "mean").merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    merged.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    args = TrainingArguments(str(tmp_path / "out"), report_to="none", use_cpu=True)
    Trainer(merged, args).save_model(str(tmp_path / "trainer"))
    whole = export(root / "attention", tmp_path / "exported")
    tokens = AutoTokenizer.from_pretrained(root / "base")(TEXTS[:4], padding=True)
    batch = {name: torch.tensor(rows) for name, rows in tokens.items()}
    folders = [tmp_path / name for name in ("merged", "shards", "trainer", "exported")]
    found = check(folders, batch, [merged, merged, merged, whole], tmp_path / "cache")
    theirs = found[str(tmp_path / "exported")][3]
    for ours in (root / "attention", tmp_path / "exported"):
        answers = Predictor(ours)(TEXTS[:5])
        assert [one["label"] for one in answers] == [one["label"] for one in theirs]
        scores = [torch.tensor([one["score"] for one in them]) for them in (answers, theirs)]
        torch.testing.assert_close(*scores, atol=1e-5, rtol=0)
    base = load_base(str(tmp_path / "shards"), task=sequence_class("mean"), labels=LABELS)
    with torch.no_grad():
        torch.testing.assert_close(base.eval()(**batch).logits, merged.eval()(**batch).logits)
    assert base.adaptkit_base.head == ()


@pytest.mark.slow
def test_every_architecture_is_read_from_its_code(tmp_path):
    torch.manual_seed(0)
    batch = {"input_ids": torch.randint(3, 99, (2, 7)), "attention_mask": torch.ones(2, 7).long()}
    batch["attention_mask"][1, 4:] = 0
    models = [tiny(name, find_class(sequence_class("mean")), num_labels=3) for name in READ_TEXT]
    folders = [tmp_path / name for name in READ_TEXT]
    for model, folder in zip(models, folders, strict=True):
        model.save_pretrained(folder)
    check(folders, batch, models, tmp_path / "cache")


def test_other_processes_leave_the_folder_to_the_main_one(tmp_path):
    model = tiny("bert", find_class(sequence_class("mean")), num_labels=3)
    model.save_pretrained(tmp_path, is_main_process=False)
    assert not (tmp_path / "config.json").exists()
    assert not list(tmp_path.glob("*.py"))


def test_what_would_be_uploaded_without_its_code_is_refused(tmp_path):
    model = tiny("bert", find_class(sequence_class("mean")), num_labels=3)
    with pytest.raises(AdaptkitError, match="without its code.*call push_to_hub"):
        model.save_pretrained(tmp_path / "new", push_to_hub=True)
    assert not (tmp_path / "new").exists()


def test_only_transformers_asks_before_it_reads_the_tokenizer(root, tmp_path, monkeypatch):
    export(root / "mean", tmp_path / "whole")
    questions = []
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or "n")
    ids = load_tokenizer(str(root / "base"))(TEXTS)["input_ids"]
    assert load_tokenizer(str(tmp_path / "whole"))(TEXTS)["input_ids"] == ids
    Predictor(tmp_path / "whole")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "whole", trust_remote_code=False)
    assert theirs(TEXTS)["input_ids"] == ids
    assert not questions
    AutoTokenizer.from_pretrained(tmp_path / "whole")
    assert len(questions) == 1  # as docs/limits.md says
