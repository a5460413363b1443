"""The learning rate of each optimizer step."""

from __future__ import annotations

import math

from mixlang.documents import Recipe
from mixlang.plan.whole_samples import stable_steps


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """The rate of optimizer step `step` of `steps`, after a linear warmup.

    `wsd`: constant, then linear decay to zero (warmup-stable-decay, Hu 2024, 2404.06395). `cosine`: half a cosine from
    the end of the warmup to zero (Loshchilov and Hutter 2017, 1608.03983).
    """
    warmup_steps = recipe["warmup_steps"]
    warmup = min(1.0, (step + 1) / max(1, warmup_steps))
    if recipe["schedule"] == "cosine":
        passed = max(0, step - warmup_steps) / max(1, steps - warmup_steps)
        return recipe["learning_rate"] * warmup * (1 + math.cos(math.pi * passed)) / 2
    decay = steps - stable_steps(steps, recipe)
    left = (steps - step) / (decay + 1) if decay else 1.0
    return recipe["learning_rate"] * min(warmup, left, 1.0)
