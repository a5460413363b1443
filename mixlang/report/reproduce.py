"""The report's section on how to get the same results again."""

from __future__ import annotations

from html import escape

from mixlang.report.results import Results


def reproduce_section(results: Results) -> list[str]:
    """The commands."""
    spec = escape(results.build.name)
    return [
        "<h2>Reproduce</h2>",
        f"<pre>mixlang run specs/{spec}.yaml\ndvc repro    # the same stages, without a new scan</pre>",
    ]
