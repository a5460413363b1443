"""The report's section on hubs and islands: who helps whom, as arrows between domains on a circle, in sentences, as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from mixlang.documents import Link, Structure
from mixlang.report.html import soft, table
from mixlang.report.results import Results
from mixlang.report.svg import colour, figure

LEAST = 0.03
"""Arrows are drawn for helpers that bring at least this part of an improvement, and more than nothing for sure."""

_SIZE, _RADIUS, _NODE = 460.0, 150.0, 24.0


def shown_links(links: Mapping[str, Mapping[str, Link]], domains: Sequence[str]) -> list[tuple[str, str, float]]:
    """The arrows as (giver, receiver, part), thickest last so that it lies on top."""
    found = [
        (giver, loss, entry["part"])
        for loss, row in links.items()
        if loss in domains
        for giver, entry in row.items()
        if giver != loss and entry["part"] >= LEAST and (entry["interval"] is None or entry["interval"][0] > 0.001)
    ]
    return sorted(found, key=lambda link: link[2])


def influence_graph(domains: Sequence[str], structure: Structure, alt: str) -> str:
    """A directed graph: an arrow's width is the part of the receiver's improvement that the giver's data bring.

    Hubs have a double ring and islands a dashed one, so that it reads without colour.
    """
    angle = {name: 2 * math.pi * index / len(domains) - math.pi / 2 for index, name in enumerate(domains)}
    place = {
        name: (_SIZE / 2 + _RADIUS * math.cos(at), _SIZE / 2 + _RADIUS * math.sin(at)) for name, at in angle.items()
    }
    parts = [
        _arrow(place[giver], place[receiver], part, domains.index(giver), f"{giver} to {receiver}: {part:.0%}")
        for giver, receiver, part in shown_links(structure["links"], domains)
    ]
    for index, name in enumerate(domains):
        parts.append(_node(*place[name], angle[name], name, structure["domains"][name]["kind"], index))
    return figure(_SIZE, _SIZE, alt, "".join(parts))


def _arrow(start: tuple[float, float], end: tuple[float, float], part: float, index: int, says: str) -> str:
    """A curve bent to the right of its direction, so that the two ways between a pair lie apart."""
    (x0, y0), (x1, y1) = start, end
    length = math.hypot(x1 - x0, y1 - y0)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    bend = 0.16 * length
    cx, cy = (x0 + x1) / 2 - bend * uy, (y0 + y1) / 2 + bend * ux
    width = 1.0 + 9.0 * part
    # The curve ends at the node's edge, along its own direction there; the head covers the last of it.
    tx, ty = x1 - cx, y1 - cy
    last = math.hypot(tx, ty)
    tx, ty = tx / last, ty / last
    head = 5.0 + 1.3 * width
    tip = (x1 - (_NODE + 3) * tx, y1 - (_NODE + 3) * ty)
    base = (tip[0] - head * tx, tip[1] - head * ty)
    side = head * 0.5
    wings = f"{base[0] - side * ty:.1f},{base[1] + side * tx:.1f} {base[0] + side * ty:.1f},{base[1] - side * tx:.1f}"
    label = ""
    if part >= 0.1:
        lx, ly = (x0 + x1) / 4 + cx / 2, (y0 + y1) / 4 + cy / 2
        label = f'<text x="{lx:.1f}" y="{ly + 3.5:.1f}" text-anchor="middle" class="halo">{part:.0%}</text>'
    paint = colour(index)
    return (
        f'<g><title>{escape(says)}</title><path d="M{x0:.1f} {y0:.1f}Q{cx:.1f} {cy:.1f} {base[0]:.1f} {base[1]:.1f}" fill="none" '
        f'stroke="{paint}" stroke-opacity=".75" stroke-width="{width:.2f}" data-part="{part:.4f}"/>'
        f'<polygon points="{tip[0]:.1f},{tip[1]:.1f} {wings}" fill="{paint}"/>{label}</g>'
    )


def _node(x: float, y: float, angle: float, name: str, kind: str | None, index: int) -> str:
    paint = colour(index)
    dash = ' stroke-dasharray="4 3"' if kind == "island" else ""
    ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_NODE:g}" fill="var(--page)" stroke="{paint}" stroke-width="2.5"{dash}/>'
    if kind == "hub":
        ring += f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_NODE - 5:g}" fill="none" stroke="{paint}" stroke-width="2.5"/>'
    across, down = math.cos(angle), math.sin(angle)
    anchor = "middle" if abs(across) < 0.3 else "start" if across > 0 else "end"
    tx, ty = x + (_NODE + 8) * across, y + (_NODE + 14) * down + 4
    inside = f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">{kind or ""}</text>'
    return f'{ring}{inside}<text x="{tx:.1f}" y="{ty:.1f}" text-anchor="{anchor}" class="title">{escape(name)}</text>'


def structure_section(results: Results) -> list[str]:
    """Who helps whom at the published shares, by the laws: a graph, a sentence for each domain, a table."""
    found = results.allocation["target"].get("structure")
    if not found:
        return []
    rows = []
    for name, entry in found["domains"].items():
        row = [name]
        for side in ("giving", "receiving"):
            value, ends = entry[side], entry.get(f"{side}_interval")
            row.append("-" if value is None else f"{value:.0%}" + (f" [{ends[0]:.0%}, {ends[1]:.0%}]" if ends else ""))
        rows.append([*row, entry["kind"] or "neither shown"])
    said = "".join(f"<li>{escape(entry['says'])}</li>" for entry in found["domains"].values())
    alt = "Directed graph of the domains: an arrow from a domain to each that its data help, wider where they help more"
    note = (
        f"By the laws, at the published shares of {results.allocation['target']['budget']:,.0f} samples. An arrow's width and "
        f"number: the part of the receiver's improvement that the giver's data bring; drawn from {LEAST:.0%} on, where the "
        "90 % interval excludes zero. Double ring: hub; dashed ring: island. Giving: the part of a domain's worth that goes "
        "to other domains' losses. Receiving: the part of its own improvement that others' data bring. A hub gives more than "
        "half, an island gives and receives less than a tenth, each with its whole 90 % interval."
    )
    return [
        "<h2>Hubs and islands</h2>",
        f"<figure>{influence_graph(results.domains, found, alt)}</figure>",
        f"<ul>{said}</ul>",
        table(["domain", "giving", "receiving", "kind"], rows),
        soft(note),
    ]
