"""The report: one self-contained HTML page, a function of a study's build folder."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

from mixlang.report.allocation import allocation_section
from mixlang.report.answer import answer_section
from mixlang.report.certificate import certificate_section
from mixlang.report.curves import curves_section
from mixlang.report.data import data_section
from mixlang.report.laws import laws_section
from mixlang.report.reproduce import reproduce_section
from mixlang.report.results import Results
from mixlang.report.structure import structure_section
from mixlang.report.transfer import transfer_section
from mixlang.report.verification import verification_section

SECTIONS: tuple[Callable[[Results], list[str]], ...] = (
    answer_section,
    allocation_section,
    verification_section,
    curves_section,
    transfer_section,
    structure_section,
    laws_section,
    certificate_section,
    data_section,
    reproduce_section,
)
"""The page from top to bottom. A section is a list of pieces of HTML, empty where there is nothing to say."""

_STYLE = """
:root { --page: #fff; --ink: #1d2433; --soft: #5b6578; --line: #d9dee7; --panel: #f5f7fa; color-scheme: light dark }
@media (prefers-color-scheme: dark) {
 :root { --page: #14181f; --ink: #e4e8ef; --soft: #9aa5b8; --line: #313949; --panel: #1c222c } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 4rem; background: var(--page); color: var(--ink);
 font: 16px/1.5 system-ui, sans-serif }
h1 { margin-bottom: 0 } h2 { margin-top: 2.4rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem }
p.lead { font-size: 1.1rem } .soft, figcaption { color: var(--soft); font-size: .9rem }
svg { max-width: 100%; height: auto; font: 11px system-ui, sans-serif }
svg text { fill: var(--ink) } svg text[fill] { fill: #fff } svg .title { font-size: 13px; font-weight: 600 }
svg .grid { stroke: var(--line); stroke-width: 1 } svg .cell { stroke: var(--line) }
.row { display: flex; flex-wrap: wrap; gap: .5rem 1rem } figure { margin: .5rem 0 }
.scroll { overflow-x: auto } table { border-collapse: collapse; margin: .6rem 0 }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left } th { font-weight: 600; background: var(--panel) }
pre { background: var(--panel); padding: .8rem; overflow-x: auto } .key { margin-right: 1rem; white-space: nowrap }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .3em; vertical-align: -1px }
@media print { body { max-width: none } h2 { break-after: avoid } figure { break-inside: avoid } }
"""


def render_report(build: Path, label: str = "", published: str = "") -> str:
    """The page for a study.

    Args:
        build: the study's build folder, with its results up to verification.
        label: `name@vK` when the page is part of a published version.
        published: the date of that version.
    """
    results = Results(build, label, published)
    title = escape(label or results.publish["study"])
    about = f"{escape(results.publish['description'])}{f' Published {published}.' if published else ''}"
    parts = [f"<h1>{title}</h1>", f'<p class="soft">{about}</p>']
    parts += [piece for section in SECTIONS for piece in section(results)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}: data mixture</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
