"""Measuring a trained run: every evaluation of it that is missing, each recorded beside the run as soon as it is known."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from mixlang.errors import InputError, StageError
from mixlang.plan.build import Plan, Run
from mixlang.plan.evaluations import Evaluation, read_evaluations
from runners.execute.store import RunStore
from runners.train.evaluate import evaluate
from runners.train.mae import MaskedAutoencoder
from runners.train.weights import load_model


class Diverged(StageError):
    """A loss or a weight is not finite any more."""


def require_finite(model: MaskedAutoencoder) -> None:
    """Make sure that a trained model is worth keeping.

    Raises:
        Diverged: one of its weights is not finite.
    """
    for name, value in model.named_parameters():
        if not bool(value.isfinite().all()):
            raise Diverged(f"the weights of {name} are not finite", "Lower train.learning_rate.")


def measure(
    model: MaskedAutoencoder,
    run: Run,
    plan: Plan,
    evaluations: Sequence[Evaluation],
    store: RunStore,
    device: torch.device,
) -> int:
    """Measure what the store has no record of; returns how many validation crops that took.

    Raises:
        Diverged: a loss is not finite.
        StageError: a domain has no crop with a loss.
    """
    crops = 0
    for one in evaluations:
        if store.score(run.key, one.key) is not None:
            continue
        begun = time.monotonic()
        if one.task is None:
            score = evaluate(model, plan, store.root, device, [one.name])[one.name]
            crops += plan.evaluation["crops"] * len(plan.domains[one.name]["validation"])
        else:
            from runners.downstream.frozen import task_loss

            score = task_loss(model, one.task, store.root, device)
        if not math.isfinite(score["loss"]):
            raise Diverged(f"the loss of '{one.name}' is {score['loss']}", "Lower train.learning_rate.")
        score |= {"seconds": round(time.monotonic() - begun, 3), "device": device_name(device)}
        store.record(run.key, one.key, score)
    return crops


def measure_run(plan_path: Path, run: Run, store: Path) -> int:
    """Measure one run from its weights, with its failure noted in the store; returns an exit code."""
    from mixlang.errors import MixlangError

    try:
        plan, evaluations = _planned(plan_path, plan_path.stat().st_mtime_ns)
        torch.set_num_threads(plan.training["recipe"]["threads"])
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        weights = RunStore(store).weights(run.key)
        if not weights.is_file():
            raise InputError(f"the weights of run {run.key[:12]} are not there any more", "Run 'mixlang run' again.")
        measure(load_model(weights).to(device), run, plan, evaluations, RunStore(store), device)
    except (MixlangError, ArithmeticError, RuntimeError, OSError, ValueError, MemoryError) as error:
        RunStore(store).fail_with(run.key, error)
        return 3
    return 0


@functools.lru_cache(1)
def _planned(path: Path, _changed: int) -> tuple[Plan, list[Evaluation]]:
    """A plan and its evaluations, read once for the many runs that a process measures."""
    plan = Plan.read(path)
    return plan, read_evaluations(plan, path)


def device_name(device: torch.device) -> str:
    """A device as results name it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    from mixlang.hardware import processor

    return processor()
