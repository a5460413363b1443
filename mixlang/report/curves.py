"""The report's section on loss curves: measured single-domain runs and the fitted laws."""

from __future__ import annotations

import numpy as np

from mixlang.report.parts import soft
from mixlang.report.results import Results
from mixlang.report.svg import Chart


def curves_section(results: Results) -> list[str]:
    """Loss against budget, a chart for each evaluated domain, a series for each training domain."""
    charts = [f"<figure>{_curve(results, index, name)}</figure>" for index, name in enumerate(results.domains)]
    note = (
        "Held-out loss of single-domain runs, a point a run, by training domain; lines join seed means. The solid "
        "thin line is the fitted law for the domain's own data."
    )
    return [
        "<h2>Loss curves</h2>",
        results.key("trained on "),
        f'<div class="row">{"".join(charts)}</div>',
        soft(note),
    ]


def _curve(results: Results, index: int, name: str) -> str:
    series = {source: results.single(source, name) for source in results.domains}
    budgets = [budget for found in series.values() for budget, _ in found]
    losses = [loss for found in series.values() for _, loss in found]
    if not losses:
        budgets = [run["budget"] for run in results.runs]
        losses = [run["losses"][name] for run in results.runs]
    alt = f"Held-out loss on {name} against samples, by training domain, both axes logarithmic"
    ranges = (min(budgets), max(budgets)), (min(losses), max(losses))
    chart = Chart(f"loss on {name}", alt, *ranges, "samples seen", "held-out loss")
    for number, (_, found) in enumerate(series.items()):
        chart.points([budget for budget, _ in found], [loss for _, loss in found], number)
        means = sorted({b: float(np.mean([loss for budget, loss in found if budget == b])) for b, _ in found}.items())
        if means:
            chart.line([budget for budget, _ in means], [loss for _, loss in means], number)
    grid = np.geomspace(min(budgets), max(budgets), 30)
    alone = np.zeros((len(grid), len(results.domains)))
    alone[:, index] = grid
    fitted = results.laws[name].predict(alone)
    keep = (fitted >= chart.y_range[0]) & (fitted <= chart.y_range[1])
    if keep.any():
        chart.line(grid[keep].tolist(), fitted[keep].tolist(), 0, width=0.8)
    return chart.render()
