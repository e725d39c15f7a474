"""`adaptkit export`: an adapter with its base in one, for other tools."""

from __future__ import annotations

import argparse

from adaptkit.utils.terminal import say

HELP = "merge an adapter into its base, for other tools"
DESCRIPTION = (
    "an ordinary transformers model, which from_pretrained loads and with which adaptkit answers "
    "as with the adapter; or an ONNX file, for every method"
)
FORMATS = ("transformers", "onnx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the adapter")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="transformers (a folder; default), or onnx (model.onnx in fp32, with the tokenizer)",
    )
    parser.add_argument(
        "--dtype",
        default="auto",
        help="dtype of the weights: auto (the base's; default), float32, float16, bfloat16",
    )
    parser.add_argument("--output_dir", required=True, help="folder for the model")


def run(given: argparse.Namespace) -> None:
    """Write the model."""
    if given.format == "onnx":
        _onnx(given)
        return
    from adaptkit.adapters.export import export
    from adaptkit.models.pooled import PooledClassifier

    whole = export(given.folder, given.output_dir, given.dtype)
    say(f"{type(whole).__name__} in {str(whole.dtype)[6:]} is in {given.output_dir}")
    if isinstance(whole, PooledClassifier):
        say("it pools, which no class of transformers does: load it with trust_remote_code=True")


def _onnx(given: argparse.Namespace) -> None:
    from adaptkit.errors import AdaptkitError

    if given.dtype not in ("auto", "float32"):
        raise AdaptkitError(f"--format onnx writes float32; --dtype {given.dtype} is not for it.")
    from adaptkit.inference.onnx_export import export_onnx

    file = export_onnx(given.folder, given.output_dir)
    say(f"{file} ({file.stat().st_size / 1e6:.0f} MB) gives in onnxruntime what torch gives")
