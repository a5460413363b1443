"""What is known of runs: losses from the records of the store and from committed tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mixlang.documents import RunRow, Score
from mixlang.plan.build import Run
from mixlang.plan.evaluations import Evaluation

if TYPE_CHECKING:
    from runners.execute.store import RunStore

Known = Mapping[str, Mapping[str, Score]]
"""Records of committed tables: by run key and evaluation key."""


def score_of(key: str, evaluation: Evaluation, store: RunStore, known: Known) -> Score | None:
    """The record of a run's evaluation; a committed one goes first, for it is what the study's results were made of."""
    return known.get(key, {}).get(evaluation.key) or store.score(key, evaluation.key)


def missing(key: str, evaluations: Iterable[Evaluation], store: RunStore, known: Known) -> list[Evaluation]:
    """The evaluations of a run that are not known."""
    return [one for one in evaluations if score_of(key, one, store, known) is None]


def row_of(run: Run, evaluations: Sequence[Evaluation], store: RunStore, known: Known) -> RunRow | None:
    """A run with its losses; None where one of them is not known."""
    losses, means = {}, {}
    for one in evaluations:
        score = score_of(run.key, one, store, known)
        if score is None:
            return None
        losses[one.name] = score["loss"]
        if "mean_loss" in score:
            means[one.name] = score["mean_loss"]
    return {**run.as_dict(), "losses": losses, "mean_losses": means}
