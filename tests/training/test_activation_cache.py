"""The activation cache, in memory and in files."""

import itertools
import math

import torch

from adaptkit.training.activation_cache import ActivationCache


def test_cached_states_come_back_whole(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for folder, dtype in itertools.product(
        (None, tmp_path / "kept"), (torch.float32, torch.bfloat16)
    ):
        kept = ActivationCache(folder)
        texts = {
            bytes([i]): torch.randn(1 + i % 9, 5, generator=generator).to(dtype) for i in range(200)
        }
        for digest, states in texts.items():
            kept.put(digest, states)
        found = kept.batch([bytes([17]), bytes([3])], [0, 2], 12)
        assert found.shape == (2, 12, 5)
        assert torch.equal(found[0, :9], texts[bytes([17])])
        assert torch.equal(found[1, 2:6], texts[bytes([3])])
        assert not found[0, 9:].any()
        assert not found[1, :2].any()
        assert len(kept) == 200
        kept.clear()
        assert len(kept) == 0 == kept.size


def test_a_folder_with_other_files_is_left_as_it_was(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    kept = ActivationCache(tmp_path)
    kept.put(b"1", torch.ones(2, 3))
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]  # ours have no name
    kept.clear()
    kept.put(b"1", torch.ones(2, 3))
    del kept
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_blocks_grow(tmp_path, monkeypatch):
    import adaptkit.training.activation_cache

    monkeypatch.setattr(adaptkit.training.activation_cache, "BLOCK", 400)
    kept = ActivationCache(tmp_path / "kept")
    states = {bytes([i]): torch.full((1 + i, 4), float(i)) for i in range(40)}
    for digest, rows in states.items():
        kept.put(digest, rows)
    assert len(kept._blocks) > 5
    assert list((tmp_path / "kept").iterdir()) == []
    for digest, rows in states.items():
        assert torch.equal(kept.batch([digest], [0], len(rows))[0], rows)
    assert kept.size >= sum(math.prod(rows.shape) * 4 for rows in states.values())
