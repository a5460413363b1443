"""What a version says in few words: its verification in numbers and findings, and the hash of it all."""

from __future__ import annotations

from typing import Any

from mixlang.documents import Verification, Verified
from mixlang.files import digest
from mixlang.verify import headline

Facts = dict[str, Any]
"""Part of what mixture.yaml holds."""


def content_of(core: Facts, laws: Any, losses: str, problem: Any) -> str:
    """The hash of what a version says, whatever its number and date: equal hashes are one result."""
    return digest({"core": core, "laws": laws, "losses": losses, "problem": problem})


def summary(verification: Verification) -> Verified | None:
    """The verification in a few numbers and its findings in words, or None where nothing was held out.

    Pearson r and the mean error are over the pairs in which the laws say anything (`pairs` of `held_out`). `published` are
    changes from the rivals to the published shares, by held-out budget; `change` those to the mixture solved for that
    budget, whose shares verification.json has. Versions of before published shares were measured have no `published`.
    """
    if not verification["runs"]:
        return None
    everything = verification["agreement"]["pooled"]
    known = headline(verification["agreement"])
    return {
        "pearson_r": None if known["pearson_r"] is None else round(known["pearson_r"], 4),
        "mean_relative_error": round(known["mean_relative_error"], 4),
        "pairs": known["count"],
        "held_out": everything["count"],
        **_measured(verification),
        "regret": {
            budget: {"rank": found["rank"], "of": len(found["objectives"]), **_rounded(found["corrected"] or {})}
            for budget, found in verification["regret"].items()
        },
        "findings": [found["says"] for found in verification["verdict"]],
    }


def _measured(verification: Verification) -> Facts:
    def changes(key: str) -> Facts:
        return {
            budget: {baseline: _rounded(found["overall"], digits) for baseline, found in baselines.items()}
            for budget, baselines in verification[key].items()
        }

    digits = 6 if "published" in verification else 4
    if "published" not in verification:
        return {"change": changes("improvements")}
    return {
        "published": changes("published"),
        "change": changes("improvements"),
    }


def _rounded(interval: Any, digits: int = 4) -> Facts:
    return {key: None if value is None else round(value, digits) for key, value in interval.items()}
