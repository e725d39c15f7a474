"""Summaries and translations by a decoder, which is asked in a conversation."""

import json
from types import SimpleNamespace

import pytest
from adaptkit.recipes import summarize, translate

from adaptkit import AdaptkitError, Host, Predictor, load_tokenizer
from adaptkit.data.conversations.ends import words_begin
from adaptkit.data.tables import Table
from adaptkit.models.objective import model_kind
from adaptkit.models.untrained.scratch import make_model
from adaptkit.tasks.language import words_of
from adaptkit.tasks.summarize import Summarize
from adaptkit.tasks.translate import Translate
from tests.helpers.model_templates import TEMPLATES, tokenizer_of

TEXTS = [
    f"the {thing} of {name} is {colour}"
    for thing, name, colour in (
        ("lamp", "Anna", "red"),
        ("door", "Ben", "green"),
        ("boat", "Cleo", "blue"),
        ("coat", "Dora", "old"),
        ("lamp", "Emil", "new"),
        ("door", "Fred", "red"),
    )
]
ROWS = [{"text": text, "summary": f"{text.split()[3]}: {text.split()[-1]}"} for text in TEXTS]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rewrite") / "llama"
    texts = [*TEXTS, *(row["summary"] for row in ROWS), Summarize.request, "User: Assistant:"]
    make_model("llama", texts, folder, vocab_size=400)
    return str(folder)


def _encoded(llama, **settings):
    task = Summarize(model_kind="decoder", **settings)
    table = task.read(Table(ROWS, "rows"))
    tokenizer = load_tokenizer(llama)
    return task.encode(table, tokenizer, 8, train=True)[0], tokenizer


@pytest.mark.parametrize("prefix", ["", "In short: "])
def test_loss_is_on_the_target_and_its_end_behind_the_request(llama, prefix):
    row, tokenizer = _encoded(llama, source_prefix=prefix)
    learned = [token for token in row["labels"] if token != -100]
    assert tokenizer.decode(learned).split("</s>")[0].strip() == "Anna: red"
    assert tokenizer.eos_token_id in learned
    read = tokenizer.decode(row["input_ids"])
    assert f"User: {prefix or Summarize.request}the lamp of" in read


def test_source_and_target_are_cut_at_their_ends(llama):
    tokenizer = load_tokenizer(llama)
    task = Summarize(model_kind="decoder", max_target_length=2)
    long = {"text": "the lamp " * 50, "summary": "the lamp " * 50}
    table = task.read(Table([long], "rows"))
    (row,) = task.encode(table, tokenizer, 5, train=True)
    first, second = (
        tokenizer.decode(tokenizer(long["text"])["input_ids"][:count]) for count in (5, 2)
    )
    read = tokenizer.decode(row["input_ids"])
    assert f"{Summarize.request}{first}" in read
    assert f"{first}{first.split()[0]}" not in read
    learned = tokenizer.decode([token for token in row["labels"] if token != -100])
    assert learned.replace("</s>", "").strip() == second.strip()


def _rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    words = ["--train_file", str(file), "--test_file", str(file), "--bf16", "false"]
    words += ["--validation_split_percentage", "0", "--per_device_train_batch_size", "2"]
    return [*words, "--output_dir", str(tmp_path / "out"), "--disable_tqdm", "true"]


def test_a_recipe_teaches_a_decoder(llama, tmp_path):
    words = ["--method", "full", "--learning_rate", "3e-3", "--num_train_epochs", "100"]
    summarize.main([*_rows(tmp_path), "--model_name_or_path", llama, *words])
    found = json.loads((tmp_path / "out/all_results.json").read_text())
    assert found["test_rougeL"] == 1
    assert found["test_perplexity"] < 1.2
    settings = json.loads((tmp_path / "out/task.json").read_text())["settings"]
    assert (settings["model_kind"], settings["num_beams"]) == ("decoder", 1)
    answers = Predictor(tmp_path / "out")(TEXTS)
    assert [answer["text"] for answer in answers] == [row["summary"] for row in ROWS]


@pytest.mark.parametrize("beams", ["1", "3"])
def test_a_host_writes_what_the_predictor_does(llama, tmp_path, beams):
    words = ["--learning_rate", "1e-1", "--num_train_epochs", "3", "--num_beams", beams]
    summarize.main([*_rows(tmp_path), "--model_name_or_path", llama, *words])
    answers = [answer["text"] for answer in Predictor(tmp_path / "out")(TEXTS)]
    host = Host(llama)
    host.load("short", tmp_path / "out")
    assert [answer.text for answer in host(TEXTS, "short")] == answers
    alone = [host([text], "short")[0].text for text in TEXTS]
    assert alone == answers
    assert any(answers)


@pytest.mark.parametrize("kind, found", [("llama", "decoder"), ("t5", "encoder-decoder")])
def test_the_kind_is_that_of_the_model(tmp_path, kind, found):
    make_model(kind, TEXTS, tmp_path / kind, vocab_size=300)
    assert model_kind(str(tmp_path / kind)) == found


def test_an_encoder_is_no_decoder():
    assert model_kind("all-MiniLM-L6-v2") == "encoder-decoder"  # which it is refused as


def test_what_does_not_go_with_a_decoder_is_refused(llama, tmp_path):
    words = ["--model_name_or_path", llama, "--output_dir", str(tmp_path / "out")]
    with pytest.raises(AdaptkitError, match="goes with an encoder-decoder"):
        summarize.main([*words, "--no_repeat_ngram_size", "2"])
    with pytest.raises(AdaptkitError, match="did you mean 'decoder'"):
        translate.main([*words, "--model_kind", "decoders"])


# What `ends` reads of a model.
MODEL = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None))


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_answer_is_the_target_whatever_a_template_puts_around_it(name):
    """The labels of a row, as a model writes them, give the target; thoughts before it, too."""
    tokenizer = tokenizer_of(name)
    tokenizer.add_tokens(["<think>", "</think>"])  # no special ones, as those of Qwen 3
    task = Summarize(model_kind="decoder")
    table = task.read(Table([{"text": "It leaked on Monday.", "summary": "It leaked."}], "rows"))
    (row,) = task.encode(table, tokenizer, 64, train=True)
    written = [token for token in row["labels"] if token != -100]
    settings = task.generation(tokenizer, MODEL)
    said = words_of(written, settings, words_begin(tokenizer))
    assert tokenizer.decode(said, skip_special_tokens=True).strip() == "It leaked."
    if name in ("Qwen 3", "DeepSeek R1"):
        start = tokenizer("<think>So it did.", add_special_tokens=False)["input_ids"]
        end = written.index(tokenizer.convert_tokens_to_ids("</think>"))
        said = words_of([*start, *written[end:]], settings, words_begin(tokenizer))
        assert tokenizer.decode(said, skip_special_tokens=True).strip() == "It leaked."


def test_what_a_template_would_cut_out_of_a_target_is_refused_by_its_row():
    tokenizer = tokenizer_of("Qwen 3")
    task = Summarize(model_kind="decoder")
    rows = [{"text": "a", "summary": "b"}, {"text": "c", "summary": "Use </think> to end."}]
    table = task.read(Table(rows, "rows", [4, 7]))
    with pytest.raises(AdaptkitError, match="rows:7: "):
        task.encode(table, tokenizer, 64, train=True)


def test_languages_are_said_to_a_decoder():
    task = Translate(model_kind="decoder", source_lang="en", target_lang="de")
    assert task.request == "Translate the following text from en to de.\n\n"
    assert Translate(model_kind="decoder").request == "Translate the following text.\n\n"


@pytest.mark.parametrize(
    "kind, words", [("llama", "is a decoder: give --model_kind decoder"), ("bert", "is an encoder")]
)
def test_models_that_cannot_write_so_are_refused(tmp_path, kind, words):
    make_model(kind, TEXTS, tmp_path / kind, vocab_size=300)
    flags = ["--model_name_or_path", str(tmp_path / kind), "--output_dir", str(tmp_path / "out")]
    with pytest.raises(AdaptkitError, match=words):
        translate.main([*flags, "--model_kind", "encoder-decoder"])
