"""The command line: its parser, and how every command ends. The commands themselves are in mixlang.commands."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlang import __version__, arguments
from mixlang.commands import registry, specs, tables
from mixlang.commands import studies as pipeline
from mixlang.console import print_json, say
from mixlang.errors import MixlangError, crash, is_full
from mixlang.names import DECISIONS, EXPECTED, OBJECTIVES, UNITS


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 well; 1 the input is wrong; 2 usage; 3 a run or stage failed; 4 no optimal solution; 130 interrupted.
    """
    _start_quickly()
    given = parser().parse_args(argv)
    try:
        return int(given.command(given) or 0)
    except MixlangError as error:
        _complain(error, getattr(given, "format", "text") == "json")
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left; nothing more can be said
        return 0
    except Exception as error:
        if is_full(error) and getattr(error, "filename", None) is None:
            say("error: the disk, or what standard output goes to, is full")
            return 3
        failed = crash(error, "this command")
        _complain(failed)
        return failed.exit_code


def _start_quickly() -> None:
    """Leave out what costs a tenth of a light command's time and brings it nothing (benchmarks/command_line.py)."""
    gc.set_threshold(
        50_000
    )  # what is made while starting is kept; looking for garbage in it again and again finds none
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looked for in every installed package


def _complain(error: MixlangError, as_json: bool = False) -> None:
    if os.environ.get("MIXLANG_OUTCOME"):
        return  # a stage under `mixlang run`, which has been told and says it once
    from mixlang.spec.diagnostics import SpecError, rendered

    if as_json:  # standard output is one document, whatever happens
        document: dict[str, Any] = {"ok": False, "error": str(error), "hint": error.hint}
        if isinstance(error, SpecError):
            document["diagnostics"] = [item.as_dict() for item in error.diagnostics]
        print_json(document)
    if isinstance(error, SpecError):
        for text in rendered(error.diagnostics):
            say(text)
        return
    say(f"error: {error}")
    if error.hint:
        say(f"   help: {error.hint}")


@dataclass(frozen=True)
class Command:
    """A command: what it is called, what it does in a few words, its options, and the function that does it."""

    name: str
    help: str
    options: Callable[[argparse.ArgumentParser], None]
    function: Callable[[argparse.Namespace], int | None] | None


class CommandParser(argparse.ArgumentParser):
    """A parser that learns its options when they are needed: adding all commands' options costs more than any use."""

    learn: Callable[[argparse.ArgumentParser], None] | None = None

    def complete(self) -> None:
        """Add the options, once."""
        learn, self.learn = self.learn, None
        if learn is not None:
            learn(self)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse does, naming the command that was probably meant and none that is not for people."""
        if action.choices is None or value in action.choices or not isinstance(action, argparse._SubParsersAction):
            super()._check_value(action, value)
            return
        from mixlang.spec.suggest import did_you_mean

        names = [name for name in action.choices if name != "stage"]
        help = did_you_mean(str(value), names) or f"the commands are {', '.join(names)}"
        raise argparse.ArgumentError(None, f"there is no command '{value}'; {help}")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, naming the option that was probably meant."""
        self.complete()
        found, unknown = super().parse_known_args(args, namespace)
        option = next((text.split("=")[0] for text in unknown if text.startswith("--")), "")
        if option:
            from mixlang.spec.suggest import did_you_mean

            help = did_you_mean(option, [name for name in self._option_string_actions if name.startswith("--")])
            self.error(f"there is no option {option}" + (f"; {help}" if help else ""))
        return found, unknown


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = CommandParser(
        prog="mixlang", description="Solve, prove and publish the data mixture of a 3D medical foundation model."
    )
    top.add_argument("--version", action="version", version=f"mixlang {__version__}")
    _add_commands(top, COMMANDS, "COMMAND")
    return top


def _add_commands(group: argparse.ArgumentParser, commands: Sequence[Command], metavar: str) -> None:
    added = group.add_subparsers(required=True, metavar=metavar, parser_class=CommandParser)
    for command in commands:
        shown = {"help": command.help} if command.name != "stage" else {}
        one = added.add_parser(command.name, description=command.help, **shown)
        one.set_defaults(command=command.function)
        one.learn = command.options


def _spec(added: argparse.ArgumentParser) -> None:
    added.add_argument("spec", type=Path, metavar="SPEC", help="a spec, for example specs/quickstart.yaml")
    added.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a value that goes before the spec's, such as budgets.target=20k; may be given again",
    )


def _form(added: argparse.ArgumentParser, *more: str) -> None:
    choices = ["text", "json", *more]
    added.add_argument("--format", choices=choices, default="text", help="json: one document on standard output")


def _init_options(added: argparse.ArgumentParser) -> None:
    added.add_argument("path", type=Path, metavar="PATH")
    added.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DATA",
        help="start from these data: a folder, a CSV manifest, an nnU-Net data set, a MONAI datalist or a BIDS tree",
    )


def _doctor_options(added: argparse.ArgumentParser) -> None:
    added.add_argument(
        "data", type=Path, metavar="DATA", help="a folder, a CSV manifest, an nnU-Net data set, a datalist, a BIDS tree"
    )
    added.add_argument(
        "--out", type=Path, metavar="PAGE", default=Path("doctor.html"), help="the page with pictures (doctor.html)"
    )


def _check_options(added: argparse.ArgumentParser) -> None:
    _spec(added)
    _form(added, "github")
    added.add_argument("--strict", action="store_true", help="treat warnings as errors")
    added.add_argument("--resolved", action="store_true", help="print the spec with every default explicit")


def _plan_options(added: argparse.ArgumentParser) -> None:
    _spec(added)
    _form(added)


def _compile_options(added: argparse.ArgumentParser) -> None:
    _spec(added)


def _diff_spec_options(added: argparse.ArgumentParser) -> None:
    added.add_argument("before", type=Path, metavar="A")
    added.add_argument("after", type=Path, metavar="B")
    _form(added)


def _run_options(added: argparse.ArgumentParser) -> None:
    _spec(added)
    added.add_argument(
        "--jobs", type=arguments.positive, metavar="N", help="runs at once (default: launch.max_parallel)"
    )
    added.add_argument(
        "--detach", action="store_true", help="with a scheduler: submit and leave; run again to go on with the results"
    )


def _status_options(added: argparse.ArgumentParser) -> None:
    added.add_argument("spec", type=Path, metavar="SPEC", nargs="?")
    _form(added)
    added.add_argument("--watch", action="store_true", help="show it over again until no run is running or waiting")


def _worker_options(added: argparse.ArgumentParser) -> None:
    added.add_argument("plan", type=Path, metavar="PLAN", help="build/SPEC/plan.json")
    added.add_argument(
        "--shard",
        type=arguments.shard,
        default=(0, 1),
        metavar="I/N",
        help="one of N parts of about the same work (I from 0)",
    )


def _gc_options(added: argparse.ArgumentParser) -> None:
    added.add_argument("--dry-run", action="store_true", help="only list the runs and what they take")
    added.add_argument("--yes", action="store_true", help="do not ask")
    added.add_argument("--empty-trash", action="store_true", help="delete what earlier calls have moved to the trash")
    added.add_argument(
        "--unknown", action="store_true", help="also runs that nobody is known to have asked for (of older versions)"
    )
    added.add_argument(
        "--release", metavar="WORKSPACE", help="a workspace that is gone for good: it asks for nothing any more"
    )


def _fit_options(added: argparse.ArgumentParser) -> None:
    added.add_argument("--mixtures", type=Path, required=True, metavar="CSV", help="a row a run: key, a share a domain")
    added.add_argument(
        "--losses",
        type=Path,
        required=True,
        metavar="CSV",
        help="a row a run: key, a column a loss; may be the same file",
    )
    added.add_argument("--key", default="index", metavar="COLUMN", help="joins the tables (default: index)")
    added.add_argument("--budget", metavar="COLUMN", help="total amount of each run, in the mixtures table")
    added.add_argument("--seed", metavar="COLUMN", help="seed of each run, in the mixtures table")
    added.add_argument("--ignore", type=arguments.names, default=[], metavar="A,B", help="columns to leave out")
    added.add_argument(
        "--keep", type=arguments.names, default=[], metavar="A,B", help="domains or losses, whatever they look like"
    )
    added.add_argument(
        "--maximize", type=arguments.names, default=[], metavar="A,B", help="scores, where more is better"
    )
    added.add_argument("--shares", choices=UNITS, default="fractions", help="what shares are written as")
    added.add_argument(
        "--where", type=arguments.texts, default={}, metavar="COLUMN=VALUE,...", help="only rows with these values"
    )
    added.add_argument(
        "--law",
        default="stacked",
        metavar="stacked|auto|NAME",
        help="stacked: several families, weighed by cross-validation; auto: the best one",
    )
    added.add_argument(
        "--choose", choices=["each", "all"], default="each", help="auto: a law for each loss, or one for all"
    )
    added.add_argument("--draws", type=arguments.count, default=100, metavar="N", help="bootstrap draws (default: 100)")
    added.add_argument("--trees", action="store_true", help="compare with gradient-boosted trees (needs lightgbm)")
    added.add_argument("--out", type=Path, required=True, metavar="FIT.json")


def _predict_options(added: argparse.ArgumentParser) -> None:
    added.add_argument("--fit", type=Path, required=True, metavar="FIT.json")
    added.add_argument("--mixtures", type=Path, required=True, metavar="CSV")
    added.add_argument("--key", metavar="COLUMN", help="default: as fitted")
    added.add_argument("--budget", metavar="COLUMN", help="total amount of each row (default: as fitted)")
    added.add_argument(
        "--seed", metavar="COLUMN", help="a column of seeds, which predictions do not use (default: as fitted)"
    )
    added.add_argument("--ignore", type=arguments.names, default=[], metavar="A,B", help="columns to leave out")
    added.add_argument("--shares", choices=UNITS, help="what shares are written as (default: as fitted)")
    added.add_argument("--at", type=arguments.amount, metavar="N", help="one budget for all rows")
    added.add_argument(
        "--intervals",
        type=arguments.fraction,
        nargs="?",
        const=0.9,
        metavar="LEVEL",
        help="also the ends of intervals for the losses of new runs (default level: 0.9)",
    )
    added.add_argument("--out", type=Path, metavar="CSV", help="default: standard output")


def _allocate_options(added: argparse.ArgumentParser) -> None:
    added.add_argument("--fit", type=Path, required=True, metavar="FIT.json")
    added.add_argument("--budget", type=arguments.amount, metavar="N", help="default: the largest one fitted")
    added.add_argument("--objective", default="weighted_loss", metavar="NAME", help=", ".join(OBJECTIVES))
    added.add_argument(
        "--decide",
        default=EXPECTED,
        choices=DECISIONS,
        help="over draws of the laws, or by the fitted laws alone (default: expected)",
    )
    added.add_argument(
        "--tail", type=arguments.fraction, metavar="P", help="robust: the worst part of the draws (default: 0.2)"
    )
    added.add_argument("--weights", type=arguments.pairs, metavar="LOSS=W,...", help="1 where left out")
    added.add_argument("--available", type=Path, metavar="CSV", help="columns domain,amount: what there is")
    added.add_argument("--repetition", type=arguments.amount, metavar="R", help="how often what there is may be seen")
    added.add_argument(
        "--floor", type=arguments.fraction, default=0.0, metavar="SHARE", help="smallest share of every domain"
    )
    added.add_argument("--share", type=arguments.ranges, metavar="DOMAIN=MIN:MAX,...", help="bounds on shares")
    added.add_argument(
        "--group", type=arguments.groups, metavar="NAME=A+B=MIN:MAX,...", help="bounds on sums of shares"
    )
    added.add_argument(
        "--cost", type=arguments.pairs, metavar="DOMAIN=C,...", help="cost of one unit; 1 where left out"
    )
    added.add_argument(
        "--worse",
        type=arguments.fraction,
        metavar="PART",
        help="no domain's expected loss above that of the prior mixture by more than this part",
    )
    added.add_argument(
        "--prior", type=arguments.amount, default=0.0, metavar="KL", help="pull to proportional (or uniform)"
    )
    added.add_argument(
        "--reach", type=arguments.pairs, metavar="LOSS=VALUE,...", help="find the smallest budget that does"
    )
    added.add_argument("--path", type=arguments.amounts, metavar="N,N,...", help="also solve at these budgets")
    added.add_argument("--out", type=Path, metavar="A.json")
    _form(added)


def _no_options(_added: argparse.ArgumentParser) -> None:
    pass


def _stage_options(added: argparse.ArgumentParser) -> None:
    added.add_argument("name")
    added.add_argument("item")


def _registry_options(added: argparse.ArgumentParser) -> None:
    _add_commands(added, REGISTRY_COMMANDS, "ACTION")


def _read_options(added: argparse.ArgumentParser) -> None:
    added.add_argument("--registry", type=Path, metavar="DIR", help="default: the workspace's registry/")
    _form(added)


def _show_options(added: argparse.ArgumentParser) -> None:
    _read_options(added)
    added.add_argument("mixture", metavar="NAME[@VERSION]")


def _diff_options(added: argparse.ArgumentParser) -> None:
    _read_options(added)
    added.add_argument("before", metavar="A", help="a version, such as ct-mri-pet@v1")
    added.add_argument("after", metavar="B")


def _verify_options(added: argparse.ArgumentParser) -> None:
    _read_options(added)
    added.add_argument("mixture", metavar="NAME[@VERSION]", nargs="?", help="default: every version of all")
    added.add_argument("--rerun", action="store_true", help="also train every run again and compare the losses")


def _place_options(added: argparse.ArgumentParser) -> None:
    added.add_argument("--registry", type=Path, metavar="DIR", help="default: the workspace's registry/")


def _tag_options(added: argparse.ArgumentParser) -> None:
    _place_options(added)
    added.add_argument("mixture", metavar="NAME[@VERSION]")
    added.add_argument("tag", metavar="TAG", help="such as stable")
    added.add_argument("--remove", action="store_true", help="take the tag off the mixture NAME")


def _deprecate_options(added: argparse.ArgumentParser) -> None:
    _place_options(added)
    added.add_argument("mixture", metavar="NAME@VERSION")
    added.add_argument("--by", metavar="VERSION", help="what to use instead, such as v2")
    added.add_argument("--reason", default="", metavar="TEXT")


def _export_options(added: argparse.ArgumentParser) -> None:
    from mixlang.registry.export import FORMATS

    _place_options(added)
    added.add_argument("mixture", metavar="NAME[@VERSION]")
    added.add_argument("--to", choices=FORMATS, default="json", help="who reads it (default: json)")
    added.add_argument(
        "--data", type=Path, metavar="CSV", help="columns path,domain: weights for these, not the study's"
    )
    added.add_argument("--out", type=Path, metavar="FILE", help="default: standard output")


def _report_options(added: argparse.ArgumentParser) -> None:
    _place_options(added)
    added.add_argument("mixture", metavar="NAME[@VERSION]", help="a published version, or a study of the workspace")
    added.add_argument("--open", action="store_true", help="open it in a browser")


REGISTRY_COMMANDS = (
    Command("list", "all mixtures and their versions", _read_options, registry.list_mixtures),
    Command("show", "one mixture: shares, evidence, where it comes from", _show_options, registry.show_mixture),
    Command("diff", "what changed between two versions, and why", _diff_options, registry.diff_mixtures),
    Command(
        "verify",
        "prove from the files alone that a version is as published and follows from them",
        _verify_options,
        registry.verify_mixtures,
    ),
    Command("tag", "let a tag such as stable name a version", _tag_options, registry.tag_mixture),
    Command(
        "deprecate", "say that a version is not to be used any more", _deprecate_options, registry.deprecate_mixture
    ),
    Command("export", "a mixture in the form that training code reads", _export_options, registry.export_mixture),
)

COMMANDS = (
    Command("init", "make a workspace with a starting spec", _init_options, specs.init),
    Command(
        "check", "check a spec and whether its data are there; trains and reads nothing", _check_options, specs.check
    ),
    Command("doctor", "judge the scans of a folder, without a spec; reads every file", _doctor_options, specs.doctor),
    Command("plan", "show what would run, what is done and what it costs; changes nothing", _plan_options, specs.plan),
    Command(
        "compile",
        "register a spec in dvc.yaml and write its plan; trains nothing",
        _compile_options,
        specs.compile_spec,
    ),
    Command(
        "diff-spec",
        "which runs and stages going from one spec to another would touch",
        _diff_spec_options,
        specs.diff_spec,
    ),
    Command("schema", "print the language as JSON Schema, for editors", _no_options, specs.schema),
    Command("run", "compile, reproduce through DVC and publish", _run_options, pipeline.run),
    Command("status", "how far each study is", _status_options, pipeline.status),
    Command(
        "worker", "train one shard of a plan's runs, for any scheduler with an index", _worker_options, pipeline.worker
    ),
    Command(
        "gc", "move runs that nobody asks for any more to the store's trash, or empty it", _gc_options, pipeline.gc
    ),
    Command("fit", "fit laws to your own results: a table of mixtures and a table of losses", _fit_options, tables.fit),
    Command("predict", "predict the losses of mixtures from fitted laws, as CSV", _predict_options, tables.predict),
    Command(
        "allocate",
        "solve the mixture of a budget under fitted laws, with its proof",
        _allocate_options,
        tables.allocate,
    ),
    Command("registry", "published mixtures: read, compare, prove, tag, deprecate, export", _registry_options, None),
    Command("report", "where the page of a mixture or a study lies", _report_options, registry.report),
    Command("stage", "one stage of the pipeline, as dvc.yaml calls it", _stage_options, pipeline.stage),
)


def _without_current_folder() -> None:
    """`python -m` looks for modules in the current folder first: a study's random.py would be taken for Python's."""
    here = Path.cwd()
    if sys.path and Path(sys.path[0] or here) == here and not (here / "mixlang" / "cli.py").is_file():
        del sys.path[0]


if __name__ == "__main__":
    _without_current_folder()
    sys.exit(main())
