"""Which runs begin alike: under warmup-stable-decay a longer run trains the beginning of a shorter one.

Two runs that differ in budget alone do the same until the shorter one decays: same weights, same samples, same rate.
"""

from __future__ import annotations

from mixlang.plan.build import Plan, Run
from mixlang.plan.whole_samples import stable_steps


def shared_samples(plan: Plan, run: Run) -> int:
    """Samples a run sees before it decays."""
    batch = plan.training["recipe"]["batch_size"]
    return stable_steps(run.budget // batch, plan.training["recipe"]) * batch


def trunk_of(plan: Plan, run: Run) -> Run | None:
    """The longest other run of the plan that a run can branch off, or None.

    It must be of exactly the same mixture, seed and volumes: only then are the samples in the same order.
    """
    if not shared_samples(plan, run):
        return None
    used = [name for name, amount in run.amounts.items() if amount]
    for other in plan.ladder(run):
        if other.budget > run.budget and all(
            plan.volume_count(name, run.budget) == plan.volume_count(name, other.budget) for name in used
        ):
            return other
    return None
