"""One node of a run that spreads over several: `python -m runners.rendezvous COMMAND...`, which srun starts on each.

It turns what Slurm says of this node into what `accelerate launch` wants to know, and becomes that.
"""

from __future__ import annotations

import os
import signal
import socket
import sys


def main() -> None:
    """Become `COMMAND --machine_rank RANK`, for the rank that Slurm has given this node."""
    # A warning that the job will end is for the engine, which then ends its runs.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if os.environ.pop("MIXLANG_SWEEP_HOST", "") != socket.gethostname():
        os.environ.pop("MIXLANG_SWEEP", None)  # a process of another machine cannot be watched
    rank = os.environ["SLURM_PROCID"]
    command = [part.replace("{rank}", rank) for part in sys.argv[1:]]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
