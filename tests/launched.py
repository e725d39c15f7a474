"""What the tests start with `accelerate launch`: recipes one after another, in all processes.

The argument names a file with a JSON list of [recipe, flags].
"""

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    for name, flags in json.loads(Path(sys.argv[1]).read_text()):
        importlib.import_module(f"adaptkit.recipes.{name}").main(flags)


if __name__ == "__main__":
    main()
