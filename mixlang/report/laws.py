"""The report's section on the laws: which family won where, and by how much."""

from __future__ import annotations

from html import escape

import numpy as np

from mixlang.report.parts import number, soft, table
from mixlang.report.results import Results


def laws_section(results: Results) -> list[str]:
    """Which law won where, and by how much."""
    families = sorted({family for law in results.laws.laws for family in law.scores})
    rows = [
        [
            law.name,
            law.law.family.name,
            f"{law.error:.1%}",
            number(None if np.isnan(law.noise) else law.noise, ".1%"),
            f"{law.used}",
            f"{law.dropped}",
            *(number(law.scores.get(family, {}).get("score"), ".1%") for family in families),
        ]
        for law in results.laws.laws
    ]
    head = [
        "domain",
        "law",
        "fit error",
        "seed noise",
        "rows",
        "set aside",
        *(f"CV {family}" for family in families),
    ]
    note = (
        "CV is the mean of two errors: each mixture left out in turn, and the largest budget left out whole; the law "
        "with the smallest is used. Rows are set aside for a domain when the run had none of its data, or learned no more "
        "than the mean intensity."
    )
    notes = "".join(f"<li>{escape(item)}</li>" for item in results.laws.notes)
    return ["<h2>Laws</h2>", table(head, rows), soft(note), f"<ul>{notes}</ul>" if notes else ""]
