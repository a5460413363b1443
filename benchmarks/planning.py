"""What planning costs: `mixlang plan` of a study of about 10,000 runs over 12 domains and 4,800 volumes.

    python benchmarks/planning.py

Seconds and peak memory of the first plan (which measures this machine's speed once), of the second, and of the plan of a
small study beside it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = str(Path(sys.executable).parent / "mixlang")
LARGE = (
    "mixlang: 1\nname: large\ndomains:\n"
    + "".join(
        f"  d{index}: {{modality: ct, source: {{phantom: {{count: 400, seed: {index}, shape: [144, 144, 144]}}}}}}\n"
        for index in range(12)
    )
    + "budgets: {probe: [16384, 24576, 32768, 49152, 65536], holdout: [131072], target: 1M, seeds: 5}\n"
    "design: {mixtures: {count: 390}}\nconstraints: {repetition: unlimited}\n"
)


def plan(workspace: Path, spec: str) -> tuple[float, float, str]:
    """Seconds, peak MiB and output of one `mixlang plan`."""
    before = time.perf_counter()
    command = [sys.executable, "-c", _CHILD, SCRIPT, "plan", spec]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=True)
    memory = int(done.stderr.strip().splitlines()[-1]) / 1024
    return time.perf_counter() - before, memory, done.stdout


_CHILD = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        subprocess.run([SCRIPT, "init", str(workspace)], check=True, capture_output=True)
        (workspace / "specs" / "large.yaml").write_text(LARGE)
        for spec in ("specs/large.yaml", "specs/large.yaml", "specs/quickstart.yaml", "specs/quickstart.yaml"):
            seconds, memory, said = plan(workspace, spec)
            runs = sum(int(line.split()[1]) for line in said.splitlines() if line.startswith(("single", "mixture")))
            print(f"{spec:24} {runs:6} probe runs  {seconds:6.2f} s  {memory:5.0f} MiB", flush=True)
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"all together {cpu.ru_utime + cpu.ru_stime:.1f} CPU-s on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
