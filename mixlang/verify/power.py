"""What a verification could show: the smallest difference of the objective that its seeds can tell, before they are trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixlang.verify.interval import LEVEL

POWER = 0.8
"""The probability with which a difference is to be shown."""

MOST = 100
"""Seeds that a spec may ask for."""

_NODES = 2000

_LEAST = 3
"""Degrees of freedom from which a noise is worth telling."""


@dataclass(frozen=True)
class Noise:
    """How much the objective of one mixture varies between seeds.

    Attributes:
        deviation: relative standard deviation; freedom: its degrees of freedom.
    """

    deviation: float
    freedom: int


def noise_of(rows: Sequence[Mapping[str, Any]], weights: Mapping[str, float]) -> Noise | None:
    """The noise of the weighted relative loss between runs that differ in their seed alone; None where too few do.

    Only runs that train on all domains count: the loss of a domain that a run has not seen varies far more, and no mixture that
    is compared leaves one out.

    Args:
        rows: with `amounts` and `losses` by name, as in runs.json; weights: of the losses. All budgets count alike.
    """
    groups: dict[tuple[tuple[str, int], ...], list[list[float]]] = {}
    names = [name for name, weight in weights.items() if weight > 0]
    for row in rows:
        losses = [row["losses"].get(name) for name in names]
        if all(row["amounts"].values()) and all(loss is not None and loss > 0 for loss in losses):
            groups.setdefault(tuple(sorted(row["amounts"].items())), []).append(losses)
    share = np.array([weights[name] for name in names], float)
    squares, freedom = 0.0, 0
    for found in groups.values():
        if len(found) > 1:
            table = np.array(found)
            values = (table / table.mean(axis=0)) @ share / share.sum()
            squares += float(((values - values.mean()) ** 2).sum())
            freedom += len(found) - 1
    return Noise(math.sqrt(squares / freedom), freedom) if freedom >= _LEAST else None


def power(difference: float, noise: float, seeds: int) -> float:
    """The probability that a paired comparison of two mixtures finds a relative difference of the objective.

    Of a two-sided t-test at 5 % of `seeds` differences, each of the deviation sqrt(2) times the noise: two runs of one
    seed are taken to have nothing in common (Cohen 1988, Statistical Power Analysis, chapter 2). 0 with one seed.
    """
    from scipy.stats import chi2, norm, t

    if seeds < 2:
        return 0.0
    freedom = seeds - 1
    away = abs(difference) / (math.sqrt(2 / seeds) * noise)
    limit = float(t.ppf((1 + LEVEL) / 2, freedom))
    # A mean over what the standard deviation may come out as: the noncentral t distribution itself fails far out.
    ratios = np.sqrt(chi2.ppf((np.arange(_NODES) + 0.5) / _NODES, freedom) / freedom)
    return float(np.mean(norm.sf(limit * ratios - away) + norm.cdf(-limit * ratios - away)))


def smallest_difference(noise: float, seeds: int) -> float | None:
    """The relative difference that is found with a probability of 80 %; None with one seed, which shows nothing."""
    from scipy.optimize import brentq

    if seeds < 2:
        return None
    return float(brentq(lambda size: power(size, noise, seeds) - POWER, 1e-6 * noise, 100 * noise))


def seeds_needed(difference: float, noise: float) -> int | None:
    """The fewest seeds with which a relative difference is found with a probability of 80 %; None above 100."""
    for seeds in range(2, MOST + 1):
        if power(difference, noise, seeds) >= POWER:
            return seeds
    return None


def power_in_words(noise: Noise, seeds: int, gain: float | None = None) -> str:
    """What the verification of a spec can show.

    Args:
        gain: what the laws expect the mixture to gain over proportional sampling, as a part of the objective.
    """
    least = smallest_difference(noise.deviation, seeds)
    says = f"the objective varies by {noise.deviation:.1%} between seeds (of {noise.freedom} repeats)"
    if least is None:
        says += "; one seed shows no difference"
    else:
        says += f"; {seeds} seeds show a difference of {least:.1%} with a probability of 80 %"
    wanted = 0.01 if gain is None or gain <= 0 else gain
    if least is not None and least <= wanted:
        return says
    needed = seeds_needed(wanted, noise.deviation)
    takes = f"would take {needed} seeds" if needed is not None else f"would take more than {MOST} seeds"
    of = "one of 1 %" if gain is None or gain <= 0 else f"the {wanted:.1%} that the laws expect"
    return f"{says}; {of} {takes}"
