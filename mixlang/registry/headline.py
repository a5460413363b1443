"""What a published version says was measured, and with which shares: its own, or those solved for a held-out budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mixlang.documents import Change, Verified


@dataclass(frozen=True)
class Headline:
    """The measurement a version is judged by.

    Attributes:
        budget: samples of the runs.
        own: whether the runs had the version's own shares; else they had those solved for the held-out budget.
        changes: of the objective from each rival, by its name; negative is better.
    """

    budget: int
    own: bool
    changes: Mapping[str, Change]

    @property
    def usual(self) -> str:
        """The rival that counts most: proportional sampling, or the first one."""
        return "proportional" if "proportional" in self.changes else next(iter(self.changes))


def headline_change(verified: Verified | None) -> Headline | None:
    """Of what mixture.yaml says under `verified`: at the largest budget at which the published shares were trained; where
    they never were, at the largest at which others were."""
    if not verified:
        return None
    if verified.get("published"):
        budget = max(verified["published"], key=int)
        return Headline(int(budget), True, verified["published"][budget])
    if not verified.get("change"):
        return None
    budget = max(verified["change"], key=int)
    return Headline(int(budget), False, verified["change"][budget])


def doubts(verified: Verified | None) -> str:
    """Why a mixture is published as a candidate, for a person to vouch for; empty where its measurements speak for it.

    They do where, at the largest held-out budget at which its own shares were trained, it is shown to be better than
    proportional sampling (or, without that, than the first rival) and is shown to be worse than no rival; with one seed
    the mean has to do.
    """
    found = headline_change(verified)
    if found is None:
        return "nothing was measured at a held-out budget"
    if not found.own:
        return "its shares were not trained at a held-out budget, only those solved for the held-out budgets"
    lost = [
        kind
        for kind, change in found.changes.items()
        if (change["mean"] if change["low"] is None else change["low"]) > 0
    ]
    if lost:
        return f"at {found.budget:,} samples it was measured to be worse than {', '.join(lost)}"
    change = found.changes[found.usual]
    shown = (change["mean"] if change["high"] is None else change["high"]) < 0
    return "" if shown else f"at {found.budget:,} samples no gain over {found.usual} was shown"
