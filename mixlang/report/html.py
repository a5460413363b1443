"""Pieces of the report's HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts, which are escaped; it scrolls sideways where the page is narrow, and its columns can be sorted.

    The first cell of a row is its heading.
    """
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{escape(cell)}</td>" if place else f'<th scope="row">{escape(cell)}</th>'
            for place, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def code(text: str) -> str:
    """Commands, as they are typed."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def soft(text: str) -> str:
    """A remark below a figure or a table; HTML."""
    return f'<p class="soft">{text}</p>'


def percent(shares: dict[str, float], domains: Sequence[str]) -> list[str]:
    """Shares as texts, in the order of the domains."""
    return [f"{shares[name]:.1%}" for name in domains]


def number(value: float | None, form: str) -> str:
    """A number as text; a dash where there is none."""
    return "-" if value is None else format(value, form)
