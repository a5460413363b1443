"""What changed between two published versions, and which of their inputs moved which share.

A mixture is a function of its laws, its budget and the problem (costs, available data, objective, constraints). Where
two versions differ in several of these, the first is solved again with one of them taken from the second, each in turn;
what the single exchanges do not add up to belongs to none of them alone, and is said as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import Differing, Moved, ProblemSettings, ShareChange, VersionDifference
from mixlang.errors import MixlangError
from mixlang.files import digest, read_json
from mixlang.laws import Fit, read_fit
from mixlang.registry import Mixture
from mixlang.registry.proof import probe_rows, read_losses
from mixlang.terminal import table

Floats = NDArray[np.float64]

_PROBLEM = ("costs", "available", "objective", "constraints")

_STILL = 5e-4
"""A share that differs by less has not moved: solvers stop that close to an optimum."""


def compare(before: Mixture, after: Mixture) -> VersionDifference:
    """The difference from one version to another.

    Returns:
        `shares`: by domain `before`, `after`, `change`, the `interval` of the share in `before` (None without one) and
        whether the new share is `inside` it; `losses`: by loss the predictions of both at their own mixtures;
        `inputs`: what differs, by kind (`data`, `spec`, `runs`, `laws`, `problem`, `code`), each a list of items with
        `what`, `before`, `after`; `laws_differ`: why, in words, empty where they do not; `moved`: for each exchanged
        input its `effect` on every share, or the `reason` why there is none; `remains`: the part of the changes that
        belongs to no single input, None where nothing could be exchanged.
    """
    moved, remains = _attributed(before, after)
    return {
        "before": before.label,
        "after": after.label,
        "same": before.facts.get("content") == after.facts.get("content"),
        "shares": _shares(before, after),
        "losses": {
            name: {"before": value, "after": after.facts["predicted_losses"].get(name)}
            for name, value in before.facts["predicted_losses"].items()
        },
        "inputs": _inputs(before, after),
        "laws_differ": _why_laws_differ(before, after),
        "moved": moved,
        "remains": remains,
    }


def _shares(before: Mixture, after: Mixture) -> dict[str, ShareChange]:
    sure = (read_json(before.folder / "certificate.json")["target"].get("intervals") or {}).get("shares", {})
    found = {}
    for name in {**before.shares, **after.shares}:
        old, new, ends = before.shares.get(name), after.shares.get(name), sure.get(name)
        found[name] = {
            "before": old,
            "after": new,
            "change": None if old is None or new is None else new - old,
            "interval": ends,
            "inside": None if ends is None or new is None else ends[0] - _STILL <= new <= ends[1] + _STILL,
        }
    return found


def _inputs(before: Mixture, after: Mixture) -> dict[str, list[Differing]]:
    origins = [read_json(item.folder / "provenance.json") for item in (before, after)]
    problems = [
        {**{name: read_json(item.folder / "problem.json")[name] for name in _PROBLEM}, "budget": item.budget}
        for item in (before, after)
    ]
    laws = [read_fit(item.folder / "laws.json") for item in (before, after)]
    code = [
        {"git": {"commit": origin["git"]["commit"]}, "mixlang": origin["environment"]["mixlang"]}
        | {"packages": origin["environment"]["packages"], "python": origin["environment"]["python"]}
        for origin in origins
    ]
    return {
        "data": _different(*({"data": origin["data"]} for origin in origins)),
        "spec": _different(*(origin["resolved"] for origin in origins)),
        "runs": _runs(before, after),
        "laws": _laws(*laws, before),
        "problem": _different(*problems),
        "code": _different(*code),
    }


def _different(before: Any, after: Any, place: str = "") -> list[Differing]:
    """The leaves in which two nested dictionaries differ."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found = []
        for key in {**before, **after}:
            found += _different(before.get(key), after.get(key), f"{place}.{key}" if place else str(key))
        return found
    return [] if before == after else [{"what": place, "before": before, "after": after}]


def _runs(before: Mixture, after: Mixture) -> list[Differing]:
    """How many runs only one of the two has, by kind, and runs of both whose losses differ."""
    old, new = ({row["key"]: row for row in read_losses(item)} for item in (before, after))
    found = []
    for kind in dict.fromkeys([*(row["kind"] for row in old.values()), *(row["kind"] for row in new.values())]):
        gone = sum(row["kind"] == kind and key not in new for key, row in old.items())
        come = sum(row["kind"] == kind and key not in old for key, row in new.items())
        if gone or come:
            found.append({"what": f"'{kind}' runs that the other has not", "before": gone, "after": come})
    changed = sum(old[key]["losses"] != new[key]["losses"] for key in {*old} & {*new})
    if changed:
        found.append({"what": "runs of both whose losses differ", "before": changed, "after": changed})
    return found


def _laws(before: Fit, after: Fit, mixture: Mixture) -> list[Differing]:
    """Families, and predictions for one mixture at one budget: those of the first version."""
    found = _different(
        {name: before[name].called for name in before.names},
        {name: after[name].called for name in after.names},
        "family",
    )
    if before.domains != after.domains:
        return found
    amounts = np.array([mixture.amounts[name] for name in before.domains], float)
    for name in before.names:
        if name not in after.names:
            continue
        old, new = (float(fit[name].predict(amounts)[0]) for fit in (before, after))
        if old != new:
            found.append({"what": f"predicted loss of {mixture.label} on {name}", "before": old, "after": new})
    return found


def _why_laws_differ(before: Mixture, after: Mixture) -> str:
    """Laws are a function of the probe runs, of how they are fitted, and of the code that fits them."""
    if before.facts["lineage"]["laws"] == after.facts["lineage"]["laws"]:
        return ""
    how = [read_json(item.folder / "settings.json") for item in (before, after)]
    rows = [{row["key"]: row["losses"] for row in probe_rows(item, {})} for item in (before, after)]
    causes = []
    if rows[0] != rows[1]:
        new, gone = len({*rows[1]} - {*rows[0]}), len({*rows[0]} - {*rows[1]})
        shared = len(rows[0]) - gone
        causes.append(f"they were fitted to other runs ({shared} of both, {gone} dropped, {new} new)")
    if how[0]["fit"] != how[1]["fit"]:
        causes.append("they were fitted with other settings")
    return " and ".join(causes) or "the same runs and settings were fitted by other code"


def _attributed(before: Mixture, after: Mixture) -> tuple[list[Moved], dict[str, float] | None]:
    """The effect of each exchanged input on the shares, and what remains."""
    laws = [read_fit(item.folder / "laws.json") for item in (before, after)]
    problems = [read_json(item.folder / "problem.json") for item in (before, after)]
    domains = laws[0].domains
    if domains != laws[1].domains or laws[0].names != laws[1].names:
        return [{"input": "domains", "reason": "the versions mix other domains, so that no input fits the other"}], None
    budgets = (before.budget, after.budget)
    exchanges = _exchanges(laws, problems, budgets)
    try:
        start = _solved(laws[0], problems[0], budgets[0])
        change = _solved(laws[1], problems[1], budgets[1]) - start
    except MixlangError as error:
        return [{"input": "all", "reason": f"cannot be solved again: {error}"}], None
    moved: list[Moved] = []
    left = change
    for name, (fit, problem, budget) in exchanges.items():
        try:
            effect = _solved(fit, problem, budget) - start
        except MixlangError as error:
            moved.append({"input": name, "reason": f"with this alone there is no mixture: {error}"})
            continue
        left = left - effect
        moved.append({"input": name, "effect": dict(zip(domains, effect.tolist(), strict=True))})
    return moved, dict(zip(domains, left.tolist(), strict=True))


def _exchanges(
    laws: list[Fit], problems: list[ProblemSettings], budgets: tuple[float, float]
) -> dict[str, tuple[Fit, ProblemSettings, float]]:
    """The first version's inputs with one of the second's in place, by name; only those that differ."""
    found = {}
    for name in _PROBLEM:
        if problems[0][name] != problems[1][name]:
            found[name] = (laws[0], {**problems[0], name: problems[1][name]}, budgets[0])
    if budgets[0] != budgets[1]:
        found["budget"] = (laws[0], problems[0], budgets[1])
    changed = [law.name for law, other in zip(laws[0].laws, laws[1].laws, strict=True) if not _same_law(laws, law.name)]
    if changed and laws[0].scale != laws[1].scale:
        found["laws"] = (laws[1], problems[0], budgets[0])
    elif changed:
        for name in changed:
            mixed = tuple(laws[1][law.name] if law.name == name else law for law in laws[0].laws)
            found[f"law of {name}"] = (replace(laws[0], laws=mixed), problems[0], budgets[0])
    return found


def _same_law(laws: list[Fit], name: str) -> bool:
    return digest(laws[0][name].as_dict(laws[0].domains)) == digest(laws[1][name].as_dict(laws[1].domains))


def _solved(fit: Fit, problem: ProblemSettings, budget: float) -> Floats:
    from mixlang.allocate import Problem, solve

    return solve(Problem.of(fit, problem, budget)).shares


def difference_in_words(found: VersionDifference) -> list[str]:
    """A difference for people, in lines."""
    lines = [f"from {found['before']} to {found['after']}"]
    if found["same"]:
        return [*lines, "the same mixture from the same laws, losses and problem"]
    shares = []
    for name, row in found["shares"].items():
        sure = ""
        if row["interval"]:
            word = "inside" if row["inside"] else "OUTSIDE"
            sure = f"{word} {row['interval'][0]:.1%} to {row['interval'][1]:.1%}"
        change = "" if row["change"] is None else f"{row['change']:+.1%}"
        shares.append([name, _percent(row["before"]), _percent(row["after"]), change, sure])
    head = ["share", "before", "after", "change", "interval of the first"]
    lines += ["", *table(head, shares, "lrrrl", indent=0)]
    lines += ["", "what differs"]
    for kind, items in found["inputs"].items():
        lines += [
            f"  {kind}: {item['what']}: {_short(item['before'])} -> {_short(item['after'])}" for item in items[:_SHOWN]
        ]
        if len(items) > _SHOWN:
            lines.append(f"  {kind}: and {len(items) - _SHOWN} more (--format json has all)")
    if found["laws_differ"]:
        lines.append(f"  the laws differ since {found['laws_differ']}")
    if not any(found["inputs"].values()):
        lines.append("  nothing that is recorded")
    lines += [
        "",
        f"what moved the shares ({found['before']} solved again with one input of {found['after']} at a time)",
    ]
    for item in found["moved"]:
        lines.append(f"  {item['input']}: {item['reason'] if 'reason' in item else _effect(item['effect'])}")
    if not found["moved"]:
        lines.append("  nothing: laws, budget and problem are the same")
    elif found["remains"] is not None and max(map(abs, found["remains"].values())) >= _STILL:
        lines.append(f"  belongs to no single one: {_effect(found['remains'])}")
    return lines


_SHOWN = 12
"""Differences of one kind that are listed for people."""


def _effect(effect: Mapping[str, float]) -> str:
    moved = [f"{name} {change:+.1%}" for name, change in effect.items() if abs(change) >= _STILL]
    return ", ".join(moved) or "moves no share"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
