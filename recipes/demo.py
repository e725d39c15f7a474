"""Train two adapters over one frozen base on the embedded corpus, and ask them a few questions.

    python recipes/demo.py

Nothing is downloaded.
"""

import argparse
import json
import time
from pathlib import Path

from adaptkit.utils.terminal import guarded

FOLDER = Path("runs/demo")
ADAPTERS = {
    "intent": ["--label_column", "intent", "--method", "lora"],
    "sentiment": ["--label_column", "sentiment", "--method", "bottleneck[placement=pfeiffer]"],
}
MESSAGES = (
    "The kettle I bought on Sunday leaks from the base and the handle is cracked. Really "
    "disappointed.",
    "Thanks for the quick answer yesterday! Could you send the tent to my office instead of my "
    "home?",
    "How many watts does the hand blender have?",
    "You took the money for order 5521-K twice, please sort it out.",
)


def main() -> None:
    """Train both, print their scores beside the majority baseline, and answer."""
    from adaptkit.recipes import classify

    from adaptkit.host.api import Host

    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    began = time.perf_counter()
    rows = []
    for name, flags in ADAPTERS.items():
        print(f"\n=== {name}: {flags[3]} over all-MiniLM-L6-v2 ===")
        out = ["--output_dir", str(FOLDER / name), "--overwrite_output_dir"]
        classify.main([*flags, *out, "--logging_steps", "1000"])
        rows.append((name, json.loads((FOLDER / name / "all_results.json").read_text("utf-8"))))
    print(f"\n{'adapter':<10} {'test accuracy':>13} {'majority':>9} {'file':>8} {'training':>9}")
    for name, got in rows:
        scores = f"{got['test_accuracy']:>13.3f} {got['test_majority_baseline']:>9.3f}"
        print(
            f"{name:<10} {scores} {got['adapter_bytes'] / 1000:>5.0f} kB "
            f"{got['train_runtime']:>7.1f} s"
        )
    print(
        "\nand now both answer in one batch (97 test messages are few: a score above may be off "
        "by five points):"
    )
    host = Host.from_store(FOLDER, adapters=[*ADAPTERS], slots=2)
    answers = iter(
        host([message for message in MESSAGES for _ in ADAPTERS], [*ADAPTERS] * len(MESSAGES))
    )
    for message in MESSAGES:
        said = ", ".join(
            f"{answer.label} ({answer.score:.2f})" for answer in (next(answers), next(answers))
        )
        print(f"  {message}\n      -> {said}")
    print(f"\n{time.perf_counter() - began:.0f} s in all; the adapters are in {FOLDER}")


if __name__ == "__main__":
    guarded(main)
