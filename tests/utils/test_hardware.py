"""What the machine computes in: no base is left in a dtype that the processor would have to
emulate.
"""

from pathlib import Path

import psutil
import pytest
import torch

from adaptkit import AdaptkitError, adapt, load_adapter, load_base, save_adapter
from adaptkit.adapters.card import read_card
from adaptkit.models.tokenizer import load_tokenizer
from adaptkit.utils import hardware as machine
from adaptkit.utils.hardware import (
    emulated,
    emulates,
    has_instructions,
    more_in_fp32,
    only_cpu,
    upcast_emulated,
)
from recipes import classify
from tests.tiny import inputs, randomize, tiny

pytestmark = pytest.mark.skipif(not only_cpu(), reason="models run on a GPU here")
OLD: dict[str, bool] = {"avx2": True}
NEW = {"avx512_bf16": True, "avx512_fp16": True}
HALVES = ("bfloat16", "float16")


@pytest.fixture
def cpu(monkeypatch):
    """Lets the processor be another one: what it can do, and its architecture."""

    def becomes(can: dict[str, bool], architecture: str = "x86_64") -> None:
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda: {"architecture": architecture} | can
        )

    becomes(OLD)
    return becomes


@pytest.fixture(params=HALVES)
def stored(request, tmp_path):
    """The folder of a base that is stored in half precision, and its dtype."""
    dtype = getattr(torch, request.param)
    tiny("m2m_100").to(dtype).save_pretrained(tmp_path / "base")  # its positions lie in a buffer
    return tmp_path / "base", dtype


@pytest.mark.parametrize("can, architecture, both", [
    (OLD, "x86_64", (True, True)),
    (NEW, "x86_64", (False, False)),
    ({"amx_bf16": True}, "x86_64", (False, True)),
    (OLD, "aarch64", (False, False)),  # not known: taken on trust
])  # fmt: skip
def test_what_is_emulated_is_told_by_the_instructions(cpu, can, architecture, both):
    cpu(can, architecture)
    assert (emulates(torch.bfloat16), emulates(torch.float16)) == both
    assert not emulates(torch.float32)
    assert has_instructions(torch.float32)


def test_a_base_is_in_fp32_where_its_dtype_would_be_emulated(cpu, stored):
    folder, dtype = stored
    fast = load_base(str(folder))
    as_stored = load_base(str(folder), dtype=dtype)
    cpu(NEW)
    on_a_newer = load_base(str(folder))
    assert (fast.dtype, fast.config.dtype, fast.adaptkit_base.stored_in) == (
        torch.float32,
        torch.float32,
        dtype,
    )
    assert {as_stored.dtype, on_a_newer.dtype} == {dtype}
    assert as_stored.adaptkit_base.stored_in is on_a_newer.adaptkit_base.stored_in is None
    for model in (as_stored, on_a_newer):
        assert model.adaptkit_base.fingerprint == fast.adaptkit_base.fingerprint
        for (name, wide), narrow in zip(fast.named_parameters(), model.parameters(), strict=True):
            assert torch.equal(wide, narrow.float()), name
    assert {
        tensor.dtype
        for tensor in (*fast.parameters(), *fast.buffers())
        if tensor.is_floating_point()
    } == {torch.float32}
    assert {str(fast.config.dtype), str(on_a_newer.config.dtype)} == {"torch.float32", str(dtype)}


def test_it_stays_as_stored_where_memory_is_short(cpu, stored, monkeypatch):
    folder, dtype = stored
    model = load_base(str(folder), dtype=dtype)
    more = sum(
        tensor.numel() * 2
        for tensor in (*model.parameters(), *model.buffers())
        if tensor.dtype == dtype
    )
    free = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free._replace(available=2 * more - 1))
    assert (upcast_emulated(model), model.dtype, more_in_fp32(emulated(model))) == (
        None,
        dtype,
        more,
    )
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free._replace(available=2 * more))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert upcast_emulated(model) is None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert (upcast_emulated(model), model.dtype, emulated(model)) == (dtype, torch.float32, [])


def test_tied_weights_stay_tied_and_what_lies_elsewhere_is_left_alone(cpu):
    model = tiny("m2m_100").to(torch.bfloat16)
    assert model.encoder.embed_tokens.weight is model.shared.weight
    model.encoder.layers[0].to("meta")
    assert (upcast_emulated(model), emulated(model)) == (None, [])
    model = tiny("m2m_100").to(torch.bfloat16)
    assert upcast_emulated(model) == torch.bfloat16
    assert model.encoder.embed_tokens.weight is model.shared.weight


def test_a_card_names_the_base_on_the_disk_whatever_it_is_computed_in(cpu, tmp_path):
    """The base in bf16, the one in fp32 that it was rounded from, and one that differs by less than
    bf16 rounds.
    """
    kinds = {
        "fine": tiny("bert"),
        "half": tiny("bert").to(torch.bfloat16),
        "near": tiny("bert").to(torch.bfloat16),
    }
    with torch.no_grad():
        for parameter in kinds["near"].parameters():
            parameter.mul_(1.006)
    for name, model in kinds.items():
        model.save_pretrained(tmp_path / name)
    for number, can in enumerate((OLD, NEW)):
        cpu(can)
        save_adapter(
            adapt(load_base(str(tmp_path / "half")), "lora", head=[]),
            tmp_path / f"adapter-{number}",
        )
    cards = [read_card(tmp_path / f"adapter-{number}").fingerprint for number in (0, 1)]
    assert cards[0] == cards[1]
    assert cards[0].startswith("2:bfloat16:")
    for can in (OLD, NEW):
        cpu(can)
        for number in (0, 1):
            for name in ("half", "fine"):
                load_adapter(tmp_path / f"adapter-{number}", base=load_base(str(tmp_path / name)))
            with pytest.raises(AdaptkitError, match="another base"):
                load_adapter(tmp_path / f"adapter-{number}", base=load_base(str(tmp_path / "near")))


def test_a_base_on_the_processor_beside_a_gpu(cpu, stored, monkeypatch):
    folder, dtype = stored
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert (load_base(str(folder)).dtype, load_base(str(folder), device_map="cpu").dtype) == (
        dtype,
        torch.float32,
    )


def test_an_older_torch_is_asked_by_way_of_linux(monkeypatch):
    if not Path("/proc/cpuinfo").is_file():
        pytest.skip("there is no /proc/cpuinfo here")
    names = ("architecture", "avx2", "avx512_bf16", "avx512_fp16", "amx_bf16")
    known = [machine._cpu().get(name, False) for name in names]
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert [machine._cpu().get(name, False) for name in names] == known


def test_free_memory_is_that_of_the_container_and_shared_by_processes(tmp_path, monkeypatch):
    whole = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: whole._replace(available=5000))
    monkeypatch.setattr(machine, "CONTAINER", tmp_path)
    assert machine.free_memory() == 5000
    for most, free in (("max", 5000), ("9000", 5000), ("4000", 3000)):
        (tmp_path / "memory.max").write_text(most + "\n")
        (tmp_path / "memory.current").write_text("1000\n")
        assert machine.free_memory() == free
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert machine.free_memory() == 1000


def test_an_adapter_goes_from_one_machine_to_another(cpu, tmp_path):
    tiny("bert").to(torch.bfloat16).save_pretrained(tmp_path / "base")
    model = adapt(load_base(str(tmp_path / "base")), "lora+bottleneck", head=[])
    randomize(model, 1, 0.3)
    save_adapter(model, tmp_path / "adapter")
    with torch.no_grad():
        here = model.eval()(**inputs("bert"))[0]
        again = load_adapter(tmp_path / "adapter").eval()(**inputs("bert"))[0]
        cpu(NEW)
        elsewhere = load_adapter(tmp_path / "adapter").eval()(**inputs("bert"))[0]
    assert torch.equal(here, again)
    assert (here.dtype, elsewhere.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(elsewhere.float(), here, atol=0.1, rtol=0.1)


@pytest.mark.parametrize(
    "can, dtype, computed",
    [
        (OLD, "auto", torch.float32),
        (NEW, "auto", torch.bfloat16),
        (OLD, "bfloat16", torch.bfloat16),
        (OLD, "float16", torch.float16),
    ],
)
def test_nf4_computes_in_what_the_processor_computes_in(cpu, can, dtype, computed):
    cpu(can)
    base = load_base("all-MiniLM-L6-v2", task="classify", labels=2, quantize="nf4", dtype=dtype)
    packed = [module for module in base.modules() if type(module).__name__ == "Linear4bit"]
    assert packed
    assert {module.compute_dtype for module in packed} == {computed}


def test_what_is_not_packed_of_a_quantized_base_is_in_fp32_too(cpu, tmp_path):
    base = load_base("all-MiniLM-L6-v2").to(torch.bfloat16)
    base.save_pretrained(tmp_path)
    packed = load_base(str(tmp_path), task="classify", labels=2, quantize="nf4")
    assert packed.adaptkit_base.stored_in == torch.bfloat16
    assert {parameter.dtype for parameter in packed.parameters()} == {torch.uint8, torch.float32}


def test_a_run_says_what_it_computes_in(cpu, tmp_path, capsys):
    load_base("all-MiniLM-L6-v2").to(torch.bfloat16).save_pretrained(tmp_path / "base")
    load_tokenizer("all-MiniLM-L6-v2").save_pretrained(tmp_path / "base")
    rows = [
        f"{word} weather in town number {i}\t{word}" for i in range(8) for word in ("good", "bad")
    ]
    (tmp_path / "rows.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n", "utf-8")
    asked = (
        f"--train_file {tmp_path}/rows.tsv --model_name_or_path {tmp_path}/base --max_steps 1 "
        "--validation_split_percentage 0"
    )
    classify.main([*asked.split(), "--output_dir", str(tmp_path / "fast")])
    assert (
        "base in float32: it is stored in bfloat16, for which this CPU has no instructions"
        in capsys.readouterr().out
    )
    classify.main([*asked.split(), "--dtype", "bfloat16", "--output_dir", str(tmp_path / "slow")])
    assert (
        "this CPU has no instructions for bfloat16, the base's dtype: --dtype float32 is "
        "many times as fast and takes 0.0 GB more" in capsys.readouterr().out
    )
    classify.main([*asked.split(), "--dtype", "float32", "--output_dir", str(tmp_path / "plain")])
    assert "no instructions" not in capsys.readouterr().out
