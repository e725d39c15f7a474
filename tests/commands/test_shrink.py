"""adaptkit shrink says what became of an adapter."""

import re

import pytest
import torch
from safetensors.torch import load_file

from adaptkit import AdaptkitError, TaskCard, adapt, cli, load_base, save_adapter, shrink
from tests.tiny import randomize, tiny


def stored(folder, method, random=True):
    tiny("bert").save_pretrained(folder / "bert")
    torch.manual_seed(0)
    model = adapt(load_base(str(folder / "bert")), method)
    if random:
        randomize(model)
    save_adapter(model, folder / "adapter")
    return ["shrink", str(folder / "adapter"), "--output_dir", str(folder / "out")]


def test_it_prints_ranks_sizes_and_shares(tmp_path, capsys):
    out = tmp_path / "out"
    cli.main([*stored(tmp_path, "lora[r=8]"), "--variance", "0.9", "--rank", "4"])
    said = capsys.readouterr().out
    assert re.search(r"^rank +8 +4$", said, re.M)
    assert re.search(r"^kB +\d+ +\d+$", said, re.M)
    assert re.search(
        r"^variance kept: 0\.\d{4} on average of 12 maps, 0\.\d{4} at least \(encoder\.layer\.\d",
        said,
        re.M,
    )
    assert re.search(r"^--rank 4 keeps less than 0.9 at 12 maps; .* a rank of 5 to \d$", said, re.M)
    assert f"adaptkit evaluate {out} --file test.csv" in said
    cli.main(["shrink", str(out), "--output_dir", str(tmp_path / "again")])
    assert "keeps less" not in capsys.readouterr().out


def test_an_adapter_that_changes_nothing_is_said(tmp_path, capsys):
    cli.main(stored(tmp_path, "lora[r=4]", random=False))
    printed = capsys.readouterr().out
    assert "is zero at all of its 12 maps: it leaves the base as it is" in printed
    assert "variance kept" not in printed
    assert "was zero at every map" in (tmp_path / "out/README.md").read_text()


def test_what_would_grow_is_refused_or_said_before_it_is_written(tmp_path, capsys):
    command = stored(tmp_path, "vera[r=16]")
    size = (tmp_path / "adapter/adapter_model.safetensors").stat().st_size
    with pytest.raises(AdaptkitError) as refused:
        cli.main(command)
    assert not (tmp_path / "out").exists()
    kilobytes = f"{size / 1000:.0f} kB"
    assert f"in {kilobytes}, and a LoRA with 0.95 of its variance has rank" in str(refused.value)
    cli.main([*command, "--variance", "1"])
    warning, *_ = capsys.readouterr().out.splitlines()
    tensors = load_file(tmp_path / "out/adapter_model.safetensors").values()
    after = f"{sum(one.nbytes for one in tensors) / 1000:.0f} kB"
    assert warning.startswith(f"warning: the adapter grows from {kilobytes} to {after}: vera[")


def test_a_readme_says_what_it_is_and_that_no_score_is_known(tmp_path):
    tiny("bert").save_pretrained(tmp_path / "bert")
    labels = ["no", "yes"]
    model = adapt(load_base(str(tmp_path / "bert"), task="classify", labels=labels), "lora[r=4]")
    randomize(model)
    card = TaskCard(task="classify", labels=labels, metrics={"test_f1": 0.5})
    save_adapter(model, tmp_path / "large", card=card)
    found = shrink(tmp_path / "large", tmp_path / "small", rank=2)
    text = (tmp_path / "small/README.md").read_text()
    assert "tags: [adaptkit, peft, classify]" in text
    assert "A LoRA for **classify** over" in text
    assert "Labels: `no`, `yes`." in text
    assert "of rank 4 it has 2" in text
    assert f"and {min(found.kept.values()):.4f} at least" in text
    assert f"adaptkit evaluate {tmp_path / 'small'} --file test.csv" in text
    assert "0.5000" not in text
