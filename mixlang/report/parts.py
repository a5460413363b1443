"""Pieces of the report's HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts, which are escaped; it scrolls sideways where the page is narrow."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def soft(text: str) -> str:
    """A remark below a figure or a table; HTML."""
    return f'<p class="soft">{text}</p>'


def percent(shares: dict[str, float], domains: Sequence[str]) -> list[str]:
    """Shares as texts, in the order of the domains."""
    return [f"{shares[name]:.1%}" for name in domains]


def number(value: float | None, form: str) -> str:
    """A number as text; a dash where there is none."""
    return "-" if value is None else format(value, form)
