"""What mixlang says while it works, on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from mixlang.errors import is_full


def say(text: str = "") -> None:
    """One line to standard error, at once. Where that is a log on a full disk, the work goes on without the line."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError as error:
        if not is_full(error):
            raise


def print_json(value: Any) -> None:
    """The one JSON document of `--format json`, to standard output."""
    print(json.dumps(value, indent=1, sort_keys=True, allow_nan=False))


def duration(seconds: float) -> str:
    """`95` as `1 min 35 s`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 72 * 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86400:,} days"


class Progress:
    """The progress of one stage: a line that rewrites itself on a terminal, a line now and then elsewhere.

    Args:
        title: the stage.
        every: seconds between lines where there is no terminal.
    """

    def __init__(self, title: str, every: float = 10.0) -> None:
        self.title, self.every = title, every
        self.terminal = sys.stderr.isatty()
        self.last = time.monotonic() if not self.terminal else 0.0
        self.begun = time.monotonic()
        self.open = False

    def count(self, done: int, total: int, things: str) -> None:
        """Say how many of a known number of things are done, and how long the others should take."""
        left = (time.monotonic() - self.begun) / done * (total - done) if done else 0.0
        self.show(f"{done} of {total} {things}, about {duration(left)} left", done / total)

    @property
    def due(self) -> bool:
        """Whether the next `show` would be shown."""
        return time.monotonic() - self.last >= (0.2 if self.terminal else self.every)

    def show(self, text: str, fraction: float | None = None) -> None:
        """Say where the stage is; calls that come too soon after the last are dropped."""
        if not self.due:
            return
        self.last = time.monotonic()
        if not self.terminal:
            say(f"  {self.title}: {text}")
            return
        bar = ""
        if fraction is not None:
            filled = round(24 * min(1.0, max(0.0, fraction)))
            bar = f" [{'#' * filled}{'.' * (24 - filled)}]"
        print(f"\r\x1b[K  {self.title}{bar} {text}", end="", file=sys.stderr, flush=True)
        self.open = True

    def close(self, text: str) -> None:
        """Say how the stage ended; always shown."""
        if self.open:
            print("\r\x1b[K", end="", file=sys.stderr)
        say(f"  {self.title}: {text}")
