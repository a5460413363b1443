"""Dividing runs among jobs and workers: a ladder stays together, so that its common beginning is trained once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mixlang.plan.build import Plan, Run
from mixlang.plan.ladder import shared_samples, trunk_of


def ladders(plan: Plan, runs: Sequence[Run], branches: bool) -> list[list[Run]]:
    """Groups of runs that share a trunk, that trunk first; the longest group first.

    Args:
        branches: whether runs branch off one another at all (launch.ladder).
    """
    if not branches:
        return [[run] for run in sorted(runs, key=lambda run: -run.budget)]
    keys = {run.key for run in runs}
    groups: dict[str, list[Run]] = {}
    for run in runs:
        trunk = trunk_of(plan, run)
        leader = trunk.key if trunk is not None and trunk.key in keys else run.key
        groups.setdefault(leader, []).append(run)
    found = [sorted(group, key=lambda run: -run.budget) for group in groups.values()]
    return sorted(found, key=lambda group: -samples_of(plan, group))


def samples_of(plan: Plan, group: Sequence[Run]) -> int:
    """Samples that training a group takes: a branch trains only what it does not share with its trunk."""
    leader, *branches = group
    return leader.budget + sum(run.budget - shared_samples(plan, run) for run in branches)


def shard(plan: Plan, runs: Sequence[Run], index: int, count: int, branches: bool) -> list[Run]:
    """One of `count` parts of about the same work; each run is in exactly one of them.

    Every worker computes the same division from the same plan, without asking the others.
    """
    parts: list[list[Run]] = [[] for _ in range(count)]
    work = [0] * count
    for group in ladders(plan, runs, branches):
        least = min(range(count), key=lambda part: (work[part], part))
        parts[least] += group
        work[least] += samples_of(plan, group)
    return parts[index]


def batches(
    plan: Plan, runs: Sequence[Run], branches: bool, full: Callable[[list[Run]], bool], most: int
) -> list[list[Run]]:
    """Runs in batches, one a job: ladders are added to a batch until it is `full`.

    Args:
        most: batches at most; they grow beyond full where that is needed.
    """
    groups = ladders(plan, runs, branches)
    if len(groups) <= most:
        found: list[list[Run]] = []
        for group in groups:
            if not found or full(found[-1]):
                found.append([])
            found[-1] += group
        if len(found) <= most:
            return found
    parts = [shard(plan, runs, index, most, branches) for index in range(most)]
    return [part for part in parts if part]
