"""What one of two processes does: `in_two.py WHAT RANK PORT FOLDER`."""

import json
import os
import sys
from pathlib import Path

import torch

WORLD = 2


def main() -> None:
    what, rank, port, folder = sys.argv[1:]
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(WORLD)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torch.manual_seed(0)
    found = {"shard": shard, "trainer": trainer}[what](Path(folder))
    if rank == "0":
        (Path(folder) / "found.json").write_text(json.dumps(found))


def adapted():
    """A tiny BERT without dropout, with an adapter that is the same in every process."""
    from transformers import AutoModelForSequenceClassification

    from adaptkit import adapt
    from tests.tiny import randomize, tiny

    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    base = tiny("bert", AutoModelForSequenceClassification, **still)
    model = adapt(base, "lora[r=4]+bottleneck[placement=pfeiffer]", head=["classifier"])
    randomize(model, std=0.1)
    return model


def batch() -> dict[str, torch.Tensor]:
    ids = torch.arange(3, 67).view(8, 8)
    return {"input_ids": ids, "labels": torch.arange(8) % 2}


def steps(model, rows: dict[str, torch.Tensor], count: int = 3) -> list[float]:
    """Losses of a few steps."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.5)
    losses = []
    for _ in range(count):
        loss = model.train()(**rows).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def shard(folder: Path) -> list[float]:
    """Train with every layer sharded; each process has half of the batch."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (WORLD,))
    model = adapted()
    for layer in model.get_base_model().bert.encoder.layer:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    mine = {key: tensor.chunk(WORLD)[dist.get_rank()] for key, tensor in batch().items()}
    losses = torch.tensor(steps(model, mine))
    dist.all_reduce(losses)
    dist.destroy_process_group()
    return (losses / WORLD).tolist()


def trainer(folder: Path) -> list[float]:
    """Losses of transformers' own Trainer; each process has half of the batch."""
    return plain_trainer(folder, 4)


def plain_trainer(folder: Path, rows: int, accumulated: int = 1) -> list[float]:
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    from tests.interop.conftest import QUIET

    given = QUIET | {"per_device_train_batch_size": rows}
    args = TrainingArguments(
        str(folder / "out"), gradient_accumulation_steps=accumulated, **given, max_grad_norm=1e9
    )
    rows = Dataset.from_dict({key: tensor.tolist() for key, tensor in batch().items()})
    run = Trainer(adapted(), args, train_dataset=rows)
    run.train()
    return [
        entry[key]
        for entry in run.state.log_history
        if "loss" in entry
        for key in ("loss", "grad_norm")
    ]


if __name__ == "__main__":
    main()
