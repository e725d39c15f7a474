"""The README says what is so: its commands, its methods, its Python, its figures."""

import re
import subprocess
import sys
from pathlib import Path

from adaptkit import Predictor, TaskCard, adapt, load_base, parse_method, save_adapter
from adaptkit.cli import main
from adaptkit.methods import registry
from adaptkit.models import architectures

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def python_of(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.S)


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=["1", "5"]), "lora[r=2]")
    save_adapter(
        model,
        "runs/stars",
        card=TaskCard(
            task="classify", labels=["1", "5"], columns={"text": "review"}, max_length=64
        ),
    )
    names: dict = {}
    for code in python_of("README.md"):
        exec(code, names)
    assert names["answers"][0].keys() == {"label", "score"}
    assert names["model"].active_adapters == ["default"]
    assert names["host"].stats()["adapters"].keys() == {"stars"}
    exec(python_of("docs/host.md")[0], names)
    assert names["answers"][0].label in ("1", "5")
    assert names["host"].names() == []


def test_the_python_of_the_pages_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "METHODS", dict(registry.METHODS))
    monkeypatch.setattr(architectures, "ARCHITECTURES", dict(architectures.ARCHITECTURES))
    rows = [f"{'good' if i % 2 else 'bad'} number {i},{5 if i % 2 else 1}" for i in range(24)]
    (tmp_path / "reviews.csv").write_text("\n".join(["review,stars", *rows]) + "\n")
    trunk, whole = python_of("docs/training.md")
    names: dict = {}
    for code in (whole, trunk, *python_of("docs/architecture.md")):
        exec(code, names)
    assert Predictor("runs/stars")("good number 99")[0]["label"] in ("1", "5")
    assert adapt(load_base("all-MiniLM-L6-v2"), "shift[size=2]").merge_and_unload()
    assert "my-encoder" in architectures.ARCHITECTURES


def test_the_make_targets_and_files_of_the_readme_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    named = {one or other for one, other in re.findall(r"^make (\w+)|`make (\w+)`", README, re.M)}
    assert {"demo", "test", "bench"} <= named <= targets
    for link in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (ROOT / link).is_file(), link


def test_the_methods_of_the_readme_parse():
    table = README.partition("## Methods")[2].partition("`sites=")[0]
    written = [
        text for text in re.findall(r"^\| `([^`]+)`", table, re.M) if not text.startswith("peft:")
    ]
    assert len(written) == 6
    for text in written:
        assert parse_method(text)


def test_the_figures_of_the_readme_are_the_benchmarks():
    results = (ROOT / "benchmarks/RESULTS.md").read_text("utf-8")
    measured = dict(re.findall(r"^\| ([\w-]+) \| .*?\*\*([\d.]+)\*\*", results, re.M))
    tables = README.partition("## How good")[2].partition("## What")[0]
    said = dict(
        re.findall(
            r"^\| ([\w-]+)[^|]*\|(?: [^|]*\|)? (?:[A-Za-z][\w ]* )?(\d+\.\d+) \|", tables, re.M
        )
    )
    assert len(said) == 10
    for name, figure in said.items():
        digits = len(figure.partition(".")[2])
        assert figure == f"{float(measured[name]):.{digits}f}", name
    beside = dict(re.findall(r"^\| (\w+) .*all weights, Trainer: ([\d.]+) \|$", tables, re.M))
    assert beside["xquad"] == f"{float(measured['xquad-full']):.3f}"
    assert beside["conll2003"] == f"{float(measured['conll2003-full']):.3f}"


def test_the_figures_of_the_host_are_the_benchmarks():
    results = (ROOT / "benchmarks/RESULTS.md").read_text("utf-8")
    said = re.findall(
        r"^\| (\d+) wide, \d+ layers, (\d+) \| (.*?) \| \*\*(.*?)\*\* \| (.*?) \| (.*?) \|$",
        README,
        re.M,
    )
    assert len(said) == 4
    for width, tokens, maps, *figures in said:
        targets = "qv" if maps == "q and v" else "all"
        row = re.search(
            rf"^\| {width} \| {tokens} \| {targets} \| 32 \| [\d.]+ \| (.*?) \| (.*?) \| (.*?) \|",
            results,
            re.M,
        )
        assert list(row.groups()) == figures


def test_the_figures_of_training_are_the_benchmarks():
    results = (ROOT / "benchmarks/RESULTS.md").read_text("utf-8")
    runs = dict(re.findall(r"^\| (dynamic|best|adaptkit) \| (\d+) \|.*$", results, re.M))
    scores = dict(
        re.findall(r"^\| (dynamic|best|adaptkit) \| \d+ \|.*\| (0\.\d+) \(", results, re.M)
    )
    order = ("adaptkit", "best", "dynamic")
    said = re.search(
        r"takes (\d+) s; PEFT .*?takes (\d+) s .*?and (\d+) s .*?\(([\d.]+),\s([\d.]+), ([\d.]+)\)",
        README,
        re.S,
    )
    trunk = re.findall(r"last\[\d\]\]` \| on \| \d+ \| ([\d.]+) \|", results)
    assert re.search(
        r"are ([\d.]+) times faster .* last one ([\d.]+) times", README
    ).groups() == tuple(trunk)
    assert said.groups() == (
        *(runs[name] for name in order),
        *(f"{float(scores[name]):.3f}" for name in order),
    )


def test_the_picture_of_training_is_drawn_from_the_first_table_of_each_section(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import picture

    text = (ROOT / "benchmarks/RESULTS.md").read_text("utf-8")
    head, *steps = picture.rows(text, "One training step over its matrix products")
    assert head[4:8] == ["adaptkit", "PEFT autocast", "PEFT bf16", "AdapterHub"]
    assert len(steps) == 8
    _, *runs = picture.rows(text, "Whole trainings on SST-2")
    assert [row[0] for row in runs] == ["default", "dynamic", "best", "adaptkit"]
    subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/picture.py"), "--output", str(tmp_path / "p.png")],
        check=True,
    )


def test_the_figures_of_whole_trainings_on_a_gpu_are_the_benchmarks():
    results = (
        (ROOT / "benchmarks/RESULTS.md")
        .read_text("utf-8")
        .partition("| run on a GPU |")[2]
        .partition("\n## ")[0]
    )
    seconds = dict(re.findall(r"^\| (`\w+`(?:, no plans)?) \| ([\d. ]+\d) ", results, re.M))
    best = sum(map(float, seconds["`best`"].split())) / 2
    said = re.search(
        r"takes ([\d.]+) s there;\sPEFT with Trainer takes ([\d.]+) s .*? and (\d+) s", README
    ).groups()
    assert said == (
        f"{float(seconds['`adaptkit`, no plans']):.1f}",
        f"{float(seconds['`default`']):.1f}",
        f"{best:.0f}",
    )


def test_the_figures_of_new_shapes_are_the_benchmarks():
    results = (ROOT / "benchmarks/RESULTS.md").read_text("utf-8")
    plans = re.findall(r"^\| (?:train|write) \| torch's choice \| \d+ \| ([\d.]+) ", results, re.M)
    said = re.search(r"(\d+) ms\swhenever .*? (\d+) ms when", README).groups()
    assert said == tuple(f"{float(each):.0f}" for each in plans)


def test_the_figures_of_training_in_fp32_are_the_benchmarks():
    results = (
        (ROOT / "benchmarks/RESULTS.md")
        .read_text("utf-8")
        .partition("| run, in fp32 |")[2]
        .partition("\n## ")[0]
    )
    runs = dict(re.findall(r"^\| `(\w+)` \| (\d+) ", results, re.M))
    said = re.search(r"does not compute in bf16, it is (\d+), (\d+) and (\d+) s\.", README).groups()
    assert said == tuple(runs[name] for name in ("adaptkit", "best", "dynamic"))


def test_the_figures_of_dtypes_are_the_benchmarks():
    results = (ROOT / "benchmarks/RESULTS.md").read_text("utf-8")
    ours, theirs = (
        float(ms) / 1000
        for ms in re.search(r"^\| bfloat16 \| float32 \| (\d+) \| (\d+) \|", results, re.M).groups()
    )
    said = re.search(
        r"stored in bf16 takes\s([\d.]+) s where PEFT, over what transformers loads, takes "
        r"([\d.]+) s",
        README,
    ).groups()
    assert said == (f"{ours:.2f}", f"{theirs:.1f}")


def test_the_figures_of_a_gpu_are_the_benchmarks():
    results = (
        (ROOT / "benchmarks/RESULTS.md")
        .read_text("utf-8")
        .partition("### The same on a GPU")[2]
        .partition("\n## ")[0]
    )
    rows = re.findall(r"^\| 768 \| (24|128) \| lora(?: \(second run\))? \| (.*) \|$", results, re.M)
    printed = {tokens: row.split(" | ") for tokens, row in reversed(rows)}
    compiled = rows[-1][1].split(" | ")
    for tokens in ("24", "128"):
        ours, theirs = re.search(
            rf"^\| {tokens} \| \*\*([\d.]+)\*\* \| ([\d.]+) \|", README, re.M
        ).groups()
        assert (ours, theirs) == tuple(f"{float(printed[tokens][column]):.1f}" for column in (1, 5))
    assert re.search(r"([\d.]+) \(([\d.]+) without, in that run\)", README).groups() == tuple(
        f"{float(compiled[column]):.1f}" for column in (6, 5)
    )


def test_the_cards_of_a_store_are_listed(tmp_path, capsys):
    model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=2), "ia3")
    save_adapter(model, tmp_path / "one", card=TaskCard(task="classify"))
    main(["list", str(tmp_path)])
    assert re.search(r"one +classify +2 +ia3", capsys.readouterr().out)
