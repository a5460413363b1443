"""Numbers as people write them in a spec: `4k` samples, `2M` samples, `500 GB`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

_SUFFIX = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000, "B": 1_000_000_000}
_AMOUNT = re.compile(r"^([0-9][0-9_]*(?:\.[0-9]+)?) ?([kKMGB]?)$")
_BYTES = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}
_UNITS = {name.lower(): value for name, value in _BYTES.items()}
_UNITS |= {f"{name}ib": 1024**power for power, name in enumerate("kmgtp", 1)}
_SIZE = re.compile(r"^([0-9][0-9_]*(?:\.[0-9]+)?) ?([kmgtp]i?b)$", re.IGNORECASE)


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


Amount = Annotated[
    int,
    BeforeValidator(parse_amount),
    Field(ge=1, le=10**15),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "number", "minimum": 1},
                {"type": "string", "pattern": "^[0-9][0-9_]*(\\.[0-9]+)? ?[kKMGB]?$"},
            ]
        }
    ),
]
"""A positive whole number of samples, with `k`, `M` and `G` suffixes."""


_PERCENT = re.compile(r"^([0-9]+(?:\.[0-9]+)?) ?%$")


def parse_percent(value: Any) -> Any:
    """Turn `'2%'` into 0.02; numbers are fractions as they are.

    Raises:
        ValueError: text that is no percentage.
    """
    if not isinstance(value, str):
        return value
    match = _PERCENT.match(value.strip())
    if not match:
        raise ValueError(f"'{value[:40]}' is not a fraction; write 0.02 or 2%")
    return float(match[1]) / 100


Fraction = Annotated[
    float,
    BeforeValidator(parse_percent),
    Field(gt=0, le=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?%$"},
            ]
        }
    ),
]
"""A part of something, above 0, as 0.02 or 2%."""


def parse_bytes(value: Any) -> int:
    """Turn `'500 GB'` into bytes; GB is 10^9 bytes, as disks are sold, GiB 2^30.

    Raises:
        ValueError: no number, or an unknown unit.
    """
    match = _SIZE.match(value.strip()) if isinstance(value, str) else None
    if not match:
        shown = f"'{value[:40]}' is not a size" if isinstance(value, str) else "this is not a size"
        raise ValueError(f"{shown}; write it with its unit, such as 500 GB")
    return round(float(match[1].replace("_", "")) * _UNITS[match[2].lower()])


Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    Field(ge=1, le=10**18),
    WithJsonSchema({"type": "string", "pattern": "^[0-9][0-9_]*(\\.[0-9]+)? ?[kKmMgGtTpP]i?[bB]$"}),
]
"""A size on disk, with its unit."""


_WALL_TIME = re.compile(r"^(?:(\d+)-)?(\d+)(?::(\d{1,2}))?(?::(\d{1,2}))?$")


def wall_minutes(text: str) -> int:
    """A time limit in Slurm's forms (`90`, `90:00`, `1:30:00`, `1-12`, `1-12:30:00`) as minutes, rounded up.

    Raises:
        ValueError: of another form, or no time at all.
    """
    match = _WALL_TIME.match(text)
    if not match:
        raise ValueError(f"'{text[:40]}' is not a time limit; write it as Slurm does, such as 4:00:00 or 1-12:00:00")
    days, *rest = (None if part is None else int(part) for part in match.groups())
    if days is not None or rest[2] is not None:  # hours come first
        hours, minutes, seconds = (part or 0 for part in rest)
    else:
        hours, minutes, seconds = 0, rest[0] or 0, rest[1] or 0
    total = (days or 0) * 1440 + hours * 60 + minutes + (seconds + 59) // 60
    if total < 1:
        raise ValueError(f"'{text}' is no time")
    return total


def _wall_time(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("expected a time limit such as 4:00:00 or 1-12:00:00")
    wall_minutes(str(value))
    return str(value)


WallTime = Annotated[
    str,
    BeforeValidator(_wall_time),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": _WALL_TIME.pattern}]}),
]
"""A time limit in one of Slurm's forms; a bare number is of minutes."""


def show_amount(value: float) -> str:
    """`4000` as `4k`, `24500` as `24.5k`; the shortest form that loses nothing to the eye."""
    for suffix, unit in (("M", 1_000_000), ("k", 1_000)):
        if abs(value) >= unit:
            return f"{value / unit:.4g}{suffix}"
    return f"{value:.4g}"


def exact_bytes(value: int) -> str:
    """A size as a spec gives it, in the largest unit that loses nothing."""
    shown = (f"{value / size:.12g} {unit}" for unit, size in reversed(_BYTES.items()))
    return next((text for text in shown if "e" not in text and parse_bytes(text) == value), f"{value / 1000} kB")


def show_bytes(value: float) -> str:
    """`1_500_000_000` as `1.5 GB`."""
    for unit in ("PB", "TB", "GB", "MB", "kB"):
        if value >= _BYTES[unit]:
            return f"{value / _BYTES[unit]:.3g} {unit}"
    return f"{value:.0f} bytes"
