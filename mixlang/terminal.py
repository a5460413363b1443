"""Tables in plain text whose columns stay apart, whatever the length and number of names, in the width of a terminal.

Nothing is cut off: cells that are too long go on in the next line, and columns that do not fit go into a block below.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence

WIDTH = 80
"""Characters of a line where there is no terminal that says otherwise."""

_GAP = 2
"""Spaces between columns."""

_LEAST = 14
"""Characters that a column of words keeps while others are as wide."""

_PIECES = re.compile(r"(?<=[_/])(?=[^_/])|(?<=-)(?=[^\W\d_])|(?<=\s)(?=\S)|(?<=\S)(?=\s)")
"""Where a cell may go on in the next line: at spaces, and after the marks that names are made of; never in a number."""


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    align: str = "",
    indent: int = 2,
    width: int | None = None,
) -> list[str]:
    """The lines of a table, none longer than `width`.

    Args:
        head: the name of each column; a table without any has no line of names.
        rows: cells, as many as there are columns.
        align: a letter a column, `l` (words, which may go on in the next line) or `r` (numbers); if left out, the
            first column has words and the others numbers.
        indent: spaces before each line.
        width: characters of a line; those of the terminal if left out, 80 without one.
    """
    align = align or "l" + "r" * (len(head) - 1)
    room = max(20, (width or line_width()) - indent)
    lines: list[str] = []
    for block, widths in _blocks(head, rows, align, room):
        lines += [""] if lines else []
        for cells in [head, *rows] if any(head) else rows:
            lines += _printed([cells[at] for at in block], widths, [align[at] for at in block], indent)
    return lines


def matrix(
    columns: Sequence[str], rows: Mapping[str, Sequence[str]], indent: int = 2, width: int | None = None
) -> list[str]:
    """The lines of a table of numbers: a line a row where all columns fit, otherwise a line a column.

    Args:
        columns: the names of the columns, such as domains.
        rows: for each name of a row, such as a mixture, a cell a column.
    """
    lines = [["", *columns], *([name, *cells] for name, cells in rows.items())]
    natural = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    if indent + sum(natural) + _GAP * len(columns) <= (width or line_width()):
        return table(lines[0], lines[1:], indent=indent, width=width)
    turned = [list(cells) for cells in zip(*lines, strict=True)]
    return table(turned[0], turned[1:], indent=indent, width=width)


def paragraph(text: str, first: str = "", then: str = "  ", width: int | None = None) -> list[str]:
    """A sentence, or a list of names and numbers, in lines that are not too long; words stay whole.

    Args:
        first, then: what the first line begins with, and the others.
    """
    return textwrap.wrap(
        text,
        width or line_width(),
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )


def line_width() -> int:
    """Characters of a line of the terminal; 80 where there is none."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


def _blocks(
    head: Sequence[str], rows: Sequence[Sequence[str]], align: str, room: int
) -> list[tuple[list[int], list[int]]]:
    """Which columns are printed together, and their widths: all, or else the first one with as many as there is room for."""
    columns = list(zip(head, *rows, strict=True)) if rows else [(name,) for name in head]
    widths = [max(map(len, cells)) for cells in columns]
    if sum(widths) + _GAP * (len(widths) - 1) > room:  # long names over short numbers take several lines
        widths = [
            max([_longest_piece(cells[0]), *map(len, cells[1:])]) if how == "r" else size
            for cells, how, size in zip(columns, align, widths, strict=True)
        ]
    words = [at for at, how in enumerate(align) if how == "l"]
    numbers = [at for at, how in enumerate(align) if how == "r"]
    over = sum(widths) + _GAP * (len(widths) - 1) - room
    while over > 0 and any(widths[at] > _LEAST for at in words):
        widest = max(words, key=lambda at: widths[at])
        widths[widest] -= 1
        over -= 1
    if over <= 0 or len(numbers) < 2:
        return [(list(range(len(widths))), _squeezed(widths, room))]
    kept = [at for at in words if at < numbers[0]] or numbers[:1]
    for at in kept:
        widths[at] = min(max(map(len, columns[at])), max(_LEAST, room // 3))
    found, block = [], list(kept)
    for at in range(len(widths)):
        if at in kept:
            continue
        taken = sum(widths[other] + _GAP for other in block)
        if len(block) > len(kept) and taken + widths[at] > room:
            found.append(block)
            block = list(kept)
        block = [*block, at]
    found.append(block)
    return [(block, _squeezed([widths[at] for at in block], room)) for block in found]


def _squeezed(widths: list[int], room: int) -> list[int]:
    """Widths that fit whatever it takes: the widest give way first."""
    found = list(widths)
    while sum(found) + _GAP * (len(found) - 1) > room and max(found) > 1:
        found[found.index(max(found))] -= 1
    return found


def _longest_piece(text: str) -> int:
    return max((len(piece) for piece in _PIECES.split(text)), default=0)


def _printed(cells: Sequence[str], widths: Sequence[int], align: Sequence[str], indent: int) -> list[str]:
    """The lines of one row."""
    parts = [_broken(cell, size) for cell, size in zip(cells, widths, strict=True)]
    lines = []
    for number in range(max(map(len, parts))):
        shown = [
            (part[number] if number < len(part) else "").rjust(size)
            if how == "r"
            else (part[number] if number < len(part) else "").ljust(size)
            for part, size, how in zip(parts, widths, align, strict=True)
        ]
        lines.append((" " * indent + (" " * _GAP).join(shown)).rstrip())
    return lines


def _broken(text: str, size: int) -> list[str]:
    """A cell in lines of at most `size` characters."""
    if len(text) <= size:
        return [text]
    lines = [""]
    for piece in _PIECES.split(text):
        if len(lines[-1]) + len(piece.rstrip()) > size and lines[-1]:
            lines.append("")
        if not piece.strip():
            lines[-1] += piece if lines[-1] else ""
            continue
        while len(piece) > size:
            room = size - len(lines[-1])
            lines[-1] += piece[:room]
            lines.append("")
            piece = piece[room:]
        lines[-1] += piece
    return [line.rstrip() for line in lines if line.strip()]
