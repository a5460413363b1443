"""The report's section on hubs and islands."""

from __future__ import annotations

from mixlang.report.parts import soft, table
from mixlang.report.results import Results


def structure_section(results: Results) -> list[str]:
    """Hubs and islands."""
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
    note = (
        "Giving: the part of a domain's worth at the optimum that goes to other domains' losses. Receiving: the part of "
        "its own improvement that others' data bring. A hub gives more than half, an island gives and receives less "
        "than a tenth, each with its whole 90 % interval."
    )
    return ["<h2>Hubs and islands</h2>", table(["domain", "giving", "receiving", "kind"], rows), soft(note)]
