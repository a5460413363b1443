"""Worlds whose truth is known: are predictions, intervals, allocations and promised gains right?

    python benchmarks/synthetic_worlds.py [--worlds transfer rational broken interactions] [--domains 3 8 17 32]
        [--noise 0.01 0.03] [--seeds 3] [--law stacked] [--decide expected]

Worlds: `transfer`, whose laws are of one family, and three whose laws are in none: `rational`, loss a power of (1 + x / c);
`broken`, two power laws with a bend between them; `interactions`, transfer times exp of products of shares. About a third
of the pairs of domains transfer, asymmetrically; single-domain ladders of four budgets and mixtures at two budgets, two
seeds each. Printed for each kind, size and noise, over worlds, at twice the largest budget: median relative error of
predicted losses; the part of 90 % intervals that hold the true loss, and that of a new run; true change of the objective
from proportional sampling (mean, worst), the optimum under the true laws, and what was promised (mean; the part of worlds
whose 90 % interval holds the true gain); CPU-seconds of fit and answer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from mixlang.allocate import answer
from mixlang.laws import FAMILIES, Fit, FittedLaw, Law, LossTable, fit_laws

BUDGETS = np.array([1000.0, 1700.0, 3000.0, 5000.0])
TARGET = 10_000.0


def true_world(domains: int, seed: int) -> Fit:
    """A world: the `transfer` law of each domain, its parameters drawn; about a third of pairs transfer."""
    rng = np.random.default_rng(1000 * domains + seed)
    names = _names(domains)
    laws = []
    for own in range(domains):
        law = Law(FAMILIES["transfer"], own, domains)
        theta = np.zeros(len(law.names))
        theta[law.at["log_A"]] = np.log(rng.uniform(0.1, 0.4))
        theta[law.at["log_a"]] = np.log(rng.uniform(0.15, 0.6))
        theta[law.at["log_m0"]] = np.log(rng.uniform(0.02, 0.1))
        theta[law.at["E"]] = rng.uniform(0.0, 0.1)
        transfers = rng.random(domains - 1) < min(0.5, 3 / domains)
        theta[law.at["k"]] = transfers * rng.uniform(0.05, 0.6, domains - 1)
        theta[law.at["g"]] = rng.uniform(0.5, 1.0, domains - 1)
        laws.append(FittedLaw(names[own], law, theta, BUDGETS[-1], 0, 0, {}, 0, 0, 0.0, np.zeros((0, len(theta)))))
    return Fit(names, tuple(laws), (BUDGETS[0], BUDGETS[-1]), BUDGETS[-1], np.eye(domains))


@dataclass(frozen=True)
class World:
    """Domains and their true losses as a function of rows of amounts; the loss of each domain is named as it."""

    domains: tuple[str, ...]
    losses: Callable[[np.ndarray], np.ndarray]


def _worths(rng: np.random.Generator, domains: int) -> np.ndarray:
    """What each domain's data are worth to each other, in own data; 1 on the diagonal, most of the rest 0."""
    worths = rng.uniform(0.05, 0.6, (domains, domains)) * (rng.random((domains, domains)) < min(0.5, 3 / domains))
    np.fill_diagonal(worths, 1.0)
    return worths


def transfer(domains: int, seed: int) -> World:
    fit = true_world(domains, seed)
    return World(fit.domains, fit.predict)


def rational(domains: int, seed: int) -> World:
    """E + A (1 + x / c)^-.8 + B / (1 + x)."""
    rng = np.random.default_rng([7, domains, seed])
    worths, c = _worths(rng, domains), rng.uniform(0.02, 0.15, domains)
    floor, scale = rng.uniform(0, 0.15, domains), rng.uniform(0.2, 0.8, domains)

    def losses(amounts: np.ndarray) -> np.ndarray:
        x = amounts / BUDGETS[-1] @ worths.T
        return floor + scale * (1 + x / c) ** -0.8 + 0.05 * scale / (1 + x)

    return World(_names(domains), losses)


def broken(domains: int, seed: int) -> World:
    """E + A x^-a, and x^-b from about x0 on (Caballero 2023, 2210.14891)."""
    rng = np.random.default_rng([8, domains, seed])
    worths, x0 = _worths(rng, domains), rng.uniform(0.1, 0.8, domains)
    floor, scale = rng.uniform(0, 0.1, domains), rng.uniform(0.1, 0.4, domains)
    early, more = rng.uniform(0.15, 0.4, domains), rng.uniform(0.1, 0.4, domains)

    def losses(amounts: np.ndarray) -> np.ndarray:
        x = amounts / BUDGETS[-1] @ worths.T + 0.02
        return floor + scale * x**-early * (1 + (x / x0) ** 4) ** (-more / 4)

    return World(_names(domains), losses)


def interactions(domains: int, seed: int) -> World:
    """The transfer world, each loss times exp of a random form of products of shares: not convex."""
    fit = true_world(domains, seed)
    form = np.triu(np.random.default_rng([9, domains, seed]).normal(0, 0.25, (domains,) * 3), 1)

    def losses(amounts: np.ndarray) -> np.ndarray:
        shares = amounts / amounts.sum(axis=1, keepdims=True)
        return fit.predict(amounts) * np.exp(np.einsum("nj,nk,ijk->ni", shares, shares, form))

    return World(fit.domains, losses)


WORLDS = {"transfer": transfer, "rational": rational, "broken": broken, "interactions": interactions}


def _names(domains: int) -> tuple[str, ...]:
    return tuple(f"d{index}" for index in range(domains))


def observed(world: World, noise: float, seed: int) -> LossTable:
    """Runs of a design as a spec would expand it, their losses with lognormal noise."""
    domains = len(world.domains)
    rng = np.random.default_rng([seed, domains, round(noise * 1e6)])
    mixtures = rng.dirichlet(np.ones(domains), max(8, 2 * (domains + 1)))
    points = [budget * np.eye(domains) for budget in BUDGETS] + [budget * mixtures for budget in BUDGETS[[1, 3]]]
    amounts = np.repeat(np.concatenate(points), 2, axis=0)
    losses = world.losses(amounts) * np.exp(noise * rng.standard_normal((len(amounts), domains)))
    return LossTable.sorted(world.domains, world.domains, amounts, losses, None, np.tile([0, 1], len(amounts) // 2))


def problem_settings(world: World, seed: int, decide: str) -> dict:
    """Unequal availability, as in archives, and no caps."""
    volumes = np.random.default_rng(seed).pareto(1.0, len(world.domains)) + 0.1
    return {
        "costs": dict.fromkeys(world.domains, 1.0),
        "available": {name: {"volumes": v, "crops": v} for name, v in zip(world.domains, volumes, strict=True)},
        "objective": {"minimize": "weighted_loss", "weights": {}, "relative_to": "proportional", "decide": decide},
        "constraints": {"repetition": None, "share": {}, "prior": 0.0},
    }


def objective(world: World, volumes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The true objective of mixtures at the target; 1 is proportional sampling."""
    reference = world.losses(TARGET * (volumes / volumes.sum())[None])
    return (world.losses(TARGET * rows) / reference).mean(axis=1)


def true_optimum(world: World, volumes: np.ndarray, domains: int) -> float:
    """The least true objective of 20,000 mixtures, improved by a descent from the best ten."""
    from scipy.optimize import minimize

    rows = np.random.default_rng(0).dirichlet(np.ones(domains), 20_000)
    values = objective(world, volumes, rows)

    def of(logits: np.ndarray) -> float:
        shares = np.exp(logits - logits.max())
        return float(objective(world, volumes, (shares / shares.sum())[None])[0])

    return min(minimize(of, np.log(rows[index] + 1e-6)).fun for index in np.argsort(values)[:3])


def judge(kind: str, domains: int, noise: float, seed: int, law: str, decide: str) -> dict[str, float]:
    """One world's figures."""
    world = WORLDS[kind](domains, seed)
    table = observed(world, noise, seed)
    begun = time.process_time()
    fit = fit_laws(table, law)
    fitted = time.process_time()
    settings = problem_settings(world, seed, decide)
    found = answer(fit, settings, TARGET)
    answered = time.process_time()
    rng = np.random.default_rng(seed)
    amounts = TARGET * rng.dirichlet(np.ones(domains), 60)
    truth, guess = world.losses(amounts), fit.predict(amounts)
    new = truth * np.exp(noise * rng.standard_normal(truth.shape))
    (low, high), (new_low, new_high) = fit.interval(amounts), fit.prediction_interval(amounts)
    volumes = np.array([entry["volumes"] for entry in settings["available"].values()])
    gain = 1 - float(objective(world, volumes, np.array([list(found["shares"].values())]))[0])
    promised = found["intervals"]["gains"]["proportional"]
    return {
        "error": float(np.median(np.abs(guess / truth - 1))),
        "coverage": float(np.mean((low <= truth) & (truth <= high))),
        "new": float(np.mean((new_low <= new) & (new <= new_high))),
        "gain": gain,
        "oracle": 1 - true_optimum(world, volumes, domains) if domains <= _OPTIMUM else np.nan,
        "promised": promised["corrected"],
        "held": float(promised["interval"][0] <= gain <= promised["interval"][1]),
        "width": promised["interval"][1] - promised["interval"][0],
        "worse": float(gain < -_NOTHING),
        "fit": fitted - begun,
        "answer": answered - fitted,
    }


_OPTIMUM = 8
"""Domains up to which the optimum under the true laws is searched for."""

_NOTHING = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--domains", type=int, nargs="+", default=[3, 8, 17, 32])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.01, 0.03])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--law", default="stacked")
    parser.add_argument("--decide", default="expected")
    options = parser.parse_args()
    print(
        f"law {options.law}, decided by {options.decide}, {options.seeds} worlds each\n"
        "world         domains noise | error  true loss held  new run held | gain (worst, oracle)  promised  held  width  worse "
        "than proportional | CPU-s fit  answer"
    )
    for kind in options.worlds:
        for domains in options.domains:
            for noise in options.noise:
                one = partial(judge, kind, domains, noise, law=options.law, decide=options.decide)
                rows = [one(seed) for seed in range(options.seeds)]
                column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
                print(
                    f"{kind:13} {domains:7} {noise:5.0%} | {np.median(column['error']):6.2%} "
                    f"{column['coverage'].mean():13.0%} {column['new'].mean():13.0%} | {column['gain'].mean():6.2%} "
                    f"({column['gain'].min():.2%}, {column['oracle'].mean():.2%}) {column['promised'].mean():8.2%} "
                    f"{column['held'].mean():6.0%} {column['width'].mean():6.2%} {column['worse'].mean():6.0%} | "
                    f"{column['fit'].mean():7.1f} {column['answer'].mean():7.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
