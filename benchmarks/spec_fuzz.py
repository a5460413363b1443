"""Break specs at random and watch how each is answered: kind of answer, longest time, peak memory.

    python benchmarks/spec_fuzz.py [COUNT]

Prints how many of COUNT (20,000) mutations of the shipped specs compile, how many are refused with diagnostics, and how many
end otherwise; the slowest answer in seconds and the process's peak memory.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from mutations import mutated  # noqa: E402

from mixlang.spec import SpecError, load_spec  # noqa: E402


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    texts = [path.read_text() for path in sorted((ROOT / "specs").glob("*.yaml"))]
    ends, codes = Counter[str](), Counter[str]()
    slowest, slowest_seed = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        for seed in range(count):
            path.write_bytes(mutated(seed, texts[seed % len(texts)]))
            begun = time.perf_counter()
            try:
                load_spec(path)
                end = "compiled"
            except SpecError as error:
                end = "refused"
                codes.update({item.code for item in error.diagnostics})
                [item.render() for item in error.diagnostics]
            except BaseException as error:
                end = f"TRACEBACK {type(error).__name__} at seed {seed}"
            took = time.perf_counter() - begun
            if took > slowest:
                slowest, slowest_seed = took, seed
            ends[end] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for end, number in ends.most_common():
        print(f"{number:8} {end}")
    print(f"slowest answer {slowest:.3f} s (seed {slowest_seed}); peak memory {peak:.0f} MiB")
    print("specs with each code: " + ", ".join(f"{code} {number}" for code, number in sorted(codes.items())))


if __name__ == "__main__":
    main()
