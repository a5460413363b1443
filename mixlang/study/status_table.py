"""How far studies are, as a table for people: once, or over again while runs train."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mixlang.console import duration
from mixlang.terminal import line_width

_MOST = 30
"""Rows of one study; what else there is, is counted. Running and failed runs come first, finished ones last."""

_ORDER = ("running", "failed", "waiting", "done")
_STYLES = {"running": "bold", "failed": "red", "waiting": "dim", "done": "green"}


def show_status(found: Sequence[dict[str, Any]]) -> None:
    """Print statuses."""
    _console().print(_page(found))


def watch_status(look: Callable[[], Sequence[dict[str, Any]]], every: float = 1.0) -> None:
    """Print statuses over again until no run of theirs is running or waiting."""
    with Live(console=_console(), auto_refresh=False, transient=False) as live:
        while True:
            found = look()
            live.update(_page(found), refresh=True)
            if all(item["state"] in ("done", "failed") for status in found for item in status["runs"]):
                return
            time.sleep(every)


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = line_width()
    return console


def _page(found: Sequence[dict[str, Any]]) -> RenderableType:
    if not found:
        return Text("no study is registered in dvc.yaml; start one with 'mixlang run specs/NAME.yaml'")
    parts: list[RenderableType] = []
    for status in found:
        parts.append(Text(_summary(status), style="bold"))
        if status["runs"]:
            parts.append(_table(status))
    return Group(*parts)


def _summary(status: dict[str, Any]) -> str:
    waiting = sum(item["state"] == "waiting" for item in status["runs"])
    return (
        f"{status['study']}: {status['done']} of {status['planned']} probe runs done, {len(status['running'])} running, "
        f"{len(status['failed'])} failed, {waiting} waiting; published: {status['published'] or 'nothing yet'}"
    )


def _table(status: dict[str, Any]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("state", no_wrap=True)
    table.add_column("run", overflow="fold", min_width=18)
    for name in ("done", "loss", "samples/s", "remaining"):
        table.add_column(name, justify="right", no_wrap=True)
    if status["failed"]:
        table.add_column("reason", overflow="fold", min_width=18)
    ordered = sorted(status["runs"], key=lambda item: _ORDER.index(item["state"]))
    for item in ordered[:_MOST]:
        table.add_row(*_cells(item)[: len(table.columns)], style=_STYLES[item["state"]])
    left = ordered[_MOST:]
    if not left:
        return table
    counts = {state: sum(one["state"] == state for one in left) for state in _ORDER}
    more = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return Group(table, Text(f"{len(left)} more rows are not shown: {more} (--format json has all)"))


def _cells(item: dict[str, Any]) -> list[str]:
    run, state = item["run"], item["state"]
    named = " + ".join(f"{name} {count:,}" for name, count in run["amounts"].items() if count)
    loss = "" if item.get("loss") is None else f"{item['loss']:.4f}"
    done = f"{item['progress']:.0%}" if "progress" in item else ""
    speed = f"{item['samples_per_second']:,.0f}" if item.get("samples_per_second") else ""
    left = "" if item.get("seconds_left") is None else duration(item["seconds_left"])
    if item.get("seconds") is not None:
        left = f"took {duration(item['seconds'])}"
    return [state, f"{named}, seed {run['seed']}", done, loss, speed, left, item.get("reason", "")]
