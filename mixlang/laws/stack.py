"""A stacked law: a convex combination of laws of several families for one loss.

Weights come from cross-validated prediction (Yao, Vehtari, Simpson and Gelman 2018, 1704.02030). A weighted sum of convex
functions with weights >= 0 is convex, so whatever is proven of its members is proven of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.laws.families import FAMILIES, Law
from mixlang.names import STACKED

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stack:
    """Laws of one loss, summed with weights. It answers what a `Law` answers.

    Parameters are the weights, then the parameters of each member, so that draws may differ in their weights too.

    Attributes:
        members: at least two laws of the same loss.
    """

    members: tuple[Law, ...]

    @classmethod
    def of(cls, names: Sequence[str], own: int | None, count: int) -> Stack:
        """The stack of some families."""
        return cls(tuple(Law(FAMILIES[name], own, count) for name in names))

    @property
    def name(self) -> str:
        """What a reader is told in place of a family."""
        return STACKED

    @property
    def own(self) -> int | None:
        """Column of the evaluated domain, None for a loss of no domain."""
        return self.members[0].own

    @property
    def count(self) -> int:
        """Number of domains."""
        return self.members[0].count

    @property
    def fixed_total(self) -> bool:
        """Whether it is convex only among amounts of one sum."""
        return any(law.fixed_total for law in self.members)

    @cached_property
    def names(self) -> list[str]:
        """What each entry of theta is: `w.transfer`, `transfer.log_A`, and so on."""
        weights = [f"w.{law.name}" for law in self.members]
        return weights + [f"{law.name}.{name}" for law in self.members for name in law.names]

    def join(self, weights: Floats, thetas: Sequence[Floats]) -> Floats:
        """Parameters from weights and those of the members; leading axes are kept."""
        return np.concatenate([weights, *thetas], axis=-1)

    def split(self, theta: Floats) -> tuple[Floats, list[Floats]]:
        """Weights, shape (..., members), and the parameters of each member."""
        ends = np.cumsum([len(self.members), *(len(law.names) for law in self.members)]).tolist()
        parts = [theta[..., start:end] for start, end in pairwise(ends)]
        return theta[..., : ends[0]], parts

    def floor(self, theta: Floats) -> float:
        """The irreducible loss: what is left of the sum where data are without end."""
        weights, parts = self.split(theta)
        return float(sum(w * law.floor(part) for w, law, part in zip(weights, self.members, parts, strict=True)))

    def in_units(self, theta: Floats, unit: float) -> Floats:
        """The parameters of losses `unit` times as large; theta may have leading axes."""
        weights, parts = self.split(theta)
        return self.join(weights, [law.in_units(part, unit) for law, part in zip(self.members, parts, strict=True)])

    def predict(self, theta: Floats, amounts: Floats) -> Floats:
        """Losses of rows of amounts."""
        return self._sum(theta, [law.predict(part, amounts) for law, part in self._parts(theta)], 1)

    def gradient(self, theta: Floats, amounts: Floats) -> Floats:
        """Derivatives of the losses by the amounts, shape (..., rows, domains)."""
        return self._sum(theta, [law.gradient(part, amounts) for law, part in self._parts(theta)], 2)

    def curvature(self, theta: Floats, amounts: Floats) -> tuple[Floats, Floats, Floats]:
        """Loss, gradient and Hessian by the amounts at a fixed total, for one row; see `Law.curvature`."""
        found = [law.curvature(part, amounts) for law, part in self._parts(theta)]
        loss, gradient, hessian = (self._sum(theta, [one[i] for one in found], i) for i in range(3))
        return loss, gradient, hessian

    def conditions(self, theta: Floats) -> dict[str, bool]:
        """The conditions of convexity, checked on the numbers; theta may have leading axes."""
        weights, _ = self.split(theta)
        found = {"stacking weights are nonnegative": bool((weights >= 0).all())}
        for law, part in self._parts(theta):
            for condition, held in law.conditions(part).items():
                found[condition] = found.get(condition, True) and held
        return found

    def terms(self, theta: Floats, amounts: Any, program: Any) -> tuple[float, list[Any]]:
        """The loss for a convex program: the constant, and the terms added to it; see `Law.terms`."""
        weights, parts = self.split(theta)
        floor, terms = 0.0, []
        for weight, law, part in zip(weights.tolist(), self.members, parts, strict=True):
            if weight > 0:
                least, found = law.terms(part, amounts, program)
                floor += weight * least
                terms += [replace(term, scale=term.scale + np.log(weight)) for term in found]
        return floor, terms

    def _parts(self, theta: Floats) -> list[tuple[Law, Floats]]:
        return list(zip(self.members, self.split(theta)[1], strict=True))

    def _sum(self, theta: Floats, values: Sequence[Floats], axes: int) -> Floats:
        """The members' values, which have `axes` axes behind those of theta, by their weights."""
        weights = self.split(theta)[0]
        total = 0.0
        for index, value in enumerate(values):
            total = total + weights[..., index].reshape(weights.shape[:-1] + (1,) * axes) * value
        return np.asarray(total)


AnyLaw = Law | Stack
"""The law of one loss: of one family, or of several."""


def exchange(law: AnyLaw, theta: Floats, amounts: Floats) -> Floats:
    """What one more unit of each domain is worth in units of the own domain, at one point, shape (domains,)."""
    if law.own is None:
        raise ValueError("a loss of no domain has no own unit to count in")
    gradient = law.gradient(theta, amounts[None])[..., 0, :]
    return gradient / gradient[..., law.own, None]
