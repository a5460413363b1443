"""The report's section on held-out runs: predicted against measured, and the mixture against its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixlang.report.parts import number, table
from mixlang.report.results import Results
from mixlang.report.svg import Chart


def verification_section(results: Results) -> list[str]:
    """Measured losses of the mixtures, and predicted against measured."""
    if not results.verification["runs"]:
        return []
    agreement = results.verification["agreement"]
    parts = [
        "<h2>Predicted against measured</h2>",
        '<div class="row">',
        f"<figure>{_scatter(results)}</figure>",
        "<div>",
    ]
    rows = [
        [name, number(found["pearson_r"], ".3f"), f"{found['mean_relative_error']:.1%}", f"{found['bias']:+.1%}"]
        for name, found in [("all domains", agreement["pooled"]), *agreement["domains"].items()]
    ]
    parts += [table(["held-out runs", "Pearson r", "mean error", "bias"], rows), "</div></div>"]
    for budget, baselines in results.verification["improvements"].items():
        parts.append(f"<h3>Measured losses at {int(budget):,} samples</h3>")
        parts.append(table(["mixture", *results.domains], _measured(results, int(budget))))
        rows = [
            [f"allocated against {kind}", *(_change(found["domains"][name]) for name in results.domains)]
            + [_change(found["overall"])]
            for kind, found in baselines.items()
        ]
        parts.append(table(["change, paired by seed", *results.domains, "weighted mean"], rows))
    parts.append(
        '<p class="soft">Changes are relative losses, negative is better; brackets are 95 % t-intervals over seeds, '
        "wide when seeds are few.</p>"
    )
    return parts


def _measured(results: Results, budget: int) -> list[list[str]]:
    rows: dict[str, list[dict[str, float]]] = {}
    for run in results.verification["runs"]:
        if run["budget_asked"] == budget:
            rows.setdefault(run["mixture"], []).append(run["losses"])
    return [
        [mixture, *(_spread([losses[name] for losses in found]) for name in results.domains)]
        for mixture, found in rows.items()
    ]


def _scatter(results: Results) -> str:
    points = results.verification["agreement"]["points"]
    values = [point[kind] for point in points for kind in ("predicted", "measured")]
    chart = Chart(
        "Held-out runs",
        "Predicted against measured loss of every held-out run, by domain",
        (min(values), max(values)),
        (min(values), max(values)),
        "predicted loss",
        "measured loss",
        height=320,
    )
    chart.diagonal()
    for index, name in enumerate(results.domains):
        mine = [point for point in points if point["domain"] == name]
        chart.points([point["predicted"] for point in mine], [point["measured"] for point in mine], index)
    return chart.render()


def _spread(values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    return f"{mean:.4g}" if len(values) < 2 else f"{mean:.4g} ± {float(np.std(values, ddof=1)):.1g}"


def _change(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['mean']:+.1%}"
    return f"{found['mean']:+.1%} [{found['low']:+.1%}, {found['high']:+.1%}]"
