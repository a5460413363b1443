"""Commands for results of your own: fit, predict, allocate."""

from __future__ import annotations

import argparse

from mixlang.console import print_json


def fit(arguments: argparse.Namespace) -> None:
    """Fit laws to two tables."""
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


def predict(arguments: argparse.Namespace) -> None:
    """Predict the losses of mixtures."""
    from mixlang.tables import predict_table

    predict_table(
        arguments.fit,
        arguments.mixtures,
        arguments.out,
        arguments.key,
        arguments.budget,
        arguments.at,
        arguments.ignore,
        arguments.seed,
    )


def allocate(arguments: argparse.Namespace) -> None:
    """Solve the mixture of a budget."""
    from mixlang.tables import allocate_fit, show_allocation

    document = allocate_fit(
        arguments.fit,
        arguments.out,
        arguments.budget,
        arguments.objective,
        arguments.weights,
        arguments.available,
        arguments.repetition,
        arguments.floor,
        arguments.share,
        arguments.group,
        arguments.cost,
        arguments.prior,
        arguments.tail,
        arguments.reach,
        arguments.path,
    )
    if arguments.format == "json":
        print_json(document)
    else:
        show_allocation(document)
