"""Answers of a chat end where its template ends them, whoever writes them."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from adaptkit import Host, Predictor, TaskCard, adapt, load_base, pipeline, save_adapter
from adaptkit.adapters.export import export
from adaptkit.data.corpus import load_corpus
from adaptkit.models.untrained.scratch import make_model
from tests.helpers.model_templates import CHATML

TEXTS = [row["text"] for row in load_corpus("train")[:40]]
END = "<|im_end|>"


@pytest.fixture(scope="module", params=["special", "plain"])
def adapter(request, tmp_path_factory):
    """An adapter over a base that says "x", ends its turn, says "x" again, and so on.

    The tokenizer has another end token, as those of base models have, and the end of turns as a
    special token or as an ordinary one.
    """
    root = tmp_path_factory.mktemp(request.param)
    sizes = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96}
    make_model("llama", TEXTS, root / "base", num_hidden_layers=1, **sizes)
    tokenizer = AutoTokenizer.from_pretrained(root / "base")
    names = ["<|im_start|>", END]
    if request.param == "special":
        tokenizer.add_special_tokens({"additional_special_tokens": names})
    else:
        tokenizer.add_tokens(names)
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(root / "base")
    model = AutoModelForCausalLM.from_pretrained(root / "base")
    model.resize_token_embeddings(len(tokenizer))
    prompt = tokenizer("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    says = tokenizer("x", add_special_tokens=False)["input_ids"][-1]
    end = tokenizer.convert_tokens_to_ids(END)
    _goes_on(model, {prompt[-1]: says, says: end, end: says})
    model.save_pretrained(root / "base")
    card = TaskCard(task="chat", settings={"max_new_tokens": 7}, max_length=64)
    adapted = adapt(load_base(str(root / "base"), task="chat"), "lora[r=2]")
    save_adapter(adapted, root / "adapter", card=card)
    return root / "adapter"


def _goes_on(model, following):
    """Make a token follow another, whatever is before them."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
        model.get_input_embeddings().weight.zero_()
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
        for place, (token, following_token) in enumerate(following.items()):
            model.get_input_embeddings().weight[token, place] = 1.0
            model.lm_head.weight[following_token, place] = 1.0


def test_a_predictor_and_a_host_end_where_the_template_does(adapter):
    assert Predictor(adapter)("Hi.") == [{"text": "x"}]
    host = Host(str(adapter.parent / "base"), slots=1)
    host.load("chat", adapter)
    assert host("Hi.", "chat")[0].text == "x"


def test_a_pipeline_and_what_is_exported_do_so_too(adapter, tmp_path):
    talk = [{"role": "user", "content": "Hi."}]
    said = pipeline(adapter)(talk)[0]["generated_text"][-1]["content"]
    assert said.removesuffix(END) == "x"
    export(adapter, tmp_path / "whole")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    end = tokenizer.convert_tokens_to_ids(END)
    assert model.generation_config.eos_token_id == sorted({tokenizer.eos_token_id, end})
    ids = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=7)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(written).strip() == f"x{END}"
    assert Predictor(tmp_path / "whole")("Hi.") == [{"text": "x"}]
