"""The report's section on transfer: measured, and as the laws see it at the optimum."""

from __future__ import annotations

import numpy as np

from mixlang.laws.stack import exchange
from mixlang.report.html import soft
from mixlang.report.results import Results
from mixlang.report.svg import heat_map


def transfer_section(results: Results) -> list[str]:
    """What is measured of transfer, and what the laws make of it."""
    parts = ["<h2>Transfer</h2>", '<div class="row">']
    largest = max((run["budget"] for run in results.runs if run["kind"] == "single"), default=0)
    if largest:
        alone = {
            source: {
                name: float(np.mean([loss for budget, loss in results.single(source, name) if budget == largest]))
                for name in results.domains
            }
            for source in results.domains
        }
        ratio = [[alone[name][name] / alone[source][name] for source in results.domains] for name in results.domains]
        alt = "Specialist loss divided by the loss after training on another domain alone"
        heading = f"Measured at {largest:,} samples: specialist / other"
        parts.append(f"<figure>{heat_map(heading, results.domains, results.domains, ratio, alt)}</figure>")
    amounts = np.array([results.allocation["target"]["amounts"][name] for name in results.domains])
    of_domains = [results.laws[name] for name in results.domains]
    worth = [exchange(law.law, law.theta, amounts / law.scale).tolist() for law in of_domains]
    alt = "Fitted worth of one more sample of each domain, in samples of the evaluated domain, at the published shares"
    figure = heat_map("Worth of one sample at the published shares", results.domains, results.domains, worth, alt)
    parts += [f"<figure>{figure}</figure>", "</div>"]
    note = (
        "Rows: evaluated domain; columns: trained domain. Left: 1 means as good as the domain's own data. Right, at the "
        f"published shares of {results.allocation['target']['budget']:,.0f} samples: samples of the row's domain "
        "that one more sample of the column's is worth, by the fitted laws."
    )
    return [*parts, soft(note)]
