"""The report's section on what proves the allocation."""

from __future__ import annotations

from mixlang.report.parts import soft, table
from mixlang.report.results import Results


def certificate_section(results: Results) -> list[str]:
    """What proves the allocation."""
    certificate = results.allocation["target"]["certificate"]
    active = "; ".join(f"{item['domain']} at its {item['why']} ({item['share']:.1%})" for item in certificate["active"])
    prices = "; ".join(f"{name}: {price:+.3g}" for name, price in certificate["shadow_prices"].items())
    rows = [
        ["solver status", f"{certificate['status']} ({certificate['solver']})"],
        ["certified gap to the optimum", f"{certificate['gap']:.2g}"],
        ["stationarity residual", f"{certificate['kkt_residual']:.2g}"],
        [
            "convexity",
            "; ".join(f"{name}: {'yes' if held else 'NO'}" for name, held in certificate["convex"].items()),
        ],
        ["active bounds", active or "none"],
        ["shadow prices, by unit of share", prices or "none"],
    ]
    note = (
        "The gap bounds from below what any mixture that keeps the constraints could reach under these laws; it and the "
        "residual are computed from our own losses and gradients, apart from the solver. It says nothing of how true the "
        "laws are: that is what the held-out runs are for."
    )
    return ["<h2>Certificate</h2>", f'<div class="text">{table(["what", "found"], rows)}</div>', soft(note)]
