"""The report's section on the laws: which family won where, and by how much."""

from __future__ import annotations

from html import escape

import numpy as np

from mixlang.report.html import number, soft, table
from mixlang.report.results import Results
from mixlang.words import skill_in_words


def laws_section(results: Results) -> list[str]:
    """Which law won where, and by how much."""
    laws = results.laws.laws
    rows = [
        [
            law.name,
            law.called,
            f"{law.error:.1%}",
            number(None if np.isnan(law.noise) else law.noise, ".1%"),
            "" if law.skill is None else skill_in_words(law.skill),
            f"{law.used}",
            f"{law.dropped}",
        ]
        for law in laws
    ]
    budgets = ", ".join(f"{budget:,}" for budget in sorted({int(run["budget"]) for run in results.runs}))
    parts = [
        "<h2>Laws</h2>",
        soft(
            f"Fitted to the {len(results.runs)} probe runs, of {budgets} samples; the held-out runs are not among them."
        ),
        table(
            ["domain", "law", "fit error", "noise between seeds", "skill (R^2)", "probe runs used", "set aside"], rows
        ),
    ]
    parts.append(
        soft(
            "Fit error: of the losses of the runs used. Runs are set aside for a domain when the run had learned no "
            "more than the mean intensity, and those of runs on other domains alone where mixtures are "
            "predicted better without them; the notes say how many. Skill: 1 is a law that predicts each mixture left out "
            "exactly, 0 one that does no better than the mean over the other mixtures of the same budget; with its 90 % "
            "interval, and the most that noise between seeds leaves for any law."
        )
    )
    families = sorted({family for law in laws for family in law.scores})
    if families:
        scores = [
            [family, *(number(law.scores.get(family, {}).get("score"), ".1%") for law in laws)] for family in families
        ]
        parts.append(table(["cross-validated error on probe runs", *(law.name for law in laws)], scores))
        parts.append(
            soft(
                "The mean of two errors: each mixture left out in turn, and the largest budget left out whole. Stacked laws are "
                "weighted sums of families, with the weights that predict these runs best, in level and in the differences "
                "between mixtures of one budget (docs/laws.md)."
            )
        )
    notes = "".join(f"<li>{escape(item)}</li>" for item in results.laws.notes)
    return [*parts, *([f"<ul>{notes}</ul>"] if notes else [])]
