"""Whether less is better: a score given as a loss would be minimised, so what rises with data is refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixlang.errors import InputError
from mixlang.laws.sheet import quoted
from mixlang.laws.table import LossTable

Floats = NDArray[np.float64]

_SURE = 4.0
"""Standard errors by which a loss has to rise."""


def refuse_rising(table: LossTable, keep: frozenset[str] = frozenset()) -> list[str]:
    """Refuse losses that rise with the budget and with their own domain's share.

    The log loss is regressed on the log budget and the own share (on all shares, for a loss of no domain). With one
    budget, the own share alone decides; a loss of no domain then cannot be judged.

    Args:
        keep: losses that the user says are some.

    Returns:
        The names that could not be judged.

    Raises:
        InputError: the first loss that rises, and what to do.
    """
    unjudged = []
    for loss, name in enumerate(table.names):
        if name in keep:
            continue
        slopes = _slopes(table, loss)
        if slopes is None:
            unjudged.append(name)
        elif min(slopes) > 0 and max(slopes) > _SURE:
            _refuse(table, loss, name)
    return unjudged


def _slopes(table: LossTable, loss: int) -> list[float] | None:
    """Slopes of the log loss in standard errors: with the budget where it varies, with the own share where there is one."""
    there = np.isfinite(table.losses[:, loss])
    logs, shares = np.log(table.losses[there, loss]), table.shares[there]
    total, own = np.log(table.totals[there]), table.own(loss)
    columns = []
    if np.ptp(total) > 1e-6:
        columns.append(total)
    if own is not None and np.ptp(shares[:, own]) > 1e-6:
        columns.append(shares[:, own])
    asked = len(columns)
    if own is None:
        columns += list(shares[:, 1:].T)
    if not asked or len(logs) < len(columns) + 4:
        return None
    matrix = np.column_stack([np.ones(len(logs)), *columns])
    solution, _, rank, _ = np.linalg.lstsq(matrix, logs, rcond=None)
    if rank < matrix.shape[1]:
        return None
    left = logs - matrix @ solution
    variance = max(float(left @ left) / (len(logs) - matrix.shape[1]), 1e-24)
    errors = np.sqrt(variance * np.diag(np.linalg.inv(matrix.T @ matrix)))
    return (solution / errors)[1 : 1 + asked].tolist()


def _refuse(table: LossTable, loss: int, name: str) -> None:
    grows = [*(["the budget"] if np.ptp(table.totals) > 1e-6 else [])]
    own = table.own(loss)
    grows += [] if own is None else [f"the share of its own domain {table.domains[own]}"]
    shown = quoted(name)
    if table.best(loss) is not None:
        raise InputError(
            f"'{name}', given as a score, falls with {' and '.join(grows)}: less of it seems to be better",
            f"If it is a loss, take it out of --maximize {shown}; if it falls indeed, leave it out with --ignore {shown}.",
        )
    raise InputError(
        f"'{name}' rises with {' and '.join(grows)}: more of it seems to be better, and laws are of losses",
        f"If it is a score, say so with --maximize {shown}; if it rises indeed, leave it out with --ignore {shown}.",
    )
