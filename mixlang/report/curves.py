"""The report's section on loss curves: measured single-domain runs and the fitted laws."""

from __future__ import annotations

import numpy as np

from mixlang.report.html import soft
from mixlang.report.results import Results
from mixlang.report.svg import Chart


def curves_section(results: Results) -> list[str]:
    """Loss against budget, a chart for each evaluated domain, a series for each training domain."""
    charts = [f"<figure>{_curve(results, index, name)}</figure>" for index, name in enumerate(results.domains)]
    note = (
        "Validation loss of the probe runs on one domain alone, a point a run, by training domain; lines join the "
        "means of each budget. The thin solid line is the fitted law for the domain's own data, the band its 90 % interval."
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
    alt = f"Validation loss on {name} against samples, by training domain, both axes logarithmic"
    ranges = (min(budgets), max(budgets)), (min(losses), max(losses))
    chart = Chart(f"loss on {name}", alt, *ranges, "samples seen", "validation loss")
    _law(results, index, name, chart, (min(budgets), max(budgets)))
    for number, (source, found) in enumerate(series.items()):
        chart.points([budget for budget, _ in found], [loss for _, loss in found], number, name=source)
        means = sorted({b: float(np.mean([loss for budget, loss in found if budget == b])) for b, _ in found}.items())
        if means:
            chart.line([budget for budget, _ in means], [loss for _, loss in means], number)
    return chart.render()


def _law(results: Results, index: int, name: str, chart: Chart, ends: tuple[float, float]) -> None:
    """The fitted law of a domain for its own data, with its band where there are bootstrap draws."""
    laws = results.laws
    grid = np.geomspace(*ends, 30)
    alone = np.zeros((len(grid), len(results.domains)))
    alone[:, index] = grid
    if laws.draws:
        column = laws.names.index(name)
        low, high = (end[:, column] for end in laws.interval(alone))
        chart.band(grid.tolist(), low.tolist(), high.tolist(), index)
    fitted = laws[name].predict(alone)
    keep = (fitted >= chart.y_range[0]) & (fitted <= chart.y_range[1])
    if keep.any():
        chart.plain_line(grid[keep].tolist(), fitted[keep].tolist(), index)
