"""Print the tables of docs/study.md from a finished study.

python benchmarks/study_tables.py build/study
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mixlang.files import read_json
from mixlang.report.results import Results
from mixlang.verify.measured import called, subjects


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="the study's build folder")
    results = Results(parser.parse_args().build)
    for title, part in (
        ("Data", data(results)),
        ("Laws", laws(results)),
        ("Allocation", allocation(results)),
        ("Predicted against measured", agreement(results)),
        *(
            (f"Measured at {budget:,}, {called(mixture, budget)}", measured(results, budget, mixture, rivals))
            for budget, mixture, rivals in subjects(results.verification)
        ),
        *((f"Regret at {int(budget):,}", regret(results, budget)) for budget in results.verification["regret"]),
        ("Hubs and islands", structure(results)),
        ("Findings", [f"- {found['says']}" for found in results.verification["verdict"]]),
    ):
        print(f"## {title}\n", *part, "", sep="\n")
    if results.has("downstream.json"):
        print("## Downstream\n", *downstream(read_json(results.build / "downstream.json")), sep="\n")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    return [f"| {' | '.join(map(str, row))} |" for row in [head, ["---"] * len(head), *rows]]


def data(results: Results) -> list[str]:
    available = results.problem["available"]
    total = sum(found["volumes"] for found in available.values())
    return table(
        ["domain", "training volumes", "part", "distinct crops"],
        [
            [
                name,
                available[name]["volumes"],
                f"{available[name]['volumes'] / total:.1%}",
                f"{available[name]['crops']:.0f}",
            ]
            for name in results.domains
        ],
    )


def laws(results: Results) -> list[str]:
    rows = []
    for law in results.laws.laws:
        scores = law.scores[law.family]
        rows.append(
            [
                law.name,
                law.called,
                law.used,
                f"{law.noise:.1%}",
                f"{law.error:.1%}",
                f"{scores['mixture']:.1%}",
                f"{scores['budget']:.1%}",
            ]
        )
    return table(["loss on", "law", "runs", "seed noise", "fit", "new mixtures", "largest budget"], rows)


def allocation(results: Results) -> list[str]:
    target = results.allocation["target"]
    sure = target["intervals"]["shares"]
    rows = [
        ["**published**", f"{target['objective']:.3f}", *(f"{target['shares'][name]:.1%}" for name in results.domains)]
    ]
    rows.append(["90 %", "", *(f"{sure[name][0]:.0%} to {sure[name][1]:.0%}" for name in results.domains)])
    rows += [
        [name, f"{found['objective']:.3f}", *(f"{found['shares'][domain]:.1%}" for domain in results.domains)]
        for name, found in target["baselines"].items()
    ]
    return table([f"at {target['budget']:,.0f}", "predicted objective", *results.domains], rows)


def agreement(results: Results) -> list[str]:
    found = results.verification["agreement"]
    entries = {"all": found["pooled"], "supported": found["supported"]}
    entries |= {name: entry["supported"] or entry for name, entry in found["domains"].items()}
    return table(
        [
            "held-out losses",
            "count",
            "r",
            "ceiling",
            "rank r",
            "mean error",
            "bias",
            "in 50 %",
            "in 90 %",
            "spread",
            "noise",
        ],
        [
            [
                name,
                entry["count"],
                f"{entry['pearson_r']:.3f}",
                f"{entry['ceiling']:.3f}" if entry.get("ceiling") else "",
                f"{entry['spearman']:.3f}",
                f"{entry['mean_relative_error']:.1%}",
                f"{entry['bias']:+.1%}",
                f"{entry['coverage']['0.5']:.0%}",
                f"{entry['coverage']['0.9']:.0%}",
                f"{entry['spread']:.1%}" if "spread" in entry else "",
                f"{entry['noise']:.1%}" if entry.get("noise") else "",
            ]
            for name, entry in entries.items()
        ],
    )


def measured(results: Results, budget: int, ours: str, rivals: Mapping[str, Any]) -> list[str]:
    rows = []
    for mixture in (ours, *rivals):
        runs = [
            run
            for run in results.verification["runs"]
            if run["mixture"] == mixture and run["budget_asked"] == budget and not run["grid"]
        ]
        means = (sum(run["losses"][name] for run in runs) / len(runs) for name in results.domains)
        rows.append([called(mixture, budget), *(f"{mean:.4f}" for mean in means), ""])
    lines = table(["loss", *results.domains, "objective"], rows)
    rows = []
    for name, found in rivals.items():
        changes = [*found["domains"].values(), found["overall"]]
        rows.append([f"against {name}", *(_interval(change) for change in changes)])
    lines += ["", *table(["change", *results.domains, "objective"], rows)]
    rows = [
        [
            name,
            *(_times(found["data"]["domains"][domain]) for domain in results.domains),
            _times(found["data"]["objective"]),
        ]
        for name, found in rivals.items()
    ]
    lines += ["", *table(["times its samples", *results.domains, "objective"], rows)]
    rows = [
        [
            f"against {name}",
            *(
                _interval(found["reducible"][domain]) if found["reducible"][domain] else "-"
                for domain in results.domains
            ),
        ]
        for name, found in rivals.items()
    ]
    return [*lines, "", *table(["change of the reducible loss", *results.domains], rows)]


def _interval(change: dict[str, Any]) -> str:
    if change["low"] is None:
        return f"{100 * change['mean']:+.1f}"
    return f"{100 * change['mean']:+.1f} ({100 * change['low']:+.1f} to {100 * change['high']:+.1f})"


def _times(factor: float | None) -> str:
    return "-" if factor is None else f"{factor:.0f}" if factor >= 10 else f"{factor:.2g}"


def regret(results: Results, budget: str) -> list[str]:
    amounts = {
        run["mixture"]: run["amounts"] for run in results.verification["runs"] if str(run["budget_asked"]) == budget
    }
    rows = []
    for place, entry in enumerate(results.verification["regret"][budget]["objectives"], 1):
        mixture = entry["mixture"]
        total = sum(amounts[mixture].values())
        shares = (f"{amounts[mixture][name] / total:.0%}" for name in results.domains)
        rows.append([place, mixture, f"{entry['objective']:.4f}", *shares])
    return table(["rank", "mixture", "objective", *results.domains], rows)


def structure(results: Results) -> list[str]:
    return [f"- {entry['says']}" for entry in results.allocation["target"]["structure"]["domains"].values()]


def downstream(document: dict[str, Any]) -> list[str]:
    return [f"- {item}" for item in document.get("says", [])]


if __name__ == "__main__":
    main()
