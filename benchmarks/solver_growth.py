"""How the allocation's cost grows with the number of domains, and how exact it is.

    python benchmarks/solver_growth.py [--svg docs/figures/solver_growth.svg]

Random `transfer` laws in which half of all pairs transfer. Prints seconds of the solve with its certificate, the
certified gap and our KKT residual, for each objective; 20 bootstrap draws for the robust one.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from worlds import random_fit, settings_of

from mixlang.allocate import Problem, solve
from mixlang.files import write_text
from mixlang.report.svg import Chart

OBJECTIVES = ("weighted_loss", "geometric_mean", "worst_case", "robust")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64])
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    solve(Problem.of(random_fit(2, 0), settings_of(("d0", "d1")), 2000))  # the import of cvxpy is not the solve
    times: dict[str, list[tuple[int, float]]] = {}
    print("domains  objective        seconds      gap  KKT residual")
    for count in options.sizes:
        for objective in OBJECTIVES:
            if objective == "robust" and count > 16:
                continue
            fit = random_fit(count, count, ("transfer",), draws=20 if objective == "robust" else 0)
            problem = Problem.of(fit, settings_of(fit.domains, objective__minimize=objective), 2000)
            begun = time.perf_counter()
            found = solve(problem).certificate
            seconds = time.perf_counter() - begun
            times.setdefault(objective, []).append((count, seconds))
            print(
                f"{count:7}  {objective:15} {seconds:8.2f} {found['gap']:8.1e}  {found['kkt_residual']:8.1e}",
                flush=True,
            )
    if options.svg:
        values = [seconds for found in times.values() for _, seconds in found]
        sizes = (min(options.sizes), max(options.sizes))
        alt = "Seconds of a certified solve against the number of domains, both logarithmic, by objective"
        chart = Chart("certified solve", alt, sizes, (min(values), max(values)), "domains", "seconds", width=440)
        for index, found in enumerate(times.values()):
            chart.line(*zip(*found, strict=True), index)
            chart.points(*zip(*found, strict=True), index)
        write_text(options.svg, chart.standalone(list(times)))


if __name__ == "__main__":
    main()
