"""The report's section on how to check a result and get it again."""

from __future__ import annotations

from mixlang.report.parts import code, soft
from mixlang.report.results import Results


def reproduce_section(results: Results) -> list[str]:
    """The commands."""
    again = f"mixlang run specs/{results.build.name}.yaml"
    parts = ["<h2>Reproduce</h2>"]
    if results.label and results.provenance is not None:
        parts += [
            code(
                f"mixlang registry verify {results.label}           # from its files: hashes, certificate, laws from losses.csv\n"
                f"mixlang registry verify {results.label} --rerun   # train every run again and compare the losses\n"
                f"{results.provenance['reproduce']}   # the whole study"
            ),
            soft("In the workspace, with the data where mixlang.local.yaml says; runs that are in the store are kept."),
        ]
    else:
        parts.append(code(f"{again}\ndvc repro    # the same stages, without a new scan"))
    return parts
