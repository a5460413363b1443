"""The law families, all of one shape: loss against the effective data of the evaluated domain.

    L(m) = E + A x^-a + B M^-b,      x = m0 + m_own + sum_j k_j m_j^g_j

with amounts m in units of the largest probe budget and M their sum. Own data count fully; what domain j transfers is
a power law of its own (Hernandez 2021, 2102.01293; Li, Liu and Xing 2025, 2508.11953). A family switches terms on:
`power` knows own data and a floor E; `transfer` adds the transfer terms, without a floor; `transfer_floor` has both;
`transfer_common` has transfer and the term of the common budget, B M^-b.

L is convex in m because A, B, k >= 0, a, b > 0 and 0 < g <= 1, which the bounds of the fit guarantee: x is concave,
and a decreasing convex function of a concave one is convex.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TINY = 1e-12


@dataclass(frozen=True)
class Family:
    """Which terms a family has."""

    name: str
    transfer: bool
    floor: bool
    common: bool


FAMILIES = {
    family.name: family
    for family in (
        Family("power", transfer=False, floor=True, common=False),
        Family("transfer", transfer=True, floor=False, common=False),
        Family("transfer_floor", transfer=True, floor=True, common=False),
        Family("transfer_common", transfer=True, floor=False, common=True),
    )
}


@dataclass(frozen=True)
class Law:
    """A family applied to one evaluated domain: maps parameters and amounts to a loss.

    Parameters are a flat vector `theta`, in the order of `names`; positive ones are stored as logarithms.

    Attributes:
        own: column of the evaluated domain; `count`: number of domains.
    """

    family: Family
    own: int
    count: int

    @property
    def sources(self) -> list[int]:
        """The other domains, whose data may transfer."""
        return [index for index in range(self.count) if index != self.own] if self.family.transfer else []

    @property
    def names(self) -> list[str]:
        """What each entry of theta is."""
        names = ["log_A", "log_a", "log_m0"]
        names += ["E"] if self.family.floor else []
        names += [f"k_{index}" for index in self.sources] + [f"g_{index}" for index in self.sources]
        return names + (["log_B", "log_b"] if self.family.common else [])

    def bounds(self, lowest: float) -> tuple[Floats, Floats]:
        """Lower and upper bounds of theta; `lowest` is the smallest loss seen, which E stays below."""
        box = {
            "log_A": (np.log(lowest) - 12, np.log(lowest) + 6),
            "log_a": (np.log(0.01), np.log(2.0)),
            "log_m0": (np.log(1e-4), np.log(3.0)),
            "E": (0.0, 0.98 * lowest),
            "log_B": (np.log(lowest) - 12, np.log(lowest) + 2),
            "log_b": (np.log(0.01), np.log(2.0)),
        }
        pairs = [box.get(name) or ((0.0, 5.0) if name[0] == "k" else (0.1, 1.0)) for name in self.names]
        return np.array([low for low, _ in pairs]), np.array([high for _, high in pairs])

    def _parts(self, theta: Floats) -> tuple[dict[str, float], Floats, Floats]:
        values = dict(zip(self.names, theta.tolist(), strict=True))
        worth = np.array([values[f"k_{index}"] for index in self.sources])
        power = np.array([values[f"g_{index}"] for index in self.sources])
        return values, worth, power

    def _effective(self, theta: Floats, amounts: Floats) -> tuple[Floats, Floats]:
        """Effective data of each row, and what each source transfers per unit of k, shape (rows, sources)."""
        values, worth, power = self._parts(theta)
        transferred = np.maximum(amounts[:, self.sources], _TINY) ** power
        transferred[amounts[:, self.sources] <= 0] = 0.0
        return np.exp(values["log_m0"]) + amounts[:, self.own] + transferred @ worth, transferred

    def predict(self, theta: Floats, amounts: Floats) -> Floats:
        """Losses of rows of amounts, shape (rows, domains) in, (rows,) out."""
        values, _, _ = self._parts(theta)
        effective, _ = self._effective(theta, amounts)
        loss = values.get("E", 0.0) + np.exp(values["log_A"] - np.exp(values["log_a"]) * np.log(effective))
        if self.family.common:
            total = np.maximum(amounts.sum(axis=1), _TINY)
            loss = loss + np.exp(values["log_B"] - np.exp(values["log_b"]) * np.log(total))
        return loss

    def jacobian(self, theta: Floats, amounts: Floats) -> Floats:
        """Derivatives of the losses by theta, shape (rows, parameters)."""
        values, worth, _ = self._parts(theta)
        effective, transferred = self._effective(theta, amounts)
        rate = np.exp(values["log_a"])
        main = np.exp(values["log_A"] - rate * np.log(effective))
        by_effective = -rate * main / effective
        logs = np.log(np.maximum(amounts[:, self.sources], _TINY))
        columns = [main, -rate * np.log(effective) * main, by_effective * np.exp(values["log_m0"])]
        columns += [np.ones(len(amounts))] if self.family.floor else []
        columns += list((by_effective[:, None] * transferred).T)
        columns += list((by_effective[:, None] * transferred * worth * logs).T)
        if self.family.common:
            total, decay = np.maximum(amounts.sum(axis=1), _TINY), np.exp(values["log_b"])
            common = np.exp(values["log_B"] - decay * np.log(total))
            columns += [common, -decay * np.log(total) * common]
        return np.stack(columns, axis=1)

    def gradient(self, theta: Floats, amounts: Floats) -> Floats:
        """Derivatives of the losses by the amounts, shape (rows, domains); large where a source is near zero."""
        values, worth, power = self._parts(theta)
        effective, _ = self._effective(theta, amounts)
        rate = np.exp(values["log_a"])
        by_effective = -rate * np.exp(values["log_A"] - (rate + 1) * np.log(effective))
        result = np.zeros_like(amounts)
        result[:, self.own] = by_effective
        given = np.maximum(amounts[:, self.sources], _TINY)
        result[:, self.sources] = by_effective[:, None] * worth * power * given ** (power - 1)
        if self.family.common:
            total, decay = np.maximum(amounts.sum(axis=1), _TINY), np.exp(values["log_b"])
            result -= (decay * np.exp(values["log_B"] - (decay + 1) * np.log(total)))[:, None]
        return result

    def exchange(self, theta: Floats, amounts: Floats) -> Floats:
        """What one more unit of each domain is worth in units of the own domain, at one point, shape (domains,)."""
        gradient = self.gradient(theta, amounts[None])[0]
        return gradient / gradient[self.own]

    def expression(self, theta: Floats, amounts: Any) -> Any:
        """The loss as a cvxpy expression, convex by the rules of disciplined convex programming.

        Args:
            amounts: an affine cvxpy expression of shape (domains,), nonnegative.
        """
        import cvxpy as cp

        values, worth, power = self._parts(theta)
        effective = np.exp(values["log_m0"]) + amounts[self.own]
        for index, gain, exponent in zip(self.sources, worth, power, strict=True):
            if gain > 0:
                effective = effective + gain * cp.power(amounts[index], float(exponent), approx=False)
        rate, scale = float(np.exp(values["log_a"])), float(np.exp(values["log_A"]))
        loss = values.get("E", 0.0) + scale * cp.power(effective, -rate, approx=False)
        if self.family.common:
            decay, weight = float(np.exp(values["log_b"])), float(np.exp(values["log_B"]))
            loss = loss + weight * cp.power(cp.sum(amounts), -decay, approx=False)
        return loss

    def log_expression(self, theta: Floats, amounts: Any) -> Any:
        """The logarithm of the loss as a convex cvxpy expression: log-sum-exp of the logarithms of its terms."""
        import cvxpy as cp

        values, worth, power = self._parts(theta)
        effective = np.exp(values["log_m0"]) + amounts[self.own]
        for index, gain, exponent in zip(self.sources, worth, power, strict=True):
            if gain > 0:
                effective = effective + gain * cp.power(amounts[index], float(exponent), approx=False)
        terms = [values["log_A"] - float(np.exp(values["log_a"])) * cp.log(effective)]
        if values.get("E", 0.0) > 0:
            terms.append(cp.Constant(np.log(values["E"])))
        if self.family.common:
            terms.append(values["log_B"] - float(np.exp(values["log_b"])) * cp.log(cp.sum(amounts)))
        return terms[0] if len(terms) == 1 else cp.log_sum_exp(cp.hstack(terms))
