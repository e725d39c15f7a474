"""Which way a metric is better, and how a difference is said in words."""

from __future__ import annotations

LOWER_IS_BETTER = ("loss", "perplexity", "mae", "rmse", "ece")
PERCENT = ("bleu", "chrf")  # from 0 to 100
NOTHING = 1e-9  # a difference up to this is rounding


def amounts(metric: str, value: float, low: float, high: float, sign: str = "") -> str:
    """A difference with its interval in words; in points where a metric goes up to 1 or 100.

    >>> amounts("accuracy", 0.012, 0.003, 0.021)
    '1.20 points (0.30 to 2.10)'
    >>> amounts("mae", -0.2, -0.3, 0.1, sign="+")
    '-0.2000 (-0.3000 to +0.1000)'
    >>> amounts("f1", 0.00002, 0.00001, 0.0104)
    '0.002 points (0.001 to 1.040)'
    """
    numbers = (value, low, high)
    share = metric not in LOWER_IS_BETTER and max(map(abs, numbers)) <= 1
    in_points = share or metric in PERCENT
    scale = 100 if share and metric not in PERCENT else 1
    places = 2 if in_points else 4
    small = [scale * abs(one) for one in numbers if abs(one) > NOTHING]
    while places < 8 and any(round(one, places) == 0 for one in small):
        places += 1  # what is not 0 is not shown as 0
    shown = [f"{scale * one:{sign}z.{places}f}" for one in numbers]
    return f"{shown[0]}{' points' * in_points} ({shown[1]} to {shown[2]})"
