"""Memory and time of training a decoder with a modern vocabulary: adaptkit, TRL, and no logits.

    python benchmarks/decoder_memory.py [--tokens 2048 1024] [--steps 6] [--cases ...]

A Qwen3 with random weights: 2 layers, 512 wide, a tied vocabulary of 151,936. LoRA r 8 on the query
and value maps, fp32, one row a batch, loss on its last 256 tokens. Each case has a process of its
own: peak is its largest resident size above that before its trainer is made, seconds the median of
all steps but the first two. TRL (`pip install trl`) without gradient checkpoints, which no other
case has either. Evaluation: 8 rows of the first length, above the process before it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ANSWER = 256  # tokens that carry loss
VOCABULARY = 151_936


def make_base(folder: str) -> None:
    """Write the model and a tokenizer that is never asked."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<end>": 1, "<unk>": 2}, "<unk>"))
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    ).save_pretrained(folder)


def rows(tokens: int, count: int, mask: bool = True) -> Any:
    """Rows of random tokens, of which the last ones carry loss."""
    import datasets
    import torch

    torch.manual_seed(0)
    ids = torch.randint(3, VOCABULARY, (count, tokens))
    labels = ids.clone()
    labels[:, :-ANSWER] = -100
    found = {"input_ids": ids.tolist(), "labels": labels.tolist()}
    found |= {"attention_mask": torch.ones_like(ids).tolist()} if mask else {}
    return datasets.Dataset.from_dict(found)


def clock() -> tuple[Any, list[float]]:
    """A callback, and the seconds of each step it has seen."""
    from transformers import TrainerCallback

    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            seconds.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds[-1] = time.perf_counter() - seconds[-1]

    return Clock(), seconds


def settings(work: str, steps: int) -> dict[str, Any]:
    return {
        "output_dir": work,
        "max_steps": steps,
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 8,
        "learning_rate": 1e-3,
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "seed": 0,
    }


def lora(folder: str) -> Any:
    """The base with PEFT's LoRA."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
    return get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)


def adaptkit(folder: str, work: str, tokens: int, steps: int, mark: Any) -> list[float]:
    from adaptkit import adapt, load_base, load_tokenizer
    from adaptkit.data.tables import Table
    from adaptkit.tasks.chat import Chat
    from adaptkit.training.defaults import training_arguments
    from adaptkit.training.fit import make_trainer, run_trainer
    from adaptkit.training.options import EncodedSplit

    model = adapt(load_base(folder, task="chat"), "lora[r=8,alpha=16,sites=attn.q|attn.v]")
    data = rows(tokens, steps)
    data = data.add_column("length", [tokens] * steps)
    mark()
    args = training_arguments(train=steps, method="lora", **settings(work, steps))
    split = EncodedSplit(Table([{}] * steps, "random"), data)
    trainer = make_trainer(model, Chat(), split, None, load_tokenizer(folder), args)
    callback, seconds = clock()
    trainer.add_callback(callback)
    run_trainer(trainer)
    return seconds


def evaluation(folder: str, work: str, tokens: int, steps: int, mark: Any) -> list[float]:
    from adaptkit import load_base, load_tokenizer
    from adaptkit.inference.predict import predict
    from adaptkit.tasks.chat import Chat

    model, data = load_base(folder, task="chat"), rows(tokens, 8 * steps)
    data = data.add_column("length", [tokens] * len(data))
    mark()
    began = time.perf_counter()
    predict(model, Chat(), data, load_tokenizer(folder), 8)
    return [(time.perf_counter() - began) / steps] * 3


def trl(folder: str, work: str, tokens: int, steps: int, mark: Any) -> list[float]:
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    model, data = lora(folder), rows(tokens, steps, mask=False)
    mark()
    callback, seconds = clock()
    trainer = SFTTrainer(
        model,
        SFTConfig(**settings(work, steps), max_length=None),
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(folder),
        callbacks=[callback],
    )
    trainer.train()
    return seconds


def trainer(folder: str, work: str, tokens: int, steps: int, mark: Any) -> list[float]:
    from transformers import Trainer, TrainingArguments

    model, data = lora(folder), rows(tokens, steps)
    mark()
    callback, seconds = clock()
    args = TrainingArguments(**settings(work, steps))
    from transformers import default_data_collator

    Trainer(
        model,
        args,
        train_dataset=data,
        data_collator=default_data_collator,
        callbacks=[callback],
    ).train()
    return seconds


def no_logits(folder: str, work: str, tokens: int, steps: int, mark: Any) -> list[float]:
    """The network alone, and the sum of its states as a loss."""
    import torch

    model, data = lora(folder), rows(tokens, steps)
    mark()
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer, seconds = torch.optim.AdamW(trained, lr=1e-3), []
    for row in data.with_format("torch"):
        began = time.perf_counter()
        states = model.get_base_model().model(input_ids=row["input_ids"][None]).last_hidden_state
        states[:, -ANSWER:].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
    return seconds


CASES = {
    "adaptkit": adaptkit,
    "TRL": trl,
    "Trainer": trainer,
    "no logits": no_logits,
    "adaptkit, evaluation of 8 rows": evaluation,
}


def one(case: str, folder: str, tokens: int, steps: int) -> None:
    """Run a case; print its peak and seconds as JSON."""
    start = 0

    def mark() -> None:
        nonlocal start
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins at what is held now
        start = _peak()

    with tempfile.TemporaryDirectory() as work:
        seconds = CASES[case](folder, work, tokens, steps, mark)
    found = {"peak": (_peak() - start) / 1e6, "seconds": statistics.median(seconds[2:])}
    print(json.dumps(found))


def _peak() -> int:
    """The largest resident size of this process so far, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 1024])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        case, folder, tokens, steps = given.one
        one(case, folder, int(tokens), int(steps))
        return
    cases = [case for case in given.cases if case != "TRL" or importlib.util.find_spec("trl")]
    with tempfile.TemporaryDirectory() as folder:
        make_base(folder)
        each = " | ".join(f"{tokens} tokens: GB | seconds a step" for tokens in given.tokens)
        print(f"| | {each} |\n|---|{'---|---|' * len(given.tokens)}")
        for case in cases:
            cells = []
            for tokens in given.tokens:
                words = ["--one", case, folder, str(tokens), str(given.steps)]
                done = subprocess.run(
                    [sys.executable, __file__, *words], capture_output=True, text=True
                )
                if done.returncode:
                    sys.exit(done.stderr[-3000:])
                found = json.loads(done.stdout.splitlines()[-1])
                cells += [f"{found['peak']:.2f}", f"{found['seconds']:.2f}"]
            print(f"| {case} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
