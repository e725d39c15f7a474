"""Which pooling a base is read with: its files, its architecture."""

import json

import pytest
from transformers import AutoConfig

from adaptkit.heads.pooling import poolings_for, sentence_pooling
from tests.tiny import CONFIGS


def _files(folder, settings):
    (folder / "config.json").write_text("{}")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    "settings, pooling",
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "first"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": "cls"}, "first"),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}, None),
        ({"pooling_mode_weightedmean_tokens": True}, None),
        ({}, None),
    ],
)
def test_the_files_of_sentence_transformers(tmp_path, settings, pooling):
    assert sentence_pooling(_files(tmp_path, settings)) == pooling


def test_a_folder_without_such_files(tmp_path):
    assert sentence_pooling(tmp_path) is None
    assert sentence_pooling(None) is None
    _files(tmp_path, {})
    (tmp_path / "1_Pooling/config.json").write_text("{")
    assert sentence_pooling(tmp_path) is None


def _config(name):
    kind, settings = CONFIGS[name]
    return AutoConfig.for_model(kind, **settings)


@pytest.mark.parametrize(
    "name, poolings",
    [
        ("bert", ("mean", "first")),
        ("modernbert", ("mean", "first")),
        ("deberta-v2", ("mean", "first")),
        ("llama", ("native",)),
        ("gpt2", ("native",)),
        ("qwen3", ("native",)),
        ("t5", ("native",)),
        ("bart", ("native",)),
    ],
)
def test_an_architecture_without_files(tmp_path, name, poolings):
    (tmp_path / "config.json").write_text("{}")
    assert poolings_for(str(tmp_path), None, _config(name)) == poolings


def test_files_come_first(tmp_path):
    _files(tmp_path, {"pooling_mode_lasttoken": True})
    assert poolings_for(str(tmp_path), None, _config("qwen3")) == ("last",)
    assert poolings_for("all-MiniLM-L6-v2", None, _config("bert")) == ("mean",)
