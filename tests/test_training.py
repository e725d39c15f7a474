"""Metrics against scikit-learn, the order of rows, files in one step, and what fit refuses."""

import numpy as np
import pytest
import sklearn.metrics
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TrainingArguments

from adaptkit import AdaptkitError, adapt, fit, load_base, load_tokenizer
from adaptkit.data.collate import Pad
from adaptkit.data.encoded import Encoded
from adaptkit.data.samplers import LengthBuckets, padding_share
from adaptkit.data.tables import Table
from adaptkit.inference.predict import predict
from adaptkit.metrics.modules import Classification
from adaptkit.tasks.classify import Classify
from adaptkit.training.defaults import data_defaults, machine_defaults, machine_notes
from adaptkit.training.fit import make_trainer
from adaptkit.training.options import EncodedSplit
from adaptkit.utils.atomic_files import new_file, new_folder

pairs = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1, max_size=60
    )
)


@settings(max_examples=40, deadline=None)
@given(pairs)
@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.UndefinedMetricWarning", "ignore::UserWarning"
)
def test_metrics_are_scikit_learns(rows):
    gold, said = map(list, zip(*rows, strict=True))
    scores = Classification().compute(predictions=said, references=gold)
    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
        gold, said, average="macro", zero_division=0
    )
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(gold, said))
    assert (scores["precision"], scores["recall"], scores["f1"]) == pytest.approx(
        (precision, recall, f1)
    )
    assert scores["matthews_correlation"] == pytest.approx(
        sklearn.metrics.matthews_corrcoef(gold, said)
    )


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=300), st.integers(1, 32), st.integers(0, 5)
)
def test_buckets_hold_every_row_once_and_change_with_the_epoch(lengths, batch, epoch):
    sampler = LengthBuckets(lengths, batch, seed=1)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert sorted(order) == list(range(len(lengths)))
    assert list(sampler) == order
    assert 0 <= padding_share(sampler, batch) < 1


numbers = st.one_of(st.integers(-9, 9), st.floats(-9, 9, width=32))


@given(
    st.lists(st.lists(numbers, max_size=12), min_size=1, max_size=8),
    st.lists(st.integers(0, 1), min_size=8, max_size=8),
)
def test_a_batch_is_what_torch_makes_of_filled_lists(lists, marks):
    width = max(map(len, lists))
    filled = [one + [5] * (width - len(one)) for one in lists]
    batch = Pad({"a": 5})(
        [{"a": one, "b": mark, "_c": "x"} for one, mark in zip(lists, marks, strict=False)]
    )
    assert batch.keys() == {"a", "b"}
    expected = torch.tensor(filled)
    assert torch.equal(batch["a"], expected if width else expected.long())
    assert batch["a"].dtype == (expected.dtype if width else torch.int64)
    assert batch["b"].tolist() == marks[: len(lists)]


def test_lists_of_lists_are_filled_with_lists():
    batch = Pad({"a": [7.0, 8.0]})(
        [{"a": [[1.0, 2.0]]}, {"a": [[3.0, 4.0], [5.0, 6.0]]}, {"a": []}]
    )
    assert batch["a"].tolist() == [[[1, 2], [7, 8]], [[3, 4], [5, 6]], [[7, 8], [7, 8]]]


def test_texts_are_filled_up_to_a_multiple_and_nothing_else_is():
    lengths = [3, 9, 13, 8]
    rows = Dataset.from_list(
        [{"input_ids": [1] * n, "labels": [0.0, 1.0, 0.0], "length": n} for n in lengths]
    )
    pad = Pad({"input_ids": 0}).in_few_shapes(Encoded(rows))
    assert pad == Pad({"input_ids": 0}).in_few_shapes(rows)
    widths = [
        pad([rows[i] for i in batch])["input_ids"].shape[1]
        for batch in ([0], [0, 1], [2], [3], [0, 1, 2])
    ]
    assert widths == [8, 13, 13, 8, 13]  # 16 would be longer than any text
    assert pad([rows[0]])["input_ids"].tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]]
    assert pad([rows[1]])["labels"].tolist() == [[0, 1, 0]]
    assert pad.in_few_shapes(rows.select([0, 0])) == pad  # one shape is few


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-9, 9), max_size=5), min_size=2, max_size=9), st.data())
def test_rows_in_memory_are_the_rows(lists, data):
    more = {
        "score": [0.5 * i for i in range(len(lists))],
        "name": [None, *"abcdefgh"[: len(lists) - 1]],
        "_owner": lists,
    }
    rows = Dataset.from_dict({"ids": lists, "flags": [[True] * len(one) for one in lists], **more})
    rows = rows.select(data.draw(st.permutations(range(len(lists)))))
    kept = Encoded.of(rows)
    assert isinstance(kept, Encoded)
    assert len(kept) == len(rows)
    found = [kept[i] | {"ids": list(kept[i]["ids"])} for i in range(len(rows))]
    assert found == rows.remove_columns("_owner").to_list()
    assert list(kept["score"]) == list(rows["score"])


def test_large_tables_stay_where_they_are(monkeypatch):
    import adaptkit.data.encoded

    rows = Dataset.from_dict({"ids": [[1, 2], [3]]})
    monkeypatch.setattr(adaptkit.data.encoded, "MOST_BYTES", 30)
    assert Encoded.of(rows) is rows
    assert isinstance(Encoded.of(rows.select([0])), Encoded)
    assert Encoded.of(few := rows.select([0] * 9)) is few


def test_what_is_more_than_a_table_stays_as_it_is():
    rows = Dataset.from_dict({"ids": [[1, 2], [3]], "more": [1, 2]})
    changed = rows.with_transform(lambda batch: {"ids": [[7]] * len(batch["ids"])})
    for other in (
        changed,
        rows.with_format("torch"),
        rows.with_format(columns=["ids"]),
        [{"ids": [1]}],
        Encoded(rows),
    ):
        assert Encoded.of(other) is other


def test_a_tokenizer_without_padding_pads_nothing_or_says_so():
    assert Pad({"a": None})([{"a": [1, 2]}, {"a": [3, 4]}])["a"].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(AdaptkitError, match="need a padding token for a"):
        Pad({"a": None})([{"a": [1, 2]}, {"a": [3]}])


def test_padding_is_counted_as_it_is_filled():
    lengths = [3, 4, 9, 10, 17, 18]
    rows = Dataset.from_list([{"input_ids": [1] * n, "length": n} for n in lengths])
    pad, sampler = Pad({"input_ids": 0}).in_few_shapes(rows), LengthBuckets(lengths, 2, 1)
    order = list(sampler)
    batches = [pad([rows[i] for i in order[start : start + 2]])["input_ids"] for start in (0, 2, 4)]
    tokens = sum(batch.numel() for batch in batches)
    assert padding_share(sampler, 2, pad.width) == pytest.approx(1 - sum(lengths) / tokens)
    assert padding_share(sampler, 2) < padding_share(sampler, 2, pad.width)


def test_buckets_waste_little():
    lengths = np.random.default_rng(0).integers(5, 60, 5000)
    sampler, plain = LengthBuckets(lengths, 32, seed=1), LengthBuckets(lengths, 32, seed=1, pool=1)
    assert padding_share(sampler, 32) < 0.03 < 0.3 < padding_share(plain, 32)
    first_batches = [lengths[list(sampler)[i : i + 32]].max() for i in range(0, 640, 32)]
    assert first_batches != sorted(first_batches)
    assert first_batches != sorted(first_batches, reverse=True)


@pytest.fixture(scope="module")
def small():
    tokenizer = load_tokenizer("all-MiniLM-L6-v2")
    texts = ["good " * (1 + i % 7) if i % 2 else "bad " * (1 + i % 5) for i in range(24)]
    encoded = dict(tokenizer(texts)) | {"labels": [i % 2 for i in range(24)]}
    encoded["length"] = [len(ids) for ids in encoded["input_ids"]]
    return tokenizer, Dataset.from_dict(encoded)


def test_predictions_are_in_the_order_of_the_rows(small):
    tokenizer, encoded = small
    model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=2), "lora").eval()
    together = predict(model, Classify(), encoded, tokenizer, batch_size=5)
    for i, row in enumerate(encoded):
        with torch.no_grad():
            alone = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        np.testing.assert_allclose(together[i], alone.numpy(), atol=1e-5)


def test_a_loss_that_is_no_number_stops_the_run(small, tmp_path):
    tokenizer, encoded = small
    model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=2), "lora")
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).fill_(float("nan"))
    args = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, max_steps=3, logging_steps=1, logging_nan_inf_filter=False, report_to="none",
        train_sampling_strategy="group_by_length", disable_tqdm=True,
    )  # fmt: skip
    part = EncodedSplit(Table([{"text": "x", "label": "a"}] * 24, "x"), encoded)
    with pytest.raises(
        AdaptkitError, match="the training loss is nan at step 1: lower --learning_rate"
    ):
        fit(model, Classify(labels=["a", "b"]), part, part, tokenizer, args)


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x").write_text("old")

    def stop(manager, name):
        with manager(tmp_path / name) as new:
            (new / "x" if new.is_dir() else new).write_text("half")
            raise KeyboardInterrupt

    for manager, name in ((new_file, "a.txt"), (new_folder, "d")):
        with pytest.raises(KeyboardInterrupt):
            stop(manager, name)
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "d/x").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "d"]


def test_gradients_are_clipped_by_the_norm_of_what_trains(small, tmp_path):
    tokenizer, encoded = small
    model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=2), "lora")
    args = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, max_steps=1, max_grad_norm=0.5, report_to="none"
    )
    part = EncodedSplit(Table([{"text": "x", "label": "a"}] * 24, "x"), encoded)
    trainer = make_trainer(model, Classify(labels=["a", "b"]), part, part, tokenizer, args)
    trainer.create_optimizer()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.grad = torch.full_like(parameter, 2.0)
    norm = trainer._clip_grad_norm(model)
    assert float(norm) == pytest.approx(
        2 * sum(parameter.numel() for parameter in trained) ** 0.5, rel=1e-4
    )
    assert sum(
        float(parameter.grad.square().sum()) for parameter in trained
    ) ** 0.5 == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    "method", ["lora", "bottleneck[placement=pfeiffer]", "ia3", "bottleneck[scale=learned]"]
)
def test_matrices_decay_and_factors_and_biases_do_not(small, tmp_path, method):
    tokenizer, encoded = small
    model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=2), method)
    args = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, weight_decay=0.1, report_to="none"
    )
    part = EncodedSplit(Table([{"text": "x", "label": "a"}] * 24, "x"), encoded)
    groups = (
        make_trainer(model, Classify(labels=["a", "b"]), part, part, tokenizer, args)
        .create_optimizer()
        .param_groups
    )
    decay = {
        id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]
    }
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {decay[id(parameter)] for parameter in trained if parameter.ndim > 1} == {0.1}
    assert {decay[id(parameter)] for parameter in trained if parameter.ndim < 2} == {0.0}


@pytest.mark.parametrize("rows, validation, choose, expected", [
    (5000, 500, False, {}),
    (5000, 100, False, {}),
    (5000, 99, False, {"load_best_model_at_end": False}),
    (5000, 99, True, {}),
    (5000, 0, False, {"eval_strategy": "no", "load_best_model_at_end": False}),
    (180, 20, True, {"per_device_train_batch_size": 8, "num_train_epochs": 13}),
])  # fmt: skip
def test_few_rows_change_the_defaults(rows, validation, choose, expected):
    found, notes = data_defaults(rows, validation, choose)
    assert found == expected
    assert bool(notes) == bool(found)


@pytest.mark.parametrize(
    "cpu", [{"avx512_bf16": True}, {"amx_bf16": True}, {}, {"architecture": "aarch64"}]
)
def test_bf16_is_chosen_where_the_cpu_has_it_and_elsewhere_said_to_be_slow(
    monkeypatch, tmp_path, cpu
):
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has a GPU, which decides")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64"} | cpu)
    able = cpu.get("avx512_bf16", False) or cpu.get("amx_bf16", False)
    assert machine_defaults() == {"use_cpu": True, "bf16": able}
    asked = TrainingArguments(str(tmp_path), use_cpu=True, bf16=True)
    assert bool(machine_notes(asked)) == (cpu == {})
    assert not machine_notes(TrainingArguments(str(tmp_path), use_cpu=True))
