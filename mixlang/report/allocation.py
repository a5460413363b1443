"""The report's section on the mixture beside its rivals, and how sure it is."""

from __future__ import annotations

from html import escape
from typing import Any

from mixlang.report.parts import percent, soft, table
from mixlang.report.results import Results
from mixlang.report.svg import Chart, share_bars
from mixlang.rivals import in_order


def allocation_section(results: Results) -> list[str]:
    """Bars and a table of the mixture beside the baselines."""
    target = results.allocation["target"]
    rivals = {name: target["baselines"][name] for name in in_order(target["baselines"])}
    mixtures = {"published": target["shares"]} | {kind: found["shares"] for kind, found in rivals.items()}
    rows = [["published", f"{target['objective']:.4f}", *percent(target["shares"], results.domains)]]
    rows += [
        [
            kind + ("" if found["feasible"] else " *"),
            f"{found['objective']:.4f}",
            *percent(found["shares"], results.domains),
        ]
        for kind, found in rivals.items()
    ]
    sure = target["intervals"]
    if sure:
        ranges = [f"{low:.0%} to {high:.0%}" for low, high in (sure["shares"][name] for name in results.domains)]
        rows.insert(1, [f"published, {sure['level']:.0%} interval", "", *ranges])
    parts = [
        "<h2>Allocation</h2>",
        results.key(),
        f"<figure>{share_bars('Shares of the budget', mixtures, results.domains, 'Shares by mixture')}</figure>",
        table(["mixture", "predicted objective", *results.domains], rows),
        soft(
            f"Everything here is predicted by the laws for {target['budget']:,.0f} samples, where nothing was trained. The "
            "objective is relative: 1 is its reference. Lower is better. best_observed is the mixture among the "
            "probe runs with the lowest predicted objective, no_transfer the optimum of laws of own data only."
        ),
        *_not_allowed(target),
    ]
    return parts + (_gains(results, sure) if sure else []) + _path(results)


def _not_allowed(target: dict[str, Any]) -> list[str]:
    """Which rivals break the constraints, and how."""
    broken = {name: found["breaks"] for name, found in target["baselines"].items() if found.get("breaks")}
    if not broken:
        return []
    items = "".join(f"<li>{escape(name)}: {escape('; '.join(breaks))}</li>" for name, breaks in broken.items())
    return [
        soft(
            "* not allowed by the constraints; the row below each is the nearest mixture that is (the one with the smallest KL "
            "divergence from it):"
        ),
        f"<ul>{items}</ul>",
    ]


def _gains(results: Results, sure: dict[str, Any]) -> list[str]:
    rows = [
        [
            name,
            f"{gain['apparent']:+.1%}",
            f"{gain['corrected']:+.1%}",
            f"{gain['interval'][0]:+.1%} to {gain['interval'][1]:+.1%}",
            f"{gain['probability']:.0%}",
            ", ".join(results.allocation["target"]["baselines"][name]["within_noise"]) or "none",
        ]
        for name, gain in sure["gains"].items()
    ]
    head = ["predicted gain over", "apparent", "corrected", f"{sure['level']:.0%} interval", "probability"]
    note = (
        f"From {sure['draws']} bootstrap draws of the laws. Corrected: less what an optimum of noisy laws flatters "
        "itself by. Probability: how often the allocation is better under a draw. The last column names losses whose "
        "predicted difference is smaller than the noise between seeds."
    )
    return [table([*head, "within seed noise"], rows), soft(note)]


def _path(results: Results) -> list[str]:
    found = [step for step in results.allocation["path"] if "shares" in step]
    if len(found) < 2:
        return []
    budgets = [step["budget"] for step in found]
    alt = "Optimal share of each domain against the budget, on a logarithmic axis"
    chart = Chart(
        "Optimal shares by budget", alt, (budgets[0], budgets[-1]), (0.0, 1.0), "budget", "share", linear_y=True
    )
    for index, name in enumerate(results.domains):
        chart.line(budgets, [step["shares"][name] for step in found], index, name=name)
    lost = [step for step in results.allocation["path"] if "reason" in step]
    note = f" Not solved at {lost[0]['budget']:,.0f}: {escape(lost[0]['reason'])}." if lost else ""
    return [f"<figure>{chart.render()}</figure>", soft(f"Beyond the probed budgets this is extrapolation.{note}")]
