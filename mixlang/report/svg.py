"""Small SVG figures without a plotting library: text follows the page's colours, series differ in colour and shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

COLOURS = ("#3973bf", "#aa5f19", "#32804f", "#b54a93", "#8b6d3b", "#6469c4", "#0e7f81", "#be4d4d")
"""All of one lightness: white text on them has a contrast of 4.8, they have 3.3 or more on the page in light and dark."""

_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 3", "10 4", "4 2", "3 5")


NARROW = 364
"""Pixels a figure may take on a page 400 wide."""


def colour(index: int) -> str:
    """The colour of a series."""
    return COLOURS[index % len(COLOURS)]


def marker(shape: int, x: float, y: float, fill: str, size: float = 3.4) -> str:
    """A data point; the shape tells series apart without colour."""
    kinds = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}"',
        f'<rect x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size}" height="{2 * size}"',
        f'<path d="M{x:.1f} {y - 1.3 * size:.1f}l{1.2 * size} {2.2 * size}h{-2.4 * size}z"',
        f'<path d="M{x:.1f} {y - 1.4 * size:.1f}l{1.4 * size} {1.4 * size}l{-1.4 * size} {1.4 * size}'
        f'l{-1.4 * size} {-1.4 * size}z"',
    )
    return f'{kinds[shape % len(kinds)]} fill="{fill}" fill-opacity=".85" stroke="var(--page)" stroke-width=".6"/>'


@dataclass
class Chart:
    """A chart with a logarithmic x axis and a logarithmic or linear y axis, filled by `points` and `line`.

    Attributes:
        title, alt: heading, and what a screen reader says.
        x_range, y_range: data ranges; logarithmic ones are widened a little.
    """

    title: str
    alt: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_label: str = ""
    y_label: str = ""
    width: int = 340
    height: int = 260
    linear_y: bool = False
    parts: list[str] = field(default_factory=list)

    _left, _right, _top, _bottom = 58, 12, 28, 42

    def __post_init__(self) -> None:
        low, high = self.x_range
        self.x_range = (low / 1.08, high * 1.08)
        low, high = self.y_range
        if not self.linear_y:
            self.y_range = (low / 1.06, high * 1.06)

    def x(self, value: float) -> float:
        """Pixels of a data value along x."""
        low, high = (math.log(edge) for edge in self.x_range)
        return self._left + (math.log(value) - low) / (high - low) * (self.width - self._left - self._right)

    def y(self, value: float) -> float:
        """Pixels of a data value along y."""
        low, high = self.y_range
        if not self.linear_y:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.height - self._bottom - (value - low) / (high - low) * (self.height - self._top - self._bottom)

    def points(
        self, xs: Sequence[float], ys: Sequence[float], series: int, shape: int | None = None, name: str = ""
    ) -> None:
        """Mark data."""
        kind = series if shape is None else shape
        drawn = [marker(kind, self.x(a), self.y(b), colour(series)) for a, b in zip(xs, ys, strict=True)]
        self.parts.append(_group("points", name, "".join(drawn)))

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], series: int) -> None:
        """Shade between two curves, cut off at the chart's edges."""
        low, high = self.y_range
        above = [(a, min(high, max(low, b))) for a, b in zip(xs, highs, strict=True)]
        below = [(a, min(high, max(low, b))) for a, b in zip(xs, lows, strict=True)]
        path = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in [*above, *reversed(below)])
        self.parts.append(f'<polygon points="{path}" fill="{colour(series)}" fill-opacity=".18"/>')

    def line(self, xs: Sequence[float], ys: Sequence[float], series: int, width: float = 1.6, name: str = "") -> None:
        """Draw a curve."""
        path = " ".join(
            f"{'M' if i == 0 else 'L'}{self.x(a):.1f} {self.y(b):.1f}"
            for i, (a, b) in enumerate(zip(xs, ys, strict=True))
        )
        dash = _DASHES[series % len(_DASHES)]
        style = f' stroke-dasharray="{dash}"' if dash else ""
        drawn = f'<path d="{path}" fill="none" stroke="{colour(series)}" stroke-width="{width}"{style}/>'
        self.parts.append(_group("line", name, drawn))

    def plain_line(self, xs: Sequence[float], ys: Sequence[float], series: int) -> None:
        """Draw a thin solid curve, such as a law beside its data."""
        path = " ".join(
            f"{'L' if i else 'M'}{self.x(a):.1f} {self.y(b):.1f}" for i, (a, b) in enumerate(zip(xs, ys, strict=True))
        )
        self.parts.append(f'<path d="{path}" fill="none" stroke="{colour(series)}" stroke-width=".8"/>')

    def diagonal(self) -> None:
        """The line where both axes agree."""
        low, high = max(self.x_range[0], self.y_range[0]), min(self.x_range[1], self.y_range[1])
        if low < high:
            ends = f'x1="{self.x(low):.1f}" y1="{self.y(low):.1f}" x2="{self.x(high):.1f}" y2="{self.y(high):.1f}"'
            self.parts.append(f'<line {ends} class="grid" stroke-dasharray="4 3"/>')

    def render(self) -> str:
        """The figure as HTML."""
        return framed(self.drawing(), self.width)

    def drawing(self, extra: str = "") -> str:
        """The figure as SVG, with `extra` drawn over it."""
        bottom, right = self.height - self._bottom, self.width - self._right
        frame = []
        for tick in ticks(*self.x_range):
            at = self.x(tick)
            frame.append(f'<line x1="{at:.1f}" y1="{self._top}" x2="{at:.1f}" y2="{bottom}" class="grid"/>')
            frame.append(f'<text class="x" x="{at:.1f}" y="{bottom + 14}" text-anchor="middle">{short(tick)}</text>')
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0) if self.linear_y else ticks(*self.y_range):
            at = self.y(tick)
            frame.append(f'<line x1="{self._left}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}" class="grid"/>')
            frame.append(
                f'<text class="y" x="{self._left - 5}" y="{at + 3.5:.1f}" text-anchor="end">{short(tick)}</text>'
            )
        middle = (self._left + right) / 2
        frame.append(f'<text x="{middle}" y="16" text-anchor="middle" class="title">{escape(self.title)}</text>')
        frame.append(f'<text x="{middle}" y="{self.height - 8}" text-anchor="middle">{escape(self.x_label)}</text>')
        centre = (self._top + bottom) / 2
        frame.append(
            f'<text x="13" y="{centre}" text-anchor="middle" transform="rotate(-90 13 {centre})">{escape(self.y_label)}</text>'
        )
        inner = "".join([*frame, *self.parts, extra])
        return drawing(self.width, self.height, self.alt, inner, self._described())

    def _described(self) -> str:
        ends = [*self.x_range, *self.y_range]
        left, right, low, high = (short(value) for value in ends)
        return f"Axes: {self.x_label or 'x'}, {left} to {right}; {self.y_label or 'y'}, {low} to {high}."

    def standalone(self, names: Sequence[str]) -> str:
        """The figure as an SVG file of its own, with a legend."""
        key = [
            marker(index, self._left + 14, self._top + 14 + 15 * index, colour(index))
            + f'<text x="{self._left + 24}" y="{self._top + 18 + 15 * index}">{escape(name)}</text>'
            for index, name in enumerate(names)
        ]
        return standalone(self.drawing("".join(key)))


def _group(kind: str, name: str, inner: str) -> str:
    """What belongs to one series; its name is for whoever reads the figure's source."""
    return f'<g class="{kind}" data-name="{escape(name)}">{inner}</g>' if name else inner


def drawing(width: float, height: float, alt: str, inner: str, description: str = "") -> str:
    """An SVG element that says what it shows."""
    more = f"<desc>{escape(description)}</desc>" if description else ""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" aria-label="{escape(alt)}">'
        f"<title>{escape(alt)}</title>{more}{inner}</svg>"
    )


def framed(drawn: str, width: float) -> str:
    """A drawing for the page; one that is wider than a narrow page scrolls there, and stays readable."""
    return drawn if width <= NARROW else f'<div class="scroll wide" tabindex="0">{drawn}</div>'


def figure(width: float, height: float, alt: str, inner: str, description: str = "") -> str:
    """A drawing of its own making for the page."""
    return framed(drawing(width, height, alt, inner, description), width)


def standalone(drawn: str) -> str:
    """A drawing as an SVG file of its own, which has no page to take its colours from."""
    style = (
        "<style>svg{background:#fff;font:11px system-ui,sans-serif;--page:#fff}text{fill:#1d2433}text[fill]{fill:#fff}"
        ".title{font-size:13px;font-weight:600}.grid,.cell{stroke:#d9dee7}</style>"
    )
    named = drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return named.replace("</title>", f"</title>{style}", 1) + "\n"


def sample(series: int) -> str:
    """How a series is drawn, for a key: its marker on its line. Decoration: the name stands beside it."""
    dash = _DASHES[series % len(_DASHES)]
    style = f' stroke-dasharray="{dash}"' if dash else ""
    line = f'<path d="M0 7h34" stroke="{colour(series)}" stroke-width="1.6"{style}/>'
    return f'<svg class="sample" width="34" height="14" aria-hidden="true">{line}{marker(series, 17, 7, colour(series))}</svg>'


def ticks(low: float, high: float) -> list[float]:
    """Round values on a logarithmic axis, 2 to 7 of them."""
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(i / 4 for i in range(4, 40))):
        exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        found = [
            step * 10.0**exponent for exponent in exponents for step in steps if low <= step * 10.0**exponent <= high
        ]
        if len(found) >= 3:
            return found if len(found) <= 7 else found[:: -(-len(found) // 7)]
    return [low, high]


def short(value: float) -> str:
    """A number as an axis shows it."""
    if abs(value) >= 1000:
        return f"{value / 1000:.4g}k"
    return f"{value:.3g}"


def heat_map(
    title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], alt: str
) -> str:
    """A matrix of positive numbers, stronger where larger, each written in its cell."""
    cell, left, top = 64, 78, 46
    width, height = max(left + cell * len(columns) + 8, 12 + 8.2 * len(title)), top + 34 * len(rows) + 10
    largest = max(max(row) for row in values) or 1.0
    parts = [f'<text x="6" y="16" class="title">{escape(title)}</text>']
    parts += [
        f'<text x="{left + (i + 0.5) * cell}" y="{top - 8}" text-anchor="middle">{escape(name[:10])}</text>'
        for i, name in enumerate(columns)
    ]
    for r, name in enumerate(rows):
        parts.append(f'<text x="{left - 6}" y="{top + 34 * r + 21}" text-anchor="end">{escape(name[:11])}</text>')
        for c, value in enumerate(values[r]):
            strength = max(0.0, min(1.0, value / largest))
            x, y = left + cell * c, top + 34 * r
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 2}" height="32" fill="{COLOURS[0]}" '
                f'fill-opacity="{_DEEPEST * strength:.3f}" class="cell"/>'
                f'<text class="value" x="{x + cell / 2 - 1}" y="{y + 20}" text-anchor="middle">{value:.2f}</text>'
            )
    told = "; ".join(
        f"{row}: {', '.join(f'{column} {value:.2f}' for column, value in zip(columns, line, strict=True))}"
        for row, line in zip(rows, values, strict=True)
    )
    return figure(width, height, alt, "".join(parts), told)


_DEEPEST = 0.55
"""Opacity of the largest value's cell: the page's own text colour is readable on it, in light and dark."""


def histogram(title: str, alt: str, ends: tuple[float, float], fractions: Sequence[float], index: int) -> str:
    """Bars of equal width between two ends; `index` gives the colour."""
    width, height, left, base = 250, 120, 8, 98
    step, largest = (width - 2 * left) / len(fractions), max(fractions) or 1.0
    parts = [f'<text x="{left}" y="14" class="title">{escape(title)}</text>']
    for place, fraction in enumerate(fractions):
        tall = 72 * fraction / largest
        parts.append(
            f'<rect x="{left + place * step:.1f}" y="{base - tall:.1f}" width="{step - 0.6:.1f}" height="{tall:.1f}" '
            f'fill="{colour(index)}"/>'
        )
    parts.append(f'<path d="M{left} {base}h{width - 2 * left}" class="grid"/>')
    for part in (0.0, 0.5, 1.0):
        x, value = left + part * (width - 2 * left), ends[0] + part * (ends[1] - ends[0])
        anchor = {0.0: "start", 0.5: "middle", 1.0: "end"}[part]
        parts.append(f'<text x="{x:.1f}" y="{base + 15}" text-anchor="{anchor}">{short(value)}</text>')
    return figure(width, height, alt, "".join(parts))


def share_bars(title: str, mixtures: dict[str, dict[str, float]], domains: Sequence[str], alt: str) -> str:
    """Stacked bars, one a mixture, as wide as the page; the shares of wide parts are written in them."""
    row, top = 46, 26
    parts = [f'<text x="0" y="14" class="title">{escape(title)}</text>']
    for r, (name, shares) in enumerate(mixtures.items()):
        y, before = top + r * row, 0.0
        parts.append(f'<text x="0" y="{y + 12}">{escape(name)}</text>')
        for index, domain in enumerate(domains):
            share = shares[domain]
            parts.append(
                f'<rect x="{100 * before:.3f}%" y="{y + 17}" width="{100 * share:.3f}%" height="24" fill="{colour(index)}" '
                f'class="part" data-name="{escape(domain)}"><title>{escape(domain)} {share:.1%}</title></rect>'
            )
            label = f"{domain} {100 * share:.0f} %"
            if share * NARROW > 7 * len(label):
                parts.append(f'<text x="{100 * before + 1:.3f}%" y="{y + 33}" fill="#fff">{escape(label)}</text>')
            before += share
    told = "; ".join(
        f"{name}: {', '.join(f'{domain} {shares[domain]:.1%}' for domain in domains)}"
        for name, shares in mixtures.items()
    )
    return (
        f'<svg width="100%" height="{top + row * len(mixtures)}" role="img" aria-label="{escape(alt)}">'
        f"<title>{escape(alt)}</title><desc>{escape(told)}</desc>{''.join(parts)}</svg>"
    )
