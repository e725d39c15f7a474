"""A product of two factors, decomposed through them: torch's decomposition of the product."""

import pytest
import torch

from adaptkit.adapters.low_rank.svd import decompose


@pytest.mark.parametrize(("rank", "width_in", "width_out"), [(3, 8, 6), (7, 5, 9), (12, 5, 4)])
def test_it_is_the_decomposition_of_the_product(rank, width_in, width_out):
    torch.manual_seed(0)
    a, b = torch.randn(rank, width_in), torch.randn(width_out, rank)
    whole = b.double() @ a.double()
    found, count = decompose(a, b), min(rank, width_in, width_out)
    torch.testing.assert_close(found.values, torch.linalg.svdvals(whole)[:count])
    torch.testing.assert_close(found.left * found.values @ found.right, whole)
    for one in (found.left.mT, found.right):
        torch.testing.assert_close(one @ one.mT, torch.eye(count, dtype=torch.float64))


def test_cut_off_it_is_the_best_of_its_rank_and_says_what_is_kept():
    """Of a diagonal change, 3, 2 and 1: the squares are 9, 4 and 1 of 14."""
    a, b = torch.eye(3), torch.diag(torch.tensor([1.0, 3.0, 2.0]))
    found = decompose(a, b)
    assert found.values.tolist() == pytest.approx([3, 2, 1])
    shares = [found.kept(rank) for rank in range(1, 5)]
    assert shares == [pytest.approx(9 / 14), pytest.approx(13 / 14), 1, 1]
    ranks = {0.01: 1, 9 / 14 - 1e-9: 1, 9 / 14 + 1e-9: 2, 0.93: 3, 1.0: 3}
    assert {share: found.rank_for(share) for share in ranks} == ranks
    a, b = found.factors(2)
    torch.testing.assert_close(b @ a, torch.diag(torch.tensor([0.0, 3.0, 2.0])))
    torch.testing.assert_close(a.square().sum(1), torch.tensor([3.0, 2.0]))  # the roots, squared
    torch.testing.assert_close(b.square().sum(0), torch.tensor([3.0, 2.0]))


def test_missing_ranks_are_filled_with_zeros():
    torch.manual_seed(0)
    a, b = torch.randn(2, 6), torch.randn(4, 2)
    wide = decompose(a, b).factors(5)
    assert [one.shape for one in wide] == [(5, 6), (4, 5)]
    assert all(one.dtype == torch.float32 for one in wide)
    torch.testing.assert_close(wide[1] @ wide[0], b @ a)
    none = decompose(torch.randn(2, 6), torch.zeros(4, 2))
    assert (none.rank_for(0.95), none.kept(1)) == (0, 1.0)
    assert not (none.factors(1)[1] @ none.factors(1)[0]).any()


def test_a_numerical_rank_is_no_more_than_the_exact_one():
    torch.manual_seed(0)
    a, b = torch.randn(3, 40), torch.randn(30, 3)
    twice = torch.cat([a, a]), torch.cat([b, 2 * b], 1)
    assert decompose(*twice).rank_for(1.0) == 3
