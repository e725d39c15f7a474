"""Modules that a checkpoint lacks are the new head."""

import pytest
from transformers import BartForSequenceClassification

from adaptkit import AdaptkitError
from tests.tiny import tiny


def test_a_half_new_module_is_refused(tmp_path):
    from adaptkit.models.new_modules import new_modules

    model = BartForSequenceClassification(tiny("bart").config)
    assert new_modules(
        model, {"classification_head.dense.weight", "classification_head.dense.bias"}
    ) == ["classification_head.dense"]
    with pytest.raises(AdaptkitError, match="half-new module"):
        new_modules(model, {"classification_head.dense.weight"})
