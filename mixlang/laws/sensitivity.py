"""What runs would tell before they are trained: laws linearised where their priors are centred.

The log of a loss changes with a parameter by the law's derivative there. In units of the prior's width and of the noise, a
run is then one row of a Bayesian linear regression, whatever its loss will be, and the variance of any prediction after
any set of runs is known beforehand (a locally optimal design; Chaloner and Verdinelli 1995, Bayesian Experimental Design:
A Review).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixlang.laws.families import FAMILIES, Law
from mixlang.laws.pooling import priors_before

Floats = NDArray[np.float64]

FAMILIES_ASKED = ("log_additive", "transfer_tilted")
"""One that is linear and one whose sources stand in for the own domain: together they carry the curves of all families."""

NOISE = 0.01
"""Of a log loss, as far as designs are concerned: how far a run is believed against the priors."""

_UNLIKE = 0.03
"""How far losses may differ from every family: the standard deviation of a smooth function of mixture and budget. Without
it designs go to the ends of what can be run, where families are wrong most."""

_NEAR, _NEAR_BUDGETS = 0.5, 1.0
"""Over which Hellinger distance of mixtures, and log of budgets, that function changes; and how many terms describe it."""
_TERMS = 60

_TIE = 1e-7

_FREE = {"log_A": 1.0, "E": 0.3, "B": 0.3}
"""Widths of parameters that no prior holds, for losses of size 1."""


@dataclass(frozen=True)
class Sensitivity:
    """One loss under one family, or several of the same number of parameters.

    Attributes:
        runs: derivatives of the log losses of candidate runs, in units of prior width and noise, shape (losses, runs,
            parameters); asked: the same of the predictions that are wanted, shape (losses, predictions, parameters).
    """

    runs: Floats
    asked: Floats


def sensitivities(
    runs: Floats,
    asked: Floats,
    owners: Sequence[int | None],
    families: Sequence[str] = FAMILIES_ASKED,
    noise: float = NOISE,
) -> list[Sensitivity]:
    """What candidate runs tell of predictions, for each family and kind of loss.

    Args:
        runs: amounts of the candidates, shape (runs, domains); asked: amounts at which losses are to be predicted. Both in
            the same unit.
        owners: for each loss the column of its domain, None for a loss of no domain.
        noise: standard deviation of a log loss.
    """
    scale = runs.sum(axis=1).max()
    unlike = _UNLIKE * _smooth(np.concatenate([runs, asked]))
    found = []
    for name in families:
        for none in (False, True):
            which = [owner for owner in owners if (owner is None) == none]
            rows = [_derivatives(name, owner, runs / scale, asked / scale) for owner in which]
            if rows:
                known = [np.hstack([a, unlike[: len(runs)]]) for a, _ in rows]
                wanted = [np.hstack([b, unlike[len(runs) :]]) for _, b in rows]
                found.append(Sensitivity(np.stack(known) / noise, np.stack(wanted)))
    return found


def _smooth(amounts: Floats) -> Floats:
    """Terms whose products are a Gaussian kernel of mixture and log budget, shape (rows, terms): a pivoted Cholesky
    factor, so that no rounding chooses among directions that are equal."""
    totals = amounts.sum(axis=1)
    roots, logs = np.sqrt(amounts / totals[:, None]), np.log(totals)
    terms = np.zeros((len(amounts), min(_TERMS, len(amounts))))
    left = np.ones(len(amounts))
    for number in range(terms.shape[1]):
        index = int(np.flatnonzero(left >= left.max() - _TIE)[0])
        if left[index] < _TIE:
            break
        apart = np.maximum(0.0, 1 - roots @ roots[index]) / _NEAR**2 + ((logs - logs[index]) / _NEAR_BUDGETS) ** 2 / 2
        terms[:, number] = (np.exp(-apart) - terms @ terms[index]) / np.sqrt(left[index])
        left = np.maximum(0.0, left - terms[:, number] ** 2)
    return terms


def _derivatives(name: str, owner: int | None, runs: Floats, asked: Floats) -> tuple[Floats, Floats]:
    """Derivatives of log losses by the free parameters, in widths of their priors."""
    law = Law(FAMILIES[name], owner, runs.shape[1])
    budgets = len(np.unique(np.round(runs.sum(axis=1), 9)))
    given = runs[:, owner] if owner is not None else np.zeros(0)
    least = float(given[given > 0].min()) if (given > 0).any() else 0.01
    low, high = law.bounds(np.ones(1), budgets, least)
    centres, widths = law.priors(priors_before(law))
    for kind, width in _FREE.items():
        at = law.at[kind]
        widths[at] = np.where(np.isfinite(widths[at]), widths[at], width)
    held = np.isfinite(centres) & (centres != 0)
    theta = np.clip(np.where(held, centres, law.starts(np.ones(1), budgets, least)[0]), low, high)
    free = low < high
    widths = np.where(np.isfinite(widths), widths, 1.0)

    def by_parameters(amounts: Floats) -> Floats:
        return (law.jacobian(theta, amounts) / law.predict(theta, amounts)[:, None] * widths)[:, free]

    return by_parameters(runs), by_parameters(asked)
