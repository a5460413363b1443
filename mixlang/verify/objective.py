"""The objective of an allocation applied to losses that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import Solved

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Objective:
    """What an allocation minimised, as a function of losses; 1 is its reference.

    Attributes:
        kind: weighted_loss, geometric_mean, worst_case, or robust, whose scenarios are the laws' and which is therefore
            measured as weighted_loss.
        weights: of the losses, summing to 1, shape (losses,); reference: the losses that relative ones are relative to.
    """

    kind: str
    weights: Floats
    reference: Floats

    @classmethod
    def of(cls, names: Sequence[str], solved: Solved) -> Objective:
        """The objective of an allocation document (see `mixlang.allocate.answer`)."""
        asked = solved["measure"]
        weights = np.array([asked["weights"][name] for name in names], float)
        return cls(asked["minimize"], weights / weights.sum(), np.array([asked["reference"][n] for n in names], float))

    def value(self, losses: Floats) -> float:
        """The objective of one run's losses, shape (losses,)."""
        relative = losses / self.reference
        if self.kind == "worst_case":
            return float(relative[self.weights > 0].max())
        if self.kind == "geometric_mean":
            return float(np.exp(self.weights @ np.log(relative)))
        return float(self.weights @ relative)
