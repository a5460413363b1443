"""Why an attempt at a run ended without a result, and whether another attempt may fare better.

A run is a function of its inputs: one that fails by itself (a loss that is not finite, a device too small) fails again.
What its machine did to it (killed, out of memory beside others, a lost node, a full disk) need not happen again.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal

from mixlang.errors import MixlangError, WriteError, is_full

Cause = Literal["run", "machine"]

_MACHINE_WORDS = (
    "NCCL",
    "Gloo",
    "gloo",
    "ECC error",
    "Connection reset by peer",
    "Connection closed by peer",
)
"""In the message of a RuntimeError: a fault of the devices or the network, not of the run."""

_BACKOFF, _LONGEST = 5.0, 300.0
"""Seconds before the second attempt, doubled for each further one, and at most."""


@dataclass(frozen=True)
class Fault:
    """What ended an attempt.

    Attributes:
        cause: `run`: it would end so again; `machine`: it need not.
        reason: for people.
        full: whether a disk was full, and will be for whatever is written next.
    """

    cause: Cause
    reason: str
    full: bool = False


def cause_of(error: Exception) -> Cause:
    """Whether an exception is the run's own or its machine's doing."""
    if is_full(error) or isinstance(error, WriteError):
        return "machine"
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        return "machine"
    if isinstance(error, RuntimeError) and any(word in str(error) for word in _MACHINE_WORDS):
        return "machine"
    return "run"


def unexplained(code: int) -> Fault:
    """An attempt that left neither a result nor a reason.

    Args:
        code: its exit code; negative for a signal.
    """
    if code >= 0:
        return Fault("machine", f"ended with exit code {code} and left no result")
    cause = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
    return Fault("machine", f"killed by {signal.Signals(-code).name}{cause}")


@dataclass
class Attempts:
    """How often runs have been tried; one that got further than the time before starts to count anew.

    Args:
        retries: further attempts at a run that its machine ended.
    """

    retries: int

    def __post_init__(self) -> None:
        self._count: dict[str, int] = {}
        self._reached: dict[str, str] = {}

    def again(self, key: str, fault: Fault, reached: str) -> float | None:
        """Seconds to wait before the next attempt at a run, or None if there is to be none.

        Args:
            key: the run's.
            fault: what ended the last attempt.
            reached: the name of its newest checkpoint; '' without one. Names grow with the step.
        """
        if fault.cause == "run":
            return None
        if reached > self._reached.get(key, ""):
            self._reached[key], self._count[key] = reached, 0
        self._count[key] = count = self._count.get(key, 0) + 1
        if count > self.retries:
            return None
        return pause(count)


def pause(attempt: int = 1) -> float:
    """Seconds to wait after a run's attempt of this number."""
    return min(_LONGEST, _BACKOFF * 2 ** (attempt - 1))


def reason_of(error: Exception) -> str:
    """What ended an attempt, for people."""
    if type(error).__name__ == "OutOfMemoryError":  # torch's; torch is not imported for its name
        return "the device has not enough memory for a step. Raise launch.accumulate or lower train.batch_size."
    if isinstance(error, MixlangError):
        return f"{error}. {error.hint}".strip()
    return repr(error)
