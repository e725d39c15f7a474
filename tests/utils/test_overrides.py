"""Settings that are written as name=value."""

import pytest

from adaptkit import AdaptkitError
from adaptkit.models.untrained.scratch import make_model
from adaptkit.utils.overrides import overrides


def test_settings_of_a_model_from_nothing():
    assert overrides("hidden_size=256,hidden_dropout_prob=0.1,hidden_act=relu") == {
        "hidden_size": 256,
        "hidden_dropout_prob": 0.1,
        "hidden_act": "relu",
    }
    with pytest.raises(AdaptkitError, match="'hidden_size' should be name=value"):
        overrides("hidden_size")
    with pytest.raises(AdaptkitError, match="did you mean 'hidden_size'|Did you mean"):
        make_model("bert", ["x"], "/nowhere", hiden_size=3)


def test_overrides_are_what_they_look_like():
    assert overrides("tie_word_embeddings=false,a=1.0e-4,b=-1") == {
        "tie_word_embeddings": False,
        "a": 1e-4,
        "b": -1,
    }
