"""Prints the lowest versions of the libraries whose private parts adaptkit uses, for pip.

python tests/lowest.py
"""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("transformers", "peft", "accelerate")
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest(requirements: list[str]) -> list[str]:
    """`["peft>=0.21,<0.22", ...]` -> `["peft==0.21.0", ...]`, of `LIBRARIES` alone."""
    found = {}
    for requirement in requirements:
        name, at_least = re.match(r"([\w-]+)>=([\d.]+)", requirement).groups()
        if name in LIBRARIES:
            found[name] = f"{name}=={at_least}{'.0' * (2 - at_least.count('.'))}"
    assert found.keys() == set(LIBRARIES), found
    return list(found.values())


def main() -> None:
    """One line, with the torch that is installed."""
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    torch = f"torch=={version('torch').partition('+')[0]}"
    print(*lowest(project["dependencies"]), torch)


if __name__ == "__main__":
    main()
