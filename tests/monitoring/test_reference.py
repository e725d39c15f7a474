import numpy as np
import pytest

from adaptkit import AdaptkitError, Host
from adaptkit.host.answers import Entities, Label, Labels, Score, Span, Text, Vector
from adaptkit.monitoring.reference import FILE, Reference, read_reference
from adaptkit.monitoring.rows import numbers_of, text_of
from adaptkit.monitoring.watch import Watch
from adaptkit.tasks.classify import Classify
from tests.serve.stores import TEXTS


@pytest.fixture(scope="module")
def host(readers_store):
    return Host.from_store(readers_store)


@pytest.fixture(scope="module")
def task():
    return Classify(labels=["no", "yes"])


def make(host, task, texts=TEXTS, answers=(), **more):
    return Reference.make(
        task, [{"text": text} for text in texts], answers, host.mean_states, **more
    )


def test_a_reference_comes_back_as_it_was_kept(host, task, tmp_path):
    answers = [Label("yes", 0.7)] * 30 + [Label("no", 0.9)] * 10
    reference = make(host, task, answers=answers)
    assert reference.states.shape == (40, 20)  # no more directions than rows in the first half
    assert sorted(reference.numbers) == [0] * 10 + [1] * 30
    reference.save(tmp_path)
    back = read_reference(tmp_path)
    for name, value in vars(reference).items():
        np.testing.assert_allclose(getattr(back, name), value, rtol=2e-3, atol=2e-3)
    assert (tmp_path / FILE).stat().st_size < 5000


def test_a_state_is_the_mean_over_the_tokens_of_a_text(host, task):
    """The same alone and in a batch, whatever adapters answer meanwhile."""
    inputs = host.backbone.tokenizer(TEXTS[3], return_tensors="pt")
    expected = host.hidden(dict(inputs))[0].mean(0).numpy()
    states = host.mean_states(TEXTS)
    np.testing.assert_allclose(states[3], expected, atol=1e-5)
    host(TEXTS[:3], ["intent", "broken", None])
    np.testing.assert_allclose(host.mean_states(TEXTS[3:4])[0], expected, atol=1e-5)
    reference = make(host, task, seed=5)
    order = np.random.default_rng(5).permutation(len(TEXTS))
    np.testing.assert_allclose(
        reference.states, reference.project(states)[order], rtol=1e-3, atol=1e-4
    )


def test_few_rows_make_no_reference(host, task):
    assert make(host, task, TEXTS[:19]) is None
    assert len(make(host, task, TEXTS[:30], most=22).states) == 22


def test_a_damaged_reference_is_refused_by_name(host, task, tmp_path):
    assert read_reference(tmp_path) is None
    reference = make(host, task)
    reference.save(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[:-20])
    with pytest.raises(AdaptkitError, match=r"reference.safetensors is damaged"):
        read_reference(tmp_path)
    Reference(*[*vars(reference).values()][:2], reference.states[:, :5], *[np.zeros(1)] * 2).save(
        tmp_path
    )
    with pytest.raises(AdaptkitError, match="its shapes do not fit"):
        read_reference(tmp_path)


@pytest.mark.parametrize(
    "answer, expected",
    [
        (Label("yes", 0.7), (1, 0.7)),
        (Label("none of these", 0.4, "no"), (0, 0.4)),
        (Labels(["yes"], {"no": 0.2, "yes": 0.8}), (1, 0.8)),
        (Labels([], {}), (None, None)),
        (Score(3.5), (3.5, None)),
        (Entities([{}, {}]), (2, None)),
        (Span("two words", 0, 9, 4.0), (2, 4.0)),
        (Text("one two three"), (3, None)),
        (Vector([1.0]), (None, None)),
    ],
)
def test_what_is_watched_of_an_answer(task, answer, expected):
    assert numbers_of(task, answer) == expected


def test_what_is_watched_of_a_row():
    assert text_of("a") == "a"
    assert text_of({"context": "c", "question": "q"}, ["question", "context"]) == "q\nc"
    assert text_of({"tokens": ["an", "old", "tree"]}) == "an old tree"
    assert text_of([{"role": "user", "content": "hello"}]) == "user\nhello"
    assert text_of({"text": 3}) == ""


def test_a_watch_sees_other_texts_and_other_answers(host, task):
    rng = np.random.default_rng(0)
    answers = [Label("yes" if x < 0.5 else "no", 0.5 + x / 2) for x in rng.random(200)]
    reference = make(host, task, TEXTS * 3, answers)
    same, texts, labels = (Watch(reference) for _ in range(3))
    strange = reference.project(host.mean_states([f"{i} {i + 1} {i * 7}" for i in range(60)]))
    for i in range(60):
        state, x = reference.states[60 + i], rng.random()
        same.add(state, int(x < 0.5), 0.5 + x / 2)
        texts.add(strange[i])
        labels.add(state, 1, 0.5 + x / 2)
    assert not same.alarm
    assert [one.test for one in texts.drifts() if one.alarm] == ["classifier", "mmd"]
    assert [one.test for one in labels.drifts() if one.alarm] == ["answers"]
    assert [one.rows for one in texts.drifts()] == [60, 60, 0, 0]
    same.add(np.full(reference.states.shape[1], np.nan))
    assert same.drifts()[0].rows == 60
