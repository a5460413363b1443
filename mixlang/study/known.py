"""What is known of the runs of a study before anything is trained: from committed tables, and from the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mixlang.documents import KnownRun, RunRow, Score
from mixlang.errors import MixlangError
from mixlang.files import read_json
from mixlang.plan.build import Plan, Run
from mixlang.plan.evaluations import Evaluation, evaluations_of
from mixlang.study.workspace import Study, Workspace
from runners.execute.former import take_over
from runners.execute.scores import Known, missing, row_of
from runners.execute.store import RunStore

TABLES = ("runs.json", "verification.json")
"""The committed tables that hold losses of runs."""

_TIMES = ("seconds", "resumed_at_step", "crops_evaluated")
"""What is taken from the result of a run that this store has trained."""


def known_scores(study: Study, plan: Plan, reuse: Iterable[str] | None = None) -> dict[str, dict[str, Score]]:
    """Records of a study's committed tables and of the versions it reuses, by run key and evaluation key.

    A clone without a run store trains and evaluates nothing that they hold. A table that cannot be read holds none.

    Args:
        reuse: the versions; those of the settings written last if left out.
    """
    found: dict[str, dict[str, Score]] = {}
    versions = list(_reuse(study) if reuse is None else reuse)
    if versions:
        from mixlang.study.reuse import reused  # numpy and the registry, for a command that may need neither

        for version in reused(Workspace(study.root), versions, plan):
            for key, scores in version.scores.items():
                found.setdefault(key, {}).update(scores)
    for name in TABLES:
        try:
            table = read_json(study.file(name))
            _add_table(found, plan, table["runs"], table.get("evaluations"))
        except (MixlangError, LookupError, TypeError, AttributeError):
            continue
    return found


def _reuse(study: Study) -> list[str]:
    try:
        return read_json(study.file("settings/evaluate.json")).get("reuse", [])
    except (MixlangError, AttributeError):
        return []


def trained_keys(study: Study) -> set[str]:
    """The runs that trained.json lists."""
    try:
        return set(read_json(study.file("trained.json"))["runs"])
    except (MixlangError, LookupError, TypeError):
        return set()


def _add_table(
    found: dict[str, dict[str, Score]], plan: Plan, rows: Iterable[RunRow], evaluations: dict[str, str] | None
) -> None:
    """Add the rows of a table; those of a table of before evaluations had addresses are taken where they are the plan's."""
    own = {one.name: one.key for one in evaluations_of(plan)}
    for row in rows:
        key, names = row["key"], evaluations
        if names is None:
            if set(row["amounts"]) != set(plan.domains):
                continue
            run = plan.run(row["kind"], row["amounts"], row["seed"])
            if plan.former_key(run) != key:
                continue
            key, names = run.key, own
        means = row.get("mean_losses", {})
        for name, loss in row["losses"].items():
            score: Score = {"loss": loss}
            if name in means:
                score["mean_loss"] = means[name]
            found.setdefault(key, {})[names[name]] = score


@dataclass(frozen=True)
class Progress:
    """How far runs are.

    Attributes:
        rows: by key, the runs whose losses are all known, with the times of those that this store has trained.
        waiting: runs that are not trained.
        gone: runs that are trained and lack an evaluation, whose weights are not in the store: they have to be trained
            again.
        unmeasured: by key of a run that is trained, the evaluations it lacks.
    """

    rows: dict[str, KnownRun] = field(default_factory=dict)
    waiting: list[Run] = field(default_factory=list)
    gone: list[Run] = field(default_factory=list)
    unmeasured: dict[str, list[Evaluation]] = field(default_factory=dict)

    def with_(self, other: Progress) -> Progress:
        """Of these runs and of others."""
        return Progress(
            self.rows | other.rows,
            self.waiting + other.waiting,
            self.gone + other.gone,
            self.unmeasured | other.unmeasured,
        )

    @property
    def to_train(self) -> list[Run]:
        """The runs whose weights have to be made."""
        return [*self.waiting, *self.gone]


def progress_of(
    store: RunStore, plan: Plan, runs: Sequence[Run], evaluations: Sequence[Evaluation], known: Known, trained: set[str]
) -> Progress:
    """How far runs are, by the store and the committed tables.

    Args:
        known: records of tables; trained: runs that a table says are trained.
    """
    take_over(store, plan, runs)
    found = Progress()
    for run in runs:
        row, result = row_of(run, evaluations, store, known), store.result(run.key)
        if row is not None:
            times = {name: result[name] for name in _TIMES if name in result} if result else {}
            found.rows[run.key] = {**row, **times}  # type: ignore[typeddict-item]
        elif result is None and run.key not in known and run.key not in trained:
            found.waiting.append(run)
        else:
            found.unmeasured[run.key] = missing(run.key, evaluations, store, known)
            if not store.has_weights(run.key):
                found.gone.append(run)
    return found
