"""Engines: where the runs of a sweep are executed. All know three calls: submit, poll, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mixlang.plan.build import Run
from runners.execute.faults import Fault


@dataclass(frozen=True)
class Ended:
    """An attempt at a run that is over.

    Attributes:
        fault: what ended it; None where the store has the run's result.
        counts: whether it is one of the attempts a run has; one that never began is not.
    """

    run: Run
    fault: Fault | None
    counts: bool = True


class Engine(Protocol):
    """Executes runs. Results come from the store alone, whoever has written them."""

    outlives: bool
    """Whether its runs go on when this process has gone."""

    def submit(self, runs: Sequence[Run]) -> list[Run]:
        """Take over as many of the runs, in order, as there is room for; returns those.

        Raises:
            StageError: runs cannot be started here at all.
        """

    def poll(self, seconds: float) -> list[Ended]:
        """The attempts that have ended; waits up to `seconds` for one."""

    def cancel(self) -> None:
        """End everything this process answers for, checkpoints left; returns when it has ended."""

    def doing(self) -> str:
        """A few words about what is going on that a count of runs does not tell; may be empty."""
