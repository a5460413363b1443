"""The law families: the loss on one evaluated domain as a function of the amounts trained on. All have one shape:

    L(m) = E + exp(z) + B M^-b,      z = log A - a log x + t.h,      x = m0 + m_own + sum_j T_j(u_j)

with amounts m in units of the largest probe budget, their sum M and shares h = m / M. E is the irreducible loss, x the
effective data (Hernandez 2021, 2102.01293; Li, Liu and Xing 2025, 2508.11953), T_j what source j transfers (k u^g, or
k u / (1 + u/s) where transfer saturates), t the interference of shares, B M^-b what all data have in common. A family
switches terms on:

    power                E + A (m0 + m_own)^-a                   own data only
    transfer             E + A x^-a                              u = m
    transfer_nofloor     A x^-a
    transfer_common      A x^-a + B M^-b
    transfer_saturating  E + A x^-a, saturating T
    transfer_tilted      E + A x^-a exp(t.h)                     transfer and interference; at a fixed total
    additive             E + 1 / sum_j C_j h_j^g_j + B M^-b      Shukor 2025, 2507.09404; at a fixed total
    exponential          E + exp(c + t.h) + B M^-b               Ye 2024, 2403.16952; at a fixed total
    log_additive         exp(z - sum_k c_k log(m_own + e_k) - sum_j r_j m_j^1/2 - p log M + t.h)      at a fixed total

`log_additive` is what a Gaussian process with a prior of this field comes to where it has to stay convex: a sum of one
concave function of each domain's amount, the own domain's on three scales e_k. It is linear in all its parameters, so
that a handful of runs has one best fit; c, r, p >= 0.

A loss that belongs to no domain (a benchmark, say) has no own data: then every domain is a source with its own k and g,
and A is fixed, since it only sets the scale of k.

Every family is convex in the amounts (those marked "at a fixed total": among amounts of one sum) because A, B, k, a, b
> 0 and 0 < g <= 1, which the bounds of the fit guarantee: x is concave, so -a log x is convex, exp of a convex
function is convex, and t.h is linear. `Law.conditions` checks the fitted numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TINY = 1e-12

_SCALES = 3
"""How many scales of its own domain's amount a `log_additive` law has."""


@dataclass(frozen=True)
class Family:
    """Which terms a family has.

    Attributes:
        effective: has effective data x at all; own: own data count fully where the loss has a domain.
        transfer: how other domains enter x; rate: whether the exponent a is fitted (1 otherwise).
        floor, tilt, common: the terms E, t.h and B M^-b.
        logs: the terms c, r and p of `log_additive`.
        fixed_total: convex only among amounts of one sum; in_shares: x is of shares, not of amounts.
    """

    name: str
    effective: bool = True
    own: bool = True
    transfer: Literal["none", "power", "saturating"] = "power"
    rate: bool = True
    floor: bool = True
    tilt: bool = False
    common: bool = False
    logs: bool = False
    fixed_total: bool = False
    in_shares: bool = False


FAMILIES = {
    family.name: family
    for family in (
        Family("power", transfer="none"),
        Family("transfer"),
        Family("transfer_nofloor", floor=False),
        Family("transfer_common", floor=False, common=True),
        Family("transfer_saturating", transfer="saturating"),
        Family("transfer_tilted", tilt=True, fixed_total=True),
        Family("additive", own=False, rate=False, common=True, fixed_total=True, in_shares=True),
        Family("exponential", effective=False, transfer="none", tilt=True, common=True, fixed_total=True),
        Family("log_additive", effective=False, transfer="none", floor=False, tilt=True, logs=True, fixed_total=True),
    )
}


@dataclass(frozen=True)
class Law:
    """A family applied to one evaluated domain: maps parameters and amounts to a loss.

    Parameters are a flat vector `theta` in the order of `names`. Parameters and amounts broadcast: theta of shape
    (..., parameters) and amounts of shape (..., rows, domains) give losses of shape (..., rows).

    Attributes:
        own: column of the evaluated domain, None for a loss of no domain; `count`: number of domains.
    """

    family: Family
    own: int | None
    count: int

    @property
    def own_counts(self) -> bool:
        """Whether own data enter x with weight 1."""
        return self.family.effective and self.family.own and self.own is not None

    @property
    def name(self) -> str:
        """Of its family."""
        return self.family.name

    @property
    def fixed_total(self) -> bool:
        """Whether it is convex only among amounts of one sum."""
        return self.family.fixed_total

    def floor(self, theta: Floats) -> float:
        """The irreducible loss E; 0 for families without one."""
        return float(theta[self.at["E"]].sum())

    @cached_property
    def others(self) -> list[int]:
        """The domains whose roots are terms of a `log_additive` law: all but its own."""
        return [index for index in range(self.count) if index != self.own] if self.family.logs else []

    @cached_property
    def sources(self) -> list[int]:
        """The domains that transfer."""
        if self.family.transfer == "none":
            return []
        return [index for index in range(self.count) if not (self.own_counts and index == self.own)]

    @cached_property
    def at(self) -> dict[str, slice]:
        """Where each kind of parameter lies in theta; absent ones have an empty slice."""
        family, sources = self.family, len(self.sources)
        sizes = {
            "log_A": 1,
            "log_a": int(family.effective and family.rate),
            "log_m0": int(family.effective and family.rate),
            "E": int(family.floor),
            "k": sources,
            "g": sources,
            "t": self.count if family.tilt else 0,
            "B": int(family.common),
            "log_b": int(family.common),
            "c": _SCALES if family.logs and self.own is not None else 0,
            "log_e": _SCALES if family.logs and self.own is not None else 0,
            "r": len(self.others),
            "p": int(family.logs),
        }
        ends = np.cumsum(list(sizes.values())).tolist()
        return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    @cached_property
    def names(self) -> list[str]:
        """What each entry of theta is; `k_2` belongs to the domain of column 2."""
        columns = {"k": self.sources, "g": self.sources, "t": list(range(self.count)), "r": self.others}
        names: list[str] = []
        for name, where in self.at.items():
            size = where.stop - where.start
            if name in columns:
                names += [f"{name}_{column}" for column in columns[name]] if size else []
            else:
                names += [name] if size == 1 else [f"{name}{number}" for number in range(1, size + 1)]
        return names

    def bounds(self, losses: Floats, budgets: int, least: float = 0.01) -> tuple[Floats, Floats]:
        """Lower and upper bounds of theta.

        Args:
            losses: those seen; E stays below the smallest, and scales follow their size.
            budgets: how many different sums the amounts have. With one, the common term is the same for all runs and
                cannot be told from E, so it is left out.
            least: the smallest amount above zero of the loss's own domain. The scales e_k go from half of it, below
                which no run tells amounts from none, to a third of the largest budget.
        """
        lowest, scale = float(losses.min()), float(np.log(np.median(losses)))
        rate = (np.log(0.01), np.log(5.0 if budgets == 1 else 2.0))
        wide = not self.own_counts
        free = self.own_counts or not self.family.effective
        saturating = self.family.transfer == "saturating"
        box = {
            "log_A": (scale - 12, scale + 6) if free else (scale - 0.5, scale - 0.5),
            "log_a": rate,
            "log_m0": (np.log(1e-6), np.log(1e3)) if wide else (np.log(1e-4), np.log(3.0)),
            "E": (0.0, 0.98 * lowest),
            "k": (0.0, 1e4 if wide else 5.0),
            "g": (np.log(0.01), np.log(100.0)) if saturating else (0.05, 1.0),
            "t": (-3.0, 3.0) if self.family.effective else (-60.0, 60.0),
            "B": (0.0, 0.0 if budgets == 1 else 3.0 * lowest),
            "log_b": (np.log(0.3), np.log(0.3)) if budgets == 1 else (np.log(0.01), np.log(2.0)),
            "c": (0.0, 5.0),
            "r": (0.0, 5.0),
            "p": (0.0, 0.0 if budgets == 1 else 2.0),
        }
        if self.family.logs:
            box["log_A"] = (scale - 12, scale + 6)
            box["t"] = (-3.0, 3.0)
            finest = np.log(np.clip(0.5 * least, 1e-5, 0.1))
            box["log_e"] = (finest, np.log(1 / 3))
        low, high = np.zeros(len(self.names)), np.zeros(len(self.names))
        for name, where in self.at.items():
            if name == "log_e" and where.stop > where.start:
                low[where] = high[where] = np.linspace(*box[name], where.stop - where.start)
            elif name in box:
                low[where], high[where] = box[name]
        return low, high

    def starts(self, losses: Floats, budgets: int, least: float = 0.01) -> Floats:
        """Deterministic starting points, shape (starts, parameters)."""
        low, high = self.bounds(losses, budgets, least)
        lowest, scale = float(losses.min()), float(np.log(np.median(losses)))
        exponent = np.log(0.3) if self.family.transfer == "saturating" else 0.6
        found = []
        for rate in (0.1, 0.3, 0.8):
            for offset in (0.02, 0.2):
                for worth in (0.05, 0.4):
                    guess = {"log_A": scale - 0.5, "log_a": np.log(rate), "log_m0": np.log(offset)}
                    guess |= {"E": 0.3 * lowest, "k": worth, "g": exponent, "t": 0.0, "B": 0.2 * lowest}
                    guess |= {"log_b": np.log(0.3), "c": 0.1 * rate, "log_e": 0.0, "r": 0.0, "p": 0.5 * rate}
                    theta = np.zeros(len(self.names))
                    for name, where in self.at.items():
                        theta[where] = guess[name]
                    found.append(np.clip(theta, low, high))
        return np.unique(np.array(found), axis=0)

    def priors(self, pool: Mapping[str, tuple[float, float]] | None = None) -> tuple[Floats, Floats]:
        """Centres and widths of the parameters' priors; an infinite width is none.

        Args:
            pool: centre and width by kind of parameter, as `mixlang.laws.pooling` learns them from all losses. Without
                it priors are weak, worth one observation each: they decide where the data do not (the exponent of a
                source that transfers nothing) and hold back terms that few runs cannot tell apart.
        """
        centres, widths = np.zeros(len(self.names)), np.full(len(self.names), np.inf)
        for name, (centre, width) in {**self.weak_priors(), **(pool or {})}.items():
            centres[self.at[name]], widths[self.at[name]] = centre, width
        return centres, widths

    def weak_priors(self) -> dict[str, tuple[float, float]]:
        """Centre and width by kind of parameter."""
        box = {
            "log_a": (np.log(0.3), 1.5),
            "log_m0": (np.log(0.05), 4.0),
            "g": (np.log(0.3), 2.0) if self.family.transfer == "saturating" else (0.6, 0.5),
            "log_b": (np.log(0.3), 1.0),
        }
        if self.family.effective or self.family.logs:
            box["t"] = (0.0, 0.05)
        if self.own_counts:
            box["k"] = (0.0, 1.0)
        if self.family.logs:
            box |= {"c": (0.03, 0.05), "r": (0.0, 0.05 if self.own is not None else 0.3), "p": (0.1, 0.2)}
        return {name: value for name, value in box.items() if self.at[name].stop > self.at[name].start}

    def in_units(self, theta: Floats, unit: float) -> Floats:
        """The parameters of losses `unit` times as large; theta may have leading axes."""
        if unit == 1.0:
            return theta
        changed = np.array(theta)
        changed[..., self.at["log_A"]] += np.log(unit)
        changed[..., self.at["E"]] *= unit
        changed[..., self.at["B"]] *= unit
        return changed

    # Evaluation

    def _one(self, theta: Floats, name: str) -> Floats:
        """A scalar parameter as (..., 1), zero where the family has none."""
        return theta[..., self.at[name]].sum(axis=-1, keepdims=True)

    def _units(self, amounts: Floats) -> tuple[Floats, Floats]:
        """What x is measured in, and the sums M as (..., rows, 1)."""
        total = np.maximum(amounts.sum(axis=-1, keepdims=True), _TINY)
        return (amounts / total if self.family.in_shares else amounts), total

    def _transferred(self, theta: Floats, units: Floats) -> Floats:
        """T_j / k_j of each source, shape (..., rows, sources)."""
        given, g = units[..., self.sources], theta[..., None, self.at["g"]]
        if self.family.transfer == "saturating":
            return given / (1.0 + given / np.exp(g))
        return np.exp(g * np.log(np.maximum(given, _TINY))) * (given > 0)

    def _by_g(self, theta: Floats, units: Floats, transferred: Floats) -> Floats:
        """Derivatives of T_j / k_j by the parameter g."""
        given, g = units[..., self.sources], theta[..., None, self.at["g"]]
        if self.family.transfer == "saturating":
            return transferred**2 / np.exp(g)
        return transferred * np.log(np.maximum(given, _TINY))

    def _slope(self, theta: Floats, units: Floats) -> Floats:
        """Derivatives of T_j / k_j by u_j; infinite at zero in truth, very large here."""
        given, g = units[..., self.sources], theta[..., None, self.at["g"]]
        if self.family.transfer == "saturating":
            return 1.0 / (1.0 + given / np.exp(g)) ** 2
        return g * np.exp((g - 1) * np.log(np.maximum(given, _TINY)))

    def _effective(self, theta: Floats, units: Floats, transferred: Floats) -> Floats:
        offset = np.exp(theta[..., self.at["log_m0"]]).sum(axis=-1, keepdims=True)
        x = offset + np.einsum("...rs,...s->...r", transferred, theta[..., self.at["k"]])
        if self.own_counts:
            x = x + units[..., self.own]
        return np.maximum(x, 1e-9)

    def _main(self, theta: Floats, amounts: Floats, units: Floats, total: Floats, x: Floats | None) -> Floats:
        z = self._one(theta, "log_A")
        if x is not None:
            z = z - self._rate(theta) * np.log(x)
        if self.family.tilt:
            z = z + np.einsum("...rd,...d->...r", amounts / total, theta[..., self.at["t"]])
        if self.family.logs:
            z = z - self._logged(theta, units, total)
        return np.exp(np.broadcast_to(z, np.broadcast_shapes(z.shape, amounts.shape[:-1])))

    def _own_logs(self, theta: Floats, units: Floats) -> Floats:
        """log(m_own + e_k), shape (..., rows, scales)."""
        return np.log(units[..., self.own, None] + np.exp(theta[..., None, self.at["log_e"]]))

    def _logged(self, theta: Floats, units: Floats, total: Floats) -> Floats:
        """What the terms c, r and p take off the log of the loss, shape (..., rows)."""
        taken = np.einsum("...rd,...d->...r", np.sqrt(units[..., self.others]), theta[..., self.at["r"]])
        taken = taken + self._one(theta, "p") * np.log(total[..., 0])
        if self.own is not None:
            taken = taken + np.einsum("...rk,...k->...r", self._own_logs(theta, units), theta[..., self.at["c"]])
        return taken

    def _by_amounts(self, theta: Floats, units: Floats) -> tuple[Floats, Floats]:
        """First and second derivatives by each amount of what c and r take off, shape (..., rows, domains)."""
        first = np.zeros(np.broadcast_shapes(theta.shape[:-1] + (1, 1), units.shape))
        second = np.zeros_like(first)
        given = np.maximum(units[..., self.others], _TINY)
        first[..., self.others] = 0.5 * theta[..., None, self.at["r"]] * given**-0.5
        second[..., self.others] = -0.25 * theta[..., None, self.at["r"]] * given**-1.5
        if self.own is not None:
            reached = units[..., self.own, None] + np.exp(theta[..., None, self.at["log_e"]])
            first[..., self.own] = (theta[..., None, self.at["c"]] / reached).sum(axis=-1)
            second[..., self.own] = -(theta[..., None, self.at["c"]] / reached**2).sum(axis=-1)
        return first, second

    def _rate(self, theta: Floats) -> Floats:
        return np.exp(self._one(theta, "log_a")) if self.family.rate else np.ones(theta.shape[:-1] + (1,))

    def predict(self, theta: Floats, amounts: Floats) -> Floats:
        """Losses of rows of amounts."""
        units, total = self._units(amounts)
        x = None
        if self.family.effective:
            x = self._effective(theta, units, self._transferred(theta, units))
        return self._one(theta, "E") + self._main(theta, amounts, units, total, x) + self._common(theta, total)

    def _common(self, theta: Floats, total: Floats) -> Floats:
        if not self.family.common:
            return np.zeros(1)
        return self._one(theta, "B") * np.exp(-np.exp(self._one(theta, "log_b")) * np.log(total[..., 0]))

    def jacobian(self, theta: Floats, amounts: Floats) -> Floats:
        """Derivatives of the losses by theta, shape (..., rows, parameters)."""
        units, total = self._units(amounts)
        x = None
        if self.family.effective:
            transferred = self._transferred(theta, units)
            x = self._effective(theta, units, transferred)
        main = self._main(theta, amounts, units, total, x)
        result = np.zeros((*main.shape, len(self.names)))
        result[..., self.at["log_A"]] = main[..., None]
        if x is not None:
            rate = self._rate(theta)
            by_x = (-rate * main / x)[..., None]
            if self.family.rate:
                result[..., self.at["log_a"]] = (-rate * np.log(x) * main)[..., None]
                result[..., self.at["log_m0"]] = by_x * np.exp(self._one(theta, "log_m0"))[..., None]
            result[..., self.at["k"]] = by_x * transferred
            result[..., self.at["g"]] = by_x * self._by_g(theta, units, transferred) * theta[..., None, self.at["k"]]
        if self.family.floor:
            result[..., self.at["E"]] = 1.0
        if self.family.logs:
            result[..., self.at["r"]] = -main[..., None] * np.sqrt(units[..., self.others])
            result[..., self.at["p"]] = (-main * np.log(total[..., 0]))[..., None]
            if self.own is not None:
                result[..., self.at["c"]] = -main[..., None] * self._own_logs(theta, units)
                scales = np.exp(theta[..., None, self.at["log_e"]])
                parts = theta[..., None, self.at["c"]] * scales / (units[..., self.own, None] + scales)
                result[..., self.at["log_e"]] = -main[..., None] * parts
        if self.family.tilt:
            result[..., self.at["t"]] = main[..., None] * (amounts / total)
        if self.family.common:
            rate, logs = np.exp(self._one(theta, "log_b")), np.log(total[..., 0])
            result[..., self.at["B"]] = np.exp(-rate * logs)[..., None]
            result[..., self.at["log_b"]] = (-rate * logs * self._common(theta, total))[..., None]
        return result

    def gradient(self, theta: Floats, amounts: Floats) -> Floats:
        """Derivatives of the losses by the amounts, shape (..., rows, domains); large where a source is near zero."""
        units, total = self._units(amounts)
        x, in_shares = None, np.zeros(1)
        by_units = np.zeros(np.broadcast_shapes(theta.shape[:-1] + (1, 1), amounts.shape))
        if self.family.effective:
            slope = self._slope(theta, units)
            x = self._effective(theta, units, self._transferred(theta, units))
            by_units[..., self.sources] = theta[..., None, self.at["k"]] * slope
            if self.own_counts:
                by_units[..., self.own] += 1.0
        main = self._main(theta, amounts, units, total, x)
        if x is not None:
            by_units *= (-self._rate(theta) * main / x)[..., None]
        if self.family.logs:
            by_units = -main[..., None] * (self._by_amounts(theta, units)[0] + self._one(theta, "p")[..., None] / total)
        if self.family.tilt:
            in_shares = main[..., None] * theta[..., None, self.at["t"]]
        if self.family.in_shares:
            in_shares, by_units = by_units, np.zeros(1)
        # h = m / M, so d/dm_k of a function of h is (its derivative by h_k less its mean under h) / M.
        average = (in_shares * amounts / total).sum(axis=-1, keepdims=True)
        result = by_units + (in_shares - average) / total
        if self.family.common:
            result = result - (np.exp(self._one(theta, "log_b")) * self._common(theta, total))[..., None] / total
        return result

    def curvature(self, theta: Floats, amounts: Floats) -> tuple[Floats, Floats, Floats]:
        """Loss, gradient and Hessian by the amounts at a fixed total, for one row: (...,), (..., D), (..., D, D).

        The total is held, so the gradient may differ from `gradient` by the same number in every entry.
        """
        rows = amounts[..., None, :]
        units, total = self._units(rows)
        loss = self.predict(theta, rows)[..., 0]
        scale = 1.0 / total[..., 0, :] if self.family.in_shares else np.ones_like(total[..., 0, :])
        gradient = np.zeros(np.broadcast_shapes(theta.shape[:-1] + (1,), amounts.shape))
        hessian = np.zeros((*gradient.shape, self.count))
        x = None
        if self.family.effective:
            slope = self._slope(theta, units)
            x = self._effective(theta, units, self._transferred(theta, units))
            by_x = np.zeros_like(gradient)
            by_x[..., self.sources] = (theta[..., None, self.at["k"]] * slope)[..., 0, :]
            if self.own_counts:
                by_x[..., self.own] += 1.0
            ratio = self._rate(theta) / x
            gradient = -ratio * by_x * scale
            hessian += (ratio / x)[..., None] * (by_x[..., :, None] * by_x[..., None, :]) * scale[..., None] ** 2
            bend = np.zeros_like(gradient)
            bend[..., self.sources] = self._bend(theta, units)[..., 0, :]
            index = np.arange(self.count)
            hessian[..., index, index] -= ratio * bend * scale**2
        main = self._main(theta, rows, units, total, x)
        if self.family.logs:
            first, second = self._by_amounts(theta, units)
            gradient = gradient - first[..., 0, :]
            index = np.arange(self.count)
            hessian[..., index, index] -= second[..., 0, :]
        if self.family.tilt:
            gradient = gradient + theta[..., self.at["t"]] / total[..., 0, :]
        hessian = main[..., None] * (hessian + gradient[..., :, None] * gradient[..., None, :])
        return loss, main * gradient, hessian

    def _bend(self, theta: Floats, units: Floats) -> Floats:
        """Second derivatives of k_j T_j by u_j, shape (..., rows, sources); never positive."""
        given, g = units[..., self.sources], theta[..., None, self.at["g"]]
        worth = theta[..., None, self.at["k"]]
        if self.family.transfer == "saturating":
            saturation = np.exp(g)
            return -2.0 * worth / saturation / (1.0 + given / saturation) ** 3
        return worth * g * (g - 1) * np.exp((g - 2) * np.log(np.maximum(given, _TINY)))

    def conditions(self, theta: Floats) -> dict[str, bool]:
        """The conditions of convexity, checked on the numbers; theta may have leading axes."""
        found = {"A, a > 0 by construction": True}
        if self.sources:
            found["transfer is nonnegative"] = bool((theta[..., self.at["k"]] >= 0).all())
            g = theta[..., self.at["g"]]
            if self.family.transfer == "power":
                found["transfer exponents are in (0, 1]"] = bool(((g > 0) & (g <= 1)).all())
        if self.family.logs:
            taken = [theta[..., self.at[name]] for name in ("c", "r", "p")]
            found["every domain's term is concave"] = bool(all((part >= 0).all() for part in taken))
        if self.family.common:
            found["the common term falls with data"] = bool((theta[..., self.at["B"]] >= 0).all())
        return found

    def terms(self, theta: Floats, amounts: Any, program: Any) -> tuple[float, list[Any]]:
        """The loss for a convex program: the constant E, and the terms added to it.

        Args:
            amounts: an affine expression of shape (domains,), nonnegative; its sum is fixed where the family needs it.
            program: states concave parts and terms; see `mixlang.allocate.cones`.
        """
        values = {name: float(self._one(theta, name)[0]) for name in ("log_A", "E", "B", "log_b", "p")}
        x, tilt = None, None
        if self.family.effective:
            units = amounts / program.total if self.family.in_shares else amounts
            worth, g = theta[self.at["k"]], theta[self.at["g"]]
            x = float(np.exp(theta[self.at["log_m0"]]).sum())
            x = x + program.transferred(units, self.sources, worth, g, self.family.transfer)
            if self.own_counts:
                x = x + units[self.own]
        if self.family.tilt:
            tilt = (theta[self.at["t"]] / program.total) @ amounts
        if self.family.logs:
            roots = np.full(len(self.others), 0.5)
            tilt = tilt - program.transferred(amounts, self.others, theta[self.at["r"]], roots, "power")
            tilt = tilt - values["p"] * np.log(program.total)
            if self.own is not None:
                tilt = tilt - program.logs(amounts[self.own], theta[self.at["c"]], np.exp(theta[self.at["log_e"]]))
        terms = [program.term(values["log_A"], x, float(self._rate(theta)[0]), tilt)]
        if self.family.common and values["B"] > 0:
            total = program.total if program.total is not None else amounts.sum()
            terms.append(program.term(np.log(values["B"]), total, float(np.exp(values["log_b"])), None))
        return values["E"], terms
