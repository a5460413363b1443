"""Laws on real tables of language models, few runs and many: what is predicted of runs that were left out.

    python benchmarks/few_runs.py regmix FOLDER [--runs 16 32 48 64 96 128 256 512] [--subsets 5] [--laws stacked auto]
    python benchmarks/few_runs.py scalebench FOLDER [--runs 4 7 10 15] [--subsets 10] [--laws ...]
    python benchmarks/few_runs.py dmsl FOLDER [--runs 8 12 16 24 32 48] [--laws ...]

Runs are taken at random, or chosen from their mixtures alone as a design of kind `optimal` chooses them (several times from
random nine tenths of the runs there are).

regmix: subsets of the 512 runs; mean Spearman rank correlation of 13
losses on 256 other runs, beside gradient-boosted trees and a linear law of the log loss on the same runs. scalebench: one
model size at a time, a quarter of its 20 mixtures left out in turn, random subsets of the others; R^2 against the mean, over
the mixtures left out. dmsl: 310M parameters, every fourth mixture left out, and the largest token count predicted from at
most half of it: mean relative error, and the part of losses in their 90 % intervals; with --runs the error on every fourth
mixture after so many of the other runs.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from pathlib import Path

import numpy as np
from regmix import own_columns, ranks

from mixlang.errors import InputError
from mixlang.laws import LossTable, fit_laws
from mixlang.laws.csv_tables import read_tables
from mixlang.laws.roles import Columns
from mixlang.laws.sensitivity import sensitivities
from mixlang.plan.optimal import Costs, choose

Rows = np.ndarray


def picked(how: str, amounts: Rows, count: int, owners: list[int | None], rng: np.random.Generator) -> Rows:
    """Rows of some runs: `random`, or `chosen` from their amounts alone."""
    if how == "random":
        return rng.permutation(len(amounts))[:count]
    pool = np.sort(rng.permutation(len(amounts))[: max(count, round(0.9 * len(amounts)))])
    parts = sensitivities(amounts[pool], amounts[pool], owners)
    return pool[choose(parts, Costs.alone(np.ones(len(pool))), count, bounded=False).runs]


def trees(table: LossTable, amounts: Rows) -> Rows:
    """Gradient-boosted trees on shares, as in RegMix; one model a loss."""
    import lightgbm

    shares = amounts / amounts.sum(axis=1, keepdims=True)
    found = []
    settings = {
        "objective": "regression",
        "learning_rate": 0.05,
        "min_data_in_leaf": max(2, min(20, len(table.losses) // 20)),
        "num_threads": 1,
        "deterministic": True,
        "verbosity": -1,
    }
    for loss in range(len(table.names)):
        data = lightgbm.Dataset(table.shares, np.log(table.losses[:, loss]), params=settings)
        found.append(np.asarray(lightgbm.train(settings, data, num_boost_round=500).predict(shares)))
    return np.exp(np.stack(found, axis=1))


def linear(table: LossTable, amounts: Rows) -> Rows:
    """A ridge regression of the log loss on shares."""
    shares, mean = amounts / amounts.sum(axis=1, keepdims=True), table.shares.mean(axis=0)
    design, logs = table.shares - mean, np.log(table.losses)
    weights = np.linalg.solve(design.T @ design + 1e-3 * np.eye(design.shape[1]), design.T @ (logs - logs.mean(axis=0)))
    return np.exp((shares - mean) @ weights + logs.mean(axis=0))


def predicted(law: str, table: LossTable, amounts: Rows) -> Rows | None:
    if law in ("trees", "linear"):
        return {"trees": trees, "linear": linear}[law](table, amounts)
    try:
        return fit_laws(table, law, draws=0).predict(amounts)
    except InputError:
        return None


def regmix(options: argparse.Namespace) -> None:
    read = [
        read_tables(
            options.folder / f"{part}_mixture_1m.csv", options.folder / f"{part}_pile_loss_1m.csv", Columns()
        ).table
        for part in ("train", "test")
    ]
    owners = tuple(read[0].domains[index] for index in own_columns(read[0]))
    train, test = (LossTable(t.domains, t.names, t.amounts, t.losses, None, t.seeds, owners) for t in read)
    print(
        "runs  chosen  "
        + "".join(f"{law:>16}" for law in options.laws)
        + "   mean Spearman, smallest over subsets in brackets"
    )
    for count in options.runs or (16, 32, 48, 64, 96, 128, 256, 512):
        for chosen in ("random", "chosen") if count < len(train.losses) else ("all",):
            found: dict[str, list[float]] = {law: [] for law in options.laws}
            for subset in range(options.subsets if chosen != "all" else 1):
                rng = np.random.default_rng([count, subset])
                rows = (
                    np.arange(count)
                    if chosen == "all"
                    else picked(chosen, train.amounts, count, own_columns(read[0]), rng)
                )
                kept = np.zeros(len(train.losses), bool)
                kept[rows] = True
                for law in options.laws:
                    guess = predicted(law, train.rows(kept), test.amounts)
                    if guess is not None:
                        found[law].append(float(ranks(guess, test.losses).mean()))
            cells = (f"{np.mean(v):.4f} ({min(v):.4f})" if v else "refused" for v in found.values())
            print(f"{count:4}  {chosen:6}  " + "".join(f"{cell:>16}" for cell in cells), flush=True)


def scalebench(options: argparse.Namespace) -> None:
    with (options.folder / "mixtures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [f"domain_{index}" for index in range(1, 6)]
    print(
        "runs  chosen  "
        + "".join(f"{law:>22}" for law in options.laws)
        + "   mean R^2 of mixtures left out, deviation, refused"
    )
    for count, how in itertools.product(options.runs or (4, 7, 10, 15), ("random", "chosen")):
        cells = []
        if count >= 15 and how == "chosen":
            continue
        for law in options.laws:
            scores, refused = [], 0
            for size in sorted({row["parameters"] for row in rows}, key=float):
                here = [row for row in rows if row["parameters"] == size]
                shares = np.array([[float(row[name]) for name in names] for row in here])
                losses = np.array([[float(row[f"loss_{index}"]) for index in range(1, 6)] for row in here])
                for subset in range(options.subsets if count < 15 else 1):
                    rng, guess = np.random.default_rng([count, subset]), np.full_like(losses, np.nan)
                    for fold in range(4):
                        left = np.arange(len(here)) % 4 == fold
                        pool = np.flatnonzero(~left)
                        kept = pool[picked(how, shares[pool], count, list(range(5)), rng)]
                        table = LossTable.sorted(names, names, shares[kept], losses[kept])
                        found = predicted(law, table, shares[left])
                        if found is not None:
                            guess[left] = found
                    if np.isnan(guess).any():
                        refused += 1
                        continue
                    errors = ((guess - losses) ** 2).sum(axis=0) / ((losses - losses.mean(axis=0)) ** 2).sum(axis=0)
                    scores.append(float(1 - errors.mean()))
            cells.append(f"{np.mean(scores):.3f} +-{np.std(scores):.3f} {refused}" if scores else f"refused {refused}")
        print(f"{count:4}  {how:6}  " + "".join(f"{cell:>22}" for cell in cells), flush=True)


def dmsl(options: argparse.Namespace) -> None:
    with (options.folder / "runs.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["parameters"]) == 310e6]
    rows = [row for row in rows if all(row[name] for name in row)]
    domains = ["arxiv", "book", "c4", "github", "commoncrawl", "stackexchange", "wikipedia"]
    names = [*domains, "openhermes"]
    shares = np.array([[float(row[name]) for name in domains] for row in rows])
    tokens = np.array([float(row["tokens"]) for row in rows])
    amounts = shares / shares.sum(axis=1, keepdims=True) * tokens[:, None]
    losses = np.array([[float(row[f"{name}_loss"]) for name in names] for row in rows])
    mixtures = np.unique(np.round(shares, 5), axis=0, return_inverse=True)[1].reshape(-1)
    half = tokens <= tokens.max() / 2 * 1.001
    questions = {
        "every fourth mixture": (mixtures % 4 != 0, mixtures % 4 == 0),
        "twice the largest budget": (half, np.isclose(tokens, tokens.max())),
    }
    if options.runs:
        left = mixtures % 4 == 0
        pool, owners = np.flatnonzero(~left), [*range(len(domains)), None]
        for count, how, law in itertools.product(options.runs, ("random", "chosen"), options.laws):
            errors = []
            for subset in range(options.subsets):
                kept = pool[picked(how, amounts[pool], count, owners, np.random.default_rng([count, subset]))]
                table = LossTable.sorted(domains, names, amounts[kept], losses[kept], owners=[*domains, None])
                guess = predicted(law, table, amounts[left])
                if guess is not None:
                    errors.append(float(np.abs(guess / losses[left] - 1).mean()))
            found = f"{np.median(errors):.3%} ({min(errors):.3%} to {max(errors):.3%})" if errors else "refused"
            print(f"{count:4}  {how:6}  {law:10} median error {found}", flush=True)
        return
    print("law               question                   mean error  in 90 %  median half width  CPU-s")
    for law in options.laws:
        for name, (seen, left) in questions.items():
            begun = time.process_time()
            table = LossTable.sorted(domains, names, amounts[seen], losses[seen], owners=[*domains, None])
            fit = fit_laws(table, law, draws=50)
            low, high = fit.prediction_interval(amounts[left])
            error = np.abs(fit.predict(amounts[left]) / losses[left] - 1).mean()
            inside = ((low <= losses[left]) & (losses[left] <= high)).mean()
            width = np.median(np.log(high / low) / 2)
            seconds = time.process_time() - begun
            print(f"{law:17} {name:25} {error:11.3%} {inside:8.1%} {width:18.2%} {seconds:6.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("regmix", "scalebench", "dmsl"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, nargs="+")
    parser.add_argument("--subsets", type=int, default=5)
    parser.add_argument("--laws", nargs="+")
    options = parser.parse_args()
    options.laws = options.laws or (
        ["stacked", "auto", "trees", "linear"] if options.table == "regmix" else ["stacked", "auto"]
    )
    {"regmix": regmix, "scalebench": scalebench, "dmsl": dmsl}[options.table](options)


if __name__ == "__main__":
    main()
