"""The report's head: the mixture and what it gains, in words."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mixlang.documents import Change, RunRow, Solved
from mixlang.report.results import Results
from mixlang.verify.measured import PUBLISHED, alike, broken, shares_trained, subjects
from mixlang.verify.verdict import finding
from mixlang.words import (
    certainty,
    decision_in_words,
    doubts_in_words,
    fitted_to,
    gain_in_words,
    heading,
    listed,
    signed,
)

_TOLD = ("proportional", "uniform")
"""Rivals that the head of the report tells of; the section on verification has the others."""

_WORDS = {"better": "better", "worse": "worse", "open": "no difference shown"}


def answer_section(results: Results) -> list[str]:
    """The mixture, what holds it back, and the gain: predicted for the target, measured at held-out budgets."""
    target = results.allocation["target"]
    verdict = results.verification.get("verdict", [])
    mixture = ", ".join(f"{escape(name)} <b>{target['shares'][name]:.1%}</b>" for name in results.domains)
    nothing = gain_in_words(verdict)
    says = heading(target["budget"], "samples", verdict)
    decided = decision_in_words(target)
    doubted = doubts_in_words(target)
    shown = any((says["about"], says["finding"]) == ("rival", "better") for says in verdict)
    candidate = "" if shown else "A candidate: "
    text = [
        "<h2>Answer</h2>",
        *(f'<p class="lead"><b>{candidate}{escape(says)}</b></p>' for says in doubted),
        *(f'<p class="lead"><b>{escape(says)}</b></p>' for says in nothing),
        f'<p class="lead">{says[0].upper()}{says[1:]}: {mixture}. {_predicted(target, results.runs)}</p>',
        *([f'<p class="lead">{escape(decided)}</p>'] if decided else []),
        *_measured(results),
    ]
    held = [*target.get("binding", []), *(target.get("dropped") or {}).get("says", [])]
    if held:
        text.append(f"<ul>{''.join(f'<li>{escape(says)}</li>' for says in held)}</ul>")
    return text


def _predicted(target: Solved, runs: Sequence[RunRow]) -> str:
    """The predicted change of the objective from proportional and uniform sampling, at the target."""
    gains = (target["intervals"] or {}).get("gains", {})
    found = []
    for name in _TOLD:
        if name not in target["baselines"]:
            continue
        rival, gain = target["baselines"][name], gains.get(name)
        change = signed(target["objective"] / rival["objective"] - 1)
        sure = f", {signed(-gain['corrected'])} when corrected for optimism" if gain else ""
        forbidden = " (not allowed by the constraints)" if rival["breaks"] else ""
        found.append(f"{change} from {name} sampling{forbidden}{sure}")
    at = f"at {target['budget']:,.0f} samples, where nothing was trained"
    probe = [run["budget"] for run in runs]
    fitted = fitted_to(probe, target["budget"])
    return f"The laws predict a change of the objective of {'; '.join(found)}, {at} (negative is better; {fitted})."


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
        who = "the published shares" if mixture == PUBLISHED else f"other shares, those solved for {budget:,} samples"
        which = "" if mixture == PUBLISHED else f" ({escape(listed(trained))})"
        names = [name for name in _TOLD if name in rivals] or list(rivals)[:1]
        forbidden = broken(results.allocation, budget)
        changes = [
            f"<b>{signed(rivals[name]['overall']['mean'])}</b> from {escape(name)} sampling"
            f"{', which the constraints do not allow' if name in forbidden else ''} ({_sure(rivals[name]['overall'])})"
            for name in names
        ]
        found.append(
            f'<p class="lead">Measured at the held-out budget of {budget:,} samples with {who}{which}: the objective changes by '
            f"{', by '.join(changes)}.</p>"
        )
    unmeasured = [
        says["says"]
        for says in results.verification["verdict"]
        if (says["about"], says["finding"]) == ("shares", "open")
    ]
    return [*(f'<p class="lead"><b>{escape(says)}</b></p>' for says in unmeasured), *found]


def _sure(change: Change) -> str:
    words = "not known whether that is more than noise" if change["low"] is None else _WORDS[finding(change)]
    return f"{certainty(change)}: {words}"
