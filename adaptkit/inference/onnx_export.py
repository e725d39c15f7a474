"""An adapter over its base as one ONNX file, for runtimes without Python or torch.

torch's exporter traces the network with the adapter in it, so every method can be exported. What
changes weights only is merged first, which makes the file faster. Rows and tokens of a batch are
free. The file is run once with onnxruntime, and refused where it differs.
"""

from __future__ import annotations

import dataclasses
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.adapters.card import CARD, existing_card
from adaptkit.adapters.layer import AdaptLayer
from adaptkit.errors import AdaptkitError
from adaptkit.inference.predictor import Predictor
from adaptkit.models.backbone import bare_model
from adaptkit.tasks.embed import Embed, unit_vectors
from adaptkit.utils.atomic_files import new_version
from adaptkit.utils.json_files import write_json
from adaptkit.utils.logs import quiet
from adaptkit.utils.output_folder import check_empty

FILE = "model.onnx"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = {
    **dict.fromkeys(("classify", "score", "relate", "tag"), ("logits",)),
    "answer": ("start_logits", "end_logits"),
    "embed": ("sentence_embedding",),
}
# of the outputs, relative to their size: the two runtimes add up in another order
TOLERANCE = 1e-4
SENTENCES = ("It hums.", "The lid was cracked when the teapot came, so it went back on Monday.")


def export_onnx(folder: str | Path, output_dir: str | Path) -> Path:
    """Write `model.onnx` with the base's configuration, tokenizer and task card.

    Inputs are `input_ids`, `attention_mask` and, where the tokenizer gives them, `token_type_ids`,
    all int64 `(rows, tokens)`. Outputs are fp32: `logits`, `start_logits` and `end_logits`, or
    `sentence_embedding` (vectors of length 1). They are what the network gives: the card has what
    a task makes of it, such as the mean and the spread of scores. The tokenizer cuts texts as in
    training.

    Args:
        folder: an adapter, or a whole model, saved by a recipe.

    Returns:
        The file.

    Raises:
        AdaptkitError: `output_dir` is not empty, a package is missing, the task writes token by
            token, or onnxruntime computes something else than torch.
    """
    folder, output_dir = Path(folder), Path(output_dir)
    existing_card(folder)
    check_empty(output_dir)
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise AdaptkitError(f"ONNX needs {', '.join(missing)}; pip install 'adaptkit[onnx]'.")
    predictor = _load(folder)
    network = _Network(predictor)
    tokenizer = predictor.tokenizer
    tokenizer.model_max_length = predictor.max_length
    batch = dict(tokenizer(list(SENTENCES), padding=True, return_tensors="pt"))
    inputs = {name: batch[name] for name in INPUTS if name in batch}
    network.names = tuple(inputs)
    with new_version(output_dir) as staged:
        _trace(network, inputs).save(str(staged / FILE))
        _check(staged / FILE, network, tokenizer)
        bare_model(predictor.model).config.save_pretrained(staged)
        tokenizer(SENTENCES[0], truncation=True)  # which its file then says
        tokenizer.save_pretrained(staged)
        write_json(staged / CARD, dataclasses.asdict(predictor.card))
    return output_dir / FILE


class _Network(nn.Module):
    """A task's network with tensors in and out."""

    names: tuple[str, ...]

    def __init__(self, predictor: Predictor):
        super().__init__()
        self.task = predictor.task
        if self.task.name not in OUTPUTS:
            raise AdaptkitError(
                f"{self.task.name} has no ONNX form here, only {', '.join(OUTPUTS)} have: models "
                "that write need a cache of keys and values. adaptkit export writes a model for "
                "other converters."
            )
        self.outputs = OUTPUTS[self.task.name]
        self.model = predictor.model.eval()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        batch = dict(zip(self.names, tensors, strict=True))
        outputs = self.model(**batch)
        if isinstance(self.task, Embed):
            return (unit_vectors(outputs, batch, self.task.pooling),)
        return tuple(outputs[name] for name in self.outputs)


def _load(folder: Path) -> Predictor:
    """A predictor in fp32, with its adapter in the weights where the method allows that.

    Elsewhere methods take the form in which hosts compute them: ONNX has no QR decomposition.
    """
    predictor = Predictor(folder, quantize="none", dtype=torch.float32)
    merge = getattr(predictor.model, "merge_and_unload", None)
    if merge is None:
        return predictor
    try:
        predictor.model = merge()
    except AdaptkitError:  # before any layer is touched
        for module in predictor.model.modules():
            if isinstance(module, AdaptLayer):
                module.serve()
    except (NotImplementedError, ValueError):  # PEFT's methods say so half-way
        return Predictor(folder, quantize="none", dtype=torch.float32)
    return predictor


def _trace(network: _Network, inputs: dict[str, Tensor]) -> Any:
    """The exporter's program, with any number of rows and tokens."""
    rows, tokens = torch.export.Dim("rows"), torch.export.Dim("tokens", min=2)
    free = tuple({0: rows, 1: tokens} for _ in inputs)
    try:
        with _quiet():
            return torch.onnx.export(
                network,
                tuple(inputs.values()),
                dynamo=True,
                verbose=False,
                input_names=list(inputs),
                output_names=list(network.outputs),
                dynamic_shapes=(free,),
            )
    except Exception as problem:  # of any kind: the exporter runs every line of the model
        lines = [line for line in str(problem).splitlines() if line.strip() and "\x1b" not in line]
        why = next((line for line in reversed(lines) if "Error" in line), lines[0] if lines else "")
        raise AdaptkitError(f"torch cannot export this model to ONNX: {why}") from problem


@contextmanager
def _quiet() -> Any:
    """Without the exporter's warnings of packages and names that are not ours."""
    with quiet("torch.onnx"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@torch.no_grad()
def _check(file: Path, network: _Network, tokenizer: Any) -> None:
    """Run the file on batches of other shapes than the traced one, beside torch."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as problem:  # its errors have no class in common
        raise AdaptkitError(f"onnxruntime cannot read the file: {problem}") from problem
    longest = " ".join(SENTENCES * tokenizer.model_max_length)
    for texts in (list(SENTENCES[:1]), [*SENTENCES, " ".join(SENTENCES)], [longest]):
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        inputs = {name: batch[name] for name in network.names}
        try:
            found = session.run(None, {name: one.numpy() for name, one in inputs.items()})
        except Exception as problem:
            raise AdaptkitError(f"onnxruntime cannot run the file: {problem}") from problem
        read = batch["attention_mask"].bool()
        for name, ours, theirs in zip(
            network.outputs, network(*inputs.values()), found, strict=True
        ):
            each = (ours - torch.from_numpy(theirs)).abs()
            if each.shape[:2] == read.shape and name != "sentence_embedding":
                each = each[read]  # of padding nothing is read
            size = max(1.0, float(ours.abs().max()))
            if not float(each.max()) <= TOLERANCE * size:
                raise AdaptkitError(
                    f"onnxruntime's {name} differ by up to {float(each.max()):.2g} from torch's "
                    f"for {len(texts)} texts of {read.shape[1]} tokens, so nothing is written."
                )
