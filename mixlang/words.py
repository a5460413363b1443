"""How changes, intervals, shares and the objective are written, the same wherever people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixlang.documents import Change, ChosenDesign, Finding, Measure, Skill, Solved


def signed(part: float) -> str:
    """A relative change in percent with its sign, `-1.2%`; never a negative zero."""
    return f"{round(part, 3) + 0.0:+.1%}"


def between(low: float, high: float) -> str:
    """An interval of changes: `-3.1% to +0.4%`."""
    return f"{signed(low)} to {signed(high)}"


def certainty(change: Change) -> str:
    """How sure a measured change is: its 95 % interval and seeds.

    Args:
        change: `low`, `high` (both None with one seed) and `seeds`, as of `mixlang.verify.interval.paired`. An interval
            that holds zero and reaches below -100 %, which no loss can, says nothing, and its ends are not told.
    """
    if change["low"] is None:
        return "one seed"
    if change["low"] < -1 and change["high"] >= 0:
        return f"95 % interval wider than ±100 % over {change['seeds']} seeds"
    return f"95 % interval {between(change['low'], change['high'])} over {change['seeds']} seeds"


def cell(change: Change) -> str:
    """A measured change with its interval, for a table: `-1.2% (-3.1% to +0.4%)`."""
    if change["low"] is None:
        return f"{signed(change['mean'])} (one seed)"
    if change["low"] < -1 and change["high"] >= 0:
        return f"{signed(change['mean'])} (wider than ±100 %)"
    return f"{signed(change['mean'])} ({between(change['low'], change['high'])})"


def listed(shares: Mapping[str, float]) -> str:
    """`ct 72.0 %, mri 28.0 %`."""
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())


def heading(budget: float, unit: str, verdict: Sequence[Finding]) -> str:
    """What a version's shares are for: to train on, unless the verdict is that no gain is shown.

    Args:
        verdict: the findings of the verification, as of `mixlang.verify.verdict`.
    """
    if any(finding["about"] == "gain" for finding in verdict):
        return (
            f"the published shares, solved for {budget:,.0f} {unit} under the laws and the constraints, of which no gain over "
            "proportional sampling is shown"
        )
    return f"train on these shares of {budget:,.0f} {unit}, the published shares"


def gain_in_words(verdict: Sequence[Finding]) -> list[str]:
    """What the verdict says and advises where no gain is shown; empty where one is, or nothing was measured."""
    return [finding["says"] for finding in verdict if finding["about"] == "gain"]


def doubts_in_words(target: Solved) -> list[str]:
    """What is wrong with the laws for a decision between mixtures, as sentences that begin with a capital."""
    return [says[0].upper() + says[1:] for says in target.get("doubts", [])]


def skill_in_words(skill: Skill) -> str:
    """R^2 with its interval and the most that noise between seeds leaves: `.92 (.83 to .97, at most .81)`."""
    most = "" if skill["ceiling"] is None else f", at most {skill['ceiling']:.2f}"
    return f"{skill['r2']:.2f} ({skill['low']:.2f} to {skill['high']:.2f}{most})"


def decision_in_words(target: Solved) -> str:
    """Which of the mixtures that cannot be told from the best was taken; empty where the best itself was."""
    decision = target.get("decision")
    if decision is None or decision["moved"] < 0.005:
        return ""
    prior = "proportional" if "proportional" in target["baselines"] else "uniform"
    worse, error = f"{100 * decision['worse']:.2g} %", f"{100 * decision['error']:.2g} %"
    if decision["is_prior"]:
        return (
            f"Nothing to be gained is seen: the best mixture under the laws is expected to be {worse} better than {prior} "
            f"sampling, within one standard error ({error}), so {prior} sampling is taken, as far as the constraints allow."
        )
    return (
        f"Of the mixtures within one standard error ({error}) of the best, the one nearest to {prior} sampling is taken. The "
        f"best itself, expected to be {worse} better, is {listed(decision['best'])}."
    )


CHANGES = (
    "measured change: of each seed's loss from the run of the one mixture to that of the other, averaged over the seeds; it is "
    "not the ratio of the mean losses"
)


def intervals_in_words(level: float, draws: int) -> str:
    """What the interval of an optimal share is."""
    return (
        f"{level:.0%} interval of the optimal share: where the optimum falls under {draws} bootstrap draws of the laws"
    )


OPTIMISM = (
    "corrected for optimism: less what an optimum of noisy laws seems to gain by chance, estimated from the bootstrap draws; "
    "the estimate can have either sign"
)


def fitted_to(budgets: Sequence[float], target: float) -> str:
    """Which runs the laws were fitted to, and how far the target is beyond them.

    Args:
        budgets: of the probe runs, one a run.
    """
    says = f"laws fitted to {len(budgets)} probe runs of {min(budgets):,.0f} to {max(budgets):,.0f} samples"
    beyond = target / max(budgets)
    return says + (f", extrapolated to {beyond:.3g} times the largest" if beyond > 1.01 else "")


def objective_in_words(measure: Measure, relative_to: str) -> str:
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
        "proportional": "what the laws predict for proportional sampling at the same budget",
        "uniform": "what the laws predict for uniform sampling at the same budget",
    }[relative_to]
    one = "" if relative_to == "specialist" else ", whose predicted objective is therefore 1"
    return (
        f"objective ({measure['minimize']}): {formula}, {weighted}; lower is better. A relative loss is a loss divided by "
        f"{reference}{one}."
    )


def design_in_words(design: ChosenDesign) -> str:
    """How good an optimal design is."""
    says = f"the runs are chosen of {design['candidates']:,} candidates and train {design['samples']:,} samples"
    times = design["deviation_over_least"]
    if times is None:
        return says
    return f"{says}; their predictions vary at most {times - 1:.0%} more than those of any design of that cost"
