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
    largest = _all_alone(results)
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
    at = f"at the published shares of {results.allocation['target']['budget']:,.0f} samples"
    note = "Rows: evaluated domain; columns: trained domain. "
    if largest:
        note += f"Left: 1 means as good as the domain's own data. Right, {at}: "
    else:
        note += (
            f"At no budget was every domain trained alone, so transfer is not measured directly. By the laws, {at}: "
        )
    note += "samples of the row's domain that one more sample of the column's is worth."
    return [*parts, soft(note)]


def _all_alone(results: Results) -> float:
    """The largest budget at which each domain was trained alone; 0 where there is none."""
    alone = [{budget for budget, _ in results.single(name, name)} for name in results.domains]
    return max(set.intersection(*alone), default=0)
