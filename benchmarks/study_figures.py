"""Draw the figures of docs/idea.md and docs/study.md from a finished study.

python benchmarks/study_figures.py build/study docs/figures --prefix study
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from mixlang.files import write_text
from mixlang.report.allocation import allocation_section
from mixlang.report.curves import curves_section
from mixlang.report.hubs import structure_section
from mixlang.report.results import Results
from mixlang.report.svg import standalone
from mixlang.report.transfer import transfer_section
from mixlang.report.verification import verification_section

PARTS = {
    "curves": curves_section,
    "transfer": transfer_section,
    "allocation": allocation_section,
    "heldout": verification_section,
    "graph": structure_section,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="the study's build folder")
    parser.add_argument("out", type=Path)
    parser.add_argument("--prefix", default="demo", help="what the files' names begin with")
    options = parser.parse_args()
    for name, section in PARTS.items():
        drawn = re.findall(r'<svg [^>]*role="img".*?</svg>', "".join(section(Results(options.build))), re.S)
        first = drawn[0].replace('width="100%"', 'width="640"', 1)
        write_text(options.out / f"{options.prefix}_{name}.svg", standalone(first))
        print(options.out / f"{options.prefix}_{name}.svg")


if __name__ == "__main__":
    main()
