"""Fitting laws to a table: the family of each loss by cross-validation, then its uncertainty and diagnosis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mixlang.errors import InputError
from mixlang.laws.bootstrap import bootstrap
from mixlang.laws.diagnosis import diagnose, negative_transfer, notes_of, refuse_unidentifiable
from mixlang.laws.families import FAMILIES, Family, Law
from mixlang.laws.fitted import Fit, FittedLaw
from mixlang.laws.regression import Regression
from mixlang.laws.selection import cross_validate, left_out
from mixlang.laws.shared_exponents import fit_shared
from mixlang.laws.table import LossTable
from mixlang.names import FAMILY_NAMES, meant_or_known

Floats = NDArray[np.float64]

PLATEAU = 0.9
"""A loss above this fraction of predicting the mean intensity says that nothing was learned for the domain."""

DRAWS = 100

_TIE = 0.02
"""Scores within this part of the best are a tie."""

AUTO = tuple(name for name, family in FAMILIES.items() if not family.shared)
"""The families that `auto` tries. Sharing exponents between losses was never better, and costs one large fit."""


def fit_laws(
    table: LossTable,
    family: str = "auto",
    choose: Literal["each", "all"] = "each",
    fixed_total: bool = True,
    draws: int = DRAWS,
    seed: int = 0,
) -> Fit:
    """Fit a law for every loss.

    Args:
        family: a name of FAMILIES, or `auto`: the family with the smallest cross-validated error.
        choose: with `auto`, whether each loss has its own family or all have the one that is best on average.
        fixed_total: whether `auto` may choose laws that are convex only among mixtures of one total amount.
        draws: bootstrap draws; 0 for none.
        seed: of the bootstrap.

    Raises:
        InputError: the runs cannot identify the laws; says why and what to do.
    """
    if family != "auto" and family not in FAMILIES:
        raise InputError(f"there is no law '{family}'", meant_or_known(family, FAMILY_NAMES, "laws"))
    wanted = [FAMILIES[name] for name in (AUTO if family == "auto" else (family,))]
    wanted = [item for item in wanted if fixed_total or not item.fixed_total or family != "auto"]
    # Small batched problems run three times slower on several BLAS threads, and differ in their last bits.
    with threadpool_limits(1):
        return _fit(table, wanted, choose, draws, seed)


def _fit(table: LossTable, wanted: Sequence[Family], choose: str, draws: int, seed: int) -> Fit:
    transfer = any(item.name != "power" for item in wanted)
    notes = refuse_unidentifiable(table, transfer)
    _refuse_holes(table, transfer)
    units = _units(table)
    given, table = table, replace(table, losses=table.losses / units)
    rows = learned = [_used(given, loss) for loss in range(len(table.names))]
    if wanted[0].shared:
        family = wanted[0]
        candidates = fit_shared([_regression(table, loss, family, used) for loss, used in enumerate(rows)])
        tried = [{family.name: fitted} for fitted in candidates]
        scores: list[dict[str, dict[str, float]]] = [{} for _ in tried]
    else:
        found = [_candidates(table, loss, used, wanted) for loss, used in enumerate(rows)]
        rows = [one.rows for one in found]
        tried, scores = [one.tried for one in found], [one.scores for one in found]
    chosen = _choose(scores, choose) if len(wanted) > 1 else [wanted[0].name] * len(tried)
    pairs = [found[family] for found, family in zip(tried, chosen, strict=True)]
    drawn = bootstrap([pair[0] for pair in pairs], [pair[1] for pair in pairs], rows, table.groups, draws, seed)
    laws = []
    for loss, name in enumerate(table.names):
        regression, theta = pairs[loss]
        groups = table.groups[rows[loss]]
        diagnosis = diagnose(regression, theta, table.domains)
        diagnosis |= negative_transfer(regression, theta, groups, table.domains)
        notes += _dropped_notes(table, loss, rows[loss], learned[loss]) + notes_of(name, diagnosis)
        laws.append(
            FittedLaw(
                name,
                regression.law,
                regression.law.in_units(theta, units[loss]),
                float(table.amounts.sum(axis=1).max()),
                float(np.sqrt(np.mean(regression.residuals(theta) ** 2))),
                table.noise(loss),
                scores[loss],
                int(rows[loss].sum()),
                int((~rows[loss]).sum()),
                _least_share(table, loss, rows[loss]),
                regression.law.in_units(drawn[loss], units[loss]),
                _own_only(table, loss, rows[loss], tried[loss], units[loss]),
                diagnosis,
                table.best(loss),
            )
        )
    total = table.amounts.sum(axis=1)
    mixtures = np.unique(np.round(table.shares, 7), axis=0)
    budgets = (float(total.min()), float(total.max()))
    return Fit(table.domains, tuple(laws), budgets, budgets[1], mixtures, tuple(notes))


def _units(table: LossTable) -> Floats:
    """What each loss is fitted in units of, so that its own unit decides nothing, shape (losses,).

    Powers of 1024, by which numbers divide without rounding: the usual losses, between 1/32 and 32, keep their unit.
    """
    return 1024.0 ** np.round(np.nanmedian(np.log2(table.losses), axis=0) / 10)


def _refuse_holes(table: LossTable, transfer: bool) -> None:
    """Refuse losses that too few runs have, or whose runs cannot identify a law though all runs together could."""
    for loss, name in enumerate(table.names):
        there = np.isfinite(table.losses[:, loss])
        if there.all():
            continue
        if not there.any():
            raise InputError(f"no run has a value of '{name}'", "Leave it out.")
        try:
            refuse_unidentifiable(table.rows(there), transfer)
        except InputError as error:
            raise InputError(f"'{name}', which {there.sum()} of {len(there)} runs have: {error}", error.hint) from error


def _used(table: LossTable, loss: int) -> NDArray[np.bool_]:
    """The rows whose run has the loss and had learned something for it."""
    there = np.isfinite(table.losses[:, loss])
    if table.means is None:
        return there
    used = there & ~(table.losses[:, loss] >= PLATEAU * table.means[loss])  # nothing is known where there is no mean
    left = len(np.unique(table.points[used]))
    if left < 4:
        raise InputError(
            f"domain '{table.names[loss]}': {left} probe points learned anything; at least 4 are needed",
            "Look at the curves of its runs: train longer (raise budgets.probe), lower a train.learning_rate that diverges or "
            "raise one that crawls, give the domain more data, and make sure that its intensities are in the unit it says.",
        )
    return used


def _regression(table: LossTable, loss: int, family: Family, used: NDArray[np.bool_]) -> Regression:
    law = Law(family, table.own(loss), len(table.domains))
    amounts = table.amounts[used] / table.amounts.sum(axis=1).max()
    budgets = len(np.unique(table.totals[used]))
    return Regression(law, amounts, np.log(table.losses[used, loss]), table.deviations(loss)[used], budgets)


def _fit_families(
    table: LossTable, loss: int, used: NDArray[np.bool_], families: Sequence[Family]
) -> dict[str, tuple[Regression, Floats]]:
    """The families the rows of a loss can identify, fitted."""
    points = len(np.unique(table.points[used]))
    found, reasons = {}, []
    for family in families:
        regression = _regression(table, loss, family, used)
        if family.name == "power" and regression.law.own is None:
            reasons.append(f"'power' needs a loss named as a domain; '{table.names[loss]}' is not")
        elif family.common and not family.floor and regression.budgets == 1:
            reasons.append(f"'{family.name}' needs several budgets")
        elif regression.free >= points:
            reasons.append(f"'{family.name}' has {regression.free} parameters for {points} distinct runs")
        else:
            found[family.name] = (regression, regression.solve())
    if not found:
        raise InputError(
            f"the runs cannot identify a law for '{table.names[loss]}': {'; '.join(reasons)}",
            "Add runs with other mixtures and budgets; replicates of the same one do not count.",
        )
    return found


def _own_only(
    table: LossTable,
    loss: int,
    used: NDArray[np.bool_],
    tried: Mapping[str, tuple[Regression, Floats]],
    unit: float,
) -> Floats | None:
    """The parameters of the own-data law of losses in their own unit, fitted now unless it was among those tried."""
    if "power" in tried:
        regression, theta = tried["power"]
        return regression.law.in_units(theta, unit)
    regression = _regression(table, loss, FAMILIES["power"], used)
    if regression.law.own is None or regression.free >= len(np.unique(regression.amounts, axis=0)):
        return None
    return regression.law.in_units(regression.solve(), unit)


@dataclass(frozen=True)
class _Candidates:
    """The families tried for a loss on some of its rows, and their cross-validated scores."""

    rows: NDArray[np.bool_]
    tried: dict[str, tuple[Regression, Floats]]
    scores: dict[str, dict[str, float]]

    @property
    def best(self) -> float:
        return min(found["score"] for found in self.scores.values())


def _candidates(table: LossTable, loss: int, used: NDArray[np.bool_], wanted: Sequence[Family]) -> _Candidates:
    """The families fitted with the runs of other domains alone, or without them where that predicts better.

    Such runs tell what a source transfers, but a network that never saw a domain can be in another state than one that
    saw a little, and mixtures are what laws are for. Errors are therefore counted elsewhere in both cases.
    """
    elsewhere = table.elsewhere(loss) & used
    scored = len(wanted) > 1 or bool(elsewhere.any())
    every = _scored(table, loss, used, _fit_families(table, loss, used, wanted), scored)
    if not elsewhere.any():
        return every
    try:
        inner = used & ~elsewhere
        without = _scored(table, loss, inner, _fit_families(table, loss, inner, wanted), scored)
    except InputError:  # too few other runs to identify a law
        return every
    return without if without.best < (1 - _TIE) * every.best else every


def _scored(
    table: LossTable,
    loss: int,
    used: NDArray[np.bool_],
    tried: dict[str, tuple[Regression, Floats]],
    scored: bool,
) -> _Candidates:
    mixed = (table.shares[used] > 0).sum(axis=1) > 1
    groups = left_out(table.mixtures[used], table.points[used], mixed)
    counted = ~table.elsewhere(loss)[used]
    scores = {name: cross_validate(*pair, groups, counted) for name, pair in tried.items()} if scored else {}
    return _Candidates(used, tried, scores)


def _choose(scores: Sequence[Mapping[str, Mapping[str, float]]], choose: str) -> list[str]:
    """The family of each loss: of the smallest score, by itself or as a mean of log scores over all losses.

    Of families that cross-validation cannot tell apart, the one that FAMILIES lists first: laws of effective data know
    diminishing returns at small shares, where there are few runs to show them.
    """
    if choose == "each":
        return [_first_of_best({name: found[name]["score"] for name in found}) for found in scores]
    common = [name for name in scores[0] if all(name in found for found in scores)]
    if not common:
        raise InputError("no law fits all losses", "Choose a law for each loss instead.")
    means = {name: [math.log(max(found[name]["score"], 1e-12)) for found in scores] for name in common}
    best = _first_of_best({name: math.exp(sum(logs) / len(logs)) for name, logs in means.items()})
    return [best] * len(scores)


def _first_of_best(scores: Mapping[str, float]) -> str:
    best = min(scores.values())
    return next(name for name in FAMILIES if scores.get(name, math.inf) <= (1 + _TIE) * best)


def _least_share(table: LossTable, loss: int, used: NDArray[np.bool_]) -> float:
    own = table.own(loss)
    return 0.0 if own is None else float(table.shares[used, own].min())


def _dropped_notes(table: LossTable, loss: int, used: NDArray[np.bool_], learned: NDArray[np.bool_]) -> list[str]:
    name, notes = table.names[loss], []
    there = np.isfinite(table.losses[:, loss])
    if not there.all():
        notes.append(f"'{name}': {(~there).sum()} of {len(used)} runs are left out, since they have no value of it")
    if (there & ~learned).any():
        notes.append(
            f"'{name}': {(there & ~learned).sum()} of {len(used)} runs are left out, since they had learned no more than "
            "its mean"
        )
    if (learned & ~used).any():
        notes.append(
            f"'{name}': {(learned & ~used).sum()} runs on other domains alone are left out, since mixtures are predicted "
            "better without them"
        )
    return notes
