"""How differences are said."""

from adaptkit.metrics.units import amounts


def test_points_are_hundredths_of_shares_and_percents_are_points_already():
    assert amounts("accuracy", 0.012, 0.003, 0.021) == "1.20 points (0.30 to 2.10)"
    assert amounts("bleu", 0.4, -0.31, 1.1, "+") == "+0.40 points (-0.31 to +1.10)"
    assert amounts("perplexity", -0.2, -0.3, -1e-9, "+") == "-0.2000 (-0.3000 to +0.0000)"
    assert amounts("mean_tokens", 7, 3, 12) == "7.0000 (3.0000 to 12.0000)"
