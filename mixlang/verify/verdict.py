"""What the verification means, in sentences: better, worse or no difference shown, and whether there was anything to gain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixlang.rivals import nearest_to
from mixlang.verify.agreement import headline
from mixlang.verify.measured import ALLOCATED, PUBLISHED, alike, furthest, listed, shares_trained, subjects

_SMALL = 0.01
"""Gains below this part of the objective are not worth a mixture of one's own."""


def verdict(document: Mapping[str, Any], allocation: Mapping[str, Any]) -> list[dict[str, str]]:
    """Findings of a verification, the most important first.

    Args:
        document: verification.json with its comparisons, regret and agreement; allocation: allocation.json.

    Returns:
        For each finding `about` (gain, shares, rival, weakest, regret, prediction), `finding` (better, worse, open, none,
        held, missed, note) and `says`, a sentence.
    """
    found = []
    if _nothing_to_gain(document, allocation):
        found.append({"about": "gain", "finding": "none", "says": _advice(allocation)})
    told: list[tuple[int, Mapping[str, float]]] = []
    for budget, mixture, rivals in subjects(document):
        trained = shares_trained(document["runs"], budget, allocation["costs"])[mixture]
        if any(at == budget and alike(trained, shares) for at, shares in told):
            continue  # the mixture solved for this budget is the published one
        told.append((budget, trained))
        found.append(_trained(budget, mixture, trained, allocation["target"]["shares"]))
        found += [_against(budget, mixture, name, change) for name, change in rivals.items()]
        found.append(_weakest(budget, mixture, rivals))
    if not document["published"]:
        found.insert(len(found) and found[0]["about"] == "gain", _unmeasured(document))
    found += [_regret(int(budget), entry) for budget, entry in document["regret"].items()]
    return [*found, _prediction(document["agreement"])]


def _trained(budget: int, mixture: str, trained: Mapping[str, float], published: Mapping[str, float]) -> dict[str, str]:
    """With which shares the figures that follow were measured, and how far those are from the published ones."""
    says = f"Measured at {budget:,} samples, {_named(mixture, budget)}: {listed(trained)}."
    if mixture == ALLOCATED:
        name, apart = furthest(trained, published)
        says += (
            f" These are not the published shares: {name} has {100 * published[name]:.1f} % there, {100 * apart:.1f} points "
            "away."
            if not alike(trained, published)
            else " They are the published shares within half a point."
        )
    return {"about": "shares", "finding": "note", "says": says}


def _unmeasured(document: Mapping[str, Any]) -> dict[str, str]:
    budget = max(int(budget) for budget in document["improvements"])
    seeds = len({run["seed"] for run in document["runs"] if run["mixture"] == ALLOCATED})
    says = (
        "No run was trained with the published shares: what was measured are the mixtures solved for the held-out budgets. To "
        f"measure the published shares, set verify: {{published: largest}} and run again: {seeds} runs of {budget:,} samples."
    )
    return {"about": "shares", "finding": "open", "says": says}


def _named(mixture: str, budget: int) -> str:
    return "the published shares" if mixture == PUBLISHED else f"the mixture solved for {budget:,} samples"


def _advice(allocation: Mapping[str, Any]) -> str:
    """What to train on where there is nothing to gain: proportional sampling, or what the constraints leave of it."""
    says = (
        "There is nothing to gain here: neither the laws nor the measurements tell the solved mixture from proportional "
        "sampling"
    )
    says += ", whose shares are inside the intervals of all optimal ones" if _within(allocation) else ""
    target = allocation["target"]
    proportional = target["baselines"]["proportional"]
    if proportional["feasible"]:
        return f"{says}. Train on what there is."
    broken = "; ".join(proportional.get("breaks") or ["it breaks the constraints"])
    says += f". At {target['budget']:,.0f} samples proportional sampling is not allowed, though: {broken}."
    instead = target["baselines"].get(nearest_to("proportional"))
    return says + (f" The nearest mixture that is: {listed(instead['shares'])}." if instead else "")


def _nothing_to_gain(document: Mapping[str, Any], allocation: Mapping[str, Any]) -> bool:
    """Whether proportional sampling was measured and no gain over it is shown, predicted or measured."""
    rivals = [found["proportional"]["overall"] for _, _, found in subjects(document) if "proportional" in found]
    if not rivals or any(change["low"] is None for change in rivals):
        return False
    target = allocation["target"]
    predicted = {"corrected": 1 - target["objective"] / target["baselines"]["proportional"]["objective"]}
    if target.get("intervals"):
        predicted = target["intervals"]["gains"]["proportional"]
    shown = predicted["corrected"] >= _SMALL and predicted.get("interval", [1.0])[0] > 0
    return not shown and all(change["high"] >= 0 for change in rivals)


def _within(allocation: Mapping[str, Any]) -> bool:
    """Whether proportional shares lie in the intervals of all optimal ones."""
    target = allocation["target"]
    sure, proportional = target.get("intervals"), target["baselines"]["proportional"]["shares"]
    return bool(sure) and all(low <= proportional[name] <= high for name, (low, high) in sure["shares"].items())


def finding(change: Mapping[str, Any]) -> str:
    """better or worse where the interval says so whole, open otherwise; changes of losses, so negative is better."""
    if change["low"] is None:
        return "open"
    return "better" if change["high"] < 0 else "worse" if change["low"] > 0 else "open"


def _against(budget: int, mixture: str, name: str, change: Mapping[str, Any]) -> dict[str, str]:
    overall, kind = change["overall"], finding(change["overall"])
    size = f"{abs(overall['mean']):.1%} {'below' if overall['mean'] < 0 else 'above'}"
    words = {"better": "better", "worse": "worse", "open": "no difference shown"}
    if overall["low"] is None:
        sure = "one seed, so nobody knows whether that means anything"
    else:
        sure = f"95 % interval {overall['low']:+.1%} to {overall['high']:+.1%} over {overall['seeds']} seeds: {words[kind]}"
    says = (
        f"At {budget:,} samples the measured objective of {_named(mixture, budget)} is {size} that of {name} ({sure})."
    )
    times = change["data"]["objective"]
    if kind == "better" and times is not None:
        needed = f"{times:,.0f}" if times >= 10 else f"{times:.2g}"
        says += f" By the laws, {name} would need {needed} times the samples to reach it."
    return {"about": "rival", "finding": kind, "says": says}


def _weakest(budget: int, mixture: str, rivals: Mapping[str, Any]) -> dict[str, str]:
    """The domain that gained least over proportional sampling, or over the first rival."""
    rival = "proportional" if "proportional" in rivals else next(iter(rivals))
    domains = rivals[rival]["domains"]
    name = max(domains, key=lambda item: domains[item]["mean"])
    change = domains[name]
    sure = "" if change["low"] is None else f" (95 % interval {change['low']:+.1%} to {change['high']:+.1%})"
    says = (
        f"The weakest domain of {_named(mixture, budget)} at {budget:,} samples is {name}: its measured loss changes by "
        f"{change['mean']:+.1%}{sure} against {rival}."
    )
    return {"about": "weakest", "finding": finding(change), "says": says}


def _regret(budget: int, entry: Mapping[str, Any]) -> dict[str, str]:
    count = len(entry["objectives"])
    says = (
        f"Of {count} mixtures trained at {budget:,} samples {_named(ALLOCATED, budget)} ranks {entry['rank']} by its measured "
        "objective."
    )
    fair = entry["corrected"]
    if fair is None:
        says += f" It is {entry['to_best']['mean']:+.1%} from the best other ({entry['best']}), with one seed."
        return {"about": "regret", "finding": "open", "says": says}
    kind = finding(fair)
    words = {"better": "below it", "worse": "short of it", "open": "not told from it"}
    says += (
        f" Against the best of the others, chosen for each seed by the other seeds, its objective is {fair['mean']:+.1%} "
        f"(95 % interval {fair['low']:+.1%} to {fair['high']:+.1%}; noise between seeds {entry['noise']:.1%}): {words[kind]}."
    )
    return {"about": "regret", "finding": kind, "says": says}


def _prediction(agreement: Mapping[str, Any]) -> dict[str, str]:
    """How well the laws predicted where they say anything, and how badly elsewhere."""
    pooled, known = agreement["pooled"], headline(agreement)
    says = f"The laws predicted held-out losses with a mean relative error of {known['mean_relative_error']:.1%}"
    told = {
        name: found["pearson_r"]
        for name, entry in agreement["domains"].items()
        if (found := entry["supported"]) and found["pearson_r"] is not None and _varies(found)
    }
    if told and known["pearson_r"] is not None:
        least = min(told, key=lambda name: told[name])
        says += f"; r is {known['pearson_r']:.3f} pooled, and within domains {told[least]:.3f} ({least}) or more"
    covered = known["coverage"]["0.9"]
    says += f". {covered:.0%} of the losses lie in their 90 % intervals."
    left = pooled["count"] - known["count"]
    if left:
        says += (
            f" That is without {left} of {pooled['count']} pairs whose run had less of the domain than any that the law was "
            f"fitted on; with them the error is {pooled['mean_relative_error']:.1%}."
        )
    return {"about": "prediction", "finding": "held" if covered >= 0.8 else "missed", "says": says}


def _varies(found: Mapping[str, Any]) -> bool:
    """Whether a domain's losses differ between mixtures by more than twice the noise between seeds."""
    return found["noise"] is None or found["spread"] > 2 * found["noise"]
