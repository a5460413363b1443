"""Cheap ladders: runs that begin alike train their common beginning once.

Under warmup-stable-decay two runs that differ in budget alone do the same until the shorter one decays: same weights,
same samples, same rate. The longest of them therefore leaves each shorter one a checkpoint at the step where its decay
begins, and the shorter one goes on from there as it would after an interruption. Which files are written changes, no
result does.
"""

from __future__ import annotations

import numpy as np

from mixlang.plan.build import Plan, Run
from mixlang.plan.ladder import shared_samples, trunk_of
from runners.data.sampling import SampleOrder


def sample_order(plan: Plan, run: Run) -> SampleOrder:
    """The samples of a run."""
    volumes = {name: plan.volumes_for(name, run.budget) for name in _used(run)}
    subjects = {name: found for name in volumes if (found := plan.subjects_for(name, run.budget)) is not None}
    return SampleOrder.of(run.amounts, volumes, run.seed, subjects)


def branches_of(plan: Plan, run: Run) -> dict[int, Run]:
    """The shorter runs of the plan that branch off this one, by the optimizer step where they do."""
    found = [other for other in plan.ladder(run) if other.budget < run.budget and trunk_of(plan, other) == run]
    batch = plan.training["recipe"]["batch_size"]
    return {shared_samples(plan, other) // batch: other for other in found if _begin_alike(plan, run, other)}


def _begin_alike(plan: Plan, longer: Run, shorter: Run) -> bool:
    """Whether the samples of the longer run do begin with those the shorter one sees before its decay."""
    count = shared_samples(plan, shorter)
    theirs, ours = sample_order(plan, longer), sample_order(plan, shorter)
    return theirs.keys == ours.keys and np.array_equal(theirs.volume[:count], ours.volume[:count])


def _used(run: Run) -> list[str]:
    return [name for name, amount in run.amounts.items() if amount]
