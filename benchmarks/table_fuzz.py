"""Tables of results, changed in ways that happen, through `mixlang fit`.

    python benchmarks/table_fuzz.py [--count 2000] [--seed 0]

Three kinds of change: those that say the same in another way have to give the same laws; those that say something else, or
leave open what a column is, have to be refused; damaged bytes may be refused or read, but never end in a traceback, and
laws that come out are finite. Prints what happened by change, and every case that went wrong; exits 1 if any did.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mixlang.cli import main

NAMES = ("ct", "mri", "pet")
KEYS = {"losses": "run", "mixtures": "run"}


@dataclass
class Case:
    """Two tables as rows of text, how they are written, and the options of the call."""

    rows: dict[str, list[list[str]]]
    options: list[str] = field(default_factory=list)
    separator: str = ","
    encoding: str = "utf-8"
    ending: str = "\n"
    quote: int = csv.QUOTE_MINIMAL

    def column(self, table: str, name: str) -> int:
        """Where a column is."""
        return self.rows[table][0].index(name)

    def add(self, table: str, name: str, values: list[str]) -> None:
        """A further column."""
        for row, cell in zip(self.rows[table], [name, *values], strict=True):
            row.append(cell)

    def map(self, table: str, name: str, change: Callable[[str], str]) -> None:
        """Change every cell of a column."""
        at = self.column(table, name)
        for row in self.rows[table][1:]:
            row[at] = change(row[at])

    def write(self, folder: Path) -> None:
        """Write both files."""
        for table, rows in self.rows.items():
            text = io.StringIO()
            csv.writer(text, delimiter=self.separator, lineterminator=self.ending, quoting=self.quote).writerows(rows)
            (folder / f"{table}.csv").write_bytes(text.getvalue().encode(self.encoding))


def base() -> Case:
    """78 runs of a known world over three domains, two seeds each."""
    rng = np.random.default_rng(0)
    shares = [np.eye(3)[i] for i in range(3)] + list(rng.dirichlet(np.ones(3), 10))
    left, right, number = [["run", "tokens", "seed", *NAMES]], [["run", *NAMES]], 0
    for budget in (1000.0, 2000.0, 4000.0):
        for share in shares:
            for seed in (0, 1):
                kept = [round(float(part), 6) for part in share[:2]]
                kept.append(round(1 - sum(kept), 6))
                loss = [0.1 + 3 * (budget * (0.05 + kept[i] + 0.1 * sum(kept))) ** -0.3 for i in range(3)]
                noisy = [value * float(np.exp(0.005 * rng.standard_normal())) for value in loss]
                left.append([f"r{number}", repr(budget), str(seed), *map(repr, kept)])
                right.append([f"r{number}", *map(repr, noisy)])
                number += 1
    return Case({"mixtures": left, "losses": right})


def some(rng: np.random.Generator, case: Case, table: str) -> tuple[int, int]:
    """A row and a column of numbers."""
    row = int(rng.integers(1, len(case.rows[table])))
    return row, case.column(table, NAMES[int(rng.integers(3))])


def shuffled(rng: np.random.Generator, case: Case) -> None:
    """Rows and columns in another order."""
    for table, rows in case.rows.items():
        order = rng.permutation(len(rows) - 1) + 1
        columns = rng.permutation(len(rows[0]))
        case.rows[table] = [[rows[i][j] for j in columns] for i in [0, *order]]


def renamed(rng: np.random.Generator, case: Case) -> None:
    """Losses named in another case, or with words around the domain's name."""
    forms = [
        str.upper,
        str.title,
        lambda name: f"{name}_loss",
        lambda name: f"val/{name}",
        lambda name: f"metric-{name}-val",
    ]
    for name in NAMES:
        case.rows["losses"][0][case.column("losses", name)] = forms[int(rng.integers(len(forms)))](name)


def decimals(_rng: np.random.Generator, case: Case) -> None:
    """Semicolons, and decimal commas."""
    case.separator = ";"
    for table in case.rows:
        for row in case.rows[table][1:]:
            row[1:] = [cell.replace(".", ",") for cell in row[1:]]


def left_out(rng: np.random.Generator, case: Case) -> None:
    """A column that is left out by name."""
    table = ("mixtures", "losses")[int(rng.integers(2))]
    kinds = [lambda: "text", lambda: repr(float(rng.random())), lambda: str(rng.integers(9)), lambda: ""]
    kind = kinds[int(rng.integers(len(kinds)))]
    case.add(table, "extra", [kind() for _ in case.rows[table][1:]])
    case.options += ["--ignore", "extra"]


def scaled(unit: float, option: str) -> Callable[[np.random.Generator, Case], None]:
    """Shares as percent, or as amounts."""

    def change(_rng: np.random.Generator, case: Case) -> None:
        for row in case.rows["mixtures"][1:]:
            times = unit or float(row[1])
            row[3:] = [repr(float(cell) * times) for cell in row[3:]]
        case.options += ["--shares", option] if option else []

    return change


def setting(name: str, value: object) -> Callable[[np.random.Generator, Case], None]:
    """Another way to write the file."""
    return lambda _rng, case: setattr(case, name, value)


def spaced(rng: np.random.Generator, case: Case) -> None:
    """Blanks around cells, and empty lines."""
    for rows in case.rows.values():
        for row in rows:
            row[:] = [cell + " " * int(rng.integers(3)) for cell in row]
        rows.insert(int(rng.integers(1, len(rows))), [""] * len(rows[0]))


def thousands(_rng: np.random.Generator, case: Case) -> None:
    """Budgets with a suffix."""
    case.map("mixtures", "tokens", lambda cell: f"{float(cell) / 1000}k")


def stranger(rng: np.random.Generator, case: Case) -> None:
    """A column of numbers that is no share."""
    name = ("lr", "step", "weight_decay", "epoch", "x")[int(rng.integers(5))]
    scale = 10.0 ** float(rng.uniform(-6, 5))
    case.add("mixtures", name, [repr(scale * float(rng.uniform(0.5, 1))) for _ in case.rows["mixtures"][1:]])


def beside(rng: np.random.Generator, case: Case) -> None:
    """A column beside the losses that is none."""
    name = ("lr", "step", "epoch", "gpu", "x", "lesion", "seconds")[int(rng.integers(7))]
    case.add("losses", name, [repr(float(rng.uniform(0.5, 1))) for _ in case.rows["losses"][1:]])


def score(rng: np.random.Generator, case: Case) -> None:
    """A loss replaced by a score, where more is better."""
    top = (1.0, 100.0)[int(rng.integers(2))]
    case.map("losses", NAMES[int(rng.integers(3))], lambda cell: repr(top * (1 - float(cell) / 5)))


def cell(table: str, *values: str) -> Callable[[np.random.Generator, Case], None]:
    """One cell that cannot be."""

    def change(rng: np.random.Generator, case: Case) -> None:
        row, column = some(rng, case, table)
        case.rows[table][row][column] = values[int(rng.integers(len(values)))]

    return change


def twice(rng: np.random.Generator, case: Case) -> None:
    """A key that is there twice."""
    table = ("mixtures", "losses")[int(rng.integers(2))]
    rows = case.rows[table]
    one, other = rng.choice(np.arange(1, len(rows)), 2, replace=False)
    rows[one][0] = rows[other][0]


def lost(rng: np.random.Generator, case: Case) -> None:
    """A run that one table lacks, or a row that lacks a cell."""
    rows = case.rows[("mixtures", "losses")[int(rng.integers(2))]]
    at = int(rng.integers(1, len(rows)))
    if rng.random() < 0.5:
        del rows[at]
    else:
        del rows[at][-1]


def sizes(_rng: np.random.Generator, case: Case) -> None:
    """Two model sizes in one table, their column left out."""
    for table in case.rows:
        for row in case.rows[table][1:]:
            odd = int(row[0][1:]) % 2
            if table == "losses":
                row[1:] = [repr(float(text) * (0.8 if odd else 1.0)) for text in row[1:]]
            else:
                row[2] = "0"
                row.append("3e8" if odd else "1e8")
    case.rows["mixtures"][0].append("parameters")
    case.options += ["--ignore", "parameters"]


SAME = {
    "another order": shuffled,
    "other names": renamed,
    "semicolons": setting("separator", ";"),
    "tabs": setting("separator", "\t"),
    "decimal commas": decimals,
    "byte-order mark": setting("encoding", "utf-8-sig"),
    "UTF-16": setting("encoding", "utf-16"),
    "CRLF": setting("ending", "\r\n"),
    "quotes": setting("quote", csv.QUOTE_ALL),
    "blanks": spaced,
    "suffixes": thousands,
    "left out by name": left_out,
    "percent": scaled(100.0, "percent"),
    "amounts": scaled(0.0, "amounts"),
}
OTHER = {
    "a stranger among shares": stranger,
    "a stranger among losses": beside,
    "a score": score,
    "percent, not said": scaled(100.0, ""),
    "amounts, not said": scaled(0.0, ""),
    "a share that cannot be": cell("mixtures", "-0.2", "inf", "x", "", "2", "0,5", "1_0"),
    "a loss that cannot be": cell("losses", "-0.2", "inf", "0", "x", "1_0", "-inf", "1e999"),
    "a key twice": twice,
    "a run lost": lost,
    "sizes pooled": sizes,
}


def damaged(rng: np.random.Generator, folder: Path) -> None:
    """Bytes changed, cut off or repeated in one of the files."""
    path = folder / f"{('mixtures', 'losses')[int(rng.integers(2))]}.csv"
    data = bytearray(path.read_bytes())
    kind = int(rng.integers(4))
    if kind == 0:
        for at in rng.integers(0, len(data), int(rng.integers(1, 8))):
            data[at] = int(rng.integers(32, 256 if rng.random() < 0.1 else 127))
    elif kind == 1:
        del data[int(rng.integers(len(data))) :]
    elif kind == 2:
        start = int(rng.integers(len(data)))
        data[start:start] = data[start : start + int(rng.integers(1, 200))]
    else:
        for at in rng.integers(0, len(data), 5):
            data[at] = rng.choice(np.frombuffer(b',;\t"\n\r -.e%kM', np.uint8))
    path.write_bytes(bytes(data))


def fit(folder: Path, options: list[str]) -> tuple[int, str, dict[str, dict[str, float]]]:
    """The exit status of `mixlang fit`, what it said, and the parameters of the laws by domain."""
    out = folder / "fit.json"
    out.unlink(missing_ok=True)
    arguments = ["--mixtures", f"{folder}/mixtures.csv", "--losses", f"{folder}/losses.csv", "--key", "run"]
    arguments += ["--budget", "tokens", "--seed", "seed", "--law", "power", "--draws", "0", "--out", str(out)]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            status = main(["fit", *arguments, *options])
        except SystemExit as stopped:
            status = int(stopped.code or 0)
    if not out.exists():
        return status, said.getvalue(), {}
    laws = json.loads(out.read_text())["laws"]
    return status, said.getvalue(), {str(law["own"]): law["parameters"] for law in laws.values()}


def close(found: dict[str, dict[str, float]], wanted: dict[str, dict[str, float]]) -> bool:
    """Whether two fits are the same but for rounding."""
    return found.keys() == wanted.keys() and all(
        np.allclose([found[name][key] for key in wanted[name]], list(wanted[name].values()), rtol=1e-3, atol=1e-5)
        for name in wanted
    )


def one(number: int, seed: int, folder: Path, wanted: dict[str, dict[str, float]]) -> tuple[str, str]:
    """One case: the change, and what went wrong; empty where nothing did."""
    rng = np.random.default_rng([seed, number])
    case, kind = base(), ("same", "other", "damaged")[number % 3]
    changes = {"same": SAME, "other": OTHER, "damaged": {"damaged bytes": lambda _rng, _case: None}}[kind]
    name = list(changes)[int(rng.integers(len(changes)))]
    changes[name](rng, case)
    case.write(folder)
    if kind == "damaged":
        damaged(rng, folder)
    status, said, laws = fit(folder, case.options)
    if status not in (0, 1) or "Traceback" in said or "unexpectedly" in said:
        return name, f"ended with {status}: {said[-300:]}"
    if kind == "same" and (status or not close(laws, wanted)):
        return name, f"other laws, or refused: {said[:300]}"
    if kind == "other" and not status:
        return name, f"accepted: {said[:300]}"
    if not status and not all(np.isfinite(list(law.values())).all() for law in laws.values()):
        return name, "laws that are not finite"
    return f"{name}{', refused' if status else ', read'}", ""


def run(count: int, seed: int) -> int:
    """Try `count` changed tables; the number of those that went wrong."""
    seen: Counter[str] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        base().write(folder)
        _, _, wanted = fit(folder, [])
        for number in range(count):
            name, trouble = one(number, seed, folder, wanted)
            seen[name] += 1
            if trouble:
                wrong += 1
                print(f"WRONG {number} ({name}): {trouble}", flush=True)
    for name, times in sorted(seen.items()):
        print(f"{times:5} {name}")
    print(f"{count} tables, {wrong} wrong")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(bool(run(given.count, given.seed)))
