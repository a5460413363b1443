"""Real tables of language models: fit laws on 512 runs, predict 256 others (Liu 2024, 2407.01492; MIT).

    python benchmarks/regmix.py FOLDER [--laws transfer transfer_tilted ...] [--auto]

FOLDER holds {train,test}_mixture_1m.csv and {train,test}_pile_loss_1m.csv. Prints for each law the mean over 13 losses of
Spearman's rank correlation and of the root mean square error in nats, the smallest rank correlation, the same among runs
that saw the loss's own domain and among those that did not, and CPU-seconds for all 13 losses; with --auto also the
choice by cross-validation and the stacked laws. Then how much the residuals hold that could still be learned, and that
shuffled rows change nothing. For fewer runs see few_runs.py.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from mixlang.laws import Fit, LossTable, fit_laws
from mixlang.laws.csv_tables import read_tables
from mixlang.laws.roles import Columns


def ranks(guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each column."""
    return np.array([spearmanr(guess[:, i], truth[:, i]).statistic for i in range(truth.shape[1])])


def own_columns(table: LossTable) -> list[int]:
    """The domain each loss is of, by the names of these tables."""
    return [
        table.domains.index("train_" + name.removeprefix("metric/").removesuffix("_val_loss")) for name in table.names
    ]


def left_to_learn(train: LossTable, test: LossTable, fit: Fit, own: list[int]) -> dict[str, float]:
    """How much of the law's residuals among runs with none of a loss's own domain the other shares explain.

    The cross-validated R^2 of a ridge regression on shares, their roots and their presence, over the runs of both tables:
    0 or less means that nothing is left that any law could learn there.
    """
    shares = np.concatenate([train.shares, test.shares])
    features = np.concatenate([shares, np.sqrt(shares), shares > 0], axis=1)
    residuals = np.log(
        np.concatenate([train.losses, test.losses]) / fit.predict(np.concatenate([train.amounts, test.amounts]))
    )
    found = {}
    for index, column in enumerate(own):
        rows = np.flatnonzero(shares[:, column] == 0)
        if len(rows) < 100:
            continue
        fold = np.random.default_rng(0).permutation(len(rows)) % 10
        guess = np.zeros(len(rows))
        for number in range(10):
            seen, left = rows[fold != number], rows[fold == number]
            centre, spread = features[seen].mean(axis=0), features[seen].std(axis=0) + 1e-9
            design, target = (features[seen] - centre) / spread, residuals[seen, index]
            weights = np.linalg.solve(
                design.T @ design + 30 * np.eye(design.shape[1]), design.T @ (target - target.mean())
            )
            guess[fold == number] = (features[left] - centre) / spread @ weights + target.mean()
        found[train.names[index]] = 1 - np.mean((residuals[rows, index] - guess) ** 2) / np.var(residuals[rows, index])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--laws", nargs="+", default=["exponential", "additive", "transfer", "log_additive"])
    parser.add_argument("--auto", action="store_true")
    options = parser.parse_args()
    folder = options.folder
    train = read_tables(folder / "train_mixture_1m.csv", folder / "train_pile_loss_1m.csv", Columns()).table
    test = read_tables(folder / "test_mixture_1m.csv", folder / "test_pile_loss_1m.csv", Columns()).table
    print("law                    Spearman   RMSE  smallest Spearman (loss)        CPU-s")
    for law in [*options.laws, "transfer_tilted", *(["auto", "stacked"] if options.auto else [])]:
        begun = time.process_time()
        fit = fit_laws(train, law, draws=0)
        seconds = time.process_time() - begun
        guess = fit.predict(test.amounts)
        found = ranks(guess, test.losses)
        rmse = np.sqrt(np.mean((guess - test.losses) ** 2, axis=0))
        worst = train.names[int(found.argmin())].removeprefix("metric/the_pile_").removesuffix("_val_loss")
        print(
            f"{law:20} {found.mean():10.4f} {rmse.mean():7.4f}  {found.min():.4f} ({worst:18}) {seconds:10.1f}",
            flush=True,
        )
    print(
        "\nlast law, by loss: Spearman; among runs with a share of its own domain, and among those recorded with none"
    )
    for index, own in enumerate(own_columns(train)):
        seen = test.shares[:, own] > 0
        parts = [spearmanr(guess[part, index], test.losses[part, index]).statistic for part in (seen, ~seen)]
        print(f"  {train.names[index]:42} {found[index]:.4f}  {parts[0]:.4f}  {parts[1]:.4f}")
    print("\nlast law: R^2 of its residuals among runs recorded with none of the loss's own domain, cross-validated")
    for name, value in left_to_learn(train, test, fit, own_columns(train)).items():
        print(f"  {name:42} {value:7.2f}")
    order = np.random.default_rng(0).permutation(len(train.losses))
    shuffled = LossTable.sorted(train.domains, train.names, train.amounts[order], train.losses[order])
    same = fit_laws(shuffled, "additive", draws=2).document() == fit_laws(train, "additive", draws=2).document()
    print(f"\nshuffled rows give the same fit: {same}")


if __name__ == "__main__":
    main()
