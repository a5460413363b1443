"""What the options of the command line mean: texts to numbers, names, bounds and shards, or a usage error."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {text!r}")
    return int(text)


def count(text: str) -> int:
    """A whole number from 0 to 10,000."""
    if not text.isdigit() or int(text) > 10_000:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 10000, not {text!r}")
    return int(text)


def amount(text: str) -> float:
    """A number such as 5000, 5k or 1e6."""
    from mixlang.spec.quantities import parse_amount

    try:
        value = float(text) if text[-1:].isdigit() else float(parse_amount(text))
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number such as 5000, 5k or 1e6, not {text!r}")
    return value


def fraction(text: str) -> float:
    """A number above 0 and at most 1, or a percentage."""
    from mixlang.spec.quantities import parse_percent

    try:
        value = float(parse_percent(text) if text.endswith("%") else text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and at most 1, such as 0.02 or 2%, not {text!r}")
    return value


def amounts(text: str) -> list[float]:
    """`1M,2M,4M`."""
    return [amount(item) for item in text.split(",")]


def names(text: str) -> list[str]:
    """`a,b,c`."""
    return [item.strip() for item in text.split(",") if item.strip()]


def texts(text: str) -> dict[str, str]:
    """`a=x,b=y`, as text."""
    found: dict[str, str] = {}
    for item in names(text):
        name, sign, value = item.partition("=")
        if not sign or not name.strip():
            raise argparse.ArgumentTypeError(f"expected COLUMN=VALUE, not {item!r}")
        if name.strip() in found:
            raise argparse.ArgumentTypeError(f"{name.strip()!r} is given twice")
        found[name.strip()] = value.strip()
    return found


def pairs(text: str) -> dict[str, float]:
    """`a=1,b=2`; the last = counts, since names may hold one."""
    found: dict[str, float] = {}
    for item in names(text):
        name, sign, value = item.rpartition("=")
        if not sign or not name:
            raise argparse.ArgumentTypeError(f"expected NAME=NUMBER, not {item!r}")
        if name in found:
            raise argparse.ArgumentTypeError(f"{name!r} is given twice")
        found[name] = amount(value)
    return found


def _range(text: str) -> tuple[float, float]:
    low, colon, high = text.partition(":")
    least, most = amount(low or "0"), amount(high or "1")
    if not colon or not least <= most <= 1:
        raise argparse.ArgumentTypeError(f"expected MIN:MAX with 0 <= MIN <= MAX <= 1, not {text!r}")
    return least, most


def ranges(text: str) -> dict[str, tuple[float, float]]:
    """`a=0.1:0.5,b=:0.2`."""
    found: dict[str, tuple[float, float]] = {}
    for item in names(text):
        name, sign, bounds = item.rpartition("=")
        if not sign or not name or name in found:
            raise argparse.ArgumentTypeError(f"expected each NAME=MIN:MAX once, not {item!r}")
        found[name] = _range(bounds)
    return found


def groups(text: str) -> dict[str, tuple[list[str], float, float]]:
    """`brain=mri+pet=0.2:0.6`."""
    found: dict[str, tuple[list[str], float, float]] = {}
    for item in names(text):
        name, _, rest = item.partition("=")
        members, sign, bounds = rest.rpartition("=")
        if not sign or not name or not members or name in found:
            raise argparse.ArgumentTypeError(f"expected each NAME=A+B=MIN:MAX once, not {item!r}")
        found[name] = ([member.strip() for member in members.split("+")], *_range(bounds))
    return found


def shard(text: str) -> tuple[int, int]:
    """`I/N`, 0-based."""
    first, _, count = text.partition("/")
    if not (first.isdigit() and count.isdigit() and int(first) < int(count)):
        raise argparse.ArgumentTypeError(f"expected I/N with 0 <= I < N, for example 0/8, not {text!r}")
    return int(first), int(count)
