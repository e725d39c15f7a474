"""The documentation says what is so: its Python runs, its commands parse, its links lead somewhere,
its figures are those of the benchmarks.

A comment before a code block says what it needs: `<!-- needs: hub -->` (or gpu, data, minutes) for
what is not run here, `<!-- files: reviews.csv -->` for files that are prepared, `<!-- output -->`
for output, `<!-- run: last -->` for a block that uses names of a later one.
"""

import argparse
import asyncio
import importlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

import adaptkit
from adaptkit import TaskCard, adapt, load_base, parse_method, save_adapter
from adaptkit.cli import COMMANDS, main, make_parser
from adaptkit.commands import train as train_command
from adaptkit.methods import registry
from adaptkit.models import architectures
from adaptkit.recipe.arguments import MultitaskArguments, RecipeArguments, StudentArguments
from adaptkit.recipe.parser import parse_known, parse_recipe, recipe_flags
from adaptkit.recipe.registry import SCRIPTS
from adaptkit.tasks import registry as task_registry
from adaptkit.tasks.flags import flags_of
from adaptkit.tasks.registry import TASKS, find_task
from adaptkit.training.defaults import DEFAULTS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
RESULTS = (ROOT / "benchmarks/RESULTS.md").read_text("utf-8")
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
]
COLUMNS, README_LINES = 100, 130
TEACHERS = {"runs/chat": "chat", "runs/translate": "translate"}  # folder -> what it teaches
AT_ONCE = ("list", "show", "predict")  # commands that take seconds
EXAMPLE = "yesno"  # the task that docs/extend.md makes
STOP_WORDS = (
    *("so many", "wants", "is none", "said aloud", "foretold", "asks all the same"),
    *("road", "roads", "trunk", "judge", "judges", "judged"),
)


@dataclass(frozen=True)
class Block:
    """A code block of a page. `marks`: what the comment before it says."""

    page: str
    line: int
    language: str
    code: str
    marks: dict[str, str]

    @property
    def runs(self) -> bool:
        return "needs" not in self.marks


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, language: str) -> list[Block]:
    """The code blocks of a page in a language, in the order in which they run."""
    found = []
    pattern = r"^(?:<!-- (.+?) -->\n)?```(\w+)\n(.*?)^```$"
    text = text_of(page)
    for match in re.finditer(pattern, text, re.M | re.S):
        name, _, value = (match[1] or "").partition(":")
        line = text[: match.start(2)].count("\n") + 1
        found.append(Block(page, line, match[2], match[3], {name: value.strip()}))
    mine = [block for block in found if block.language == language]
    return sorted(mine, key=lambda block: "run" in block.marks)


def pages_with(language: str) -> list[str]:
    return [page for page in PAGES if blocks(page, language)]


@pytest.fixture(scope="module")
def stars(tmp_path_factory) -> Path:
    """An adapter of labels 1 and 5."""
    folder = tmp_path_factory.mktemp("adapters") / "stars"
    model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=["1", "5"]), "lora[r=2]")
    columns = {"text": "review", "label": "stars"}
    card = TaskCard(task="classify", labels=["1", "5"], columns=columns, max_length=64)
    save_adapter(model, folder, card=card)
    return folder


def prepare(folder: Path, page: str, stars: Path) -> None:
    """The files that a page says it needs."""
    marks = (
        block.marks.get("files", "")
        for language in ("python", "bash")
        for block in blocks(page, language)
    )
    for name in {name.strip() for mark in marks for name in mark.split(",") if name.strip()}:
        if name == "runs/stars":
            (folder / "runs").mkdir(exist_ok=True)
            shutil.copytree(stars, folder / name)
        else:
            assert name == "reviews.csv", name
            rows = [
                f"{'good' if i % 2 else 'bad'} number {i},{5 if i % 2 else 1}" for i in range(24)
            ]
            (folder / name).write_text("\n".join(["review,stars", *rows]) + "\n")


# Python


def check_readme(names: dict) -> None:
    assert names["answers"][0].keys() == {"label", "score"}
    assert type(names["model"]).__name__.startswith("PeftModel")


def check_index(names: dict) -> None:
    assert names["answers"][0].keys() == {"label", "score"}
    assert names["model"].active_adapters == ["default"]


def check_training(names: dict) -> None:
    predictor = adaptkit.Predictor("runs/stars")
    assert predictor("good number 99")[0]["label"] in ("1", "5")
    assert names["options"].activation_cache.size > 0


def check_host(names: dict) -> None:
    """The web application answers, and tells a bad request from a good one."""
    assert names["host"].names() == ["stars"]
    assert {answer.label for answer in names["found"]} <= {"1", "5"}

    def ask(request: dict) -> tuple[int, dict]:
        sent = []

        async def receive() -> dict:
            return {"body": json.dumps(request).encode()}

        async def send(message: dict) -> None:
            sent.append(message)

        asyncio.run(names["app"]({}, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"])

    status, answer = ask({"text": "Arrived early.", "adapter": "stars"})
    assert status == 200
    assert answer.keys() == {"label", "score"}
    status, answer = ask({"text": "Arrived early.", "adapter": "starz"})
    assert status == 400
    assert "stars" in answer["error"]


def check_extend(names: dict) -> None:
    assert names["merged"] is not None
    assert "mpnet" in architectures.ARCHITECTURES
    task = adaptkit.Predictor("runs/yesno").task
    assert type(task) is names["YesNo"]
    assert task.settings() == {"threshold": 0.6}
    assert names["answers"][0]["label"] in ("yes", "no")


CHECKS = {
    "README.md": check_readme,
    "docs/index.md": check_index,
    "docs/training.md": check_training,
    "docs/host.md": check_host,
    "docs/extend.md": check_extend,
}


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("python"))
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch, stars):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "METHODS", dict(registry.METHODS))
    monkeypatch.setattr(architectures, "ARCHITECTURES", dict(architectures.ARCHITECTURES))
    prepare(tmp_path, page, stars)
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    for block in blocks(page, "python"):
        code = compile(block.code, f"{page}:{block.line}", "exec")
        if block.runs:
            exec(code, vars(module))
    try:
        CHECKS.get(page, lambda names: None)(vars(module))
    finally:
        task_registry._REGISTERED.pop(EXAMPLE, None)


def test_pages_with_python_are_checked():
    assert set(CHECKS) < set(pages_with("python"))


# Commands


def commands_of(block: Block) -> list[list[str]]:
    """The words of each command; comments are left out."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def parse_command(words: list[str]) -> None:
    """Parse a command as it would be when it is run.

    Raises:
        SystemExit, AdaptkitError, AssertionError: it cannot be.
    """
    program, *rest = words
    if program == "make":
        assert set(rest) <= set(re.findall(r"^([\w-]+):", text_of("Makefile"), re.M)), rest
    elif program == "adaptkit":
        main(rest)
    elif program in ("python", "accelerate"):
        script, *flags = rest[1:] if program == "accelerate" else rest
        if script == "-m":
            script = f"{flags[0].replace('.', '/')}.py"
        assert (ROOT / script).is_file(), script
        if script.startswith("recipes/"):
            parse_flags("train", Path(script).stem, flags)
    else:
        assert program == "pip", words


def parse_flags(command: str, name: str, flags: list[str]) -> None:
    """Parse a recipe's flags, those of Trainer too."""
    assert name in SCRIPTS, name
    others: set[str] = set()
    kind, task, rest = RecipeArguments, name, flags
    if name == "multitask":
        _, rest = parse_known(MultitaskArguments, flags, None)
        task, others = "classify", set(flags_of(MultitaskArguments))
    elif name == "distill":
        teacher = flags[flags.index("--teacher") + 1]
        kind, task = StudentArguments, TEACHERS.get(teacher, "classify")
    parsed = parse_recipe(find_task(task), rest, "", kind, others)
    parsed.make_training(**DEFAULTS, output_dir="out")


@pytest.mark.parametrize("page", pages_with("bash"))
def test_the_commands_of_a_page_parse(page, monkeypatch):
    ran = []
    for module in COMMANDS.values():
        monkeypatch.setattr(module, "run", ran.append)
    monkeypatch.setattr(train_command, "run_with_flags", parse_flags)
    for block in blocks(page, "bash"):
        for words in commands_of(block):
            try:
                parse_command(words)
            except BaseException as problem:
                raise AssertionError(f"{page}:{block.line}: {shlex.join(words)}") from problem
    assert all(isinstance(given, argparse.Namespace) for given in ran)


def test_a_wrong_flag_is_found(monkeypatch):
    monkeypatch.setattr(train_command, "run_with_flags", parse_flags)
    for words in ("train classify --text_colum review", "predict runs/stars --topk 3 text"):
        with pytest.raises((SystemExit, adaptkit.AdaptkitError)):
            main(shlex.split(words))


def test_commands_run_or_say_what_they_need(tmp_path, monkeypatch, capsys, stars):
    """Unmarked commands take seconds and are run; or set up by make; or train a recipe on the
    embedded corpus, as tests/test_all_recipes.py does for each.
    """
    monkeypatch.chdir(tmp_path)
    ran = 0
    for page in pages_with("bash"):
        folder = tmp_path / page.replace("/", "-")
        folder.mkdir()
        monkeypatch.chdir(folder)
        prepare(folder, page, stars)
        for words in (w for b in blocks(page, "bash") if b.runs for w in commands_of(b)):
            if words[0] == "make":
                continue
            where = f"{page}: {shlex.join(words)}"
            if words[:2] == ["adaptkit", "train"]:
                assert words[2] in TASKS, where
                assert len(words) == 3, where
            elif words[0] == "python":
                assert not any("file" in word for word in words), where
                flags = ["--max_steps", "2", "--overwrite_output_dir", "--output_dir", "run"]
                recipe = importlib.import_module(f"adaptkit.recipes.{Path(words[1]).stem}")
                recipe.main([*words[2:], *flags])
                assert (folder / "run/task.json").is_file()
                ran += 1
            else:
                assert words[0] == "adaptkit", where
                assert words[1] in AT_ONCE, where
                main(words[1:])
                ran += 1
    assert ran >= 4
    assert "stars" in capsys.readouterr().out


def test_commands_explain_themselves(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            make_parser().parse_args([name, "--help"])
        assert ended.value.code == 0
    assert "usage: adaptkit" in capsys.readouterr().out


def known_flags() -> set[str]:
    """Every flag of recipes, of Trainer, of commands, and of benchmarks."""
    from transformers import HfArgumentParser, TrainingArguments

    parser = HfArgumentParser(TrainingArguments, allow_abbrev=False)
    found = {action.dest for action in parser._actions}
    for kind in (RecipeArguments, StudentArguments, MultitaskArguments):
        found |= set(flags_of(kind))
    for name in TASKS:
        found |= set(recipe_flags(find_task(name)))
    [subparsers] = [a for a in make_parser()._actions if isinstance(a.choices, dict)]
    for command in subparsers.choices.values():
        found |= {action.dest for action in command._actions}
    for path in (ROOT / "benchmarks").glob("*.py"):
        found |= set(re.findall(r'"--(\w+)"', path.read_text("utf-8")))
    return found | {"help_all", "PART_column"}


def test_every_flag_that_pages_name_exists():
    known = known_flags()
    foreign = {"cpu", "num_processes"}  # of accelerate
    for page in PAGES:
        spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text_of(page), flags=re.S))
        named = {flag for span in spans for flag in re.findall(r"--([A-Za-z]\w+)", span)}
        assert named <= known | foreign, (page, named - known)


# Links, names, form


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_and_named_files_of_a_page_exist(page):
    text, folder = text_of(page), (ROOT / page).parent
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)", text):
        linked = folder / target if target else ROOT / page
        assert linked.exists(), target
        if anchor:
            assert anchor[1:] in anchors(linked), (target, anchor)
    named = re.findall(r"\b(?:adaptkit|tests|benchmarks|docs|recipes)/[\w/.-]*\w/?", text)
    for name in named:
        known = EXAMPLE in name or "TASK" in name or (ROOT / name).exists()
        assert known, name
    for dotted in re.findall(r"\badaptkit(?:\.[A-Za-z_]\w*)+", text):
        assert dotted == "adaptkit.methods" or resolves(dotted), dotted


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module or something in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_narrow_and_plain(page):
    lines = text_of(page).splitlines()
    wide = [number for number, line in enumerate(lines, 1) if len(line) > COLUMNS]
    assert not wide, wide
    prose = re.sub(r"```.*?```|`[^`]*`", "", text_of(page), flags=re.S)
    for word in STOP_WORDS:
        assert not re.search(rf"\b{word}\b", prose, re.I), word
    assert not re.search(r"what is \w+ is", prose)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= README_LINES
    assert len(text_of("CONTRIBUTING.md").splitlines()) <= 45


def test_every_guarantee_has_its_test():
    """`host/test_engine.py::any_mix` is a test in that file whose name begins so."""
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text_of("docs/guarantees.md"))
    assert len(named) > 15
    for file, name in named:
        assert f"def test_{name}" in (ROOT / "tests" / file).read_text("utf-8"), f"{file}::{name}"


def test_how_it_works_takes_eight_steps_each():
    text = text_of("docs/how_it_works.md")
    for title in ("One row", "One request"):
        section = text.partition(f"## {title}")[2].partition("\n## ")[0]
        steps = re.findall(r"^(\d+)\. \[`([\w/.]+)`\]\(\.\./([\w/.]+)\), `([\w.]+)`", section, re.M)
        assert [int(number) for number, *_ in steps] == list(range(1, 9))
        for _, shown, linked, function in steps:
            assert shown == linked
            module = linked.removesuffix(".py").replace("/", ".")
            assert resolves(f"{module}.{function}"), function


def test_the_reference_has_every_public_name_once():
    listed = re.findall(r"^::: ([\w.]+)$", text_of("docs/reference.md"), re.M)
    assert sorted(name.rpartition(".")[2] for name in listed) == sorted(adaptkit._HOME)
    for name in listed:
        module, _, public = name.rpartition(".")
        assert getattr(importlib.import_module(module), public) is getattr(adaptkit, public)


def test_the_site_builds_without_a_warning(tmp_path):
    for name in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        if importlib.util.find_spec(name.partition(".")[0]) is None:
            pytest.skip(f"{name} is not installed: pip install '.[docs]'")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for page in (tmp_path / "index.html", tmp_path / "tasks/classify.html"):
        assert not re.search(r'<\w+[^>]*(?:src|href)="https?:', page.read_text("utf-8"))
    assert "load_base" in (tmp_path / "reference.html").read_text("utf-8")


# What the README says of methods and figures


def test_the_methods_of_the_readme_parse():
    table = README.partition("## Methods")[2].partition("`sites=")[0]
    written = re.findall(r"^\| `([^`]+)`", table, re.M)
    ours = [text for text in written if not text.startswith("peft:")]
    assert len(ours) == 6
    for text in ours:
        assert parse_method(text)
    for row in re.findall(r"^\| `(\w+)\[?.*?` \| .* \| (yes|no) \| (yes|no) \|$", table, re.M):
        [method] = parse_method(row[0] + ("[adapters=2]" if row[0] == "fusion" else ""))
        assert (method.identity_at_start, method.affine) == (row[1] == "yes", row[2] == "yes")


def test_the_figures_of_the_readme_are_the_benchmarks():
    measured = dict(re.findall(r"^\| ([\w-]+) \| .*?\*\*([\d.]+)\*\*", RESULTS, re.M))
    table = README.partition("## How good")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\w-]+) \|[^|]*\| [A-Za-z][\w ]* (\d+\.\d+) \| (.*) \|$", table, re.M)
    assert len(rows) == 10
    for name, figure, _ in rows:
        digits = len(figure.partition(".")[2])
        assert figure == f"{float(measured[name]):.{digits}f}", name
    compared = {name: beside for name, _, beside in rows}
    for name in ("xquad", "conll2003"):
        assert compared[name] == f"all weights, Trainer: {float(measured[f'{name}-full']):.3f}"
    beside = {name: re.search(r"[\d.]+$", text) for name, text in compared.items()}
    for name in ("agnews", "clinc150", "semeval2010", "stsb-embed", "wikitext2"):
        row = re.search(rf"^\| {name} \|.*$", RESULTS, re.M)[0]
        shown = {f"{float(number):.3f}" for number in re.findall(r"\d+\.\d+", row)}
        assert f"{float(beside[name][0]):.3f}" in shown | {"190.470"}, name


def test_the_picture_of_training_is_drawn_from_the_first_table_of_each_section(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import picture

    head, *steps = picture.rows(RESULTS, "One training step over its matrix products")
    assert head[4:8] == ["adaptkit", "PEFT autocast", "PEFT bf16", "AdapterHub"]
    assert len(steps) == 8
    _, *runs = picture.rows(RESULTS, "Whole trainings on SST-2")
    assert [row[0] for row in runs] == ["default", "dynamic", "best", "adaptkit"]
    subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/picture.py"), "--output", str(tmp_path / "p.png")],
        check=True,
    )


def test_the_cards_of_a_store_are_listed(tmp_path, capsys):
    model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=2), "ia3")
    save_adapter(model, tmp_path / "one", card=TaskCard(task="classify"))
    main(["list", str(tmp_path)])
    assert re.search(r"one +classify +2 +ia3", capsys.readouterr().out)
