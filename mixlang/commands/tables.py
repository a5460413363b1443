"""Commands for results of your own: fit, predict, allocate."""

from __future__ import annotations

import argparse

from mixlang.console import print_json


def fit(arguments: argparse.Namespace) -> None:
    """Fit laws to two tables."""
    from mixlang.laws.roles import Columns
    from mixlang.own_results import fit_tables

    columns = Columns(
        arguments.key,
        arguments.budget,
        arguments.seed,
        arguments.ignore,
        arguments.keep,
        arguments.maximize,
        arguments.shares,
        arguments.where,
    )
    fit_tables(
        arguments.mixtures,
        arguments.losses,
        arguments.out,
        columns,
        arguments.law,
        arguments.choose,
        arguments.draws,
        arguments.trees,
    )


def predict(arguments: argparse.Namespace) -> None:
    """Predict the losses of mixtures."""
    from mixlang.own_results import predict_table

    predict_table(
        arguments.fit,
        arguments.mixtures,
        arguments.out,
        arguments.key,
        arguments.budget,
        arguments.at,
        arguments.ignore,
        arguments.seed,
        arguments.shares,
        arguments.intervals,
    )


def allocate(arguments: argparse.Namespace) -> None:
    """Solve the mixture of a budget."""
    from mixlang.own_results import Asked, allocate_fit, show_allocation

    asked = Asked(
        arguments.budget,
        arguments.objective,
        arguments.weights or {},
        arguments.available,
        arguments.repetition,
        arguments.floor,
        arguments.share or {},
        arguments.group or {},
        arguments.cost or {},
        arguments.prior,
        arguments.tail,
        arguments.decide,
        arguments.worse,
        arguments.reach or {},
        arguments.path or (),
    )
    document = allocate_fit(arguments.fit, arguments.out, asked)
    if arguments.format == "json":
        print_json(document)
    else:
        show_allocation(document)
