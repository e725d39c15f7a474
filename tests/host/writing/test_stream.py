"""Pieces of text as they come, stop texts, log-probabilities, conversations."""

import asyncio

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import AdaptkitError, Host, adapt, load_base, load_tokenizer, save_adapter
from adaptkit.data.conversations.rendering import render
from adaptkit.data.corpus import load_corpus
from adaptkit.host.writing.sequence import How, Sequence
from adaptkit.models.untrained.scratch import make_model
from tests.host.threads import within
from tests.tiny import randomize

TEXTS = [row["text"] for row in load_corpus("train")][:6]
TALK = [{"role": "user", "content": TEXTS[0]}]
COUNTS = [4, 19, 9, 30, 1, 12]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    texts = [row[key] for row in load_corpus("train") for key in ("text", "reply")]
    root = tmp_path_factory.mktemp("writing")
    base = make_model("llama", texts, root / "base", vocab_size=600)[0]
    model = load_base(str(base), task="AutoModelForCausalLM").requires_grad_(True)
    randomize(model, std=0.3)
    model.save_pretrained(base)
    for i in range(3):
        adapted = adapt(load_base(str(base), task="AutoModelForCausalLM"), f"lora[r={i + 2}]")
        randomize(adapted, seed=i)
        save_adapter(adapted, root / f"a{i}")
    return root


@pytest.fixture
def host(folder):
    host = Host(str(folder / "base"), slots=3)
    for i in range(3):
        host.load(f"a{i}", folder / f"a{i}")
    return host


NAMES = ["a0", None, "a2", "a1", "a0", None]


@pytest.mark.parametrize("how", [{}, {"do_sample": True, "temperature": 1.3, "seed": 5}])
def test_pieces_make_what_generate_gives(host, how):
    whole = host.generate(TEXTS, NAMES, max_new_tokens=COUNTS, details=True, batch_size=3, **how)
    pieces = list(host.stream(TEXTS, NAMES, max_new_tokens=COUNTS, batch_size=3, **how))
    for i, row in enumerate(whole):
        mine = [piece for piece in pieces if piece.index == i]
        assert "".join(piece.text for piece in mine) == row.text
        assert [token for piece in mine for token in piece.ids] == row.ids
        assert [piece.finish_reason for piece in mine][-1] == row.finish_reason
        assert not any(piece.finish_reason for piece in mine[:-1])
    assert host.generate(TEXTS, NAMES, max_new_tokens=COUNTS, **how) == [row.text for row in whole]


def test_rows_progress_side_by_side(host):
    order = [piece.index for piece in host.stream(TEXTS[:2], max_new_tokens=12)]
    first_of_second, last_of_first = order.index(1), len(order) - 1 - order[::-1].index(0)
    assert first_of_second < last_of_first


def test_a_row_ends_at_its_stop_text_and_does_not_show_it(host):
    whole = host.generate(TEXTS[:1], "a1", max_new_tokens=40)[0]
    middle = len(whole) // 2
    stop = whole[middle : middle + 3]
    settings = {"max_new_tokens": 40, "stop_strings": ["never written", stop]}
    found = host.generate(TEXTS[:1], "a1", details=True, **settings)[0]
    assert found.text == whole[: whole.index(stop)].rstrip()
    assert found.finish_reason == "stop"
    assert len(found.ids) < 40
    pieces = [piece.text for piece in host.stream(TEXTS[:1], "a1", **settings)]
    assert "".join(pieces) == found.text
    assert host.generate(TEXTS[:1], "a1", **settings) == [found.text]


def test_log_probabilities_are_those_of_the_model(host, folder):
    found = host.generate(TEXTS[:2], [None, "a0"], max_new_tokens=5, logprobs=3)
    tokenizer = load_tokenizer(str(folder / "base"))
    model = load_base(str(folder / "base"), task="AutoModelForCausalLM").eval()
    prompt = tokenizer(TEXTS[0])["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([prompt + found[0].ids])).logits[0].log_softmax(-1)
    for i, one in enumerate(found[0].logprobs):
        place = logits[len(prompt) + i - 1]
        assert one.logprob == pytest.approx(float(place[found[0].ids[i]]), abs=1e-4)
        assert one.id == found[0].ids[i]
        assert [top.id for top in one.top] == place.topk(3).indices.tolist()
        assert one.top[0].logprob == one.logprob
    assert len(found[1].logprobs) == len(found[1].ids)
    assert found[0].to_dict()["logprobs"][0]["token"] == found[0].logprobs[0].token


def test_messages_are_read_in_the_template(host, folder):
    tokenizer = load_tokenizer(str(folder / "base"))
    prompt = tokenizer(render(tokenizer, TALK, True), add_special_tokens=False)["input_ids"]
    expected = host.generate([prompt], "a0", max_new_tokens=8, details=True)[0].text
    assert host.generate(TALK, "a0", max_new_tokens=8) == [expected]
    assert host.generate([TALK, TALK], ["a0", "a1"], max_new_tokens=8)[0] == expected


def test_a_stream_that_is_closed_leaves_the_adapters(host):
    stream = host.stream(TEXTS, "a0", max_new_tokens=30)
    next(stream)
    assert host.stats()["adapters"]["a0"]["users"] == 1
    stream.close()
    assert host.stats()["adapters"]["a0"]["users"] == 0
    assert host.generate(TEXTS[:1], "a0", max_new_tokens=3)


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({"max_new_tokens": [3]}, "one for each of 6 prompts; it got 1"),
        ({"max_new_tokens": [3, 0, 1, 1, 1, 1]}, "max_new_tokens is a whole number, 1 or more"),
        ({"stop_strings": [""]}, "stop_strings are texts that are not empty"),
        ({"logprobs": -1}, "logprobs is how many"),
        ({"logprobs": True}, "logprobs is how many"),
        ({"num_beams": 2, "logprobs": 1}, "logprobs cannot go with num_beams"),
        ({"repetition_penalty": 1.2, "stop_strings": "a"}, "stop_strings cannot go with repet"),
    ],
)
def test_settings_that_cannot_be_are_refused(host, settings, problem):
    with pytest.raises(AdaptkitError, match=problem):
        host.generate(TEXTS, **settings)


def test_whole_batches_are_not_streamed(host):
    with pytest.raises(AdaptkitError, match="nothing can be streamed with repetition_penalty"):
        host.stream(TEXTS, repetition_penalty=1.2)


@hypothesis.settings(max_examples=200, deadline=None)
@given(text=st.text("ab \n.é", max_size=30), stop=st.lists(st.text("ab .", min_size=1, max_size=3)))
def test_pieces_never_take_anything_back(text, stop):
    """Tokens are bytes here, so characters come in halves."""
    data = text.encode()

    def decode(ids: list[int]) -> str:
        return bytes(ids).decode("utf-8", errors="replace")

    row = Sequence([1], None, How(max(1, len(data)), stop=tuple(stop)), decode)
    pieces = []
    for byte in data:
        row.take(byte)
        if piece := row.piece(0, texts=True):
            pieces.append(piece.text)
        if row.finish_reason:
            break
    given_text = "".join(pieces)
    if not data:
        return
    # the first stop text that is complete ends it, where its first character stands
    for size in range(len(text) + 1):
        if places := [at for one in stop if (at := text[:size].find(one)) >= 0]:
            assert (row.finish_reason, given_text) == ("stop", text[: min(places)].strip())
            return
    assert (row.finish_reason, given_text) == ("length", text.strip())


def test_submitted_rows_join_those_that_are_written(folder):
    """Four rows of 64 tokens, one after the other: all are written before two could be in turn."""
    rows, names = [TEXTS[1], TEXTS[0], TEXTS[0], TEXTS[0]], [None, "a0", "a1", "a2"]
    with Host(str(folder / "base"), slots=3, max_rows=8) as host:
        for i in range(3):
            host.load(f"a{i}", folder / f"a{i}")
        assert [len(row.ids) for row in host.generate(rows, names, details=True)] == [64] * 4
        expected, before = host(rows, names), host.stats()["batches"]

        async def one_after_the_other():
            found = []
            for text, name in zip(rows, names, strict=True):
                found.append(asyncio.ensure_future(host.submit(text, name)))
                await asyncio.sleep(0.01)  # the ones before are being written
            return await asyncio.gather(*found)

        assert asyncio.run(one_after_the_other()) == expected
        assert host.stats()["batches"] - before < 110  # in turn, they take 126 steps
        assert not any(one["users"] for one in host.stats()["adapters"].values())


async def pieces_of(host, *prompt, **settings):
    return [piece async for piece in host.submit_stream(*prompt, **settings)]


@pytest.mark.parametrize("how", [{}, {"do_sample": True, "seed": 3}, {"stop_strings": ["a"]}])
def test_prompts_of_several_callers_are_streamed_from_one_batch(folder, how):
    with Host(str(folder / "base"), slots=2, max_rows=4) as host:
        host.load("a0", folder / "a0")
        asked = [(TEXTS[0], "a0", 30), (TALK, None, 9), (TEXTS[1], "a0", 4), (TEXTS[2], None, 12)]
        alone = [
            list(host.stream([prompt], name, max_new_tokens=most, **how))
            for prompt, name, most in asked
        ]

        async def all_of_them():
            rows = [pieces_of(host, *one, max_new_tokens=most, **how) for *one, most in asked]
            return await asyncio.gather(host.submit(TEXTS[3], "a0"), *rows)

        answer, *found = asyncio.run(all_of_them())
        assert found == alone
        assert answer == host([TEXTS[3]], "a0")[0]


def test_a_streamed_prompt_that_nobody_reads_on_leaves_its_adapter(folder):
    with Host(str(folder / "base"), slots=1) as host:
        host.load("a0", folder / "a0")

        async def leave():
            async for _ in host.submit_stream(TEXTS[0], "a0", max_new_tokens=400, eos_token_id=[]):
                break

        asyncio.run(leave())
        within(10, lambda: host.unload("a0", timeout=8))


def test_a_prompt_that_cannot_be_streamed_comes_as_one_piece(folder):
    with Host(str(folder / "base"), slots=1) as host:
        host.load("a0", folder / "a0")
        settings = {"max_new_tokens": 9, "repetition_penalty": 1.3}
        [piece] = asyncio.run(pieces_of(host, TEXTS[0], "a0", **settings))
        assert piece.text == host.generate(TEXTS[:1], "a0", **settings)[0]
        assert not any(one["users"] for one in host.stats()["adapters"].values())


def test_a_prompt_is_refused_before_it_is_queued(folder):
    with Host(str(folder / "base"), slots=1) as host:
        with pytest.raises(AdaptkitError, match="unknown adapter 'nobody'"):
            asyncio.run(pieces_of(host, TEXTS[0], "nobody"))
        with pytest.raises(AdaptkitError, match="max_new_tokens is a whole number"):
            asyncio.run(pieces_of(host, TEXTS[0], max_new_tokens=0))


def test_a_bad_row_among_written_ones_spoils_no_other(folder):
    with Host(str(folder / "base"), slots=3, max_wait=0.05) as host:
        host.load("a0", folder / "a0")

        async def all_of_them():
            rows = [host.submit(TEXTS[0], "a0"), host.submit(" ", None), host.submit(TEXTS[1])]
            return await asyncio.gather(*rows, return_exceptions=True)

        one, bad, two = asyncio.run(all_of_them())
        assert [one, two] == host(TEXTS[:2], ["a0", None])
        assert isinstance(bad, AdaptkitError)


def test_a_caller_that_goes_away_leaves_no_user_behind(folder):
    with Host(str(folder / "base"), slots=3) as host:
        host.load("a0", folder / "a0")

        async def leave():
            task = asyncio.ensure_future(host.submit(TEXTS[0], "a0"))
            await asyncio.sleep(0.05)
            task.cancel()

        asyncio.run(leave())
        within(10, lambda: host.unload("a0", timeout=8))


def test_log_probabilities_are_the_models_with_fewest_tokens_too(host):
    plain = host.generate(TEXTS[:1], max_new_tokens=2, logprobs=3)[0].logprobs[0].top
    settings = {"min_new_tokens": 1, "eos_token_id": plain[0].id}
    other = host.generate(TEXTS[:1], max_new_tokens=2, logprobs=3, **settings)[0]
    assert other.logprobs[0].top == plain
    assert other.ids[0] != plain[0].id


def test_a_stop_text_that_is_a_token_of_its_own_ends_a_row(host):
    """Decoding leaves special tokens out, so no text would ever show it."""
    end = host.backbone.tokenizer.get_added_vocab()["</s>"]
    settings = {"stop_strings": ["</s>", "Anna"], "eos_token_id": 10**6}
    call = host._calls.read(TEXTS[:1], None, 20, 1, False, 0, 1, settings)
    assert call.rows[0].how.ends == {10**6, end}


@pytest.mark.parametrize(
    "settings, problem",
    [
        ({"eos_token_id": "</s>"}, "eos_token_id is an id, or a list of ids"),
        ({"min_new_tokens": -1}, "min_new_tokens is a whole number, 0 or more"),
        ({"min_new_tokens": 2.5}, "min_new_tokens is a whole number, 0 or more"),
    ],
)
def test_ends_that_are_none_are_refused(host, settings, problem):
    with pytest.raises(AdaptkitError, match=problem):
        host.generate(TEXTS[:1], **settings)


def test_a_tuple_of_ends_is_a_list(host):
    first = host.generate(TEXTS[:1], max_new_tokens=4, details=True)[0].ids[1]
    found = host.generate(TEXTS[:1], max_new_tokens=4, details=True, eos_token_id=(first,))[0]
    assert (found.ids[-1], found.finish_reason) == (first, "stop")
