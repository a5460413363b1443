"""Numbers as people write them in a spec: `4k` samples, `2M` samples."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_SUFFIX = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000, "B": 1_000_000_000}
_AMOUNT = re.compile(r"^([0-9][0-9_]*(?:\.[0-9]+)?)([kKMGB]?)$")


def parse_amount(value: Any) -> int:
    """Turn `4000`, `4e3`, `'4k'` or `'1.5M'` into a whole number of samples.

    Raises:
        ValueError: not a whole number, or an unknown suffix.
    """
    if isinstance(value, bool):
        raise ValueError("expected a number of samples such as 4000, 4k or 2M")
    if isinstance(value, str):
        match = _AMOUNT.match(value.strip())
        if not match:
            raise ValueError(f"'{value[:40]}' is not a number of samples; write 4000, 4k or 2M")
        value = float(match[1].replace("_", "")) * _SUFFIX[match[2]]
    if isinstance(value, int):
        return value
    if isinstance(value, float) and abs(value) < 1e15 and abs(value - round(value)) < 1e-6:
        return round(value)
    raise ValueError("expected a whole number of samples such as 4000, 4k or 2M")


Amount = Annotated[int, BeforeValidator(parse_amount), Field(ge=1, le=10**15)]
"""A positive whole number of samples, with `k`, `M` and `G` suffixes."""


def show_amount(value: float) -> str:
    """`4000` as `4k`, `24500` as `24.5k`; the shortest form that loses nothing to the eye."""
    for suffix, unit in (("M", 1_000_000), ("k", 1_000)):
        if abs(value) >= unit:
            return f"{value / unit:.4g}{suffix}"
    return f"{value:.4g}"
