"""The report: one self-contained HTML page, a function of a study's build folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from pathlib import Path

from mixlang.documents import Origin
from mixlang.report.allocation import allocation_section, certificate_section
from mixlang.report.curves import curves_section
from mixlang.report.data import data_section
from mixlang.report.downstream import downstream_section
from mixlang.report.head import answer_section
from mixlang.report.hubs import structure_section
from mixlang.report.laws import laws_section
from mixlang.report.origin import provenance_section, reproduce_section
from mixlang.report.results import Results
from mixlang.report.style import SCRIPT, STYLE
from mixlang.report.task_losses import tasks_section
from mixlang.report.transfer import transfer_section
from mixlang.report.verification import verification_section

SECTIONS: tuple[Callable[[Results], list[str]], ...] = (
    answer_section,
    allocation_section,
    verification_section,
    tasks_section,
    downstream_section,
    curves_section,
    transfer_section,
    structure_section,
    laws_section,
    certificate_section,
    data_section,
    provenance_section,
    reproduce_section,
)
"""The page from top to bottom. A section is a list of pieces of HTML that begins with its `<h2>`, or empty where there is
nothing to say. The table of contents is made of the headings."""

_HEADING = re.compile(r"<h2>(.*?)</h2>")


def render_report(build: Path, label: str = "", published: str = "", provenance: Origin | None = None) -> str:
    """The page for a study.

    Args:
        build: the study's build folder, with its results up to verification.
        label: `name@vK` when the page is part of a published version.
        published: the date of that version; provenance: what is recorded of where it comes from.
    """
    results = Results(build, label, published, provenance)
    title = escape(label or results.publish["study"])
    about = " ".join(
        part for part in (results.publish["description"], f"Published {published}." if published else "") if part
    )
    bodies = ["\n".join(section(results)) for section in SECTIONS]
    headings = [heading for body in bodies for heading in _HEADING.findall(body)]
    contents = "".join(f'<li><a href="#{_anchor(heading)}">{heading}</a></li>' for heading in headings)
    parts = [f"<header><h1>{title}</h1>", f'<p class="soft">{escape(about)}</p></header>' if about else "</header>"]
    parts += [f'<nav aria-label="Contents"><ol>{contents}</ol></nav>', "<main>"]
    parts += [_section(body) for body in bodies if body]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}: data mixture</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + f"\n</main>\n<script>{SCRIPT}</script></body></html>\n"
    )


def _section(body: str) -> str:
    named = _HEADING.sub(lambda found: f'<h2 id="{_anchor(found[1])}">{found[1]}</h2>', body)
    return f"<section>\n{named}\n</section>"


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
