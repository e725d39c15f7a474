"""ONNX files against torch, run by onnxruntime."""

import numpy as np
import onnxruntime
import pytest
import torch

from adaptkit import AdaptkitError, Predictor, TaskCard, adapt, load_base, save_adapter
from adaptkit.cli import main
from adaptkit.inference.onnx_export import export_onnx
from adaptkit.models.backbone import bare_model
from adaptkit.models.untrained.scratch import make_model
from adaptkit.tasks.registry import find_task

TEXTS = ["the lamp is red", "a", "my green coat is old and a door of the boat is blue"]
METHODS = (
    *("lora[r=2]", "bias", "miss", "vera", "bottleneck", "reft", "unipelt"),
    *(
        "lora[r=2]+prefix[length=2]",
        "peft:LOHA[r=2,target_modules=query]",
        "peft:OFT[oft_block_size=32]",
    ),
)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    root = tmp_path_factory.mktemp("onnx")
    for kind in ("bert", "llama"):
        make_model(kind, TEXTS, root / kind, vocab_size=300)
    return root


def _adapter(folder, base, task, method, settings=None):
    torch.manual_seed(0)
    labels = ["O", "B-x", "I-x"] if task == "tag" else ["a", "b"]
    labels = labels if task in ("classify", "tag") else []
    kind = find_task(task)(labels=labels, **(settings or {}))
    model = adapt(load_base(str(base), task=kind.auto_class, labels=labels or None), method)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    card = TaskCard(task=task, labels=labels, max_length=32, settings=kind.settings())
    save_adapter(model, folder, card=card)
    return folder


def _both(folder, out):
    """What onnxruntime and torch in float64 give for the same texts, by output."""
    predictor = Predictor(folder)
    batch = predictor.tokenizer(TEXTS, padding=True, return_tensors="pt")
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    found = session.run(None, {name: batch[name].numpy() for name in names})
    with torch.no_grad():
        model = bare_model(predictor.model).eval().double()
        wanted = model(**{name: batch[name] for name in names})
    return dict(zip([one.name for one in session.get_outputs()], found, strict=True)), wanted


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_what_torch_gives(bases, tmp_path, method):
    folder = _adapter(tmp_path / "a", bases / "bert", "classify", method, {"pooling": "mean"})
    found, wanted = _both(folder, export_onnx(folder, tmp_path / "out"))
    np.testing.assert_allclose(found["logits"], wanted.logits.numpy(), atol=1e-5)


@pytest.mark.parametrize("task", ["tag", "answer"])
def test_tasks_of_tokens(bases, tmp_path, task):
    folder = _adapter(tmp_path / "a", bases / "bert", task, "lora[r=2]")
    found, wanted = _both(folder, export_onnx(folder, tmp_path / "out"))
    for name in found:
        np.testing.assert_allclose(found[name], wanted[name].numpy(), atol=1e-5)


def test_a_decoder_that_classifies_reads_padding_as_in_torch(bases, tmp_path):
    folder = _adapter(tmp_path / "a", bases / "llama", "classify", "bottleneck")
    found, wanted = _both(folder, export_onnx(folder, tmp_path / "out"))
    np.testing.assert_allclose(found["logits"], wanted.logits.numpy(), atol=1e-5)


def test_the_command_writes_vectors_and_what_other_tools_read(bases, tmp_path, capsys):
    folder = _adapter(tmp_path / "a", bases / "bert", "embed", "ia3")
    main(["export", str(folder), "--format", "onnx", "--output_dir", str(tmp_path / "out")])
    assert "gives in onnxruntime what torch gives" in capsys.readouterr().out
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files >= {"model.onnx", "config.json", "tokenizer.json"}
    found, _ = _both(folder, tmp_path / "out/model.onnx")
    wanted = [answer["embedding"] for answer in Predictor(folder)(TEXTS)]
    np.testing.assert_allclose(found["sentence_embedding"], np.array(wanted), atol=1e-5)


def test_what_has_no_such_form_is_refused(bases, tmp_path):
    folder = _adapter(tmp_path / "a", bases / "llama", "chat", "lora[r=2]")
    with pytest.raises(AdaptkitError, match="chat has no ONNX form here"):
        export_onnx(folder, tmp_path / "out")
    folder = _adapter(tmp_path / "b", bases / "bert", "embed", "lora[r=2]")
    words = ["--format", "onnx", "--dtype", "float16", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(AdaptkitError, match="--format onnx writes float32"):
        main(["export", str(folder), *words])
    assert not (tmp_path / "out").exists()
