"""The report's section on hubs and islands."""

from __future__ import annotations

from html import escape

from mixlang.report.graph import LEAST, influence_graph
from mixlang.report.parts import soft, table
from mixlang.report.results import Results


def structure_section(results: Results) -> list[str]:
    """Who helps whom at the published shares, by the laws: a graph, a sentence for each domain, a table."""
    found = results.allocation["target"].get("structure")
    if not found:
        return []
    rows = []
    for name, entry in found["domains"].items():
        row = [name]
        for side in ("giving", "receiving"):
            value, ends = entry[side], entry.get(f"{side}_interval")
            row.append("-" if value is None else f"{value:.0%}" + (f" [{ends[0]:.0%}, {ends[1]:.0%}]" if ends else ""))
        rows.append([*row, entry["kind"] or "neither shown"])
    said = "".join(f"<li>{escape(entry['says'])}</li>" for entry in found["domains"].values())
    alt = "Directed graph of the domains: an arrow from a domain to each that its data help, wider where they help more"
    note = (
        f"By the laws, at the published shares of {results.allocation['target']['budget']:,.0f} samples. An arrow's width and "
        f"number: the part of the receiver's improvement that the giver's data bring; drawn from {LEAST:.0%} on, where the "
        "90 % interval excludes zero. Double ring: hub; dashed ring: island. Giving: the part of a domain's worth that goes "
        "to other domains' losses. Receiving: the part of its own improvement that others' data bring. A hub gives more than "
        "half, an island gives and receives less than a tenth, each with its whole 90 % interval."
    )
    return [
        "<h2>Hubs and islands</h2>",
        f"<figure>{influence_graph(results.domains, found, alt)}</figure>",
        f"<ul>{said}</ul>",
        table(["domain", "giving", "receiving", "kind"], rows),
        soft(note),
    ]
