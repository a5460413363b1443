"""Small SVG figures without a plotting library: text follows the page's colours, series differ in colour and shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

COLOURS = ("#3b76c4", "#d0741e", "#3c9a5f", "#b0488f", "#8a6d3b", "#5a5fc0", "#0f8b8d", "#a33b3b")
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 3", "10 4", "4 2", "3 5")


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

    def points(self, xs: Sequence[float], ys: Sequence[float], series: int, shape: int | None = None) -> None:
        """Mark data."""
        kind = series if shape is None else shape
        self.parts += [marker(kind, self.x(a), self.y(b), colour(series)) for a, b in zip(xs, ys, strict=True)]

    def line(self, xs: Sequence[float], ys: Sequence[float], series: int, width: float = 1.6) -> None:
        """Draw a curve."""
        path = " ".join(
            f"{'M' if i == 0 else 'L'}{self.x(a):.1f} {self.y(b):.1f}"
            for i, (a, b) in enumerate(zip(xs, ys, strict=True))
        )
        dash = _DASHES[series % len(_DASHES)]
        style = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{colour(series)}" stroke-width="{width}"{style}/>')

    def diagonal(self) -> None:
        """The line where both axes agree."""
        low, high = max(self.x_range[0], self.y_range[0]), min(self.x_range[1], self.y_range[1])
        if low < high:
            ends = f'x1="{self.x(low):.1f}" y1="{self.y(low):.1f}" x2="{self.x(high):.1f}" y2="{self.y(high):.1f}"'
            self.parts.append(f'<line {ends} class="grid" stroke-dasharray="4 3"/>')

    def render(self) -> str:
        """The figure as SVG."""
        bottom, right = self.height - self._bottom, self.width - self._right
        frame = []
        for tick in ticks(*self.x_range):
            at = self.x(tick)
            frame.append(f'<line x1="{at:.1f}" y1="{self._top}" x2="{at:.1f}" y2="{bottom}" class="grid"/>')
            frame.append(f'<text x="{at:.1f}" y="{bottom + 14}" text-anchor="middle">{short(tick)}</text>')
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0) if self.linear_y else ticks(*self.y_range):
            at = self.y(tick)
            frame.append(f'<line x1="{self._left}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}" class="grid"/>')
            frame.append(f'<text x="{self._left - 5}" y="{at + 3.5:.1f}" text-anchor="end">{short(tick)}</text>')
        middle = (self._left + right) / 2
        frame.append(f'<text x="{middle}" y="16" text-anchor="middle" class="title">{escape(self.title)}</text>')
        frame.append(f'<text x="{middle}" y="{self.height - 8}" text-anchor="middle">{escape(self.x_label)}</text>')
        centre = (self._top + bottom) / 2
        frame.append(
            f'<text x="13" y="{centre}" text-anchor="middle" transform="rotate(-90 13 {centre})">{escape(self.y_label)}</text>'
        )
        return figure(self.width, self.height, self.alt, "".join(frame + self.parts))

    def standalone(self, names: Sequence[str]) -> str:
        """The figure as an SVG file of its own, with a legend."""
        key = [
            marker(index, self._left + 14, self._top + 14 + 15 * index, colour(index))
            + f'<text x="{self._left + 24}" y="{self._top + 18 + 15 * index}">{escape(name)}</text>'
            for index, name in enumerate(names)
        ]
        style = (
            "<style>svg{background:#fff;font:11px system-ui,sans-serif;--page:#fff}text{fill:#1d2433}"
            ".title{font-size:13px;font-weight:600}.grid{stroke:#d9dee7}</style>"
        )
        drawn = self.render().replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        return drawn.replace("</title>", f"</title>{style}", 1).replace("</svg>", "".join(key) + "</svg>") + "\n"


def figure(width: float, height: float, alt: str, inner: str) -> str:
    """An SVG element that scales down with the page and says what it shows."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" aria-label="{escape(alt)}">'
        f"<title>{escape(alt)}</title>{inner}</svg>"
    )


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
    """A matrix of positive numbers, darker where larger, each written in its cell."""
    cell, left, top = 64, 78, 46
    width, height = left + cell * len(columns) + 8, top + 34 * len(rows) + 10
    largest = max(max(row) for row in values) or 1.0
    parts = [f'<text x="{left}" y="16" class="title">{escape(title)}</text>']
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
                f'<rect x="{x}" y="{y}" width="{cell - 2}" height="32" fill="#3b76c4" fill-opacity="{0.85 * strength:.2f}" '
                'class="cell"/>'
            )
            tone = ' fill="#fff"' if strength > 0.6 else ""
            parts.append(f'<text x="{x + cell / 2 - 1}" y="{y + 20}" text-anchor="middle"{tone}>{value:.2f}</text>')
    return figure(width, height, alt, "".join(parts))


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
    """Stacked bars, one a mixture, with the shares written in."""
    width, left, row = 620, 110, 34
    parts = [f'<text x="{left}" y="16" class="title">{escape(title)}</text>']
    for r, (name, shares) in enumerate(mixtures.items()):
        y, x = 28 + r * row, float(left)
        parts.append(f'<text x="{left - 8}" y="{y + 18}" text-anchor="end">{escape(name)}</text>')
        for index, domain in enumerate(domains):
            size = shares[domain] * (width - left - 8)
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{max(0.0, size - 1):.1f}" height="26" fill="{colour(index)}">'
                f"<title>{escape(domain)} {shares[domain]:.1%}</title></rect>"
            )
            if size > 60:
                label = f"{domain[: max(2, int(size / 12))]} {100 * shares[domain]:.0f} %"
                parts.append(f'<text x="{x + 6:.1f}" y="{y + 17}" fill="#fff">{escape(label)}</text>')
            x += size
    return figure(width, 34 + row * len(mixtures), alt, "".join(parts))
