"""Fitting laws to a table: the families of each loss by cross-validation, then its uncertainty and diagnosis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mixlang.errors import InputError
from mixlang.laws.bootstrap import Members, bootstrap
from mixlang.laws.diagnosis import diagnose, negative_transfer, never_varied, notes_of, refuse_unidentifiable
from mixlang.laws.families import FAMILIES, Family, Law
from mixlang.laws.fitted import Fit, FittedLaw, unknown_of
from mixlang.laws.pooling import held_by_priors, pooled
from mixlang.laws.regression import Regression
from mixlang.laws.selection import HeldOut, cross_validate, left_out
from mixlang.laws.stack import Stack
from mixlang.laws.stacking import Stacked, skill, stack
from mixlang.laws.table import LossTable
from mixlang.names import AUTO, FAMILY_NAMES, STACKED, meant_or_known

Floats = NDArray[np.float64]

PLATEAU = 0.9
"""A loss above this fraction of predicting the mean intensity says that nothing was learned for the domain."""

DRAWS = 100

_TIE = 0.02
"""Scores within this part of the best are a tie."""

_CLEAR = 0.05
"""By how much stacked laws have to predict better without the runs on other domains alone for those to be left out."""

_ONE_OF = tuple(name for name in FAMILIES if name != "log_additive")
"""The families that `auto` chooses from: what it chose before it was given priors, it chooses today."""

_POINTS = 6
"""Distinct runs from which laws of effective data are tried; with fewer, only the family that is linear."""


def fit_laws(
    table: LossTable,
    family: str = STACKED,
    choose: Literal["each", "all"] = "each",
    fixed_total: bool = True,
    draws: int = DRAWS,
    seed: int = 0,
) -> Fit:
    """Fit a law for every loss.

    Args:
        family: a name of FAMILIES; `stacked`: several, weighed by what they predict of runs left out; or `auto`: the
            one with the smallest cross-validated error, under weak priors.
        choose: with `auto`, whether each loss has its own family or all have the one that is best on average.
        fixed_total: whether laws may be tried that are convex only among mixtures of one total amount.
        draws: bootstrap draws; 0 for none.
        seed: of the bootstrap.

    Raises:
        InputError: the runs cannot identify the laws; says why and what to do.
    """
    if family not in (STACKED, AUTO) and family not in FAMILIES:
        raise InputError(f"there is no law '{family}'", meant_or_known(family, FAMILY_NAMES, "laws"))
    names = {STACKED: tuple(FAMILIES), AUTO: _ONE_OF}.get(family, (family,))
    wanted = [FAMILIES[name] for name in names if fixed_total or not FAMILIES[name].fixed_total or len(names) == 1]
    # Small batched problems run three times slower on several BLAS threads, and differ in their last bits.
    with threadpool_limits(1):
        return _fit(table, wanted, family, choose, draws, seed)


def _fit(table: LossTable, wanted: Sequence[Family], how: str, choose: str, draws: int, seed: int) -> Fit:
    transfer, pool = any(item.name != "power" for item in wanted), how != AUTO
    notes = refuse_unidentifiable(table, transfer, few=pool)
    _refuse_holes(table, transfer, pool)
    units = _units(table)
    given, table = table, replace(table, losses=table.losses / units)
    learned = [_used(given, loss) for loss in range(len(table.names))]
    found = _candidates(table, learned, wanted, pool)
    rows = [one.rows for one in found]
    mixes: list[Stacked | None] = [None] * len(found)
    if how == STACKED:
        mixes = list(stack([one.held for one in found], draws, seed))
        members = [list(mix.weights) for mix in mixes if mix is not None]
    else:
        scores = [one.scores for one in found]
        chosen = _choose(scores, choose) if len(wanted) > 1 else [wanted[0].name] * len(found)
        members = [[name] for name in chosen]
    parts = [
        Members([one.tried[name] for name in names], _weights(mix), used)
        for one, names, mix, used in zip(found, members, mixes, rows, strict=True)
    ]
    drawn = bootstrap(parts, table.groups, draws, seed)
    laws = []
    for loss, name in enumerate(table.names):
        one, part, mix = found[loss], parts[loss], mixes[loss]
        regression, theta = part.main
        groups = table.groups[rows[loss]]
        diagnosis = diagnose(regression, theta, table.domains)
        diagnosis |= negative_transfer(regression, theta, groups, table.domains)
        notes += _dropped_notes(table, loss, rows[loss], learned[loss]) + notes_of(name, diagnosis)
        law, values, redrawn = part.law, part.theta, drawn[loss]
        if mix is not None and isinstance(law, Stack):
            redrawn = np.concatenate([mix.draws, redrawn[:, len(part.weights) :]], axis=1)
        held = mix.held_out if mix is not None else one.held.get(members[loss][0])
        scored = one.scores | ({} if mix is None else {STACKED: mix.held_out.scores()})
        fitted = FittedLaw(
            name,
            law,
            law.in_units(values, units[loss]),
            float(table.amounts.sum(axis=1).max()),
            float(np.sqrt(np.mean(part.residuals() ** 2))),
            table.noise(loss),
            scored,
            int(rows[loss].sum()),
            int((~rows[loss]).sum()),
            _least_share(table, loss, rows[loss]),
            law.in_units(redrawn, units[loss]),
            _own_only(table, loss, rows[loss], one.tried, units[loss]),
            diagnosis,
            table.best(loss),
        )
        if pool and held is not None:
            fitted = replace(
                fitted,
                unknown=unknown_of(held, fitted, table.amounts[rows[loss]], _ladder(table)),
                skill=skill(held, fitted.noise),
            )
        laws.append(fitted)
    total = table.amounts.sum(axis=1)
    mixtures = np.unique(np.round(table.shares, 7), axis=0)
    budgets = (float(total.min()), float(total.max()))
    return Fit(table.domains, tuple(laws), budgets, budgets[1], mixtures, tuple(notes), ladder=_ladder(table))


def _weights(mix: Stacked | None) -> Floats:
    return np.ones(1) if mix is None else np.array(list(mix.weights.values()))


def _ladder(table: LossTable) -> float:
    """The largest budget over the smallest at which mixtures of several domains were seen; 1 for one budget only."""
    mixed = (table.shares > 0).sum(axis=1) > 1
    totals = table.totals[mixed]
    return float(totals.max() / totals.min()) if len(totals) else 1.0


def _units(table: LossTable) -> Floats:
    """What each loss is fitted in units of, so that its own unit decides nothing, shape (losses,).

    Powers of 1024, by which numbers divide without rounding: the usual losses, between 1/32 and 32, keep their unit.
    """
    return 1024.0 ** np.round(np.nanmedian(np.log2(table.losses), axis=0) / 10)


def _refuse_holes(table: LossTable, transfer: bool, few: bool) -> None:
    """Refuse losses that too few runs have, or whose runs cannot identify a law though all runs together could."""
    for loss, name in enumerate(table.names):
        there = np.isfinite(table.losses[:, loss])
        if there.all():
            continue
        if not there.any():
            raise InputError(f"no run has a value of '{name}'", "Leave it out.")
        try:
            refuse_unidentifiable(table.rows(there), transfer, few)
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
    table: LossTable,
    rows: Sequence[NDArray[np.bool_]],
    families: Sequence[Family],
    pool: bool,
    refuse: bool = True,
) -> list[dict[str, tuple[Regression, Floats]]]:
    """For each loss the families its rows can identify, fitted; where there are none, none or an error."""
    found: list[dict[str, tuple[Regression, Floats]]] = [{} for _ in rows]
    reasons: list[list[str]] = [[] for _ in rows]
    for family in families:
        able = []
        for loss, used in enumerate(rows):
            regression = _regression(table, loss, family, used)
            reason = _why_not(regression, table.names[loss], len(np.unique(table.points[used])), pool)
            if reason is None:
                able.append((loss, regression))
            else:
                reasons[loss].append(reason)
        regressions = [regression for _, regression in able]
        repeated = int(table.points.max()) + 1 < len(table.points)
        fitted = pooled(regressions, repeated) if pool else [(item, item.solve()) for item in regressions]
        for (loss, _), pair in zip(able, fitted, strict=True):
            found[loss][family.name] = pair
    for loss, tried in enumerate(found):
        if not tried and refuse:
            raise InputError(
                f"the runs cannot identify a law for '{table.names[loss]}': {'; '.join(reasons[loss])}",
                "Add runs with other mixtures and budgets; replicates of the same one do not count.",
            )
    return found


def _why_not(regression: Regression, name: str, points: int, pool: bool) -> str | None:
    """Why a family cannot be fitted to a loss; None where it can."""
    law = regression.law
    if law.name == "power" and law.own is None:
        return f"'power' needs a loss named as a domain; '{name}' is not"
    if law.family.common and not law.family.floor and regression.budgets == 1:
        return f"'{law.name}' needs several budgets"
    if law.own is not None and law.count > 1 and not law.family.logs:
        shares = regression.amounts[:, law.own] / regression.amounts.sum(axis=1)
        if never_varied(shares):  # what lies at other shares is then anybody's guess, and an exponent's a wild one
            return f"'{law.name}' needs runs that differ in the share of '{name}'"
    if pool and held_by_priors(law) and (points >= _POINTS or law.family.logs):
        return None
    if regression.free >= points:
        return f"'{law.name}' has {regression.free} parameters for {points} distinct runs"
    return None


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
    own = regression.law.own
    if own is None or (len(table.domains) > 1 and never_varied(table.shares[used, own])):
        return None
    if regression.free >= len(np.unique(regression.amounts, axis=0)):
        return None
    return regression.law.in_units(regression.solve(), unit)


@dataclass(frozen=True)
class _Candidates:
    """The families tried for a loss on some of its rows, and their errors on rows left out."""

    rows: NDArray[np.bool_]
    tried: dict[str, tuple[Regression, Floats]]
    held: dict[str, HeldOut]

    @cached_property
    def scores(self) -> dict[str, dict[str, float]]:
        """Cross-validated errors by family."""
        return {name: held.scores() for name, held in self.held.items()}

    @property
    def best(self) -> float:
        return min(found["score"] for found in self.scores.values())


def _candidates(
    table: LossTable, learned: Sequence[NDArray[np.bool_]], wanted: Sequence[Family], pool: bool
) -> list[_Candidates]:
    """For each loss the families fitted with the runs of other domains alone, or without where that predicts better.

    Such runs tell what a source transfers, but a network that never saw a domain can be in another state than one that
    saw a little, and mixtures are what laws are for. Errors are therefore counted elsewhere in both cases.
    """
    elsewhere = [table.elsewhere(loss) & used for loss, used in enumerate(learned)]
    scored = [pool or len(wanted) > 1 or bool(alone.any()) for alone in elsewhere]
    every = _scored(table, learned, _fit_families(table, learned, wanted, pool), scored)
    inner = [used & ~alone for used, alone in zip(learned, elsewhere, strict=True)]
    which = [loss for loss, alone in enumerate(elsewhere) if alone.any()]
    if not which:
        return every
    part, rows = table.losses_of(which), [inner[loss] for loss in which]
    without = _scored(part, rows, _fit_families(part, rows, wanted, pool, refuse=False), [True] * len(which))
    found = list(every)
    for loss, one in zip(which, without, strict=True):
        if one.tried and one.best < (1 - (_CLEAR if pool else _TIE)) * every[loss].best:
            found[loss] = one
    return found


def _scored(
    table: LossTable,
    rows: Sequence[NDArray[np.bool_]],
    tried: Sequence[dict[str, tuple[Regression, Floats]]],
    scored: Sequence[bool],
) -> list[_Candidates]:
    found = []
    for loss, (used, fitted, asked) in enumerate(zip(rows, tried, scored, strict=True)):
        held: dict[str, HeldOut] = {}
        if asked:
            mixed = (table.shares[used] > 0).sum(axis=1) > 1
            groups = left_out(table.mixtures[used], table.points[used], mixed)
            counted = ~table.elsewhere(loss)[used]
            held = {name: cross_validate(*pair, groups, counted, mixed) for name, pair in fitted.items()}
        found.append(_Candidates(used, fitted, held))
    return found


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
