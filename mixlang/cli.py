"""The command line. Commands are thin: they parse, call, print and choose the exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixlang import __version__
from mixlang.console import say
from mixlang.errors import MixlangError, StageError, crash


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 well; 1 the input is wrong; 2 usage; 3 a run or stage failed; 4 no optimal solution; 130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments) or 0)
    except MixlangError as error:
        _complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left; nothing more can be said
        return 0
    except Exception as error:
        failed = crash(error, "this command")
        _complain(failed)
        return failed.exit_code


def _complain(error: MixlangError) -> None:
    if os.environ.get("MIXLANG_OUTCOME"):
        return  # a stage under `mixlang run`, which has been told and says it once
    from mixlang.spec.diagnostics import SpecError

    if isinstance(error, SpecError):
        for item in error.diagnostics:
            say(item.render())
        return
    say(f"error: {error}")
    if error.hint:
        say(f"   help: {error.hint}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mixlang", description="Solve, prove and publish the data mixture of a 3D medical foundation model."
    )
    parser.add_argument("--version", action="version", version=f"mixlang {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, help: str | None) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help) if help else commands.add_parser(name)
        added.set_defaults(command=function)
        return added

    def spec(added: argparse.ArgumentParser) -> None:
        added.add_argument("spec", type=Path, metavar="SPEC", help="a spec, for example specs/quickstart.yaml")

    def form(added: argparse.ArgumentParser) -> None:
        added.add_argument("--format", choices=["text", "json"], default="text", help="json: one document on stdout")

    init = command("init", _init, "make a workspace with a starting spec")
    init.add_argument("path", type=Path, metavar="PATH")
    check = command("check", _check, "check a spec without touching its data")
    spec(check)
    form(check)
    check.add_argument("--strict", action="store_true", help="treat warnings as errors")
    check.add_argument("--resolved", action="store_true", help="print the spec with every default explicit")
    plan = command("plan", _plan, "show what would run, what is done and what it costs; changes nothing")
    spec(plan)
    form(plan)
    spec(command("compile", _compile, "register a spec in dvc.yaml and write its plan; trains nothing"))
    run = command("run", _run, "compile, reproduce through DVC and publish")
    spec(run)
    run.add_argument("--jobs", type=_positive, metavar="N", help="runs at once (default: launch.max_parallel)")
    status = command("status", _status, "how far each study is")
    status.add_argument("spec", type=Path, metavar="SPEC", nargs="?")
    form(status)
    worker = command("worker", _worker, "train one shard of a plan's runs, for any scheduler that sets an index")
    worker.add_argument("plan", type=Path, metavar="PLAN", help="build/SPEC/plan.json")
    worker.add_argument(
        "--shard", type=_shard, default=(0, 1), metavar="I/N", help="every N-th run, from the I-th (0-based)"
    )
    gc = command("gc", _gc, "delete runs from the store that no plan or table of results names")
    gc.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    _tables_parser(command, form)
    registry = command("registry", None, "list, show and verify published mixtures")
    _registry_parser(registry, form)
    stage = commands.add_parser("stage", description="one stage of the pipeline, as dvc.yaml calls it")
    stage.add_argument("name")
    stage.add_argument("item")
    stage.set_defaults(command=_stage)
    return parser


def _tables_parser(command: Any, form: Any) -> None:
    fit = command("fit", _fit, "fit laws to your own results: a table of mixtures and a table of losses")
    fit.add_argument("--mixtures", type=Path, required=True, metavar="CSV", help="a row a run: key, a share a domain")
    fit.add_argument("--losses", type=Path, required=True, metavar="CSV", help="a row a run: key, a column a loss")
    fit.add_argument("--key", default="index", metavar="COLUMN", help="joins the tables (default: index)")
    fit.add_argument("--budget", metavar="COLUMN", help="total amount of each run, in the mixtures table")
    fit.add_argument("--seed", metavar="COLUMN", help="seed of each run, in the mixtures table")
    fit.add_argument("--ignore", type=_names, default=[], metavar="A,B", help="columns to leave out")
    fit.add_argument("--law", default="auto", metavar="auto|NAME", help="auto: chosen by cross-validation")
    fit.add_argument(
        "--choose", choices=["each", "all"], default="each", help="auto: a law for each loss, or one for all"
    )
    fit.add_argument("--draws", type=_count, default=100, metavar="N", help="bootstrap draws (default: 100)")
    fit.add_argument("--trees", action="store_true", help="compare with gradient-boosted trees (needs lightgbm)")
    fit.add_argument("--out", type=Path, required=True, metavar="FIT.json")
    predict = command("predict", _predict, "predict the losses of mixtures from fitted laws, as CSV")
    predict.add_argument("--fit", type=Path, required=True, metavar="FIT.json")
    predict.add_argument("--mixtures", type=Path, required=True, metavar="CSV")
    predict.add_argument("--key", metavar="COLUMN", help="default: as fitted")
    predict.add_argument("--budget", metavar="COLUMN", help="total amount of each row (default: as fitted)")
    predict.add_argument("--ignore", type=_names, default=[], metavar="A,B", help="columns to leave out")
    predict.add_argument("--at", type=_amount, metavar="N", help="one budget for all rows")
    predict.add_argument("--out", type=Path, metavar="CSV", help="default: standard output")
    allocate = command("allocate", _allocate, "solve the mixture of a budget under fitted laws, with its proof")
    allocate.add_argument("--fit", type=Path, required=True, metavar="FIT.json")
    allocate.add_argument("--budget", type=_amount, metavar="N", help="default: the largest one fitted")
    allocate.add_argument(
        "--objective", default="weighted_loss", metavar="NAME", help="weighted_loss, geometric_mean, worst_case, robust"
    )
    allocate.add_argument(
        "--tail", type=_fraction, default=0.2, metavar="P", help="robust: the worst part of the draws"
    )
    allocate.add_argument("--weights", type=_pairs, metavar="LOSS=W,...", help="1 where left out")
    allocate.add_argument("--available", type=Path, metavar="CSV", help="columns domain,amount: what there is")
    allocate.add_argument("--repetition", type=_amount, metavar="R", help="how often what there is may be seen")
    allocate.add_argument("--share", type=_ranges, metavar="DOMAIN=MIN:MAX,...", help="bounds on shares")
    allocate.add_argument("--group", type=_groups, metavar="NAME=A+B=MIN:MAX,...", help="bounds on sums of shares")
    allocate.add_argument("--cost", type=_pairs, metavar="DOMAIN=C,...", help="cost of one unit; 1 where left out")
    allocate.add_argument("--prior", type=_amount, default=0.0, metavar="KL", help="pull to proportional (or uniform)")
    allocate.add_argument("--reach", type=_pairs, metavar="LOSS=VALUE,...", help="find the smallest budget that does")
    allocate.add_argument("--path", type=_amounts, metavar="N,N,...", help="also solve at these budgets")
    allocate.add_argument("--out", type=Path, metavar="A.json")
    form(allocate)


def _registry_parser(registry: argparse.ArgumentParser, form: Any) -> None:
    actions = registry.add_subparsers(required=True, metavar="ACTION")
    for name, function, help in (
        ("list", _registry_list, "all mixtures and their versions"),
        ("show", _registry_show, "one mixture: shares, evidence, where it comes from"),
        ("verify", _registry_verify, "prove from the files alone that a version is as published"),
    ):
        added = actions.add_parser(name, help=help, description=help)
        added.set_defaults(command=function)
        added.add_argument("--registry", type=Path, metavar="DIR", help="default: the workspace's registry/")
        form(added)
        if name == "show":
            added.add_argument("mixture", metavar="NAME[@VERSION]")
        elif name == "verify":
            added.add_argument("mixture", metavar="NAME[@VERSION]", nargs="?", help="default: every version of all")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) > 10_000:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 10000, not {text!r}")
    return int(text)


def _amount(text: str) -> float:
    from mixlang.spec.quantities import parse_amount

    try:
        value = float(text) if text[-1:].isdigit() else float(parse_amount(text))
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number such as 5000, 5k or 1e6, not {text!r}")
    return value


def _fraction(text: str) -> float:
    value = _amount(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and at most 1, not {text!r}")
    return value


def _amounts(text: str) -> list[float]:
    return [_amount(item) for item in text.split(",")]


def _names(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _pairs(text: str) -> dict[str, float]:
    """`a=1,b=2`; the last = counts, since names may hold one."""
    found: dict[str, float] = {}
    for item in _names(text):
        name, sign, value = item.rpartition("=")
        if not sign or not name:
            raise argparse.ArgumentTypeError(f"expected NAME=NUMBER, not {item!r}")
        if name in found:
            raise argparse.ArgumentTypeError(f"{name!r} is given twice")
        found[name] = _amount(value)
    return found


def _range(text: str) -> tuple[float, float]:
    low, colon, high = text.partition(":")
    least, most = _amount(low or "0"), _amount(high or "1")
    if not colon or not least <= most <= 1:
        raise argparse.ArgumentTypeError(f"expected MIN:MAX with 0 <= MIN <= MAX <= 1, not {text!r}")
    return least, most


def _ranges(text: str) -> dict[str, tuple[float, float]]:
    """`a=0.1:0.5,b=:0.2`."""
    found: dict[str, tuple[float, float]] = {}
    for item in _names(text):
        name, sign, bounds = item.rpartition("=")
        if not sign or not name or name in found:
            raise argparse.ArgumentTypeError(f"expected each NAME=MIN:MAX once, not {item!r}")
        found[name] = _range(bounds)
    return found


def _groups(text: str) -> dict[str, tuple[list[str], float, float]]:
    """`brain=mri+pet=0.2:0.6`."""
    found: dict[str, tuple[list[str], float, float]] = {}
    for item in _names(text):
        name, _, rest = item.partition("=")
        members, sign, bounds = rest.rpartition("=")
        if not sign or not name or not members or name in found:
            raise argparse.ArgumentTypeError(f"expected each NAME=A+B=MIN:MAX once, not {item!r}")
        found[name] = ([member.strip() for member in members.split("+")], *_range(bounds))
    return found


def _shard(text: str) -> tuple[int, int]:
    first, _, count = text.partition("/")
    if not (first.isdigit() and count.isdigit() and int(first) < int(count)):
        raise argparse.ArgumentTypeError(f"expected I/N with 0 <= I < N, for example 0/8, not {text!r}")
    return int(first), int(count)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, sort_keys=True, allow_nan=False))


def _init(arguments: argparse.Namespace) -> None:
    from mixlang.plan.scaffold import make_workspace

    for line in make_workspace(arguments.path):
        say(line)


def _check(arguments: argparse.Namespace) -> int:
    from mixlang.plan.workspace import Workspace
    from mixlang.spec import SpecError, load_spec
    from mixlang.spec.locations import Locations, check_sources

    try:
        loaded = load_spec(arguments.spec, strict=arguments.strict)
        try:
            root = Workspace.find(arguments.spec.resolve().parent).root
        except MixlangError:
            root = arguments.spec.resolve().parent
        missing = check_sources(loaded, Locations.of(root))
        if missing:
            raise SpecError([*loaded.warnings, *missing])
    except SpecError as error:
        if arguments.format == "json":
            _print_json({"ok": False, "diagnostics": [item.as_dict() for item in error.diagnostics]})
            return 1
        raise
    if arguments.format == "json":
        _print_json({"ok": True, "diagnostics": [item.as_dict() for item in loaded.warnings]})
        return 0
    for item in loaded.warnings:
        say(item.render())
    if arguments.resolved:
        import yaml

        from mixlang.spec.presets import resolved

        print(yaml.safe_dump(resolved(loaded.spec), sort_keys=False, width=100), end="")
    else:
        count = len(loaded.warnings)
        print(f"{arguments.spec}: well-formed" + (f", {count} warning{'s' * (count != 1)}" if count else ""))
    return 0


def _plan(arguments: argparse.Namespace) -> None:
    from runners.compiler import compile_study
    from runners.overview import overview, show_overview

    compiled = compile_study(arguments.spec, write=False)
    found = overview(compiled)
    if arguments.format == "json":
        _print_json(found)
    else:
        show_overview(found)


def _compile(arguments: argparse.Namespace) -> None:
    from runners.compiler import compile_study

    compiled = compile_study(arguments.spec, write=True)
    runs = compiled.compiled.plan.runs
    print(f"{arguments.spec}: {len(runs)} probe runs, {sum(run.budget for run in runs):,} samples; nothing trained yet")


def _run(arguments: argparse.Namespace) -> None:
    import time

    from mixlang.plan.pipeline import reproduce
    from runners.compiler import compile_study
    from runners.overview import show_outcome

    begun = time.monotonic()
    compiled = compile_study(arguments.spec, write=True)
    reproduce(compiled.workspace, compiled.study, arguments.jobs)
    show_outcome(compiled.workspace, compiled.study, time.monotonic() - begun)


def _stage(arguments: argparse.Namespace) -> None:
    from mixlang.plan.pipeline import STAGES
    from runners.stages import run_stage

    if arguments.name not in STAGES:
        raise StageError(f"there is no stage '{arguments.name}'; the stages are {', '.join(STAGES)}")
    run_stage(arguments.name, arguments.item)


def _status(arguments: argparse.Namespace) -> None:
    from mixlang.plan.workspace import Workspace
    from runners.status import show_status, study_status

    workspace = Workspace.find(arguments.spec.resolve().parent if arguments.spec else Path.cwd())
    studies = [workspace.study(arguments.spec)] if arguments.spec else workspace.studies()
    found = [study_status(workspace, study) for study in studies]
    if arguments.format == "json":
        _print_json(found)
    else:
        show_status(found)


def _fit(arguments: argparse.Namespace) -> None:
    from mixlang.tables import fit_tables

    fit_tables(
        arguments.mixtures,
        arguments.losses,
        arguments.out,
        arguments.key,
        arguments.budget,
        arguments.seed,
        arguments.ignore,
        arguments.law,
        arguments.choose,
        arguments.draws,
        arguments.trees,
    )


def _predict(arguments: argparse.Namespace) -> None:
    from mixlang.tables import predict_table

    predict_table(
        arguments.fit,
        arguments.mixtures,
        arguments.out,
        arguments.key,
        arguments.budget,
        arguments.at,
        arguments.ignore,
    )


def _allocate(arguments: argparse.Namespace) -> None:
    from mixlang.tables import allocate_fit, show_allocation

    document = allocate_fit(
        arguments.fit,
        arguments.out,
        arguments.budget,
        arguments.objective,
        arguments.weights,
        arguments.available,
        arguments.repetition,
        arguments.share,
        arguments.group,
        arguments.cost,
        arguments.prior,
        arguments.tail,
        arguments.reach,
        arguments.path,
    )
    if arguments.format == "json":
        _print_json(document)
    else:
        show_allocation(document)


def _worker(arguments: argparse.Namespace) -> None:
    from runners.worker import work

    work(arguments.plan, *arguments.shard)


def _gc(arguments: argparse.Namespace) -> None:
    from mixlang.plan.workspace import Workspace
    from runners.status import unnamed_runs
    from runners.store import RunStore

    workspace = Workspace.find(Path.cwd())
    keys = unnamed_runs(workspace)
    for key in keys:
        print(key)
        if not arguments.dry_run:
            RunStore(workspace.store).forget(key)
    say(f"{len(keys)} runs {'would be' if arguments.dry_run else 'were'} deleted")


def _open_registry(arguments: argparse.Namespace) -> Any:
    from mixlang.plan.workspace import Workspace
    from mixlang.registry import Registry

    return Registry(arguments.registry or Workspace.find(Path.cwd()).registry)


def _registry_list(arguments: argparse.Namespace) -> None:
    registry = _open_registry(arguments)
    found = [registry.get(f"{name}@v{k}") for name in registry.names() for k in registry.versions(name)]
    if arguments.format == "json":
        _print_json([mixture.facts for mixture in found])
        return
    for mixture in found:
        shares = "  ".join(f"{name} {share:.1%}" for name, share in mixture.shares.items())
        print(f"{mixture.label:24} {mixture.facts['published']}  budget {mixture.budget:,.0f}  {shares}")
    if not found:
        say(f"nothing is published in {registry.root} yet")


def _registry_show(arguments: argparse.Namespace) -> None:
    import yaml

    mixture = _open_registry(arguments).get(arguments.mixture)
    if arguments.format == "json":
        _print_json(mixture.facts)
    else:
        print(yaml.safe_dump(mixture.facts, sort_keys=False, allow_unicode=True, width=100), end="")
        print(f"report: {mixture.folder / 'report.html'}")


def _registry_verify(arguments: argparse.Namespace) -> int:
    from runners.proof import check_version

    registry = _open_registry(arguments)
    if arguments.mixture:
        found = [registry.get(arguments.mixture)]
    else:
        found = [registry.get(f"{name}@v{k}") for name in registry.names() for k in registry.versions(name)]
    results = {mixture.label: check_version(registry, mixture) for mixture in found}
    if arguments.format == "json":
        _print_json({label: {"ok": not problems, "problems": problems} for label, problems in results.items()})
    else:
        for label, problems in results.items():
            print(
                f"{label}: {'as published, and the allocation follows from its laws' if not problems else 'NOT INTACT'}"
            )
            for problem in problems:
                print(f"  {problem}")
    return 1 if any(results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
