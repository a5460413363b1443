"""What the choices of the training recipe do to the losses, on the quickstart's phantoms.

    python benchmarks/recipe.py schedule   # wsd against cosine: the single-domain ladder
    python benchmarks/recipe.py ladder     # independent runs against branches of one trunk: losses, samples, seconds
    python benchmarks/recipe.py parts      # one batch against the same batch in two parts: how rounding grows
    python benchmarks/recipe.py target     # raw intensities against patches normalised to mean 0 and variance 1

Everything runs in a temporary store, as many runs at once as there are cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from mixlang.files import write_json
from mixlang.plan.build import Plan, compile_plan
from mixlang.plan.evaluations import evaluations_of
from mixlang.spec import load_spec
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Launch
from runners.data.scan import scan
from runners.data.volumes import prepare
from runners.execute.batch import Batch
from runners.execute.scores import row_of
from runners.execute.store import RunStore
from runners.train import pretrain
from runners.train.mae import MaskedAutoencoder

ROOT = Path(__file__).parents[1]


class Bench:
    """The quickstart's plan and volumes in a temporary folder; every set of runs gets a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        spec, locations = load_spec(ROOT / "specs" / "quickstart.yaml").spec, Locations(folder, {})
        compiled = compile_plan(spec, scan(spec, locations, folder / "volumes", 1)).plan
        prepare(compiled.volumes, folder / "volumes", locations, 2)
        self.plan = replace(compiled, runs=[run for run in compiled.runs if run.kind == "single"])

    def train(self, name: str, plan: Plan, launch: Launch) -> tuple[dict, list[dict], float]:
        """Train all runs of a plan: their rows by (domain, budget, seed), their results, and seconds."""
        store = RunStore(self.folder / name)
        store.root.mkdir()
        (store.root / "volumes").symlink_to(self.folder / "volumes" / "volumes")
        write_json(self.folder / f"{name}.json", plan.as_dict())
        begun = time.monotonic()
        rows = Batch(plan, self.folder / f"{name}.json", plan.runs, store, launch, name).execute()
        seconds = time.monotonic() - begun
        return {key_of(row): row for row in rows}, [store.result(row["key"]) for row in rows], seconds

    def changed(self, **recipe: object) -> Plan:
        """The plan with another recipe, its runs keyed anew."""
        training = {**self.plan.training, "recipe": {**self.plan.training["recipe"], **recipe}}
        plan = replace(self.plan, training=training)
        return replace(plan, runs=[plan.run(run.kind, run.amounts, run.seed) for run in self.plan.runs])


def key_of(row: dict) -> tuple[str, int, int]:
    (domain,) = (name for name, amount in row["amounts"].items() if amount)
    return domain, row["budget"], row["seed"]


def show(title: str, rows: dict, on: str | None = None) -> None:
    """Mean losses over seeds, a line for each trained and evaluated domain; of one evaluated domain alone if given."""
    budgets = sorted({budget for _, budget, _ in rows})
    print(f"{title:12} {'trained':8} {'evaluated':9}" + "".join(f"{budget:>9,}" for budget in budgets))
    for domain in sorted({domain for domain, _, _ in rows}):
        for other in sorted(next(iter(rows.values()))["losses"]):
            if on == "own" and other != domain:
                continue
            losses = [
                mean(row["losses"][other] for key, row in rows.items() if key[:2] == (domain, budget))
                for budget in budgets
            ]
            print(f"{'':12} {domain:8} {other:9}" + "".join(f"{loss:9.4f}" for loss in losses))


def schedule(bench: Bench) -> None:
    wsd, _, _ = bench.train("wsd", bench.plan, Launch())
    cosine, _, _ = bench.train("cosine", bench.changed(schedule="cosine"), Launch())
    show("wsd", wsd, "own")
    show("cosine", cosine, "own")
    budgets = sorted({budget for _, budget, _ in wsd})
    for budget in budgets:
        ratios = [cosine[key]["losses"][key[0]] / wsd[key]["losses"][key[0]] for key in wsd if key[1] == budget]
        print(
            f"cosine over wsd at {budget:,}: {mean(ratios) - 1:+.1%} ({min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%})"
        )


def ladder(bench: Bench) -> None:
    batch = bench.plan.training["recipe"]["batch_size"]
    losses = []
    for kind in ("independent", "branches"):
        rows, results, seconds = bench.train(kind, bench.plan, Launch(ladder=kind))
        samples = sum(row["budget"] for row in rows.values()) - batch * sum(item["resumed_at_step"] for item in results)
        training, evaluation = (sum(item["seconds"][part] for item in results) for part in ("train", "evaluate"))
        print(
            f"{kind}: {samples:,} samples; {training:.0f} s of training and {evaluation:.0f} s of evaluation in "
            f"{seconds:.0f} s in all"
        )
        losses.append([row["losses"] for row in rows.values()])
    print("the losses are the same to the last bit" if losses[0] == losses[1] else "THE LOSSES DIFFER")


def parts(bench: Bench) -> None:
    """One seed, the smallest and the largest budget."""
    budgets = {run.budget for run in bench.plan.runs}
    runs = [run for run in bench.plan.runs if run.seed == 0 and run.budget in (min(budgets), max(budgets))]
    bench.plan = replace(bench.plan, runs=runs)
    one, _, _ = bench.train("whole", bench.plan, Launch())
    two, _, _ = bench.train("parts", bench.plan, Launch(accumulate=2))
    for budget in sorted({budget for _, budget, _ in one}):
        differences = [
            abs(two[key]["losses"][name] / row["losses"][name] - 1)
            for key, row in one.items()
            if key[1] == budget
            for name in row["losses"]
        ]
        print(f"{budget:,} samples: relative difference at most {max(differences):.1e}, mean {mean(differences):.1e}")


class PatchNormalised(MaskedAutoencoder):
    """The target of He 2022: each patch minus its mean, over its deviation."""

    def forward(self, crops: Tensor, order: Tensor, padded: bool = False) -> Tensor:
        """The loss of each crop; the phantoms have no padding."""
        patches = self.patches(crops, order[:, self.size.visible :])
        centred = patches - patches.mean(dim=2, keepdim=True)
        target = centred / (patches.var(dim=2, keepdim=True) + 1e-6).sqrt()
        predicted = self._predict(self.patches(crops, order[:, : self.size.visible]), order)
        return (predicted - target).square().mean(dim=(1, 2))


def target(bench: Bench) -> None:
    """One seed, a budget and four times as much; in this process, because the network is another."""
    torch.set_num_threads(1)
    runs = [bench.plan.run("single", {name: budget}, 0) for budget in (2048, 8192) for name in bench.plan.domains]
    for title, network in (("raw", MaskedAutoencoder), ("normalised", PatchNormalised)):
        store = RunStore(bench.folder / title)
        store.root.mkdir()
        (store.root / "volumes").symlink_to(bench.folder / "volumes" / "volumes")
        pretrain.MaskedAutoencoder = network  # type: ignore[misc]
        for run in runs:
            pretrain.train_run(bench.plan, run, store.root, Launch(ladder="independent", tracker="none"), None)
        show(title, {key_of(run.as_dict()): row_of(run, evaluations_of(bench.plan), store, {}) for run in runs})


QUESTIONS = {question.__name__: question for question in (schedule, ladder, parts, target)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=list(QUESTIONS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        QUESTIONS[options.question](Bench(Path(folder)))


if __name__ == "__main__":
    main()
