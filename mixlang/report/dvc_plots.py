"""A study's results as DVC shows them: `metrics.json` for `dvc metrics show`, two tables for `dvc plots show`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from mixlang.report.results import Results
from mixlang.verify import headline
from mixlang.verify.measured import subjects


def metrics(results: Results) -> dict[str, Any]:
    """The few numbers a study comes down to: the mixture, what it should gain, what it gained.

    Changes are relative losses against a baseline, negative is better.
    """
    target, verification = results.allocation["target"], results.verification
    against = target["baselines"]["proportional"]
    found: dict[str, Any] = {
        "shares": target["shares"],
        "predicted": {
            "objective": target["objective"],
            "change_from_proportional": target["objective"] / against["objective"] - 1,
        },
        "certificate": {name: target["certificate"][name] for name in ("gap", "kkt_residual")},
        "laws": {law.name: {"fit_error": law.error} for law in results.laws.laws},
    }
    if verification["runs"]:
        known = headline(verification["agreement"])
        found["held_out"] = {name: known[name] for name in ("pearson_r", "mean_relative_error", "bias")}
        found["measured_change"] = {
            f"{mixture} at {budget} against {kind}": rows["overall"]["mean"]
            for budget, mixture, baselines in subjects(verification)
            for kind, rows in baselines.items()
        }
    return found


def curves(results: Results) -> str:
    """Every probe run's loss on every domain, as CSV: `samples`, `loss`, `domain`, `kind`, `seed`."""
    rows = (
        (run["budget"], run["losses"][name], name, run["kind"], run["seed"])
        for name in results.losses
        for run in results.runs
    )
    return _table(["samples", "loss", "domain", "kind", "seed"], rows)


def held_out(results: Results) -> str:
    """Predicted and measured loss of every held-out run on every domain, as CSV."""
    points = results.verification.get("agreement", {}).get("points", [])
    head = ["predicted", "measured", "domain", "mixture", "seed"]
    return _table(head, ([point[name] for name in head] for point in points))


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()
