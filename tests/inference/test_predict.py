"""Predictions in the order of the rows."""

import numpy as np
import torch

from adaptkit import adapt, load_base
from adaptkit.inference.predict import predict
from adaptkit.tasks.classify import Classify


def test_predictions_are_in_the_order_of_the_rows(good_and_bad):
    tokenizer, encoded = good_and_bad
    model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=2), "lora").eval()
    together = predict(model, Classify(), encoded, tokenizer, batch_size=5)
    for i, row in enumerate(encoded):
        with torch.no_grad():
            alone = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        np.testing.assert_allclose(together[i], alone.numpy(), atol=1e-5)
