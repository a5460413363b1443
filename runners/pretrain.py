"""One training run: a masked autoencoder on given amounts of each domain, then its evaluation.

Accelerate owns device, precision and processes. The global batch of a step is fixed by (seed, step) alone; each
process takes its slice of it, so the number of processes changes nothing but the order of sums.

`python -m runners.pretrain PLAN STORE` is what `accelerate launch` starts; `train_run` is the same from a warm
process.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mixlang.errors import MixlangError, StageError
from mixlang.plan.build import Plan, Run
from runners.data.sampling import CropReader, SampleOrder, mask_order, uniform
from runners.evaluate import evaluate
from runners.model.checkpoint import save_model
from runners.model.mae import MAESize, MaskedAutoencoder
from runners.store import Lease, RunStore

_BEAT = 2.0
"""Seconds between heartbeats."""


def learning_rate(step: int, steps: int, recipe: dict[str, Any]) -> float:
    """The rate of optimizer step `step` of `steps`: linear warmup, constant, linear decay to zero (WSD).

    Warmup-stable-decay (Hu 2024, 2404.06395): 3 to 7 % better here than a cosine fitted to each budget.
    """
    warmup = min(1.0, (step + 1) / max(1, recipe["warmup_steps"]))
    decay_steps = max(1, round(recipe["decay_fraction"] * steps)) if recipe["decay_fraction"] else 0
    left = (steps - step) / (decay_steps + 1) if decay_steps else 1.0
    return recipe["learning_rate"] * min(warmup, min(1.0, left))


class Trainer:
    """A run in progress.

    Args:
        plan: holds the recipe and the volumes.
        run: which run of it, or of the same plan at another amount.
        store: root of the store.
        processes: how many processes this run must have; any other world size is an error.
        beat: called with the fraction done, now and then.
    """

    def __init__(self, plan: Plan, run: Run, store: Path, processes: int, beat: Callable[[float], None]) -> None:
        from accelerate import Accelerator

        self.plan, self.run, self.store, self.beat = plan, run, store, beat
        self.recipe = plan.training["recipe"]
        torch.set_num_threads(self.recipe["threads"])
        self.accelerator = Accelerator(
            mixed_precision={"fp32": "no"}.get(self.recipe["precision"], self.recipe["precision"]),
            cpu=not torch.cuda.is_available(),
        )
        if self.accelerator.num_processes != processes:
            raise StageError(
                f"the run was to have {processes} processes but has {self.accelerator.num_processes}",
                "Accelerate did not start what was asked for; see launch.processes_per_run.",
            )
        torch.manual_seed(run.seed)
        self.model = MaskedAutoencoder(MAESize.of(plan.training["model"], plan.training["crop"]))
        self.steps = run.budget // self.recipe["batch_size"]
        self.wrapped, self.optimizer = self.accelerator.prepare(self.model, self._optimizer())
        volumes = {name: plan.volumes_for(name, run.budget) for name, amount in run.amounts.items() if amount}
        self.order = SampleOrder.of(run.amounts, volumes, run.seed)
        self.reader = CropReader(store, self.order.keys, plan.training["crop"])

    def _optimizer(self) -> torch.optim.Optimizer:
        """AdamW; weight decay on matrices only."""
        matrices = [value for value in self.model.parameters() if value.ndim > 1]
        vectors = [value for value in self.model.parameters() if value.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.recipe["weight_decay"]},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.recipe["learning_rate"], betas=tuple(self.recipe["betas"]), fused=True)

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, bool]:
        """This process's slice of the global batch of a step: crops, mask orders, whether any voxel is padding."""
        size, share = self.recipe["batch_size"], self.accelerator.num_processes
        first = step * size + self.accelerator.process_index * (size // share)
        samples = np.arange(first, first + size // share)
        chance = uniform(self.run.seed, "crop", samples, 6)
        flips = chance[:, 3:] < 0.5 if self.recipe["flips"] else None
        volumes = self.order.volume[samples]
        crops = torch.from_numpy(self.reader.read(volumes, chance[:, :3], flips))
        order = torch.from_numpy(mask_order(self.run.seed, "mask", samples, self.model.size.tokens))
        device = self.accelerator.device
        return crops.to(device), order.to(device), self.reader.any_padded(volumes)

    def train(self) -> list[list[float]]:
        """All steps; returns the training loss as [samples, mean loss since the last entry], about 64 entries.

        Raises:
            StageError: the loss is not finite any more.
        """
        curve: list[list[float]] = []
        every = max(1, self.steps // 64)
        total, last_beat = torch.zeros((), device=self.accelerator.device), 0.0
        for step in range(self.steps):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(step, self.steps, self.recipe)
            crops, order, padded = self.batch(step)
            with self.accelerator.autocast():
                loss = self.wrapped(crops, order, padded).mean()
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.recipe["clip_norm"])
            self.optimizer.step()
            self.optimizer.zero_grad()
            total += loss.detach()
            if (step + 1) % every == 0:
                mean = float(self.accelerator.reduce(total, "mean")) / every
                if not math.isfinite(mean):
                    raise StageError(
                        f"the loss became {mean} by step {step + 1} of {self.steps}",
                        "Lower train.learning_rate, or look for damaged volumes.",
                    )
                curve.append([(step + 1) * self.recipe["batch_size"], round(mean, 7)])
                total.zero_()
            if time.monotonic() - last_beat > _BEAT:
                self.beat(step / self.steps)
                last_beat = time.monotonic()
        return curve

    def unwrapped(self) -> MaskedAutoencoder:
        """The bare model."""
        model = self.accelerator.unwrap_model(self.wrapped)
        assert isinstance(model, nn.Module)
        return model  # type: ignore[return-value]


def train_run(plan: Plan, run: Run, store: Path, processes: int, lease: Lease | None) -> None:
    """Train and evaluate one run and write its result to the store; the main process alone writes.

    Raises:
        StageError: diverged, or the world size is not what was asked for.
    """
    begun = time.time()
    trainer = Trainer(plan, run, store, processes, lease.beat if lease else lambda fraction: None)
    started = time.monotonic()
    curve = trainer.train()
    trained = time.monotonic()
    trainer.accelerator.wait_for_everyone()
    if trainer.accelerator.is_main_process:
        losses, means = evaluate(trainer.unwrapped(), plan, store, trainer.accelerator.device)
        if not all(math.isfinite(value) for value in losses.values()):
            raise StageError(f"an evaluated loss is not finite: {losses}")
        runs = RunStore(store)
        save_model(trainer.unwrapped(), runs.folder(run.key) / "model.safetensors", {"run": run.key})
        runs.finish(
            run.key,
            {
                "losses": losses,
                "mean_losses": means,
                "curve": curve,
                "seconds": {"train": round(trained - started, 3), "evaluate": round(time.monotonic() - trained, 3)},
                "begun": round(begun, 3),
                "device": _device_name(trainer.accelerator.device),
                "processes": processes,
                "torch": torch.__version__,
            },
        )
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    from mixlang.hardware import processor

    return processor()


def execute(plan: Plan, run: Run, store: Path, processes: int, lease: Lease | None) -> int:
    """`train_run` with its failure noted in the store; returns an exit code."""
    try:
        train_run(plan, run, store, processes, lease)
    except (MixlangError, ArithmeticError, RuntimeError, OSError, ValueError, MemoryError) as error:
        import traceback

        traceback.print_exc()
        hint = f" {error.hint}" if isinstance(error, MixlangError) and error.hint else ""
        RunStore(store).fail(run.key, f"{error}.{hint}" if isinstance(error, MixlangError) else repr(error))
        return 3
    return 0


def main() -> int:
    """Entry point under `accelerate launch`: PLAN STORE; which run, and its lease, stand in the environment."""
    import json

    from runners.liveness import end_with

    plan_path, store = Path(sys.argv[1]), Path(sys.argv[2])
    run = Run.from_dict(json.loads(os.environ["MIXLANG_RUN"]))
    end_with([os.environ["MIXLANG_SWEEP"]])
    lease = Lease(Path(os.environ["MIXLANG_LEASE"])) if os.environ.get("RANK", "0") == "0" else None
    return execute(Plan.read(plan_path), run, store, int(os.environ["MIXLANG_PROCESSES"]), lease)


if __name__ == "__main__":
    sys.exit(main())
