"""The layout of a slot: which parameters lie together, and which products serve several maps."""

import torch

from adaptkit import find_sites, parse_method
from adaptkit.host.layout import Layout, Place, Segment
from tests.tiny import tiny


def _layout(method: str, name: str = "bert", **more) -> Layout:
    union = tuple(one.served() for one in parse_method(method))
    return Layout(union, find_sites(tiny(name, **more)))


def _segments(layout: Layout) -> list[set[str]]:
    """The sites of each segment, with their layers."""
    return [
        {
            f"{step.attachment.site.layer} {step.attachment.site.name}"
            for steps in layout.steps.values()
            for step in steps
            if any(place.segment is segment for place in step.places.values())
        }
        for segment in layout.segments
    ]


def test_a_segment_is_one_half_of_a_layer():
    attention = {"attn.q", "attn.k", "attn.v", "attn.out"}
    assert _segments(_layout("lora")) == [
        {f"{layer} {name}" for name in names}
        for layer in (0, 1)
        for names in (attention, {"ffn.in", "ffn.out"})
    ]


def test_two_stacks_of_layers_have_segments_of_their_own():
    names = _segments(_layout("lora[sites=attn.q|cross.q|ffn.in]", "bart"))
    assert names == [
        *({f"{layer} {site}"} for layer in (0, 1) for site in ("attn.q", "ffn.in")),
        *(
            sites
            for layer in (0, 1)
            for sites in ({f"{layer} attn.q", f"{layer} cross.q"}, {f"{layer} ffn.in"})
        ),
    ]


def test_maps_that_read_the_same_input_share_a_product():
    layout = _layout("lora[r=4,sites=attn.*|ffn.*]", "llama")
    at = "layers.0"
    steps = {
        path.removeprefix(f"{at}."): steps[0]
        for path, steps in layout.steps.items()
        if path.startswith(at)
    }
    qkv = [steps[f"self_attn.{name}_proj"] for name in "qkv"]
    assert len({id(step.product) for step in qkv}) == 1
    assert [step.ranks for step in qkv] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    assert qkv[0].product.a.shape == (12, 32)
    gate, inner = steps["mlp.gate_proj"], steps["mlp.up_proj"]
    assert gate.product is inner.product
    assert gate.product.a.shape == (8, 32)
    for alone in ("self_attn.o_proj", "mlp.down_proj"):
        assert steps[alone].ranks is None
        assert steps[alone].product.a.shape[0] == 4
    assert steps["mlp.down_proj"].product is not steps["self_attn.o_proj"].product
    other = layout.steps["layers.1.self_attn.q_proj"][0]
    assert other.product is not qkv[0].product


def test_the_second_factor_of_a_product_lies_turned():
    layout = _layout("lora[r=4,sites=ffn.in]")
    (step,) = layout.steps["encoder.layer.0.intermediate.dense"]
    assert step.b is step.places["B"]
    assert (step.b.shape, step.b.turned) == ((4, 48), True)
    assert (step.places["A"].shape, step.places["A"].turned) == ((4, 32), False)
    assert layout.width == sum(segment.width for segment in layout.segments)
    assert layout.widest == 4 * 32 + 4 * 48


def test_what_is_no_low_rank_map_has_no_product():
    for method in ("bottleneck[reduction=4]", "ia3", "prefix[length=3]", "lora[gate=true]"):
        layout = _layout(method)
        steps = [step for steps in layout.steps.values() for step in steps]
        assert steps
        assert all(step.product is None and step.b is None for step in steps)
        assert not any(place.turned for step in steps for place in step.places.values())


def test_a_slot_holds_every_number_where_its_place_says():
    layout = _layout("lora[r=4]+ia3")
    weights = {
        key: torch.randn(place.shape[::-1] if place.turned else place.shape).double()
        for key, place in layout.places.items()
    }
    slot = layout.fill(weights)
    assert slot.dtype == torch.float32
    assert slot.shape == (layout.width,)
    two = torch.stack([slot, 2 * slot])
    for key, place in layout.places.items():
        start = place.segment.start
        gathered = two[:, start : start + place.segment.width]
        wanted = (weights[key].mT if place.turned else weights[key]).float()
        assert torch.equal(place.of(gathered[0]), wanted)
        assert torch.equal(place.of(gathered), torch.stack([wanted, 2 * wanted]))


def test_a_place_is_behind_what_its_segment_holds():
    segment = Segment(10, width=6)
    place = Place(segment, (2, 3))
    assert (place.start, place.size, place.turned) == (6, 6, False)
    assert place.of(torch.arange(20.0)).tolist() == [[6, 7, 8], [9, 10, 11]]
