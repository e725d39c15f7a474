"""The recipe for classifiers over a BERT of three layers."""

import json

from adaptkit.recipes import classify
from safetensors.torch import load_file

UPPER = "lora[layers=last[1],dropout=0.1]"


def run(small, out, *more):
    files = [
        "--train_file",
        str(small / "train.jsonl"),
        "--validation_file",
        str(small / "dev.jsonl"),
    ]
    same = [
        "--label_column",
        "sentiment",
        "--learning_rate",
        "3e-3",
        "--disable_tqdm",
        "true",
        "--logging_steps",
        "1",
    ]
    same += [
        "--model_name_or_path",
        str(small / "bert"),
        "--per_device_train_batch_size",
        "8",
        "--num_train_epochs",
        "3",
    ]
    classify.main([*files, *same, "--output_dir", str(out), "--seed", "3", *more])
    return (
        json.loads((out / "all_results.json").read_text())
        if (out / "all_results.json").exists()
        else {}
    )


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")
