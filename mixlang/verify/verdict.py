"""What the verification means, in sentences: better, worse or no difference shown, and whether any gain is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixlang.documents import Allocation, Change, Finding, Improvement, Regret, Scores, Solved, Verification
from mixlang.rivals import nearest_to
from mixlang.verify.agreement import headline
from mixlang.verify.measured import ALLOCATED, PUBLISHED, alike, broken, furthest, shares_trained, subjects
from mixlang.words import certainty, listed, signed

_SMALL = 0.01
"""Gains below this part of the objective are not worth another mixture than proportional sampling."""

Subject = tuple[int, str, Mapping[str, Improvement]]
"""A held-out budget, a solved mixture trained there, and the changes of its losses from its rivals."""


def verdict(document: Verification, allocation: Allocation) -> list[Finding]:
    """Findings of a verification, the most important first.

    Args:
        document: verification.json with its comparisons, regret and agreement; allocation: allocation.json.

    Returns:
        For each finding `about` (gain, shares, rival, weakest, regret, prediction), `finding` (better, worse, open, none,
        held, missed, note) and `says`, a sentence.
    """
    found = []
    told = _told(document, allocation)
    if _nothing_to_gain(document, allocation):
        found.append({"about": "gain", "finding": "none", "says": _advice(told, allocation)})
    if not document["published"]:
        found.append(_unmeasured(document))
    for budget, mixture, rivals in told:
        trained = shares_trained(document["runs"], budget, allocation["costs"])
        found.append(_trained(budget, mixture, trained, allocation["target"]))
        breaks = broken(allocation, budget)
        found += [_against(budget, mixture, name, rivals[name], breaks.get(name, [])) for name in rivals]
        found.append(_weakest(budget, mixture, rivals))
    found += [_regret(int(budget), entry) for budget, entry in document["regret"].items()]
    return [*found, _prediction(document)]


def _told(document: Verification, allocation: Allocation) -> list[Subject]:
    """The solved mixtures that were measured, without one solved for a budget that is the published one to a reader."""
    told: list[Subject] = []
    seen: list[tuple[int, Mapping[str, float]]] = []
    for budget, mixture, rivals in subjects(document):
        trained = shares_trained(document["runs"], budget, allocation["costs"])[mixture]
        if not any(at == budget and alike(trained, shares) for at, shares in seen):
            seen.append((budget, trained))
            told.append((budget, mixture, rivals))
    return told


def _trained(budget: int, mixture: str, trained: Mapping[str, Mapping[str, float]], target: Solved) -> Finding:
    """With which shares the figures that follow were measured, and how far those are from the published ones.

    Args:
        trained: shares by mixture at this budget; target: the published solution.
    """
    ours, published = trained[mixture], target["shares"]
    if mixture == PUBLISHED:
        says = f"Trained at {budget:,} samples with the published shares (solved for {target['budget']:,.0f} samples): "
        return {"about": "shares", "finding": "note", "says": f"{says}{listed(ours)}."}
    says = f"Trained at {budget:,} samples with {_named(mixture, budget)}: {listed(ours)}."
    if alike(ours, published):
        says += " These are the published shares within half a point."
        return {"about": "shares", "finding": "note", "says": says}
    name, apart = furthest(published, ours)
    way = "more" if published[name] > ours[name] else "less"
    says += (
        f" These are not the published shares: the published shares, which are for {target['budget']:,.0f} samples, have "
        f"{name} {100 * published[name]:.1f} %, {100 * apart:.1f} points {way}."
    )
    if PUBLISHED not in trained:
        says += f" No run of {budget:,} samples had the published shares."
    return {"about": "shares", "finding": "note", "says": says}


def _unmeasured(document: Verification) -> Finding:
    budget = max(int(budget) for budget in document["improvements"])
    seeds = len({run["seed"] for run in document["runs"] if run["mixture"] == ALLOCATED})
    says = (
        "No run was trained with the published shares: what was measured are the mixtures solved for the held-out budgets. To "
        f"measure the published shares, set verify: {{published: largest}} and run again: {seeds} runs of {budget:,} samples."
    )
    return {"about": "shares", "finding": "open", "says": says}


def _named(mixture: str, budget: int) -> str:
    return "the published shares" if mixture == PUBLISHED else f"the mixture solved for {budget:,} samples"


def _advice(told: Sequence[Subject], allocation: Allocation) -> str:
    """What was measured and predicted where no gain is shown, and what to train on instead: proportional sampling, or what
    the constraints leave of it."""
    target = allocation["target"]
    rival = target["baselines"]["proportional"]
    measured = [
        f"{signed(rivals['proportional']['overall']['mean'])} for {_named(mixture, budget)}, trained on {budget:,} "
        f"({certainty(rivals['proportional']['overall'])})"
        for budget, mixture, rivals in told
    ]
    predicted = f"{signed(target['objective'] / rival['objective'] - 1)}"
    gains = (target.get("intervals") or {}).get("gains")
    predicted += f" as fitted, {signed(-gains['proportional']['corrected'])} corrected for optimism" if gains else ""
    says = (
        "No gain over proportional sampling is shown. Change of the objective from proportional sampling, negative is better: "
        f"measured {'; '.join(measured)}; predicted by the laws {predicted}, for the published shares at "
        f"{target['budget']:,.0f} samples."
    )
    where = ", inside the 90 % intervals of all optimal shares" if _within(allocation) else ""
    if rival["feasible"]:
        return f"{says} Train on proportional shares: {listed(rival['shares'])}{where}."
    broken_by = "; ".join(rival.get("breaks") or ["it breaks the constraints"])
    says += f" At {target['budget']:,.0f} samples proportional sampling is not allowed, though: {broken_by}."
    instead = target["baselines"].get(nearest_to("proportional"))
    return says + (f" Train on the nearest mixture that is: {listed(instead['shares'])}." if instead else "")


def _nothing_to_gain(document: Verification, allocation: Allocation) -> bool:
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


def _within(allocation: Allocation) -> bool:
    """Whether proportional shares lie in the intervals of all optimal ones."""
    target = allocation["target"]
    sure, proportional = target.get("intervals"), target["baselines"]["proportional"]["shares"]
    return bool(sure) and all(low <= proportional[name] <= high for name, (low, high) in sure["shares"].items())


def finding(change: Change) -> str:
    """better or worse where the interval says so whole, open otherwise; changes of losses, so negative is better."""
    if change["low"] is None:
        return "open"
    return "better" if change["high"] < 0 else "worse" if change["low"] > 0 else "open"


def _against(budget: int, mixture: str, name: str, change: Improvement, breaks: Sequence[str]) -> Finding:
    """The measured objective against one rival's.

    Args:
        breaks: the constraints that the rival breaks at this budget, in words.
    """
    overall, kind = change["overall"], finding(change["overall"])
    words = {"better": "better", "worse": "worse", "open": "no difference shown"}[kind]
    if overall["low"] is None:
        words = "not known whether that is more than noise"
    says = (
        f"At {budget:,} samples the measured objective of {_named(mixture, budget)} is {abs(overall['mean']):.1%} "
        f"{'below' if overall['mean'] < 0 else 'above'} that of {name} ({certainty(overall)}: {words})."
    )
    times = change["data"]["objective"]
    if kind == "better" and times is not None:
        needed = f"{times:,.0f}" if times >= 10 else f"{times:.2g}"
        says += f" By the laws, {name} would need {needed} times the samples to reach it."
    if breaks:
        says += f" {name} is not allowed by the constraints at {budget:,} samples: {'; '.join(breaks)}."
    return {"about": "rival", "finding": kind, "says": says}


def _weakest(budget: int, mixture: str, rivals: Mapping[str, Improvement]) -> Finding:
    """The domain that changed worst from proportional sampling, or from the first rival."""
    rival = "proportional" if "proportional" in rivals else next(iter(rivals))
    domains = rivals[rival]["domains"]
    name = max(domains, key=lambda item: domains[item]["mean"])
    change = domains[name]
    says = (
        f"Of the domains, {name} changes worst from {rival} to {_named(mixture, budget)} at {budget:,} samples: its measured "
        f"loss by {signed(change['mean'])} ({certainty(change)})."
    )
    return {"about": "weakest", "finding": finding(change), "says": says}


def _regret(budget: int, entry: Regret) -> Finding:
    count = len(entry["objectives"])
    says = (
        f"Of {count} mixtures trained at {budget:,} samples {_named(ALLOCATED, budget)} ranks {entry['rank']} by its measured "
        "objective (1 is the lowest)."
    )
    fair = entry["corrected"]
    if fair is None:
        says += f" It is {signed(entry['to_best']['mean'])} from the best other ({entry['best']}), with one seed."
        return {"about": "regret", "finding": "open", "says": says}
    kind = finding(fair)
    words = {"better": "below it", "worse": "short of it", "open": "no difference shown"}
    says += (
        " Against the best of the others, chosen for each seed by the other seeds, its objective changes by "
        f"{signed(fair['mean'])} ({certainty(fair)}; noise between seeds {entry['noise']:.1%}): {words[kind]}."
    )
    return {"about": "regret", "finding": kind, "says": says}


def _prediction(document: Verification) -> Finding:
    """How well the laws predicted where they say anything, and how badly elsewhere."""
    agreement = document["agreement"]
    pooled, known = agreement["pooled"], headline(agreement)
    budgets = sorted({int(run["budget_asked"]) for run in document["runs"]})
    at = " and ".join(", ".join(f"{budget:,}" for budget in part) for part in (budgets[:-1], budgets[-1:]) if part)
    says = (
        f"The laws predicted the losses of the {len(document['runs'])} held-out runs, of {at} samples, with a mean relative "
        f"error of {known['mean_relative_error']:.1%}"
    )
    by = {
        name: (entry["supported"] or entry).get("mean_relative_error") for name, entry in agreement["domains"].items()
    }
    errors = [f"{name} {error:.1%}" for name, error in by.items() if error is not None]
    says += f" ({', '.join(errors)})" if errors else ""
    told = {
        name: found["pearson_r"]
        for name, entry in agreement["domains"].items()
        if (found := entry["supported"]) and found["pearson_r"] is not None and _varies(found)
    }
    if told and known["pearson_r"] is not None:
        least = min(told, key=lambda name: told[name])
        says += (
            f"; r of predicted and measured is {known['pearson_r']:.3f} pooled, and within domains at least {told[least]:.3f} "
            f"({least})"
        )
    covered = known["coverage"]["0.9"]
    says += f". {covered:.0%} of the losses are inside their 90 % prediction intervals."
    left = pooled["count"] - known["count"]
    if left:
        says += (
            f" That is without {left} of {pooled['count']} losses whose run had less of the domain than any that the law was "
            f"fitted on; with them the error is {pooled['mean_relative_error']:.1%}."
        )
    return {"about": "prediction", "finding": "held" if covered >= 0.8 else "missed", "says": says}


def _varies(found: Scores) -> bool:
    """Whether a domain's losses differ between mixtures by more than twice the noise between seeds."""
    return found["noise"] is None or found["spread"] > 2 * found["noise"]
