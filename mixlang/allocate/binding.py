"""The constraints that hold a mixture back, in words, with what loosening each is worth. Needs no solver."""

from __future__ import annotations

from mixlang.documents import Active, ProblemSettings, Solved

_POINT = 0.01
"""A point of share."""


def binding_in_words(solved: Solved, settings: ProblemSettings) -> list[str]:
    """A sentence for each binding constraint, the dearest first.

    Args:
        solved: an allocation document, of which `certificate.active`, `objective` and `budget` are read.
        settings: what the problem was made from: `constraints`, `available`, `costs`.
    """
    active = sorted(solved["certificate"]["active"], key=lambda item: -item["price"])
    return [_sentence(item, solved, settings) for item in active]


def _sentence(item: Active, solved: Solved, settings: ProblemSettings) -> str:
    name, why, share = item["domain"], item["why"], item["share"]
    change = item["price"] / solved["objective"]
    a_point = percent(_POINT * change)
    if item["side"] == "worse":
        return (
            f"the loss on {name} is held at {share:.2g} above that of proportional sampling, as constraints.worse allows; one "
            f"percent more would lower the predicted objective by about {a_point}."
        )
    if item["side"] == "min":
        held = f"{name} is held up at {share:.2%} by its {why}"
        return f"{held}; one point less would lower the predicted objective by about {a_point}."
    held = f"{name} is held down at {share:.2%} by its {why}"
    if why != "repetition cap":
        return f"{held}; one point more would lower the predicted objective by about {a_point}."
    cap, there = settings["constraints"]["repetition"], settings["available"][name]
    units = there["volumes"] == there["crops"]  # of a table of amounts, which knows no volumes
    held += f" ({cap:g} times {'what there is' if units else 'each distinct crop'}; {there['volumes']:,.6g}"
    says = (
        f"{held}{'' if units else ' volumes'}); one point more would lower the predicted objective by about {a_point}"
    )
    if there["volumes"]:
        more = cap * there["crops"] / there["volumes"] * settings["costs"][name] / solved["budget"]
        says += f", one more {'of these' if units else 'volume'} by {percent(more * change)}"
    return f"{says}."


def percent(change: float) -> str:
    """A small relative change in percent, with two figures."""
    return f"{100 * change:.2g} %" if change >= 1e-6 else "less than 0.0001 %"
