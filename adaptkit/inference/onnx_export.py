"""An adapter over its base as one ONNX file, for runtimes without Python or torch.

torch's exporter traces the network with the adapter in it, so every method can be exported. What
changes weights only is merged first, which makes the file faster. Rows and tokens of a batch are
free. The file is run once with onnxruntime, and refused where it differs.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adaptkit.adapters.card import existing_adapter
from adaptkit.adapters.layer import AdaptLayer
from adaptkit.errors import AdaptkitError
from adaptkit.inference.predictor import Predictor
from adaptkit.models.backbone import bare_model
from adaptkit.tasks.embed import Embed, unit_vectors
from adaptkit.utils.atomic_files import new_version
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
    """Write `model.onnx` with the base's configuration and tokenizer.

    Inputs are `input_ids`, `attention_mask` and, where the tokenizer gives them, `token_type_ids`,
    all int64 `(rows, tokens)`. Outputs are fp32: `logits`, `start_logits` and `end_logits`, or
    `sentence_embedding` (vectors of length 1).

    Args:
        folder: an adapter, or a whole model, saved by a recipe.

    Returns:
        The file.

    Raises:
        AdaptkitError: `output_dir` is not empty, a package is missing, the task writes token by
            token, or onnxruntime computes something else than torch.
    """
    folder, output_dir = existing_adapter(Path(folder)), Path(output_dir)
    check_empty(output_dir)
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise AdaptkitError(f"ONNX needs {', '.join(missing)}; pip install 'adaptkit[onnx]'.")
    predictor = _load(folder)
    network = _Network(predictor)
    tokenizer = predictor.tokenizer
    batch = dict(tokenizer(list(SENTENCES), padding=True, return_tensors="pt"))
    inputs = {name: batch[name] for name in INPUTS if name in batch}
    network.names = tuple(inputs)
    with new_version(output_dir) as staged:
        _trace(network, inputs).save(str(staged / FILE))
        _check(staged / FILE, network, tokenizer)
        bare_model(predictor.model).config.save_pretrained(staged)
        tokenizer.save_pretrained(staged)
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
    except (AdaptkitError, NotImplementedError, ValueError):  # some say so half-way
        predictor = Predictor(folder, quantize="none", dtype=torch.float32)
        for module in predictor.model.modules():
            if isinstance(module, AdaptLayer):
                module.serve()
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
        why = str(problem).splitlines()[0]
        raise AdaptkitError(f"torch cannot export this model to ONNX: {why}") from problem


@contextmanager
def _quiet() -> Any:
    """Without the exporter's warnings of packages and names that are not ours."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@torch.no_grad()
def _check(file: Path, network: _Network, tokenizer: Any) -> None:
    """Run the file on batches of other shapes than the traced one, beside torch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for texts in (list(SENTENCES[:1]), [*SENTENCES, " ".join(SENTENCES)]):
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        inputs = {name: batch[name] for name in network.names}
        found = session.run(None, {name: one.numpy() for name, one in inputs.items()})
        for name, ours, theirs in zip(
            network.outputs, network(*inputs.values()), found, strict=True
        ):
            size = max(1.0, float(ours.abs().max()))
            if not np.allclose(theirs, ours.numpy(), rtol=0, atol=TOLERANCE * size):
                worst = float(np.abs(theirs - ours.numpy()).max())
                raise AdaptkitError(
                    f"onnxruntime's {name} differ by up to {worst:.2g} from torch's, so nothing is "
                    "written."
                )
