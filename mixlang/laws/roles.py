"""What each column of a user's tables is: told by the user, or by its numbers and name where only one thing fits.

A column whose role is open is refused with the option that decides it; nothing is fitted on a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixlang.errors import InputError
from mixlang.laws.sheet import Sheet, quoted
from mixlang.names import Unit

Floats = NDArray[np.float64]

_TOLERATED = 0.01
"""Shares may sum to 1 within this, as rounded ones do."""

_EXACT = 2e-9
"""Sums closer to 1 than this are rounding of the last digits."""

_LOSS = frozenset(
    {"loss", "losses", "error", "err", "nll", "ppl", "perplexity", "bpb", "bpc", "mse", "mae", "rmse", "ce", "xent"}
)
_SCORE = frozenset(
    {"auroc", "auc", "auprc", "dice", "dsc", "accuracy", "acc", "f1", "iou", "jaccard", "precision", "recall", "score",
     "sensitivity", "specificity", "psnr", "ssim"}
)  # fmt: skip
_AROUND = _LOSS | {
    "train", "training", "val", "valid", "validation", "eval", "evaluation", "test", "heldout", "metric", "metrics",
}  # fmt: skip
"""Words around a domain's name in that of its loss."""

_BOOKKEEPING = frozenset(
    {"lr", "learningrate", "seed", "step", "steps", "epoch", "epochs", "iter", "iters", "iteration", "iterations", "time",
     "runtime", "walltime", "seconds", "minutes", "hours", "gpu", "gpus", "batch", "batchsize", "params", "parameters",
     "tokens", "samples", "budget", "flops", "date", "index", "id", "rank", "unnamed0", "version", "size"}
)  # fmt: skip
"""Names of columns that are kept beside results and are no losses."""


@dataclass(frozen=True)
class Columns:
    """What the user says of the columns of two tables.

    Attributes:
        key: joins the tables; budget, seed: columns of the mixtures table.
        ignored: neither; kept: domains or losses, whatever they look like.
        maximize: scores, where more is better; they are fitted as their distance to 1 (or 100).
        unit: what shares are written as; where: rows to take, a value by column.
    """

    key: str = "index"
    budget: str | None = None
    seed: str | None = None
    ignored: Sequence[str] = ()
    kept: Sequence[str] = ()
    maximize: Sequence[str] = ()
    unit: Unit = "fractions"
    where: Mapping[str, str] = field(default_factory=dict)

    @property
    def beside(self) -> list[str]:
        """Columns of the mixtures table that are no shares."""
        return [*filter(None, (self.budget, self.seed)), *self.ignored, *self.where]


def words(name: str) -> list[str]:
    """The words of a name in small letters: `metric/CT_chest` is metric, ct, chest."""
    return re.findall(r"[^\W_]+", name.casefold())


def owner(loss: str, domains: Sequence[str]) -> str | None:
    """The domain that a loss is on, by its name: the domain's but for case and separators, alone or among words such as
    `val` and `loss`.

    Raises:
        InputError: two domains fit.
    """
    if loss in domains:
        return loss
    said = words(loss)
    for form in ("".join(said), "".join(word for word in said if word not in _AROUND)):
        found = [name for name in domains if form and "".join(words(name)) == form]
        if len(found) > 1:
            raise InputError(
                f"the loss '{loss}' may be that of {' or '.join(map(repr, found))}", "Name it exactly as its domain."
            )
        if found:
            return found[0]
    return None


def is_named_a_loss(name: str) -> bool:
    """Whether a name says that it is a loss."""
    return bool(_LOSS & set(words(name)))


def is_named_a_score(name: str) -> bool:
    """Whether a name says that more is better."""
    return bool(_SCORE & set(words(name))) and not is_named_a_loss(name)


def domains_of(sheet: Sheet, columns: Columns, losses: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns of a table that are shares of domains.

    Args:
        losses: columns of the same table that are losses, where one table has both.

    Raises:
        InputError: a column that is there and is no share, or may be none.
    """
    for name in columns.beside:
        sheet.require(name)
    beside = {*columns.beside, *losses}
    found = tuple(name for name in sheet.columns if name not in beside)
    if not found:
        raise InputError(f"{sheet.path} has no column of shares")
    joined: dict[str, str] = {}
    for name in found:
        plain = "".join(words(name)) or name
        if plain in joined:
            raise InputError(
                f"{sheet.path}:1: the columns '{joined[plain]}' and '{name}' differ only by case or separators",
                "Rename one, or leave it out with --ignore.",
            )
        joined[plain] = name
    values = np.stack([sheet.numbers(name) for name in found], axis=1)
    _refuse_negative(sheet, found, values)
    if columns.unit != "amounts":
        _refuse_strangers(sheet, found, values / (100 if columns.unit == "percent" else 1), columns)
    for at, name in enumerate(found):
        if not values[:, at].any() and name not in columns.kept:
            raise InputError(
                f"{sheet.path}:1: column '{name}' is 0 in every row, so no run has anything of it", _decide(name)
            )
    return found


def _refuse_negative(sheet: Sheet, names: Sequence[str], values: Floats) -> None:
    negative = np.argwhere(values < 0)
    if len(negative):
        row, at = negative[0]
        raise InputError(
            f"{sheet.path}:{sheet.lines[row]}: column '{names[at]}': a share is not below 0, as {values[row, at]:g} is",
            f"If it is no domain, leave it out with --ignore {quoted(names[at])}.",
        )


def _refuse_strangers(sheet: Sheet, names: Sequence[str], values: Floats, columns: Columns) -> None:
    """Refuse columns without which the rows sum to 1 better than with them, and rows that do not."""
    total = values.sum(axis=1)
    off = float(np.abs(total - 1).max())
    for at, name in enumerate(names):
        without = float(np.abs(total - values[:, at] - 1).max())
        if off > _EXACT and without < 0.1 * off and without <= _TOLERATED and name not in columns.kept:
            raise InputError(
                f"{sheet.path}:1: column '{name}' is no share: without it every row sums to 1, with it not",
                _decide(name),
            )
    if off <= _TOLERATED + 1e-9:
        return
    worst = int(np.argmax(np.abs(total - 1)))
    outside = [name for at, name in enumerate(names) if values[:, at].max() > 1 + _TOLERATED]
    listed = f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
    says = f"{sheet.path}:{sheet.lines[worst]}: the shares ({listed}) sum to {total[worst]:.6g}, not 1"
    rest = [at for at, name in enumerate(names) if name not in outside]
    if outside and rest and np.abs(values[:, rest].sum(axis=1) - 1).max() <= _TOLERATED:
        hint = f"Leave out what is no domain: --ignore {','.join(outside)}."
        raise InputError(f"{says}; without {', '.join(outside)} they do", hint)
    if columns.unit == "percent" and np.abs(100 * total - 1).max() <= _TOLERATED:
        raise InputError(says, "They are parts of 1, not percentages: leave --shares percent out.")
    if columns.unit == "fractions" and np.abs(total - 100).max() <= 100 * _TOLERATED:
        raise InputError(f"{says}", "If they are percentages, say so: --shares percent.")
    raise InputError(
        says,
        "If a column is not a domain, name it with --budget or --ignore; if these are amounts, whose sum is the budget, say "
        "so: --shares amounts.",
    )


def _decide(name: str) -> str:
    return f"Leave it out with --ignore {quoted(name)}, or say that it belongs with --keep {quoted(name)}."


def losses_in(sheet: Sheet, columns: Columns) -> tuple[str, ...]:
    """The columns of a table of both shares and losses that are losses, by name or since the user says so."""
    said = {*columns.maximize, *columns.kept}
    beside = {*columns.beside}
    return tuple(
        name
        for name in sheet.columns
        if name not in beside and (name in said or is_named_a_loss(name) or is_named_a_score(name))
    )


def refuse_open_roles(
    sheet: Sheet, names: Sequence[str], domains: Sequence[str], mixtures: Sheet, columns: Columns
) -> None:
    """Refuse columns of a table of losses that may be none, and scores that are not said to be some.

    Raises:
        InputError: the first such column, and the options that decide it.
    """
    owners = {name: owner(name, domains) for name in names}
    named = any(owners.values())
    for name in names:
        if name in columns.kept or name in columns.maximize:
            continue
        values = sheet.numbers(name, holes=True)
        if is_named_a_score(name):
            raise InputError(
                f"{sheet.path}:1: column '{name}' is named as a score, where more is better; laws are of losses",
                f"Say so with --maximize {quoted(name)}, or that it is a loss with --keep {quoted(name)}.",
            )
        if owners[name] is not None or is_named_a_loss(name):
            continue
        why = _no_loss(name, values, sheet, mixtures)
        if why or named:
            raise InputError(
                f"{sheet.path}:1: column '{name}' {why or 'is named as no domain and no loss'}; is it a loss?",
                _decide(name),
            )


def _no_loss(name: str, values: Floats, sheet: Sheet, mixtures: Sheet) -> str:
    """Why a column that belongs to no domain is hardly a loss; empty where nothing says so."""
    known = values[np.isfinite(values)]
    if "".join(words(name)) in _BOOKKEEPING:
        return "is named as what is written down beside losses"
    if len(known) > 1 and np.ptp(known) == 0:
        return "is the same in every row"
    if len(known) > 2 and (known == np.round(known)).all():
        return "has whole numbers only"
    if name in mixtures.columns and sheet.path != mixtures.path and _the_same(name, sheet, mixtures):
        return f"has the same numbers as in {mixtures.path.name}"
    return ""


def _the_same(name: str, sheet: Sheet, other: Sheet) -> bool:
    cells = dict(zip(other.keys, other.text(name), strict=True))
    return all(cells.get(key) == text for key, text in zip(sheet.keys, sheet.text(name), strict=True))
