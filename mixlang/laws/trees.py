"""Gradient-boosted trees beside the laws, only to show what a law leaves on the table: they are not convex, know no
budgets beyond those seen, and are never solved. Needs lightgbm (the extra `trees`).
"""

from __future__ import annotations

import numpy as np

from mixlang.errors import InputError
from mixlang.laws.selection import deal, left_out
from mixlang.laws.table import LossTable


def tree_errors(table: LossTable) -> dict[str, float]:
    """The error of trees on mixtures left out, for each loss: root mean square of log errors, as `mixture` of the laws.

    Raises:
        InputError: lightgbm is not installed.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise InputError("trees need lightgbm, which is not installed", "pip install 'mixlang[trees]'") from error
    mixed = (table.shares > 0).sum(axis=1) > 1
    folds = deal(left_out(table.mixtures, table.points, mixed))
    every = np.column_stack([table.shares, np.log(table.totals)])
    found = {}
    for loss, name in enumerate(table.names):
        there = np.isfinite(table.losses[:, loss])
        logs, features, fold = np.log(table.losses[there, loss]), every[there], folds[there]
        errors = np.empty(len(logs))
        for number in np.unique(fold):
            out = fold == number
            settings = {
                "objective": "regression",
                "learning_rate": 0.05,
                "min_data_in_leaf": max(2, min(20, int((~out).sum()) // 20)),
                "num_threads": 1,
                "deterministic": True,
                "verbosity": -1,
            }
            data = lightgbm.Dataset(features[~out], logs[~out], params=settings)
            model = lightgbm.train(settings, data, num_boost_round=500)
            errors[out] = model.predict(features[out]) - logs[out]
        found[name] = float(np.sqrt(np.mean(errors**2)))
    return found
