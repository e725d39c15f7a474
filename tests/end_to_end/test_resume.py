"""A run that was killed goes on to the same weights. Real processes."""

import json
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from adaptkit.recipes import classify

from adaptkit.training.fastest_attention import earlier_choice
from tests import processes
from tests.helpers.small import CHAT, CLASSIFY, OFTEN, flags, weights

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe, own, kind", [("classify", CLASSIFY, "bert"), ("chat", CHAT, "llama")]
)
def test_a_killed_run_resumes_to_the_same_weights(small, tmp_path, recipe, own, kind):
    """SIGKILL at a step nobody chose; the resumed run ends with the weights of one that ran
    through, bit by bit.
    """
    words = [
        *own,
        *OFTEN,
        "--num_train_epochs",
        "4",
        "--per_device_train_batch_size",
        "8",
        "--save_total_limit",
        "3",
    ]
    words += ["--method", "lora[dropout=0.1]"]

    def command(out: Path, *more: str) -> list[str]:
        return [str(ROOT / f"recipes/{recipe}.py"), *flags(small, out, *words, *more, kind=kind)]

    killed = processes.start(*command(tmp_path / "killed"))
    while not list((tmp_path / "killed").glob("checkpoint-*/trainer_state.json")):
        assert killed.process.is_alive(), killed.stderr[-2000:]
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.4))
    killed.kill()
    assert killed.wait().returncode == -signal.SIGKILL
    assert not (tmp_path / "killed/adapter_model.safetensors").exists()
    processes.run(*command(tmp_path / "killed", "--resume_from_checkpoint", "true"))
    # measured: another start may find another one faster
    attention = earlier_choice(tmp_path / "killed").name
    processes.run(*command(tmp_path / "whole", "--attn_implementation", attention))
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert one.keys() == two.keys()
    for key, tensor in one.items():
        assert torch.equal(two[key], tensor), key
    assert max(tensor.abs().max() for key, tensor in one.items() if "lora_B" in key) > 1e-3


def test_a_training_with_a_budget_of_tokens_resumes_to_the_same_weights(small, tmp_path):
    words = [*CLASSIFY, "--num_train_epochs", "2", "--max_tokens_per_batch", "256", "--bf16"]
    words += ["false", "--save_strategy", "steps", "--save_steps", "2", "--eval_strategy", "no"]
    words += ["--attn_implementation", "eager"]  # runs of their own may find another one faster
    whole, again = tmp_path / "whole", tmp_path / "again"
    classify.main(flags(small, whole, *words, "--save_total_limit", "50"))
    results = json.loads((whole / "all_results.json").read_text())
    steps = sorted(int(path.name.rpartition("-")[2]) for path in whole.glob("checkpoint-*"))
    assert steps[-1] > 2 * 48 // 32  # batches of 32 rows would be fewer
    assert results["padding"] < 0.2
    first = str(whole / f"checkpoint-{steps[0]}")
    classify.main(flags(small, again, *words, "--resume_from_checkpoint", first))
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(again)[name], tensor), name
