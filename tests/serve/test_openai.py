"""OpenAI's own client."""

import openai
import pytest

from tests.helpers.answers import close
from tests.serve.stores import LABELS, TEXTS

TALK = [{"role": "user", "content": TEXTS[0]}]


def client(service, key: str = "any") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0)


def test_models_are_listed_with_what_they_do_and_no_paths(readers):
    found = {one.id: one for one in client(readers).models.list()}
    assert {*found} == {*readers.host.names(), "base"}
    assert (found["intent"].task, found["intent"].labels) == ("classify", LABELS)
    assert (found["reader"].inputs, found["reader"].base) == (["question", "context"], "base")
    assert found["intent"].method.startswith("lora[")
    assert client(readers).models.retrieve("stars").task == "score"
    assert "/" not in str([one.base for one in found.values()])
    with pytest.raises(openai.NotFoundError, match="did you mean 'intent'"):
        client(readers).models.retrieve("intend")


def test_embeddings_in_both_encodings(readers):
    rows = TEXTS[:3]
    default = client(readers).embeddings.create(model="search", input=rows)  # asks for base64
    plain = client(readers).embeddings.create(model="search", input=rows, encoding_format="float")
    alone = [one.embedding for one in readers.host(rows, "search")]
    close([one.embedding for one in default.data], alone)
    close([one.embedding for one in plain.data], alone)
    assert default.usage.prompt_tokens == sum(one.tokens for one in readers.host(rows, "search"))


def test_a_choice_is_among_labels_and_a_predicate_is_one(readers):
    found = client(readers).decisions.create(
        model="intent",
        input=[{"role": "user", "content": [{"type": "input_text", "text": TEXTS[0]}]}],
        questions=[
            {"type": "choice", "instructions": "?", "choices": [{"value": n} for n in LABELS]},
            {
                "type": "choice",
                "instructions": "?",
                "name": "two",
                "choices": [{"value": "praise"}, {"value": "refund"}],
            },
            {"type": "predicate", "instructions": "?", "name": "question"},
        ],
    )
    shares = readers.host(TEXTS[0], "intent", top_k=3)[0].scores
    every, two, question = found.answers
    close({one.value: one.probability for one in every.probabilities}, shares)
    assert every.choice == max(shares, key=shares.get)
    some = shares["praise"] + shares["refund"]
    assert two.probabilities[0].probability == pytest.approx(shares["praise"] / some, abs=1e-5)
    assert two.name == "two"
    assert question.probability == pytest.approx(shares["question"], abs=1e-5)


def test_a_yes_or_no_adapter_answers_any_predicate_and_booleans(readers):
    found = client(readers).decisions.create(
        model="broken",
        input=TEXTS[0],
        questions=[{"type": "predicate", "instructions": "Is it broken?", "name": "is_broken"}],
    )
    yes = readers.host(TEXTS[0], "broken", top_k=2)[0].scores["yes"]
    assert found.answers[0].probability == pytest.approx(yes, abs=1e-5)


@pytest.mark.parametrize("names", [["1", "2", "3", "4", "5"], ["bad", "fair", "good"]])
def test_levels_of_a_score_have_the_score_as_their_mean(readers, names):
    levels = [{"label": name} for name in names]
    found = client(readers).decisions.create(
        model="stars",
        input=TEXTS[0],
        questions=[{"type": "score", "instructions": "?", "levels": levels}],
    )
    [answer] = found.answers
    score = readers.host(TEXTS[0], "stars")[0].score  # from 1 to 5
    assert answer.score == pytest.approx((score - 1) / 4 * (len(names) - 1), abs=1e-5)
    assert sum(one.probability for one in answer.probabilities) == pytest.approx(1, abs=1e-6)
    assert [one.value for one in answer.probabilities] == list(range(len(names)))


@pytest.mark.parametrize(
    "model, question, problem",
    [
        ("intent", {"type": "predicate", "name": "refnd"}, "did you mean 'refund'"),
        ("intent", {"type": "choice", "choices": [{"value": "x"}, {"value": "y"}]}, "label 'x'"),
        ("stars", {"type": "predicate", "name": "x"}, "questions of type score"),
        ("search", {"type": "predicate", "name": "x"}, "'search' \\(embed\\) does not decide"),
        (
            "stars",
            {"type": "score", "levels": [{"label": "2"}, {"label": "1"}]},
            "levels go from low to high",
        ),
    ],
)
def test_a_question_that_was_not_learned_is_refused(readers, model, question, problem):
    with pytest.raises(openai.BadRequestError, match=problem):
        client(readers).decisions.create(
            model=model, input="x", questions=[question | {"instructions": "?"}]
        )


def test_chat_is_what_the_host_writes(writers):
    for model, name in (("helper", "helper"), ("base", None)):
        found = client(writers).chat.completions.create(
            model=model, messages=TALK, max_tokens=20, temperature=0
        )
        [alone] = writers.host.generate(TALK, name, max_new_tokens=20, details=True)
        [choice] = found.choices
        assert (choice.message.content, choice.finish_reason) == (alone.text, alone.finish_reason)
        assert found.usage.completion_tokens == len(alone.ids)
        assert found.usage.prompt_tokens == alone.tokens


def test_chat_writes_what_there_is_room_for(writers):
    """A prompt near the end of the base's positions, and no number of tokens."""
    most = writers.host.backbone.model.config.max_position_embeddings
    word = len(writers.host.backbone.tokenizer("lamp " * 50)["input_ids"]) / 50
    talk = [{"role": "user", "content": "lamp " * int((most - 40) / word)}]
    left = writers.host.room(talk)
    assert 0 < left < 64
    found = client(writers).chat.completions.create(
        model="helper", messages=talk, temperature=0, extra_body={"min_tokens": left}
    )
    assert found.usage.completion_tokens == left
    short = client(writers).completions.create(model="base", prompt="lamp", temperature=0)
    assert short.usage.completion_tokens <= 16  # as elsewhere


def test_written_tokens_of_a_task_are_counted(writers):
    reply = writers.post("/v1/answer", model="helper", input=TEXTS[0]).json
    written = writers.host(TEXTS[0], "helper")[0].new_tokens
    assert reply["usage"]["completion_tokens"] == written > 0


def test_chat_streams_the_same_text(writers):
    settings = {"model": "helper", "messages": TALK, "max_tokens": 30, "seed": 7, "n": 2}
    settings |= {"temperature": 0.9, "stop": ["zz"], "logprobs": True, "top_logprobs": 2}
    whole = client(writers).chat.completions.create(**settings)
    text, tokens, reasons, used = ["", ""], [[], []], [None, None], None
    for chunk in client(writers).chat.completions.create(
        **settings, stream=True, stream_options={"include_usage": True}
    ):
        used = chunk.usage or used
        for choice in chunk.choices:
            text[choice.index] += choice.delta.content or ""
            tokens[choice.index] += choice.logprobs.content if choice.logprobs else []
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert text == [one.message.content for one in whole.choices]
    assert reasons == [one.finish_reason for one in whole.choices]
    for mine, choice in zip(tokens, whole.choices, strict=True):
        for one, other in zip(mine, choice.logprobs.content, strict=True):
            assert (one.token, len(one.top_logprobs)) == (other.token, 2)
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
    assert used.completion_tokens == whole.usage.completion_tokens
    assert text[0] != text[1]  # each has a seed of its own


def test_completions_of_texts_and_ids(writers):
    tokenizer = writers.host.backbone.tokenizer
    prompts = TEXTS[:2]
    found = client(writers).completions.create(
        model="helper", prompt=prompts, max_tokens=9, temperature=0, logprobs=1
    )
    alone = writers.host.generate(prompts, "helper", max_new_tokens=9, logprobs=1)
    assert [one.text for one in found.choices] == [one.text for one in alone]
    assert found.choices[0].logprobs.token_logprobs == pytest.approx(
        [one.logprob for one in alone[0].logprobs]
    )
    assert found.usage.completion_tokens == sum(len(one.ids) for one in alone)
    ids = tokenizer(prompts[0])["input_ids"]
    again = client(writers).completions.create(
        model="helper", prompt=ids, max_tokens=9, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in again) == alone[0].text


@pytest.mark.parametrize(
    "body, problem",
    [
        ({"model": "mood", "messages": TALK}, "adapter 'mood' \\(classify\\) does not write"),
        ({"model": "helper", "messages": TALK, "max_tokens": 65}, "at most 64 tokens"),
        ({"model": "helper", "messages": TALK, "presence_penalty": 1}, "presence_penalty=1.0"),
        ({"model": "helper", "messages": TALK, "tools": [{"type": "function"}]}, "tools="),
        ({"model": "helper", "messages": TALK, "top_logprobs": 2}, "goes with logprobs"),
        (
            {"model": "helper", "messages": [*TALK, {"role": "assistant", "content": "x"}]},
            "already",
        ),
        ({"model": "helper", "messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
    ],
)
def test_what_cannot_be_written_is_refused(writers, body, problem):
    with pytest.raises(openai.BadRequestError, match=problem):
        client(writers).chat.completions.create(**body)
    with pytest.raises(openai.BadRequestError, match=problem):
        list(client(writers).chat.completions.create(**body, stream=True))


def test_an_encoder_writes_nothing(readers):
    with pytest.raises(openai.BadRequestError, match="'base' is an encoder"):
        client(readers).chat.completions.create(model="intent", messages=TALK)
