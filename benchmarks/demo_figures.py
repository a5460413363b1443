"""Draw the figures of docs/idea.md from a finished study.

python benchmarks/demo_figures.py demo/build/quickstart docs/figures
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from mixlang.files import write_text
from mixlang.report.allocation import allocation_section
from mixlang.report.curves import curves_section
from mixlang.report.results import Results
from mixlang.report.svg import standalone
from mixlang.report.transfer import transfer_section
from mixlang.report.verification import verification_section

PARTS = {
    "curves": curves_section,
    "transfer": transfer_section,
    "allocation": allocation_section,
    "heldout": verification_section,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="the study's build folder")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    for name, section in PARTS.items():
        drawn = re.findall(r'<svg [^>]*role="img".*?</svg>', "".join(section(Results(options.build))), re.S)
        first = drawn[0].replace('width="100%"', 'width="640"', 1)
        write_text(options.out / f"demo_{name}.svg", standalone(first))
        print(options.out / f"demo_{name}.svg")


if __name__ == "__main__":
    main()
