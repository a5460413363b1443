"""Laws as a convex program: what goes beyond disciplined atoms, stated as cones and collected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LINEAR = 1e-6
"""An exponent this close to 1 is 1: the power cone needs it strictly inside."""


@dataclass(frozen=True)
class Term:
    """exp(scale + tilt) x^-rate, convex and log-convex for concave x and convex tilt."""

    scale: float
    x: Any
    rate: float
    tilt: Any

    def over(self, reference: float) -> Any:
        """The term divided by a number."""
        import cvxpy as cp

        if self.tilt is not None:
            return cp.exp(self.log_over(reference))
        factor = float(np.exp(self.scale - np.log(reference)))
        return cp.Constant(factor) if self.x is None else factor * cp.power(self.x, -self.rate, approx=False)

    def log_over(self, reference: float) -> Any:
        """The logarithm of the term divided by a number."""
        import cvxpy as cp

        result: Any = cp.Constant(self.scale - float(np.log(reference)))
        if self.x is not None:
            result = result - self.rate * cp.log(self.x)
        return result if self.tilt is None else result + self.tilt


class Cones:
    """Builds the concave parts of laws, vectorised over sources; one power cone a source and law.

    Attributes:
        total: the fixed sum of the amounts, in the laws' units; None where costs let it vary.
        constraints: to be added to the program.
    """

    def __init__(self, total: float | None) -> None:
        self.total = total
        self.constraints: list[Any] = []

    def transferred(self, units: Any, sources: list[int], worth: Floats, g: Floats, kind: str) -> Any:
        """A concave expression of what sources transfer: sum_j k_j T(u_j; g_j)."""
        import cvxpy as cp

        kept = np.flatnonzero(worth > 0)
        if len(kept) == 0:
            return 0.0
        columns, worth, g = np.array(sources)[kept], worth[kept], g[kept]
        if kind == "saturating":
            s = np.exp(g)
            return (worth * s) @ (1 - cp.multiply(s, cp.inv_pos(units[columns] + s)))
        straight = g >= 1 - _LINEAR
        result: Any = 0.0
        if straight.any():
            result = result + worth[straight] @ units[columns[straight]]
        if not straight.all():
            bent = ~straight
            reached = cp.Variable(int(bent.sum()))
            ones = cp.Constant(np.ones(int(bent.sum())))
            self.constraints.append(cp.PowCone3D(units[columns[bent]], ones, reached, g[bent]))
            result = result + worth[bent] @ reached
        return result

    def logs(self, amount: Any, worth: Floats, offsets: Floats) -> Any:
        """A concave expression of one amount: sum_k c_k log(m + e_k)."""
        import cvxpy as cp

        kept = worth > 0
        return worth[kept] @ cp.log(amount + offsets[kept]) if kept.any() else 0.0

    def term(self, scale: float, x: Any, rate: float, tilt: Any) -> Term:
        """The term exp(scale + tilt) x^-rate; x and tilt may be numbers, or None where there is none."""
        if isinstance(x, int | float):
            scale, x = scale - rate * float(np.log(x)), None
        return Term(scale, x, rate, tilt)
