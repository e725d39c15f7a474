"""Every task has a recipe, and recipes are short."""

from pathlib import Path

from adaptkit.tasks.registry import TASKS, find_task

ROOT = Path(__file__).parents[2]


def test_every_task_has_a_recipe_a_page_and_a_line_in_the_readme():
    readme = (ROOT / "README.md").read_text("utf-8")
    for name in TASKS:
        assert find_task(name).name == name
        assert (ROOT / f"docs/tasks/{name}.md").is_file()
        assert f"docs/tasks/{name}.md" in readme


def test_recipes_are_short_and_do_not_repeat_each_other():
    lines = {name: (ROOT / f"recipes/{name}.py").read_text("utf-8").splitlines() for name in TASKS}
    for name, text in lines.items():
        assert len(text) <= 150, name
        for other, more in lines.items():
            shared = {line for line in text if line.strip()} & {
                line for line in more if line.strip()
            }
            assert name == other or len(shared) <= 12, (name, other, shared)
