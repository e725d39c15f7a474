"""Sites have the widths and places of what they name."""

import pytest
import torch

from adaptkit import adapt, find_sites
from tests.tiny import CONFIGS, first, inputs, randomize, tiny


def test_grouped_queries_and_packed_projections_have_their_own_widths():
    by_name = {site.name: site for site in find_sites(tiny("phi3")) if site.layer == 0}
    assert [by_name[f"attn.{m}"].part for m in "qkv"] == [(0, 32), (32, 48), (48, 64)]
    assert by_name["ffn.gate"].part == (0, 48)
    assert by_name["attn"].heads == 2


@pytest.mark.parametrize(
    "name",
    [name for name in CONFIGS if "ffn.gate" in {site.name for site in find_sites(tiny(name))}],
)
def test_ffn_in_of_a_gated_block_is_the_branch_without_activation(name):
    """So a factor there is the same as one on what the last map of the block reads, which is
    (IA)3's place.
    """
    adapted = adapt(tiny(name), "ia3[sites=ffn.in]")
    randomize(adapted)
    plain = tiny(name)
    factors = [value for key, value in adapted.named_parameters() if value.requires_grad]
    last = [
        plain.get_submodule(site.module) for site in find_sites(plain) if site.name == "ffn.out"
    ]
    with torch.no_grad():
        for module, factor in zip(last, factors, strict=True):
            module.weight.mul_(factor)
    torch.testing.assert_close(
        first(adapted.eval()(**inputs(name))), first(plain(**inputs(name))), rtol=1e-4, atol=1e-5
    )
