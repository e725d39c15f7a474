"""Random input led by coverage: atheris mutates what reaches new lines of adaptkit.

pip install atheris
python -m tests.trust.guided grammar --minutes 10
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["adaptkit"]):
    from tests.trust.fuzz import TARGETS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as corpus:
        limit = f"-max_total_time={round(60 * given.minutes)}"
        atheris.Setup(
            [sys.argv[0], limit, corpus], TARGETS[given.target]().hypothesis.fuzz_one_input
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
