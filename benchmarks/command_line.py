"""How soon light commands answer, against importing what they cannot do without.

    python benchmarks/command_line.py [--times 21]

CPU milliseconds (user and system, median), interleaved, of `python -c "import pydantic, yaml"` and of commands, each as a
process of its own; and the ratio to the first.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = str(Path(sys.executable).parent / "mixlang")
BASELINE = [sys.executable, "-c", "import pydantic, yaml"]
COMMANDS = {
    'python -c "import pydantic, yaml"': BASELINE,
    "mixlang --help": [SCRIPT, "--help"],
    "mixlang check specs/quickstart.yaml": [SCRIPT, "check", "specs/quickstart.yaml"],
    "mixlang check specs/realpack.yaml": [SCRIPT, "check", "specs/realpack.yaml"],
    "mixlang schema": [SCRIPT, "schema"],
}


def milliseconds(command: list[str]) -> float:
    """CPU time of one process; Python may keep its bytecode, as it does for users."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=21)
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_ in range(options.times + 1):
        for name, command in COMMANDS.items():
            took = milliseconds(command)
            if round_:  # the first round writes bytecode
                times[name].append(took)
    base = statistics.median(next(iter(times.values())))
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:40} {median:7.0f} ms  {median / base:5.2f}")


if __name__ == "__main__":
    main()
