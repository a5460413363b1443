"""Fitted laws: what they predict, how sure they are, and the file they are kept in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import Diagnosis, Skill
from mixlang.errors import InputError
from mixlang.files import read_json
from mixlang.laws.families import FAMILIES, Law
from mixlang.laws.selection import HeldOut
from mixlang.laws.stack import AnyLaw, Stack
from mixlang.names import STACKED

Floats = NDArray[np.float64]

VERSION = 3
_READ = (2, VERSION)
"""Version 2 has one family a loss, and neither skill nor `unknown`."""


@dataclass(frozen=True)
class Unknown:
    """How wrong a law was where it had no say, beyond seed noise and what its draws know.

    Attributes:
        mixture: standard deviation of the log loss of new mixtures, within the budgets fitted.
        budget: the same for each unit of log budget beyond the largest fitted.
        tail: by how much the errors of runs left out exceed a normal distribution of that width: their 90 % quantile
            over what it would be (conformal; Lei and others 2018, 1604.04173).
    """

    mixture: float
    budget: float
    tail: float


_TAILS = (0.9, 2.0)

_FURTHER = 1.4
"""Error for each unit of log budget beyond the largest fitted, in errors within them; from worlds in and out of the families
(benchmarks/synthetic_worlds.py)."""

_TRANSIENT = 3.0
"""Error for each unit of log budget, in errors on new mixtures, where mixtures were seen at one budget: what looks like a
lasting advantage of one may be that its runs had just left their plateau."""


def unknown_of(held: HeldOut, law: FittedLaw, amounts: Floats, ladder: float) -> Unknown:
    """What rows left out say of a law's error.

    The largest budgets are one extrapolation, whose error is mostly common to its rows: a small one may be luck. For each
    unit of log budget the law is therefore taken to err by no less than `_FURTHER` times what it is unsure of within them.

    Args:
        amounts: of the rows fitted, shape (rows, domains).
        ladder: the largest budget over the smallest at which mixtures were seen.
    """
    noise = 0.0 if math.isnan(law.noise) else law.noise
    unsure = float(np.median(law.unsure(amounts) ** 2))
    known = noise**2 + unsure
    of_mixtures = held.errors[held.of_mixtures]
    mixture = math.sqrt(max(0.0, float(np.mean(of_mixtures**2)) - known))
    budget = _FURTHER * math.sqrt(unsure + mixture**2)
    if ladder <= 1 + 1e-6:
        budget = _TRANSIENT * math.sqrt(float(np.mean(of_mixtures**2)))
    if not held.of_mixtures.all() and held.beyond > 0:
        excess = max(0.0, float(np.mean(held.errors[~held.of_mixtures] ** 2)) - known - mixture**2)
        budget = max(budget, math.sqrt(excess) / held.beyond)
    expected = np.sqrt(known + mixture**2 + np.where(held.of_mixtures, 0.0, (budget * held.beyond) ** 2))
    count = len(expected)
    rank = min(1.0, math.ceil(0.9 * (count + 1)) / count)
    ratio = float(np.quantile(np.abs(held.errors) / np.maximum(expected, 1e-12), rank)) / 1.645
    return Unknown(mixture, budget, float(np.clip(ratio, *_TAILS)))


@dataclass(frozen=True)
class FittedLaw:
    """The law of one loss.

    Attributes:
        name: of the loss; law, theta: the family and its parameters, of amounts in units of `scale`.
        error: root mean square of the relative (log) error on the rows used.
        noise: seed noise of the log loss; NaN without replicates.
        scores: for each family tried, cross-validated errors: `mixture`, `budget`, and `score`, their mean.
        used, dropped: rows fitted, and rows left out because the run had learned nothing for the domain.
        least_share: smallest share of its own data among the rows fitted, 0 for a loss of no domain; below it the
            law was never observed.
        draws: parameters refitted to bootstrap draws, shape (draws, parameters); draw b of all laws of a fit belongs
            to the same resampled runs.
        own_only: parameters of the `power` law fitted to the same rows, None for a loss of no domain or where too few
            runs tell it; what would be believed without transfer.
        diagnosis: see `mixlang.laws.diagnosis`.
        best: None, or the bound of the score that the loss is the distance to: loss = best - score.
        unknown: its errors on runs left out, beyond what draws and seeds explain; None where it was not looked at.
        skill: what it says of mixtures beyond their mean; see `mixlang.laws.stacking.skill`.
    """

    name: str
    law: AnyLaw
    theta: Floats
    scale: float
    error: float
    noise: float
    scores: dict[str, dict[str, float]]
    used: int
    dropped: int
    least_share: float
    draws: Floats
    own_only: Floats | None = None
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    best: float | None = None
    unknown: Unknown | None = None
    skill: Skill | None = None

    def given(self, losses: Floats) -> Floats:
        """Losses in the terms of the table they were fitted on: scores where it held scores, as they are elsewhere."""
        return losses if self.best is None else self.best - losses

    def predict(self, amounts: Floats) -> Floats:
        """Losses of rows of amounts, shape (rows, domains)."""
        return self.law.predict(self.theta, np.atleast_2d(amounts) / self.scale)

    def gradient(self, amounts: Floats) -> Floats:
        """Derivatives of the losses by the amounts, shape (rows, domains)."""
        return self.law.gradient(self.theta, np.atleast_2d(amounts) / self.scale) / self.scale

    @property
    def held_out_error(self) -> float:
        """Root mean square log error on rows the fit had no say in: of new mixtures or budgets, whichever is larger."""
        scores = self.scores.get(self.family, {})
        return max([self.error, *(scores[kind] for kind in ("mixture", "budget") if kind in scores)])

    @property
    def floor(self) -> float:
        """The irreducible loss E; 0 for families without one."""
        return self.law.floor(self.theta)

    @property
    def family(self) -> str:
        """Under what its scores are kept: the family's name, or `stacked`."""
        return STACKED if STACKED in self.scores else self.law.name

    @property
    def weights(self) -> dict[str, float]:
        """The families and their weights."""
        if isinstance(self.law, Stack):
            found = self.law.split(self.theta)[0].tolist()
            return dict(zip((law.name for law in self.law.members), found, strict=True))
        return {self.law.name: 1.0}

    @property
    def called(self) -> str:
        """The families in words."""
        parts = sorted(self.weights.items(), key=lambda pair: -pair[1])
        return parts[0][0] if len(parts) == 1 else " + ".join(f"{weight:.0%} {name}" for name, weight in parts)

    def unsure(self, amounts: Floats) -> Floats:
        """Root mean square distance of the draws' log losses to the prediction, shape (rows,); 0 without draws."""
        units = np.atleast_2d(amounts) / self.scale
        if not len(self.draws):
            return np.zeros(len(units))
        predicted = np.log(self.law.predict(self.theta, units))
        return np.asarray(np.sqrt(np.mean((np.log(self.law.predict(self.draws, units)) - predicted) ** 2, axis=0)))

    def astray(self, amounts: Floats, largest: float) -> Floats:
        """Standard deviation of the law's own error at amounts, beyond draws and noise, shape (rows,).

        Args:
            largest: the largest budget fitted.
        """
        totals = np.atleast_2d(amounts).sum(axis=1)
        if self.unknown is None:
            return np.zeros(len(totals))
        beyond = np.maximum(0.0, np.log(totals / largest))
        return np.asarray(np.hypot(self.unknown.mixture, self.unknown.budget * beyond))

    def as_dict(self, domains: tuple[str, ...]) -> dict[str, Any]:
        """The fitted law as JSON; NaN becomes null, columns become names."""
        return {
            "family": self.law.name,
            **({"members": [law.name for law in self.law.members]} if isinstance(self.law, Stack) else {}),
            "own": None if self.law.own is None else domains[self.law.own],
            "parameters": dict(zip(_named(self.law, domains), self.theta.tolist(), strict=True)),
            "error": self.error,
            "noise": None if math.isnan(self.noise) else self.noise,
            "scores": self.scores,
            "rows_used": self.used,
            "rows_dropped": self.dropped,
            "least_share": self.least_share,
            "diagnosis": self.diagnosis,
            "own_only": None if self.own_only is None else self.own_only.tolist(),
            "draws": [[float(f"{value:.7g}") for value in draw] for draw in self.draws.tolist()],
            **({} if self.best is None else {"score_bound": self.best}),
            **({} if self.unknown is None else {"unknown": asdict(self.unknown)}),
            **({} if self.skill is None else {"skill": self.skill}),
        }


def _named(law: AnyLaw, domains: tuple[str, ...]) -> list[str]:
    """Parameter names with domain names for columns: `k_2` as `k_pet`."""
    named = []
    for name in law.names:
        kind, _, column = name.rpartition("_")
        named.append(f"{kind}_{domains[int(column)]}" if column.isdigit() else name)
    return named


@dataclass(frozen=True)
class Fit:
    """The laws of all losses of a table.

    Attributes:
        domains: the columns of every amounts array; laws: in the order of the losses.
        budgets: smallest and largest sum of amounts fitted.
        scale: the unit of the laws' parameters, the largest sum.
        mixtures: the different mixtures among the runs, shape (mixtures, domains).
        notes: what a reader has to know before trusting them, in words.
        ladder: the largest budget over the smallest at which mixtures of several domains were seen; 1 where all had one.
    """

    domains: tuple[str, ...]
    laws: tuple[FittedLaw, ...]
    budgets: tuple[float, float]
    scale: float
    mixtures: Floats
    notes: tuple[str, ...] = ()
    ladder: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """The losses."""
        return tuple(law.name for law in self.laws)

    @property
    def draws(self) -> int:
        """How many bootstrap draws there are."""
        return min(len(law.draws) for law in self.laws)

    def __getitem__(self, name: str) -> FittedLaw:
        return self.laws[self.names.index(name)]

    def predict(self, amounts: Floats) -> Floats:
        """Losses of rows of amounts, shape (rows, losses)."""
        return np.stack([law.predict(amounts) for law in self.laws], axis=-1)

    def interval(self, amounts: Floats, level: float = 0.9) -> tuple[Floats, Floats]:
        """Lower and upper ends of intervals of the expected losses, each of shape (rows, losses).

        Normal in the log loss, about the prediction, with the root mean square distance of the draws to it (transfer
        that cannot be negative biases draws and fit alike, and quantiles of the draws would count that twice), and with
        the law's own error where rows were left out.
        """
        from scipy.stats import norm

        rows, predicted = np.atleast_2d(amounts), np.log(self.predict(amounts))
        spread = np.stack([np.hypot(law.unsure(rows), law.astray(rows, self.budgets[1])) for law in self.laws], axis=1)
        half = float(norm.ppf((1 + level) / 2)) * spread
        return np.exp(predicted - half), np.exp(predicted + half)

    def supports(self, amounts: Floats) -> NDArray[np.bool_]:
        """Whether rows of amounts have at least the smallest share of each loss's own domain that its law was fitted on,
        shape (rows, losses); elsewhere a law says nothing."""
        rows = np.atleast_2d(amounts)
        shares = rows / rows.sum(axis=1, keepdims=True)
        columns = [
            np.ones(len(rows), bool) if law.law.own is None else shares[:, law.law.own] >= law.least_share * (1 - 1e-6)
            for law in self.laws
        ]
        return np.stack(columns, axis=1)

    def deviation(self, amounts: Floats) -> Floats:
        """Expected deviation of a new run's log losses from their predictions, shape (rows, losses).

        How unsure the parameters are (the draws' distance to the fit), how wrong the law was where it had no say (growing
        with the budget beyond the largest fitted), and noise between seeds, by as much as errors of runs left out exceed
        a normal distribution. A fit of before that was measured has its larger cross-validated error in place of the
        last two.
        """
        rows = np.atleast_2d(amounts)
        return np.stack([self._deviation(law, rows) for law in self.laws], axis=1)

    def _deviation(self, law: FittedLaw, rows: Floats) -> Floats:
        if law.unknown is None:
            return np.hypot(law.unsure(rows), law.held_out_error)
        noise = 0.0 if math.isnan(law.noise) else law.noise
        found = np.sqrt(law.unsure(rows) ** 2 + law.astray(rows, self.budgets[1]) ** 2 + noise**2)
        return np.asarray(law.unknown.tail * found)

    def prediction_interval(self, amounts: Floats, level: float = 0.9) -> tuple[Floats, Floats]:
        """Lower and upper ends of intervals for the losses of new runs, each of shape (rows, losses)."""
        from scipy.stats import norm

        predicted, half = self.predict(amounts), float(norm.ppf((1 + level) / 2)) * self.deviation(amounts)
        return predicted * np.exp(-half), predicted * np.exp(half)

    def without_transfer(self) -> Fit | None:
        """The same losses under own-data laws; None where one of them has none."""
        if any(law.own_only is None for law in self.laws):
            return None
        laws = tuple(
            replace(
                law,
                law=Law(FAMILIES["power"], law.law.own, len(self.domains)),
                theta=law.own_only,
                draws=np.zeros((0, 4)),
            )
            for law in self.laws
        )
        return replace(self, laws=laws)

    @property
    def fixed_total(self) -> list[str]:
        """Losses whose law is convex only among mixtures of one total amount."""
        return [law.name for law in self.laws if law.law.fixed_total]

    def document(self) -> dict[str, Any]:
        """The fit as the JSON document that `read_fit` reads."""
        return {
            "version": VERSION,
            "domains": list(self.domains),
            "losses": list(self.names),
            "scale": self.scale,
            "budgets": list(self.budgets),
            "mixtures": [[float(f"{share:.7g}") for share in row] for row in self.mixtures.tolist()],
            "notes": list(self.notes),
            "ladder": self.ladder,
            "laws": {law.name: law.as_dict(self.domains) for law in self.laws},
        }


def read_fit(path: Path) -> Fit:
    """Read the laws a fit file holds.

    Raises:
        InputError: missing or damaged.
    """
    try:
        value = read_json(path)
    except InputError as error:
        raise InputError(
            str(error), "Expected a file that 'mixlang fit' or a study's fit stage has written."
        ) from error
    try:
        if value["version"] not in _READ:
            raise InputError(f"{path} is of format {value['version']}, this mixlang reads {VERSION}", "Fit again.")
        domains = tuple(value["domains"])
        laws = tuple(_read_law(name, value["laws"][name], domains, value["scale"]) for name in value["losses"])
        mixtures = np.array(value["mixtures"], float).reshape(-1, len(domains))
        low, high = value["budgets"]
        numbers = [low, high, value["scale"], *mixtures.ravel(), *(x for law in laws for x in law.theta)]
        numbers += [x for law in laws for x in law.draws.ravel()]
        numbers += [law.best for law in laws if law.best is not None]
        if not (np.isfinite(np.array(numbers, float)).all() and 0 < low <= high and value["scale"] > 0):
            raise ValueError("numbers that are missing, infinite or out of range")
        if not laws or not all(law.floor >= 0 and all(law.law.conditions(law.theta).values()) for law in laws):
            raise ValueError("no laws, or parameters outside their range")
        found = Fit(
            domains, laws, (low, high), value["scale"], mixtures, tuple(value["notes"]), value.get("ladder", 1.0)
        )
        with np.errstate(all="ignore"):
            losses = found.predict(mixtures * high)
        if not (np.isfinite(losses) & (losses > 0)).all():
            raise ValueError("parameters that give no finite losses")
        return found
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not hold fitted laws ({error})", "Make it with 'mixlang fit'.") from error


def _read_law(name: str, entry: Mapping[str, Any], domains: tuple[str, ...], scale: float) -> FittedLaw:
    own = None if entry["own"] is None else domains.index(entry["own"])
    law: AnyLaw
    if entry["family"] == STACKED:
        law = Stack.of(entry["members"], own, len(domains))
    else:
        law = Law(FAMILIES[entry["family"]], own, len(domains))
    theta = np.array([entry["parameters"][parameter] for parameter in _named(law, domains)], float)
    draws = np.array(entry["draws"], float).reshape(-1, len(theta))
    return FittedLaw(
        name,
        law,
        theta,
        scale,
        entry["error"],
        float("nan") if entry["noise"] is None else entry["noise"],
        entry["scores"],
        entry["rows_used"],
        entry["rows_dropped"],
        entry["least_share"],
        draws,
        None if entry["own_only"] is None else np.array(entry["own_only"], float),
        entry["diagnosis"],
        None if entry.get("score_bound") is None else float(entry["score_bound"]),
        None if entry.get("unknown") is None else Unknown(**entry["unknown"]),
        entry.get("skill"),
    )
