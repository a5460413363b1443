"""Whether the disk of a store has room for what runs will keep."""

from __future__ import annotations

from pathlib import Path

from mixlang.errors import InputError
from mixlang.files import free_bytes
from mixlang.spec.quantities import show_bytes


def require_room(store: Path, volumes: int, weights: int, runs: int) -> None:
    """Compare what is still to be written with what is free.

    Args:
        volumes, weights: bytes still to be written.
        runs: whose weights these are.

    Raises:
        InputError: there is less.
    """
    free = free_bytes(store)
    if free is None or volumes + weights <= free:
        return
    parts = [f"weights of {runs} runs {show_bytes(weights)}"]
    if volumes:
        parts.insert(0, f"prepared volumes at most {show_bytes(volumes)}")
    raise InputError(
        f"the disk of the store {store} has {show_bytes(free)} free, and the study still needs about "
        f"{show_bytes(volumes + weights)} ({', '.join(parts)})",
        "Free some space, or set MIXLANG_STORE to a folder on a larger disk; finished work is kept.",
    )
