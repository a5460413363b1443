"""What going from one plan to another touches: which stages, which runs, and for each new run the reason it is new."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mixlang.plan.build import Compiled, Plan, Run
from mixlang.plan.stages import STAGES, sources

FIRST = "nothing was planned before"

Settings = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Change:
    """One value that differs: where, and what it was and is."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.path} {_shown(self.before)} -> {_shown(self.after)}"


def differences(before: Any, after: Any, path: str = "") -> list[Change]:
    """Every leaf that differs between two JSON values; lists are compared whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for key in sorted({*before, *after}):
            inner = f"{path}.{key}" if path else str(key)
            found += differences(before.get(key), after.get(key), inner)
        return found
    return [] if before == after else [Change(path, before, after)]


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return f"{len(value)} entries" if len(value) > 8 else f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(value)) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)


class Reasons:
    """Says of runs of a plan why an earlier plan did not have them.

    Args:
        before: the earlier plan, None where there is none.
        after: the plan whose runs are asked about.
    """

    def __init__(self, before: Plan | None, after: Plan) -> None:
        self.before, self.after = before, after
        if before is None:
            return
        self.keys = {run.key for run in before.runs}
        self.points = {_point(run) for run in before.runs}
        self.mixtures = {_named(run): run.budget for run in before.runs}
        self.budgets = {run.budget for run in before.runs}
        self.seeds = {run.seed for run in before.runs}
        self.common = [str(change) for change in differences(before.training, after.training)]
        gone = sorted(set(before.domains) - set(after.domains))
        self.common += [f"the domain {name} is gone" for name in gone]
        if before.target != after.target:
            self.common.append(f"repetition: match, target {_shown(before.target)} -> {_shown(after.target)}")
        self.drawn = {name: self._drawn(name) for name in after.domains}

    def _drawn(self, name: str) -> str:
        """What changed of the volumes a domain trains on, or ''."""
        assert self.before is not None
        if name not in self.before.domains:
            return f"the domain {name} is new"
        old, new = self.before.domains[name]["train"], self.after.domains[name]["train"]
        if old == new:
            by = ["subject" if "subjects" in plan.domains[name] else "volume" for plan in (self.before, self.after)]
            return f"sampling of {name}: {by[0]} -> {by[1]}" if by[0] != by[1] else ""
        gone, come = set(old) - set(new), set(new) - set(old)
        if len(gone) == len(old) and come:
            was, now = self.before.volumes[old[0]], self.after.volumes[new[0]]
            changes = differences(was["preprocessing"], now["preprocessing"])
            if changes:
                return f"preprocessing of {name}: {', '.join(map(str, changes))}"
        return f"training volumes of {name}: {len(come)} new, {len(gone)} gone"

    def of(self, run: Run) -> str:
        """Why this run is not among the earlier plan's; '' where it is."""
        if self.before is None:
            return FIRST
        if run.key in self.keys:
            return ""
        causes = [*self.common, *(self.drawn[name] for name, amount in run.amounts.items() if amount)]
        causes = [cause for cause in dict.fromkeys(causes) if cause]
        if _point(run) in self.points:
            return "; ".join(causes) or "this version of mixlang trains differently"
        if causes:
            return "; ".join(causes)
        if run.seed not in self.seeds:
            return f"seed {run.seed} is new"
        if run.budget not in self.budgets:
            return f"the budget {run.budget:,} is new"
        if not self._planned_mixture(run):
            return "its mixture is new"
        return "its mixture was not planned at this budget and seed"

    def _planned_mixture(self, run: Run) -> bool:
        """Whether an earlier run has this mixture, as far as whole samples allow."""
        shares = {name: amount / run.budget for name, amount in _named(run)}
        for named, budget in self.mixtures.items():
            if len(named) == len(shares) and all(
                name in shares and abs(amount / budget - shares[name]) <= 1 / min(budget, run.budget)
                for name, amount in named
            ):
                return True
        return False


def _named(run: Run) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((name, amount) for name, amount in run.amounts.items() if amount))


def _point(run: Run) -> tuple[Any, ...]:
    return (*_named(run), run.seed)


@dataclass(frozen=True)
class Before:
    """What stood before: a plan, settings by stage, and which files of the build folder there are.

    `files` is None where only plans are compared, not a workspace.
    """

    plan: Plan | None
    settings: Settings
    files: frozenset[str] | None = None


def touched(before: Before, after: Compiled, untrained: int, unmeasured: int = 0) -> dict[str, str]:
    """For each stage, in order, why it runs again; '' where it does not.

    A stage that is named only because an earlier one runs again is spared if that one's results come out the same.

    Args:
        untrained: probe runs that are not trained yet; unmeasured: trained ones that lack an evaluation.
    """
    why: dict[str, list[str]] = {stage: [] for stage in STAGES}
    new_plan = before.plan is None or before.plan.as_dict() != after.plan.as_dict()
    settings = {name: differences(before.settings.get(name), after.settings[name]) for name in after.settings}
    if before.plan is None:
        why["plan"].append(FIRST)
    elif new_plan or any(settings.values()):
        parts = [*(["runs or data"] if new_plan else []), *(name for name, changes in settings.items() if changes)]
        why["plan"].append("changed: " + ", ".join(parts))
    if before.plan is None:
        why["prepare"].append(FIRST)
    elif set(before.plan.volumes) != set(after.plan.volumes):
        why["prepare"].append("other volumes, or other preprocessing")
    if untrained:
        why["sweep"].append(f"{untrained} of {len(after.plan.runs)} probe runs to train")
    elif new_plan:
        same = before.plan is not None and {run.key for run in before.plan.runs} == {run.key for run in after.plan.runs}
        why["sweep"].append(f"{'the same' if same else 'other'} probe runs, all of them trained already")
    if unmeasured:
        why["evaluate"].append(f"{unmeasured} of {len(after.plan.runs)} probe runs to evaluate")
    elif before.plan is not None and _measured_otherwise(before.plan, after.plan):
        why["evaluate"].append("other validation crops")
    for name, changes in settings.items():
        if changes and before.settings:
            shown = ", ".join(map(str, changes[:4])) + (f" and {len(changes) - 4} more" if len(changes) > 4 else "")
            why[name].append(shown)
    for stage in STAGES:
        if before.files is not None and not before.files.issuperset(STAGES[stage].writes) and not why[stage]:
            why[stage].append("its result is not there yet")
        first = next((earlier for earlier in sources(stage) if earlier not in _FIRST and why[earlier]), None)
        if first and not why[stage]:
            why[stage].append(f"after {first}")
    return {stage: "; ".join(reasons) for stage, reasons in why.items()}


def _measured_otherwise(before: Plan, after: Plan) -> bool:
    """Whether a domain's loss is measured on other crops."""
    sides = [{name: data["validation"] for name, data in plan.domains.items()} for plan in (before, after)]
    return before.evaluation != after.evaluation or sides[0] != sides[1]


_FIRST = ("plan", "prepare")
"""Stages that run again whenever anything does; of which a later one is not said to come after."""


def grouped(reasons: Iterable[str]) -> dict[str, int]:
    """How many runs have each reason, most frequent first."""
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
