"""One node of a run that spreads over several: `python -m runners.execute.slurm_node COMMAND...`, which srun starts on each.

It turns what Slurm says of this node into what `accelerate launch` wants to know, and becomes that.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from mixlang.environment import for_runs
from mixlang.hardware import place


def main() -> None:
    """Become `COMMAND --machine_rank RANK`, for the rank that Slurm has given this node."""
    # A warning that the job will end is for the engine, which then ends its runs.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    env = for_runs(os.environ, int(os.environ["OMP_NUM_THREADS"]))  # srun has added what it says of this step
    if "ACCELERATE_USE_CPU" in os.environ:
        env["ACCELERATE_USE_CPU"] = os.environ["ACCELERATE_USE_CPU"]
    if json.loads(env.pop("MIXLANG_SWEEP_PLACE", "{}")) != place():
        env.pop("MIXLANG_SWEEP", None)  # a process that cannot be seen from here cannot be watched
    rank = os.environ["SLURM_PROCID"]
    command = [part.replace("{rank}", rank) for part in sys.argv[1:]]
    os.execvpe(command[0], command, env)


if __name__ == "__main__":
    main()
