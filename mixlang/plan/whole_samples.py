"""Whole samples of each domain for shares of a budget, and whole steps before a run decays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mixlang.documents import Recipe


def whole_amounts(shares: Sequence[float], budget: int) -> list[int]:
    """Whole samples a domain that sum exactly to `budget`, each within one of its share (largest remainders)."""
    exact = [share * budget for share in shares]
    amounts = [math.floor(value + 1e-9) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: (amounts[index] - exact[index], index))
    for index in by_remainder[: budget - sum(amounts)]:
        amounts[index] += 1
    return amounts


def whole_mixture(
    shares: Mapping[str, float], costs: Mapping[str, float], budget: float, batch: int = 1
) -> dict[str, int]:
    """Whole samples of each domain for shares of a cost-weighted budget, in whole batches, never above the budget."""
    exact = {name: share * budget / costs[name] for name, share in shares.items()}
    total = sum(exact.values())
    whole = int((total + 1e-6) // batch) * batch
    return dict(zip(exact, whole_amounts([value / total for value in exact.values()], whole), strict=True))


def stable_steps(steps: int, recipe: Recipe) -> int:
    """Optimizer steps at the beginning of a run whose learning rate does not depend on how long the run is."""
    if recipe["schedule"] == "cosine":
        return 0
    return steps - (max(1, round(recipe["decay_fraction"] * steps)) if recipe["decay_fraction"] else 0)
