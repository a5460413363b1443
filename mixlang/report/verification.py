"""The report's section on held-out runs: what they mean, predicted against measured, the mixture against its rivals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from mixlang.documents import Improvement, Regret, Scores
from mixlang.report.html import number, percent, soft, table
from mixlang.report.results import Results
from mixlang.report.svg import Chart
from mixlang.verify.measured import PUBLISHED, broken, called, subjects, trained_there
from mixlang.words import cell, signed

_MARKS = {
    "better": "better",
    "worse": "worse",
    "open": "not decided",
    "none": "no gain shown",
    "held": "intervals held",
    "missed": "intervals missed",
    "note": "trained",
}


def verification_section(results: Results) -> list[str]:
    """The findings in words, then their evidence."""
    document = results.verification
    if not document["runs"]:
        return []
    parts = ["<h2>Verification</h2>", _findings(document["verdict"]), *_prediction(results)]
    for budget in sorted({budget for budget, _, _ in subjects(document)}, reverse=True):
        parts += _at_budget(results, budget)
        if str(budget) in document["regret"]:
            parts += _grid(results, budget, document["regret"][str(budget)])
    return parts


def _findings(found: Sequence[dict[str, str]]) -> str:
    items = []
    for item in found:
        items.append(f"<li><b>{_MARKS[item['finding']]}:</b> {escape(item['says'])}</li>")
    return f"<ul>{''.join(items)}</ul>"


def _prediction(results: Results) -> list[str]:
    agreement = results.verification["agreement"]
    rows = [
        _agreement(name, found)
        for name, found in [
            ("all domains", agreement["pooled"]),
            ("all, where supported", agreement["supported"]),
            *((name, entry["supported"] or entry) for name, entry in agreement["domains"].items()),
        ]
        if found
    ]
    head = [
        "losses of held-out runs",
        "r",
        "ceiling",
        "rank r",
        "mean error",
        "bias (predicted less measured)",
        "50 %",
        "90 %",
        "spread",
        "noise between held-out seeds",
    ]
    runs = results.verification["runs"]
    budgets = ", ".join(f"{budget:,}" for budget in sorted({int(run["budget_asked"]) for run in runs}))
    note = (
        f"Of the losses of the {len(runs)} held-out runs, of {budgets} samples. "
        "Pooled r flatters where domains differ in the scale of their loss, hence the rows by domain. Supported: the run "
        "had at least the smallest share of the domain that its law was fitted on; the rows by domain are of such runs. "
        "50 % and 90 %: the part of the losses inside prediction intervals of that level. Spread: between mixtures and "
        "budgets, of the log loss; where it is not well above the noise between seeds, r says "
        "little. Ceiling: the r that exact predictions would have, given that noise; 0 where noise exceeds spread."
    )
    return [
        "<h3>Predicted against measured</h3>",
        '<div class="row">',
        f"<figure>{_scatter(results)}</figure>",
        f"<div>{table(head, rows)}</div></div>",
        soft(note),
    ]


def _agreement(name: str, found: Scores) -> list[str]:
    return [
        name,
        number(found["pearson_r"], ".3f"),
        number(found.get("ceiling"), ".3f"),
        number(found["spearman"], ".3f"),
        f"{found['mean_relative_error']:.1%}",
        signed(found["bias"]),
        f"{found['coverage']['0.5']:.0%}",
        f"{found['coverage']['0.9']:.0%}",
        number(found.get("spread"), ".1%"),
        number(found.get("noise"), ".1%"),
    ]


def _scatter(results: Results) -> str:
    points = results.verification["agreement"]["points"]
    values = [point[kind] for point in points for kind in ("predicted", "measured")]
    ends = (min(values), max(values))
    alt = "Predicted against measured loss of every held-out run, by domain"
    chart = Chart("Held-out runs", alt, ends, ends, "predicted loss", "measured loss", height=320)
    chart.diagonal()
    for index, name in enumerate(results.losses):
        mine = [point for point in points if point["domain"] == name]
        chart.points([point["predicted"] for point in mine], [point["measured"] for point in mine], index, name=name)
    return chart.render()


def _at_budget(results: Results, budget: int) -> list[str]:
    """What was trained at a budget: shares, measured losses, and the changes to each solved mixture."""
    trained = trained_there(results.verification, budget, results.allocation["costs"])
    breaks = broken(results.allocation, budget)
    names = {mixture: called(mixture, budget) + (" *" if mixture in breaks else "") for mixture in trained}
    losses = _losses(results, budget, list(trained))
    parts = [
        f"<h3>At {budget:,} samples</h3>",
        *([] if PUBLISHED in trained else [soft("No run at this budget had the published shares.")]),
        table(
            ["shares trained, in whole samples", *results.domains],
            ([names[mixture], *percent(shares, results.domains)] for mixture, shares in trained.items()),
        ),
        table(["measured loss", *results.losses], ([names[mixture], *found] for mixture, found in losses.items())),
        soft("Mean over seeds ± standard deviation between seeds."),
    ]
    marked = {name: found for name, found in breaks.items() if name in trained}
    if marked:
        items = "".join(f"<li>{escape(name)}: {escape('; '.join(found))}</li>" for name, found in marked.items())
        parts += [soft(f"* not allowed by the constraints at {budget:,} samples:"), f"<ul>{items}</ul>"]
    for at, mixture, rivals in subjects(results.verification):
        if at == budget and mixture in trained:
            parts += _changes(results, names[mixture], {names[name]: found for name, found in rivals.items()})
    return parts


def _changes(results: Results, ours: str, rivals: Mapping[str, Improvement]) -> list[str]:
    """Changes of the losses from each rival to one solved mixture at one budget."""
    changes = [
        [
            f"{ours} against {name}",
            *(cell(found["domains"][name]) for name in results.losses),
            cell(found["overall"]),
        ]
        for name, found in rivals.items()
    ]
    above = [
        [
            f"{ours} against {name}",
            *(cell(found["reducible"][name]) if found["reducible"][name] else "-" for name in results.losses),
        ]
        for name, found in rivals.items()
    ]
    needed = [
        [
            f"{name}, to reach {ours}",
            *(_times(found["data"]["domains"][name]) for name in results.losses),
            _times(found["data"]["objective"]),
        ]
        for name, found in rivals.items()
    ]
    return [
        table(["measured change of the loss", *results.losses, "objective"], changes),
        soft(
            "Relative change from the rival to the mixture named first, the mean of the changes seed by seed; negative is "
            "better. In brackets: 95 % t-intervals over seeds, wide where seeds are few."
        ),
        table(["measured change of the loss above the fitted floor", *results.losses], above),
        soft(
            "The same of what the measured losses are above the fitted irreducible loss; a dash where none was fitted or little "
            "is left."
        ),
        table(["fitted: times its samples", *results.losses, "objective"], needed),
        soft(
            "By the laws, how many times its budget the rival would need, in its own proportions, for the measured change above; "
            "below 1 where the rival is ahead. A dash: none within 1,000 times, or the laws say nothing of the rival."
        ),
    ]


def _losses(results: Results, budget: int, mixtures: Sequence[str]) -> dict[str, list[str]]:
    """By mixture, its measured loss on each domain."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in mixtures}
    for run in results.verification["runs"]:
        if run["budget_asked"] == budget and run["mixture"] in rows:
            rows[run["mixture"]].append(run["losses"])
    return {
        mixture: [_spread([losses[name] for losses in found]) for name in results.losses]
        for mixture, found in rows.items()
    }


def _grid(results: Results, budget: int, found: Regret) -> list[str]:
    """The grid's mixtures with their measured objectives, best first."""
    shares: dict[str, list[str]] = {}
    for run in results.verification["runs"]:
        if run["budget_asked"] == budget:
            total = sum(run["amounts"].values())
            shares[run["mixture"]] = [f"{run['amounts'][name] / total:.0%}" for name in results.domains]
    rows = [
        [f"{place}", called(entry["mixture"], budget), f"{entry['objective']:.4f}", *shares[entry["mixture"]]]
        for place, entry in enumerate(found["objectives"], 1)
    ]
    return [
        f"<h3>Regret at {budget:,} samples</h3>",
        table(["rank", "mixture", "objective", *results.domains], rows),
        soft(
            "Measured objective, mean over the seeds all mixtures have. 'far': spread over the simplex; 'near': half way "
            "between such a point and the mixture solved for this budget."
        ),
    ]


def _spread(values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    return f"{mean:.4g}" if len(values) < 2 else f"{mean:.4g} ± {float(np.std(values, ddof=1)):.1g}"


def _times(factor: float | None) -> str:
    return "-" if factor is None else f"{factor:.3g}"
