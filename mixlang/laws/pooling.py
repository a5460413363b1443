"""Priors learned from all losses at once, so that few runs go far (partial pooling, empirical Bayes).

The parameters of one kind (all exponents a, say, or all transfer coefficients k) are taken as draws of one normal
distribution over losses and sources. Its centre, its width and the size of the errors are found by turns with the fits:
each loss is fitted under the priors of now, and the priors are estimated anew from the fits and their uncertainty
(EM with Laplace's approximation; Gelman and others, Bayesian Data Analysis, chapter 5). With hundreds of runs the
priors hardly count; with ten they are what holds sixty parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixlang.laws.bootstrap import covariance, spent
from mixlang.laws.families import Law
from mixlang.laws.regression import Regression

Floats = NDArray[np.float64]

Pool = Mapping[str, tuple[float, float]]

_BEFORE: Pool = {
    "log_a": (float(np.log(0.2)), 0.5),
    "log_m0": (float(np.log(0.02)), 1.0),
    "g": (0.6, 0.15),
    "k": (0.02, 0.05),
    "t": (0.0, 0.05),
    "log_b": (float(np.log(0.3)), 1.0),
    "c": (0.03, 0.1),
    "r": (0.0, 0.05),
    "p": (0.1, 0.2),
}
"""What is believed of each kind before any loss is seen, in units of the largest budget: centre and width."""

_BEFORE_LOGS: Pool = {**_BEFORE, "t": (0.0, 0.1)}
"""The same for `log_additive`, where t.h is the straight part of each domain's term, not interference."""

_BEFORE_TILTS: Pool = {**_BEFORE, "t": (0.0, 4.0)}
"""The same for `exponential`, of which t.h is all that a mixture does."""

_WORTH = 3
"""How many parameters' worth of evidence the beliefs of before have on the widths."""

_FEW = 4
"""Runs for each parameter below which priors are learned; above it the weak ones decide nothing."""

_ROUNDS = 8

_ASSUMED = 0.1
"""The part of the noise assumed between seeds that errors may come down to where no run was repeated."""

_PRIOR_FREEDOM = 8
"""How many degrees of freedom the errors of all losses are worth beside a loss's own."""


def priors_before(law: Law) -> Pool:
    """What is believed of a law's parameters before any loss is seen, by kind: those that losses have in common."""
    shared = set(law.weak_priors()) & set(_BEFORE)
    if law.own is None:
        shared -= {"log_m0", "r"}
        if law.family.logs:  # scales of a loss of no domain are its own
            shared -= {"t"}
    if law.family.transfer == "saturating":
        shared -= {"g"}
    before = _BEFORE
    if law.family.logs:
        before = _BEFORE_LOGS
    elif law.family.tilt and not law.family.effective:
        before, shared = _BEFORE_TILTS, shared | {"t"}
    return {name: before[name] for name in before if name in shared}


def held_by_priors(law: Law) -> bool:
    """Whether every parameter of each domain has a prior, so that fewer runs than parameters have one best fit."""
    known = {**law.weak_priors(), **priors_before(law)}
    return all(name in known for name in ("k", "t", "r") if law.at[name].stop > law.at[name].start)


def pooled(regressions: Sequence[Regression], repeated: bool) -> list[tuple[Regression, Floats]]:
    """Fit one family to all losses under priors learned from all of them.

    Args:
        repeated: whether runs were repeated with other seeds. Errors are then at least the noise between seeds; without,
            that noise is only assumed, and errors may turn out smaller.

    Returns:
        For each loss its regression, with the priors and the size of its errors in place, and its parameters.
    """
    points = [len(np.unique(item.amounts, axis=0)) for item in regressions]
    if all(count >= _FEW * item.free for count, item in zip(points, regressions, strict=True)):
        return [(item, item.solve()) for item in regressions]
    given = [item.deviations for item in regressions]
    scales = np.array([max(1.0, 0.5 * float(np.std(i.logs)) / float(np.median(i.deviations))) for i in regressions])
    kinds = [{name: item.law.at[name] for name in priors_before(item.law)} for item in regressions]
    before = {name: value for item in regressions for name, value in priors_before(item.law).items()}
    pool = dict(before)
    found: list[Floats] = []
    for number in range(_ROUNDS):
        regressions = [
            replace(item, pool={name: pool[name] for name in kind}, deviations=deviations * scale)
            for item, kind, deviations, scale in zip(regressions, kinds, given, scales, strict=True)
        ]
        if number == 0:
            found = [item.solve() for item in regressions]
        else:
            found = [
                item.minimize(theta[None], steps=30, precision=1e-7)[0][0]
                for item, theta in zip(regressions, found, strict=True)
            ]
        moments = [_moments(item, theta) for item, theta in zip(regressions, found, strict=True)]
        least = 1.0 if repeated else _ASSUMED
        scales = _scales(regressions, found, given, [freedom for _, freedom in moments], least)
        pool = _learned(pool, before, kinds, found, [variances for variances, _ in moments])
    return list(zip(regressions, found, strict=True))


def _moments(regression: Regression, theta: Floats) -> tuple[Floats, float]:
    """Variances of the parameters by Laplace's approximation, and the errors' degrees of freedom."""
    low, high = regression.bounds
    variances = np.zeros(len(theta))
    varied = low < high
    variances[varied] = np.diag(covariance(regression, theta, varied)[0])
    rows = len(regression.logs)
    return variances, max(rows - spent(regression, theta), 0.1 * rows)


def _scales(
    regressions: Sequence[Regression],
    found: Sequence[Floats],
    given: Sequence[Floats],
    freedom: Sequence[float],
    least: float,
) -> Floats:
    """By how much the errors of each loss are larger than its noise between seeds."""
    squares = np.array(
        [
            float(((item.residuals(theta) / deviations) ** 2).sum())
            for item, theta, deviations in zip(regressions, found, given, strict=True)
        ]
    )
    left = np.array(freedom)
    common = float(np.exp(np.mean(np.log(squares / left + 1e-9))))
    return np.sqrt(np.maximum((squares + _PRIOR_FREEDOM * common) / (left + _PRIOR_FREEDOM), least**2))


def _learned(
    pool: Pool,
    believed: Pool,
    kinds: Sequence[Mapping[str, slice]],
    found: Sequence[Floats],
    variances: Sequence[Floats],
) -> dict[str, tuple[float, float]]:
    """The priors estimated anew."""
    learned = dict(pool)
    for name, (centre, width) in pool.items():
        where = [(index, kind[name]) for index, kind in enumerate(kinds) if name in kind]
        if not where:
            continue
        values = np.concatenate([found[index][at] for index, at in where])
        spread = np.minimum(np.concatenate([variances[index][at] for index, at in where]), width**2)
        before, broad = believed[name]
        if name not in ("t", "r"):  # which are as often harm as help, or nothing
            weights = 1.0 / (spread + width**2)
            centre = float((weights @ values + before / broad**2) / (weights.sum() + broad**-2))
        squares = float(((values - centre) ** 2 + spread).sum())
        learned[name] = (centre, float(np.sqrt((squares + _WORTH * broad**2) / (len(values) + _WORTH))))
    return learned
