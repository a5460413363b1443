"""One training run: a masked autoencoder on given amounts of each domain, then its evaluation.

Accelerate owns device, precision and processes. The global batch of a step is fixed by (seed, step) alone; each
process takes its slice of it, so the number of processes changes nothing but the order of sums. A run that was
stopped goes on at its last checkpoint and ends with the same bits.

`python -m runners.train.pretrain PLAN STORE` is what `accelerate launch` starts; `train_run` is the same from a warm
process.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mixlang.console import say
from mixlang.environment import recorded
from mixlang.errors import MixlangError, StageError
from mixlang.files import atomic_open
from mixlang.hardware import cores
from mixlang.plan.build import Plan, Run
from mixlang.plan.evaluations import evaluations_of
from mixlang.spec.schema import Launch
from runners.data.sampling import CropReader, mask_order, uniform
from runners.execute.liveness import StopRequest
from runners.execute.store import Heartbeat, Lease, RunStore
from runners.train.branches import branches_of, sample_order
from runners.train.evaluate import reconstructions
from runners.train.mae import MAESize, MaskedAutoencoder
from runners.train.measure import Diverged, device_name, measure, require_finite
from runners.train.resume import Checkpoint, Checkpoints, capture, restore
from runners.train.schedule import learning_rate
from runners.train.tracking import Tracking, tracker_name
from runners.train.weights import describe, require_loadable, save_model

_BEAT = 2.0
"""Seconds between heartbeats, each of which looks whether the loss is still finite."""

CHECKPOINT_EVERY = 60.0
"""Least seconds between checkpoints."""

CHECKPOINT_COST = 0.01
"""Largest part of the time that may go into checkpoints; a slow disk gets fewer."""

STOPPED = 128 + 15
"""Exit code of a run that SIGTERM ended after it left a checkpoint."""


_MOST_READERS = 8
"""Threads that read crops beside a GPU, at most: together they read as many as it takes of a small network's."""


def _readers() -> int:
    """Threads for this process to read crops with: its part of the cores."""
    return max(1, min(_MOST_READERS, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


class Stopped(Exception):
    """The run was asked to end, and left a checkpoint to go on from."""


class Trainer:
    """A run in progress.

    Args:
        plan: holds the recipe and the volumes.
        run: which run of it, or of the same plan at another amount.
        store: root of the store.
        launch: how the run is executed; none of it decides the result beyond the order of sums.
        beat: called with how the run is doing, now and then.

    Raises:
        StageError: the precision is not for this device, or the world size is not what was asked for.
    """

    def __init__(self, plan: Plan, run: Run, store: Path, launch: Launch, beat: Callable[[Heartbeat], None]) -> None:
        from accelerate import Accelerator
        from accelerate.utils import ProjectConfiguration

        self.plan, self.run, self.store, self.launch, self.beat = plan, run, RunStore(store), launch, beat
        self.recipe = plan.training["recipe"]
        torch.set_num_threads(self.recipe["threads"])
        on_cpu = not torch.cuda.is_available()
        if on_cpu and self.recipe["precision"] == "fp16":
            raise StageError(
                "fp16 needs a GPU: its gradients are scaled against underflow, and nothing scales them on a CPU",
                "Use train.precision bf16 or fp32.",
            )
        self.accelerator = Accelerator(
            mixed_precision={"fp32": "no"}.get(self.recipe["precision"], self.recipe["precision"]),
            cpu=on_cpu,
            log_with=tracker_name(launch.tracker),
            project_config=ProjectConfiguration(logging_dir=str(self.store.folder(run.key) / "logs")),
        )
        processes = launch.processes_per_run
        if self.accelerator.num_processes != processes:
            raise StageError(
                f"the run was to have {processes} processes but has {self.accelerator.num_processes}",
                "Accelerate did not start what was asked for; see launch.processes_per_run.",
            )
        if self.accelerator.gradient_accumulation_steps != 1:
            raise StageError(
                f"Accelerate was told to accumulate gradients over {self.accelerator.gradient_accumulation_steps} steps",
                "Unset ACCELERATE_GRADIENT_ACCUMULATION_STEPS; launch.accumulate is mixlang's own.",
            )
        torch.manual_seed(run.seed)
        self.model = MaskedAutoencoder(MAESize.of(plan.training["model"], plan.training["crop"]))
        self.wrapped, self.optimizer = self.accelerator.prepare(self.model, self._optimizer())
        self.order = sample_order(plan, run)
        self.reader = CropReader(store, self.order.keys, plan.training["crop"], 1 if on_cpu else _readers())
        self.steps = run.budget // self.recipe["batch_size"]
        self.losses = torch.zeros(self.steps, device=self.accelerator.device)
        self.step, self.seconds = 0, 0.0
        self.every = max(1, self.steps // 64)  # steps an entry of the curve

    def _optimizer(self) -> torch.optim.Optimizer:
        """AdamW; weight decay on matrices only."""
        matrices = [value for value in self.model.parameters() if value.ndim > 1]
        vectors = [value for value in self.model.parameters() if value.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.recipe["weight_decay"]},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.recipe["learning_rate"], betas=tuple(self.recipe["betas"]), fused=True)

    # A step

    def micro_batches(self, step: int) -> list[np.ndarray]:
        """This process's samples of a step, in the parts whose gradients are added up."""
        size, processes = self.recipe["batch_size"], self.accelerator.num_processes
        samples = step * size + np.arange(size).reshape(processes, self.launch.accumulate, -1)
        return list(samples[self.accelerator.process_index])

    def batch(self, samples: np.ndarray) -> tuple[Tensor, Tensor, bool]:
        """Some samples of the run: crops, mask orders, whether any voxel is padding."""
        chance = uniform(self.run.seed, "crop", samples, 6)
        flips = chance[:, 3:] < 0.5 if self.recipe["flips"] else None
        volumes = self.order.volume[samples]
        crops = torch.from_numpy(self.reader.read(volumes, chance[:, :3], flips))
        order = torch.from_numpy(mask_order(self.run.seed, "mask", samples, self.model.size.tokens))
        return self._to_device(crops), self._to_device(order), self.reader.any_padded(volumes)

    def _to_device(self, array: Tensor) -> Tensor:
        if self.accelerator.device.type != "cuda":
            return array
        return array.pin_memory().to(self.accelerator.device, non_blocking=True)  # does not wait for the step before

    def optimize(self) -> None:
        """One optimizer step. Nothing in it waits for the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.steps, self.recipe)
        parts = self.micro_batches(self.step)
        total = torch.zeros((), device=self.accelerator.device)
        for part in parts:
            # Gradients travel between processes once a step, with the last part.
            alone = part is not parts[-1]
            with self.accelerator.no_sync(self.wrapped) if alone else contextlib.nullcontext():
                with self.accelerator.autocast():
                    loss = self.wrapped(*self.batch(part)).mean() / len(parts)
                self.accelerator.backward(loss)
            total += loss.detach()
        self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.recipe["clip_norm"])
        self.optimizer.step()
        self.optimizer.zero_grad()
        # Every process knows the loss of all, so that all come to the same judgement of it at the same step.
        self.losses[self.step] = self.accelerator.reduce(total, "mean")
        self.step += 1

    # A run

    def train(self) -> None:
        """All steps that are left.

        Raises:
            Diverged: the loss is not finite any more.
            Stopped: SIGTERM came; a checkpoint of this moment is kept.
        """
        main = self.accelerator.is_main_process
        with StopRequest(patient=main) as stop:
            try:
                self._steps(stop)
            except RuntimeError:
                if stop.requested and not main:  # the process that writes has left, as it was asked to
                    raise Stopped from None
                raise

    def _steps(self, stop: StopRequest) -> None:
        branches = branches_of(self.plan, self.run) if self.launch.ladder == "branches" else {}
        tracking = Tracking(self.accelerator, self.run, self.recipe)
        begun = time.monotonic() - self.seconds
        beaten, watched, written, pause = time.monotonic(), self.step, time.monotonic(), CHECKPOINT_EVERY
        while self.step < self.steps:
            self.optimize()
            now = time.monotonic()
            self.seconds = now - begun
            if self.step in branches:
                self._leave_branch(branches[self.step])
            if now - beaten > _BEAT:
                self._watch(watched, now - beaten, tracking)
                beaten, watched = now, self.step
            stopping = stop.requested and self.accelerator.is_main_process
            if stopping or now - written > pause:
                self.checkpoint(self.run)
                written = time.monotonic()
                pause = max(CHECKPOINT_EVERY, (written - now) / CHECKPOINT_COST)
            if stopping:
                raise Stopped
        self._watch(watched, time.monotonic() - beaten, tracking)

    def _leave_branch(self, run: Run) -> None:
        """A checkpoint for a shorter run to go on from, unless it has gone further by itself."""
        if self.store.result(run.key) is None and not self.store.checkpoints(run.key):
            self.checkpoint(run)

    def _watch(self, since: int, seconds: float, tracking: Tracking) -> None:
        """Say how the run is doing after its steps from `since` on; the one moment at which the device is waited for."""
        losses = self.losses[: self.step].cpu()
        broken = torch.nonzero(~losses.isfinite())
        if len(broken):
            first = int(broken[0])
            raise Diverged(
                f"the loss became {float(losses[first])} at step {first + 1} of {self.steps}",
                "Lower train.learning_rate, or look for damaged volumes.",
            )
        samples = (self.step - since) * self.recipe["batch_size"]
        recent = losses[since:].mean().item() if samples else None
        speed = samples / max(seconds, 1e-9)
        self.beat(Heartbeat(self.step / self.steps, recent, speed))
        for seen, loss in self.curve()[since // self.every :]:
            step = seen // self.recipe["batch_size"] - 1
            rate = learning_rate(step, self.steps, self.recipe)
            tracking.log(seen, {"loss": loss, "learning_rate": rate, "samples_per_second": speed})

    def curve(self) -> list[list[float]]:
        """The training loss so far as [samples, mean loss since the last entry], about 64 entries a run."""
        whole = self.step - self.step % self.every
        means = self.losses[:whole].double().view(-1, self.every).mean(1).tolist()
        size = self.recipe["batch_size"]
        return [[(index + 1) * self.every * size, round(mean, 7)] for index, mean in enumerate(means)]

    def unwrapped(self) -> MaskedAutoencoder:
        """The bare model, which computes in full precision whatever the run's."""
        model = self.accelerator.unwrap_model(self.wrapped, keep_fp32_wrapper=False)
        assert isinstance(model, nn.Module)
        return model  # type: ignore[return-value]

    # Its checkpoints

    def checkpoint(self, run: Run) -> None:
        """Leave a checkpoint for a run, this one or a branch of it.

        A disk that refuses it does not end the run, and a state that is not finite any more is never written.
        """
        if not self.accelerator.is_main_process:
            return
        tensors = {**capture(self.model, self.optimizer), "losses": self.losses[: self.step]}
        if not bool(torch.stack([value.isfinite().all() for value in tensors.values()]).all()):
            say(f"step {self.step}: the state is not finite any more; no checkpoint is made of it")
            return
        notes = {
            "seconds": self.seconds if run == self.run else 0.0,
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        try:
            Checkpoints(self.store, run.key).save(Checkpoint(self.step, tensors, notes))
        except MixlangError as error:
            say(f"step {self.step}: no checkpoint, the run goes on without: {error}. {error.hint}")

    def resume(self) -> None:
        """Go on from the newest intact checkpoint, if there is one."""
        found = Checkpoints(self.store, self.run.key).latest()
        self.accelerator.wait_for_everyone()  # all processes have read the same file
        if found is None:
            return
        self.step, self.seconds = found.step, found.notes["seconds"]
        self.losses[: self.step] = found.tensors["losses"].to(self.losses.device)
        restore(self.model, self.optimizer, found.tensors)
        if self.accelerator.scaler and found.notes["scaler"]:
            self.accelerator.scaler.load_state_dict(found.notes["scaler"])
        say(f"going on at step {self.step} of {self.steps}")


def train_run(plan: Plan, run: Run, store: Path, launch: Launch, lease: Lease | None, study: str = "") -> None:
    """Train and evaluate one run and write its result to the store; the main process alone writes.

    Args:
        study: the study that asks for the run, for its checkpoint to name.

    Raises:
        StageError: diverged, the disk is full, or the run could not be started as asked for.
        Stopped: SIGTERM came while it trained.
    """
    trainer = Trainer(plan, run, store, launch, lease.beat if lease else lambda beat: None)
    try:
        _train_and_evaluate(trainer, study)
    except Diverged:
        if trainer.accelerator.is_main_process:
            Checkpoints(RunStore(store), run.key).set_aside()
        raise
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


def _train_and_evaluate(trainer: Trainer, study: str) -> None:
    begun = time.time()
    plan, run, runs, accelerator = trainer.plan, trainer.run, trainer.store, trainer.accelerator
    config = describe(trainer.model, plan, run, study)
    require_loadable(trainer.model, config)
    trainer.resume()
    resumed_at = trainer.step
    trainer.train()
    trained = time.monotonic()
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return
    model = trainer.unwrapped()
    require_finite(model)
    with atomic_open(runs.folder(run.key) / "reconstructions.npz") as file:
        np.savez_compressed(file, **reconstructions(model, plan, runs.root, accelerator.device))
    save_model(model, runs.weights(run.key), config)
    crops = measure(model, run, plan, evaluations_of(plan), runs, accelerator.device)
    runs.finish(
        run.key,
        {
            "curve": trainer.curve(),
            "seconds": {"train": round(trainer.seconds, 3), "evaluate": round(time.monotonic() - trained, 3)},
            "crops_evaluated": crops,
            "begun": round(begun, 3),
            "resumed_at_step": resumed_at,
            "device": device_name(accelerator.device),
            "processes": accelerator.num_processes,
            "torch": torch.__version__,
            "environment": recorded(os.environ),
        },
    )


def execute(plan: Path, run: Run, store: Path, launch: Launch, lease: Lease | None) -> int:
    """`train_run` of a plan's file, with its failure noted in the store; returns an exit code."""
    try:
        compiled = Plan.read(plan)
        if compiled.run(run.kind, run.amounts, run.seed).key != run.key:
            raise StageError(f"{plan} has changed since this run was asked for", "Run 'mixlang run' again.")
        train_run(compiled, run, store, launch, lease, study=plan.parent.name)
    except Stopped:
        say("stopped; the same command goes on from here")
        return STOPPED
    except (MixlangError, ArithmeticError, RuntimeError, OSError, ValueError, MemoryError) as error:
        RunStore(store).fail_with(run.key, error)
        return 3
    return 0


def main() -> int:
    """Entry point under `accelerate launch`: PLAN STORE; which run, and its lease, stand in the environment."""
    import json

    from runners.execute.liveness import end_with, parent

    plan_path, store = Path(sys.argv[1]), Path(sys.argv[2])
    run = Run.from_dict(json.loads(os.environ["MIXLANG_RUN"]))
    launch = Launch.model_validate_json(os.environ["MIXLANG_LAUNCH"])
    end_with([*filter(None, [os.environ.get("MIXLANG_SWEEP")]), parent()])
    lease = Lease(Path(os.environ["MIXLANG_LEASE"])) if os.environ.get("RANK", "0") == "0" else None
    return execute(plan_path, run, store, launch, lease)


if __name__ == "__main__":
    sys.exit(main())
