"""Worlds whose laws are known: are predictions, intervals and allocations right?

    python benchmarks/synthetic_worlds.py [--domains 3 8 17 32] [--noise 0 0.01 0.03] [--seeds 3] [--law auto]

Each world has asymmetric transfer between some pairs of domains, irreducible losses, single-domain ladders of four
budgets and mixtures at two budgets, two seeds each. Printed for each size and noise, over worlds: median relative error
of predicted losses at twice the largest budget; share of 90 % intervals that hold the true loss there; true regret of
the allocation against the optimum under the true laws; true change against proportional; CPU-seconds of fit and answer.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from mixlang.allocate import Problem, answer, solve
from mixlang.laws import FAMILIES, Fit, FittedLaw, Law, LossTable, fit_laws

BUDGETS = np.array([1000.0, 1700.0, 3000.0, 5000.0])
TARGET = 10_000.0


def true_world(domains: int, seed: int) -> Fit:
    """A world: the `transfer` law of each domain, its parameters drawn; about a third of pairs transfer."""
    rng = np.random.default_rng(1000 * domains + seed)
    names = tuple(f"d{index}" for index in range(domains))
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


def observed(world: Fit, noise: float, seed: int) -> LossTable:
    """Runs of a design as a spec would expand it, their losses with lognormal noise."""
    domains = len(world.domains)
    rng = np.random.default_rng([seed, domains, round(noise * 1e6)])
    mixtures = rng.dirichlet(np.ones(domains), max(8, 2 * (domains + 1)))
    points = [budget * np.eye(domains) for budget in BUDGETS] + [budget * mixtures for budget in BUDGETS[[1, 3]]]
    amounts = np.repeat(np.concatenate(points), 2, axis=0)
    losses = world.predict(amounts) * np.exp(noise * rng.standard_normal((len(amounts), domains)))
    return LossTable.sorted(world.domains, world.domains, amounts, losses, None, np.tile([0, 1], len(amounts) // 2))


def problem_settings(world: Fit, seed: int) -> dict:
    """Unequal availability, as in archives, and no caps."""
    volumes = np.random.default_rng(seed).pareto(1.0, len(world.domains)) + 0.1
    return {
        "costs": dict.fromkeys(world.domains, 1.0),
        "available": {name: {"volumes": v, "crops": v} for name, v in zip(world.domains, volumes, strict=True)},
        "objective": {"minimize": "weighted_loss", "weights": {}, "relative_to": "proportional"},
        "constraints": {"repetition": None, "share": {}, "prior": 0.0},
    }


def judge(domains: int, noise: float, seed: int, law: str) -> dict[str, float]:
    """One world's figures."""
    world = true_world(domains, seed)
    table = observed(world, noise, seed)
    begun = time.process_time()
    fit = fit_laws(table, law)
    fitted = time.process_time()
    settings = problem_settings(world, seed)
    found = answer(fit, settings, TARGET)
    answered = time.process_time()
    amounts = TARGET * np.random.default_rng(seed).dirichlet(np.ones(domains), 60)
    truth, guess = world.predict(amounts), fit.predict(amounts)
    low, high = fit.interval(amounts)
    truly = Problem.of(world, settings, TARGET)
    shares = np.array(list(found["shares"].values()))
    best = solve(truly)
    return {
        "error": float(np.median(np.abs(guess / truth - 1))),
        "coverage": float(np.mean((low <= truth) & (truth <= high))),
        "regret": truly.value(shares) / best.objective - 1,
        "against": truly.value(shares) / truly.value(truly.prior) - 1,
        "oracle": best.objective / truly.value(truly.prior) - 1,
        "promised": found["intervals"]["gains"]["proportional"]["corrected"],
        "fit": fitted - begun,
        "answer": answered - fitted,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", type=int, nargs="+", default=[3, 8, 17, 32])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.01, 0.03])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--law", default="transfer")
    options = parser.parse_args()
    print(
        f"law {options.law}, {options.seeds} worlds each\n"
        "domains noise | error at 2x  coverage | regret (median, worst)  against proportional  oracle | CPU-s fit  answer"
    )
    for domains in options.domains:
        for noise in options.noise:
            rows = [judge(domains, noise, seed, options.law) for seed in range(options.seeds)]
            column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
            print(
                f"{domains:7} {noise:5.0%} | {np.median(column['error']):11.2%} {column['coverage'].mean():9.0%} | "
                f"{np.median(column['regret']):8.3%} {column['regret'].max():8.3%}  {column['against'].max():14.2%} (worst)  "
                f"{np.median(column['oracle']):11.2%} | {column['fit'].mean():9.1f} {column['answer'].mean():7.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
