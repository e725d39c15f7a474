"""What these tests share: a tiny language model, and the check that a trained adapter is kept."""

import pytest
import torch

from adaptkit import adapt, load_adapter, load_base, load_tokenizer, save_adapter
from adaptkit.data.corpus import load_corpus
from adaptkit.models.backbone import bare_model
from adaptkit.models.untrained.scratch import make_model
from tests.helpers.parameters import weights

METHOD = "lora[r=4]+bottleneck[reduction=4]"
QUIET = {
    "per_device_train_batch_size": 4,
    "max_steps": 3,
    "logging_steps": 1,
    "learning_rate": 1e-2,
    "report_to": [],
    "disable_tqdm": True,
    "save_strategy": "no",
    "use_cpu": True,
    "bf16": False,
}


@pytest.fixture(scope="session")
def llama(tmp_path_factory) -> str:
    """The folder of a tiny Llama with a tokenizer."""
    texts = [row["text"] for row in load_corpus("train")[:40]]
    folder = tmp_path_factory.mktemp("llama")
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    make_model("llama", texts, folder, vocab_size=300, **sizes)
    return str(folder)


@pytest.fixture
def adapted(llama):
    """An adapted Llama with some head, and its tokenizer."""

    def make(task="AutoModelForCausalLM", labels=None):
        return adapt(load_base(llama, task=task, labels=labels), METHOD), load_tokenizer(llama)

    return make


@pytest.fixture
def trained_and_kept(llama, tmp_path):
    """Train, and check that the adapter changed, the base did not, and a folder keeps all of it."""

    def check(model, train, task="AutoModelForCausalLM", labels=None):
        before = weights(model)
        train()
        after = weights(model)
        moved = {name for name, one in before.items() if not torch.equal(after[name], one)}
        assert moved
        assert all("adaptkit_weights" in name or "score" in name for name in moved), moved
        save_adapter(model, tmp_path / "kept")
        loaded = load_adapter(tmp_path / "kept", load_base(llama, task=task, labels=labels))
        ids = torch.arange(5, 21).view(2, 8)
        with torch.no_grad():
            answers = [bare_model(one.eval())(input_ids=ids).logits for one in (model, loaded)]
        torch.testing.assert_close(*answers, atol=1e-6, rtol=0)

    return check
