"""adaptkit shrink says what became of an adapter."""

import re

import torch

from adaptkit import adapt, cli, load_base, save_adapter
from tests.tiny import randomize, tiny


def test_it_prints_ranks_sizes_and_shares(tmp_path, capsys):
    tiny("bert").save_pretrained(tmp_path / "bert")
    torch.manual_seed(0)
    model = adapt(load_base(str(tmp_path / "bert")), "lora[r=8]")
    randomize(model)
    save_adapter(model, tmp_path / "adapter")
    out = tmp_path / "out"
    command = ["shrink", str(tmp_path / "adapter"), "--output_dir", str(out)]
    cli.main([*command, "--variance", "0.9", "--rank", "4"])
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
