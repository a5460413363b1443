"""Intervals of differences that were paired by seed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import Change

LEVEL = 0.95


def paired(values: NDArray[np.float64]) -> Change:
    """Mean of paired differences with a 95 % t-interval.

    Args:
        values: one a seed, shape (seeds,).

    Returns:
        `mean`, `low`, `high` (both None with one seed) and `seeds`.
    """
    from scipy.stats import t

    mean, count = float(values.mean()), len(values)
    if count < 2:
        return {"mean": mean, "low": None, "high": None, "seeds": count}
    half = float(t.ppf((1 + LEVEL) / 2, count - 1)) * float(values.std(ddof=1)) / math.sqrt(count)
    return {"mean": mean, "low": mean - half, "high": mean + half, "seeds": count}
