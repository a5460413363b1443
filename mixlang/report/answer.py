"""The report's head: the mixture and what it gains, in words."""

from __future__ import annotations

from html import escape

from mixlang.report.results import Results
from mixlang.verify.measured import PUBLISHED, alike, listed, shares_trained, subjects


def answer_section(results: Results) -> list[str]:
    """The mixture, what holds it back, and the gain: predicted for the target, measured at held-out budgets."""
    target = results.allocation["target"]
    mixture = ", ".join(f"{escape(name)} <b>{target['shares'][name]:.1%}</b>" for name in results.domains)
    gain = 1 - target["objective"] / target["baselines"]["proportional"]["objective"]
    sure = (target["intervals"] or {}).get("gains", {}).get("proportional")
    odds = f", with a probability of {sure['probability']:.0%} of being below it" if sure else ""
    nothing = [found["says"] for found in results.verification.get("verdict", []) if found["about"] == "gain"]
    text = [
        "<h2>Answer</h2>",
        *(f'<p class="lead"><b>{escape(says)}</b></p>' for says in nothing),
        f'<p class="lead">For a budget of {target["budget"]:,.0f} samples train on {mixture}. The laws predict an '
        f"objective {abs(gain):.1%} {'below' if gain >= 0 else 'above'} proportional sampling at that budget{odds}.</p>",
        *_measured(results),
    ]
    held = [*target.get("binding", []), *(target.get("dropped") or {}).get("says", [])]
    if held:
        text.append(f"<ul>{''.join(f'<li>{escape(says)}</li>' for says in held)}</ul>")
    return text


def _measured(results: Results) -> list[str]:
    """A sentence for each solved mixture and held-out budget; its shares too, where they are not the published ones."""
    if not results.verification["runs"]:
        return ['<p class="lead"><b>Not verified:</b> the spec holds out no budget.</p>']
    found, told = [], []
    for budget, mixture, rivals in subjects(results.verification):
        trained = shares_trained(results.verification["runs"], budget, results.allocation["costs"])[mixture]
        if any(at == budget and alike(trained, shares) for at, shares in told):
            continue
        told.append((budget, trained))
        against = "proportional" if "proportional" in rivals else next(iter(rivals))
        change = rivals[against]["overall"]
        interval = "" if change["low"] is None else f" (95 % interval {change['low']:+.1%} to {change['high']:+.1%})"
        word = "lower" if change["mean"] < 0 else "higher"
        who = "with these shares" if mixture == PUBLISHED else f"with other shares, those solved for {budget:,} samples"
        which = "" if mixture == PUBLISHED else f" ({escape(listed(trained))})"
        found.append(
            f'<p class="lead">Measured at the held-out budget of {budget:,} samples over {change["seeds"]} '
            f"seed{'s' * (change['seeds'] != 1)} {who}{which}: the objective is <b>{abs(change['mean']):.1%} {word}</b> than "
            f"with {escape(against)}{interval}.</p>"
        )
    unmeasured = [
        says["says"]
        for says in results.verification["verdict"]
        if (says["about"], says["finding"]) == ("shares", "open")
    ]
    return [*(f'<p class="lead"><b>{escape(says)}</b></p>' for says in unmeasured), *found]
