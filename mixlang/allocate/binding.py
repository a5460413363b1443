"""The constraints that hold a mixture back, in words, with what loosening each is worth. Needs no solver."""

from __future__ import annotations

from mixlang.documents import Active, ProblemSettings, Solved

_POINT = 0.01
"""A point of share."""


def binding_in_words(solved: Solved, settings: ProblemSettings) -> list[str]:
    """A sentence for each binding constraint, the dearest first.

    Args:
        solved: an allocation document, of which `certificate.active`, `objective` and `budget` are read; with a `decision`
            there are no prices, since the mixture is not the optimum of the objective, which a price would be of.
        settings: what the problem was made from: `constraints`, `available`, `costs`.
    """
    active = sorted(solved["certificate"]["active"], key=lambda item: -item["price"])
    return [_sentence(item, solved, settings) for item in active]


def _sentence(item: Active, solved: Solved, settings: ProblemSettings) -> str:
    name, why, share = item["domain"], item["why"], item["share"]
    change = item["price"] / solved["objective"]
    a_point = percent(_POINT * change)
    if item["side"] == "worse":
        prior = "proportional" if settings["available"] else "uniform"
        held = f"{name} is held at {share:.2%} above its loss under {prior} sampling, the most it may be worse"
        priced = f"{held}; one percent more would lower the predicted objective by about {a_point}."
        return f"{held}." if solved.get("decision") else priced
    up = item["side"] == "min"
    held = f"{name} is held {'up' if up else 'down'} at {share:.2%} by its {why}"
    capped = why == "repetition cap"
    cap, there = settings["constraints"]["repetition"], (settings["available"] or {}).get(name)
    units = there is not None and there["volumes"] == there["crops"]  # of a table of amounts, which knows no volumes
    if capped and there is not None:
        held += f" ({cap:g} times {'what there is' if units else 'each distinct crop'}; {there['volumes']:,.6g}"
        held += ")" if units else " volumes)"
    if solved.get("decision"):
        return f"{held}."
    says = f"{held}; one point {'less' if up else 'more'} would lower the predicted objective by about {a_point}"
    if capped and there is not None and there["volumes"] and cap is not None:
        more = cap * there["crops"] / there["volumes"] * settings["costs"][name] / solved["budget"]
        says += f", one more {'of these' if units else 'volume'} by {percent(more * change)}"
    return f"{says}."


def percent(change: float) -> str:
    """A small relative change in percent, with two figures."""
    return f"{100 * change:.2g} %" if change >= 1e-6 else "less than 0.0001 %"
