"""The report's head: the mixture and what it gains, in words."""

from __future__ import annotations

from html import escape

from mixlang.report.results import Results


def answer_section(results: Results) -> list[str]:
    """The mixture and the gain, in words."""
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
        f"objective {abs(gain):.1%} {'below' if gain >= 0 else 'above'} proportional sampling{odds}.</p>",
    ]
    for budget, found in results.verification.get("improvements", {}).items():
        change = found.get("proportional", next(iter(found.values())))["overall"]
        against = "proportional" if "proportional" in found else next(iter(found))
        interval = "" if change["low"] is None else f" (95 % interval {change['low']:+.1%} to {change['high']:+.1%})"
        word = "lower" if change["mean"] < 0 else "higher"
        text.append(
            f'<p class="lead">Measured at the held-out budget of {int(budget):,} samples over {change["seeds"]} seeds: '
            f"the objective is <b>{abs(change['mean']):.1%} {word}</b> than with {against}{interval}.</p>"
        )
    if not results.verification["runs"]:
        text.append('<p class="lead"><b>Not verified:</b> the spec holds out no budget.</p>')
    return text
