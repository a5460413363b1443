"""How far the allocated mixture is from the best of many mixtures that were trained at the same budget."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import Regret
from mixlang.verify.interval import paired
from mixlang.verify.objective import Objective

Floats = NDArray[np.float64]


def regret(ours: Floats, others: Mapping[str, Floats], objective: Objective) -> Regret:
    """The allocated mixture's measured objective against the best of the others', paired by seed.

    Args:
        ours: losses, shape (seeds, losses); others: by mixture, in the same order of seeds.

    Returns:
        `objectives`: for each `mixture`, the allocated one among them, the mean `objective` over seeds, best first;
        `rank` of the allocated one
        (1 is best); `best`: the best of the others; `to_best`: relative difference to it with its interval, which is
        pessimistic, since the best of many noisy means owes part of its rank to luck; `corrected`: the same with the
        best chosen for each seed by the other seeds (None with one seed), which is fair; `noise`: standard deviation
        of the relative objective between seeds, pooled over mixtures (None with one seed).
    """
    table = {"allocated": ours, **others}
    values = {name: np.array([objective.value(row) for row in losses]) for name, losses in table.items()}
    means = sorted(((name, float(found.mean())) for name, found in values.items()), key=lambda item: item[1])
    mine = values.pop("allocated")
    names = list(values)
    rest = np.array([values[name] for name in names])
    best = names[int(np.argmin(rest.mean(axis=1)))]
    seeds = len(mine)
    corrected, noise = None, None
    if seeds > 1:
        total = rest.sum(axis=1, keepdims=True)
        chosen = np.argmin((total - rest) / (seeds - 1), axis=0)
        corrected = paired(mine / rest[chosen, np.arange(seeds)] - 1)
        scattered = np.vstack([rest, mine])
        noise = float(np.sqrt(np.mean((scattered / scattered.mean(axis=1, keepdims=True)).var(axis=1, ddof=1))))
    return {
        "objectives": [{"mixture": name, "objective": mean} for name, mean in means],
        "rank": [name for name, _ in means].index("allocated") + 1,
        "best": best,
        "to_best": paired(mine / values[best] - 1),
        "corrected": corrected,
        "noise": noise,
    }
