"""How changes, intervals, shares and the objective are written, the same wherever people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def signed(part: float) -> str:
    """A relative change in percent with its sign, `-1.2%`; never a negative zero."""
    return f"{round(part, 3) + 0.0:+.1%}"


def between(low: float, high: float) -> str:
    """An interval of changes: `-3.1% to +0.4%`."""
    return f"{signed(low)} to {signed(high)}"


def certainty(change: Mapping[str, Any]) -> str:
    """How sure a measured change is: its 95 % interval and seeds, or that the seeds are too few for one.

    Args:
        change: `low`, `high` (both None with one seed) and `seeds`, as of `mixlang.verify.statistics.paired`. Where an
            interval reaches below -100 %, which no loss can, and holds zero, the seeds say nothing.
    """
    if change["low"] is None:
        return "one seed"
    if change["low"] < -1 and change["high"] >= 0:
        return f"{change['seeds']} seeds, too few for an interval"
    return f"95 % interval {between(change['low'], change['high'])} over {change['seeds']} seeds"


def cell(change: Mapping[str, Any]) -> str:
    """A measured change with its interval, for a table: `-1.2% (-3.1% to +0.4%)`."""
    if change["low"] is None:
        return f"{signed(change['mean'])} (one seed)"
    if change["low"] < -1 and change["high"] >= 0:
        return f"{signed(change['mean'])} (too few seeds)"
    return f"{signed(change['mean'])} ({between(change['low'], change['high'])})"


def listed(shares: Mapping[str, float]) -> str:
    """`ct 72.0 %, mri 28.0 %`."""
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())


def heading(budget: float, unit: str, verdict: Sequence[Mapping[str, str]]) -> str:
    """What a version's shares are for: to train on, unless the verdict is that no gain is shown.

    Args:
        verdict: the findings of the verification, as of `mixlang.verify.verdict`.
    """
    if any(finding["about"] == "gain" for finding in verdict):
        return (
            f"the published shares of {budget:,.0f} {unit}, the optimum under the laws; no gain over proportional sampling is "
            "shown, see below"
        )
    return f"train on these shares of {budget:,.0f} {unit}, the published shares"


def objective_in_words(measure: Mapping[str, Any], relative_to: str) -> str:
    """What the objective is, with its weights and its reference.

    Args:
        measure: `minimize` and `weights`, of an allocation document (see `mixlang.allocate.answer`).
        relative_to: what the reference is: specialist, proportional or uniform.
    """
    weights = measure["weights"]
    equal = len({round(weight, 9) for weight in weights.values()}) == 1
    whole = sum(weights.values())
    weighted = "equal weights" if equal else f"weights {listed({n: w / whole for n, w in weights.items()})}"
    formula = {
        "weighted_loss": "the weighted mean of the relative losses",
        "geometric_mean": "the weighted geometric mean of the relative losses",
        "worst_case": "the largest of the relative losses with a weight",
        "robust": "the weighted mean of the relative losses, over the worst draws of the laws; measured, the weighted mean alone",
    }[measure["minimize"]]
    reference = {
        "specialist": "what the laws predict where all of the budget is on that domain",
        "proportional": "what the laws predict for proportional sampling at the same budget, whose predicted objective so is 1",
        "uniform": "what the laws predict for uniform sampling at the same budget, whose predicted objective so is 1",
    }[relative_to]
    return (
        f"objective ({measure['minimize']}): {formula}, {weighted}; lower is better. A relative loss is a loss divided by "
        f"{reference}."
    )
