"""`adaptkit export`: an adapter with its base in one, for other tools."""

from __future__ import annotations

import argparse

from adaptkit.utils.terminal import say

HELP = "write an adapter for other tools: merged, for PEFT, or as ONNX"
DESCRIPTION = (
    "an ordinary transformers model, which from_pretrained loads and with which adaptkit answers "
    "as with the adapter; a LoRA for PEFT and vLLM; or an ONNX file, for every method"
)
FORMATS = ("transformers", "peft", "onnx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="the adapter")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="transformers (a folder; default), peft (a LoRA as PEFT and vLLM read it, not "
        "merged), or onnx (model.onnx in fp32, with the tokenizer)",
    )
    parser.add_argument(
        "--dtype",
        default="auto",
        help="dtype of the weights: auto (the base's; default), float32, float16, bfloat16",
    )
    parser.add_argument("--output_dir", required=True, help="folder for the model")


def run(given: argparse.Namespace) -> None:
    """Write the model."""
    if given.format != FORMATS[0]:
        {"onnx": _onnx, "peft": _peft}[given.format](given)
        return
    from adaptkit.adapters.export import export
    from adaptkit.models.pooled import PooledClassifier

    whole = export(given.folder, given.output_dir, given.dtype)
    say(f"{type(whole).__name__} in {str(whole.dtype)[6:]} is in {given.output_dir}")
    if isinstance(whole, PooledClassifier):
        say("it pools, which no class of transformers does: load it with trust_remote_code=True")


def _peft(given: argparse.Namespace) -> None:
    from adaptkit.adapters.peft_files.export import export_peft
    from adaptkit.errors import AdaptkitError

    if given.dtype != "auto":
        raise AdaptkitError("--format peft keeps the weights as they are; leave --dtype out.")
    export_peft(given.folder, given.output_dir)
    say(f"{given.output_dir} loads with peft.PeftModel.from_pretrained(base, folder)")


def _onnx(given: argparse.Namespace) -> None:
    from adaptkit.errors import AdaptkitError

    if given.dtype not in ("auto", "float32"):
        raise AdaptkitError(f"--format onnx writes float32; --dtype {given.dtype} is not for it.")
    from adaptkit.inference.onnx_export import export_onnx

    file = export_onnx(given.folder, given.output_dir)
    say(f"{file} ({file.stat().st_size / 1e6:.0f} MB) gives in onnxruntime what torch gives")
