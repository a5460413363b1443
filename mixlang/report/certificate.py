"""The report's section on what proves the allocation."""

from __future__ import annotations

from mixlang.report.parts import table
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
    return ["<h2>Certificate</h2>", table(["", ""], rows)]
