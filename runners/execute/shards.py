"""Dividing runs among jobs and workers: a ladder stays together, so that its common beginning is trained once."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

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


def parts(plan: Plan, groups: Sequence[list[Run]], count: int) -> list[list[Run]]:
    """Groups, the longest first, in `count` parts of about the same work; a part may stay empty."""
    found: list[list[Run]] = [[] for _ in range(count)]
    heap = [(0, index) for index in range(count)]
    for group in groups:
        work, least = heapq.heappop(heap)
        found[least] += group
        heapq.heappush(heap, (work + samples_of(plan, group), least))
    return found


def shard(plan: Plan, runs: Sequence[Run], index: int, count: int, branches: bool) -> list[Run]:
    """One of `count` parts of about the same work; each run is in exactly one of them.

    Every worker computes the same division from the same plan, without asking the others.
    """
    return parts(plan, ladders(plan, runs, branches), count)[index]
