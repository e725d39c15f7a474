"""GGUF files as bases, against the folder that they were written from."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from adaptkit import AdaptkitError, adapt, load_adapter, load_base, load_tokenizer, save_adapter
from adaptkit.models.gguf import converted
from tests.helpers.gguf_files import TEMPLATE, write_llama

TEXTS = ["the lamp is red", "a green door", "blue boats", "my coat is green and old"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    return write_llama(folder, TEXTS)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def test_a_file_is_the_model_it_was_made_from(made):
    base, origin = load_base(str(made), task="chat"), made.parent / "llama"
    whole = AutoModelForCausalLM.from_pretrained(origin)
    assert base.dtype == torch.float32
    assert base.state_dict().keys() == whole.state_dict().keys()
    for name, tensor in whole.state_dict().items():
        assert torch.equal(base.state_dict()[name], tensor), name
    tokenizer, theirs = load_tokenizer(str(made)), load_tokenizer(str(origin))
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == theirs(text)["input_ids"]
    assert tokenizer.chat_template == TEMPLATE
    batch = theirs(TEXTS[0], return_tensors="pt")
    torch.testing.assert_close(base(**batch).logits, whole(**batch).logits)


def test_it_is_converted_once_and_anew_where_it_changes(made, tmp_path, capsys):
    first = converted(made)
    stamp = (first / "config.json").stat().st_mtime_ns
    assert converted(made) == first
    assert (first / "config.json").stat().st_mtime_ns == stamp
    copy = Path(shutil.copy2(made, tmp_path))
    assert converted(copy) == first
    changed = bytearray(made.read_bytes())
    changed[len(changed) // 2] ^= 1
    copy.write_bytes(changed)
    assert converted(copy) != first
    assert "converting model.gguf once" in capsys.readouterr().out


def test_an_adapter_names_the_file_and_loads_over_it(made, tmp_path):
    base = load_base(str(made), task="chat")
    model = adapt(base, "lora[r=2]")
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    save_adapter(model, tmp_path / "a")
    stored = json.loads((tmp_path / "a/adapter_config.json").read_text())
    assert stored["base_model_name_or_path"] == str(made)
    ids = load_tokenizer(str(made))(TEXTS[1], return_tensors="pt")
    again = load_adapter(tmp_path / "a")
    assert torch.equal(again(**ids).logits, model.eval()(**ids).logits)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"PK\3\4", "is no GGUF file"),
        (b"GGUF\3\0\0\0", "m.gguf cannot be read as a language model"),
        (None, "no GGUF file"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, content, words):
    file = tmp_path / "m.gguf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(AdaptkitError, match=words):
        load_base(str(file))


def test_a_folder_with_a_file_names_it(made):
    with pytest.raises(AdaptkitError, match=f"name its file instead: {made}"):
        load_base(str(made.parent))


@pytest.mark.slow
def test_the_packaged_chat_model_answers_to_its_name():
    base = load_base("SmolLM2-135M-Instruct", task="chat")
    assert base.adaptkit_base.name == "HuggingFaceTB/SmolLM2-135M-Instruct"
    tokenizer = load_tokenizer("SmolLM2-135M-Instruct")
    talk = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_tensors="pt")
    answer = base.generate(**ids, max_new_tokens=16, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, ids["input_ids"].shape[1] :])


def test_processes_that_convert_at_once_all_get_the_whole_model(made, tmp_path):
    script = f"from adaptkit import load_base; print(load_base({str(made)!r}).num_parameters())"
    environment = {**os.environ, "ADAPTKIT_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", script]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    said = [run.communicate()[0].splitlines() for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len({lines[-1] for lines in said}) == 1
    assert sum("converting" in " ".join(lines) for lines in said) == 1


def test_a_conversion_that_was_killed_is_made_again(made, tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path))
    folder = converted(made)
    (folder / "converted.json").unlink()
    (folder / "model.safetensors").unlink()
    assert converted(made) == folder
    assert load_base(str(made)).num_parameters() > 0
