"""Checkpoints of a run in progress: written whole, told apart from all others, believed only when intact.

Ours instead of `accelerator.save_state`: that writes a folder of pickles one after the other, generator states among
them, so a kill leaves half of one and reading it executes code. All randomness here is counter-based, so that weights,
optimizer state and the step say everything, and one safetensors file, which a rename makes whole, holds them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mixlang.console import say
from mixlang.files import atomic_open
from mixlang.plan.build import TRAINING_VERSION
from runners.execute.store import RunStore

_KEPT = 2
"""Checkpoints kept of a run: the last one and the one to fall back to."""


class UnusableCheckpoint(Exception):
    """A file is not an intact checkpoint of this run and this training code; the message says why."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on.

    Attributes:
        step: optimizer steps done.
        tensors: weights, optimizer state and losses so far, on the CPU.
        notes: what is no tensor, as JSON.
    """

    step: int
    tensors: dict[str, Tensor]
    notes: dict[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run.

    Attributes:
        store: the run store.
        run: the run's key; a checkpoint of another key is never used.
    """

    store: RunStore
    run: str

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then drop all but the last two.

        Raises:
            StageError: the disk refused; earlier checkpoints are as they were.
        """
        header = {
            "run": self.run,
            "training_version": str(TRAINING_VERSION),
            "step": str(checkpoint.step),
            "notes": json.dumps(checkpoint.notes),
            "sha256": _digest(checkpoint.tensors),
        }
        from safetensors.torch import save

        with atomic_open(self.store.folder(self.run) / f"checkpoint-{checkpoint.step:09}.safetensors") as file:
            file.write(save(checkpoint.tensors, metadata=header))
        for path in self.store.checkpoints(self.run)[_KEPT:]:
            path.unlink(missing_ok=True)

    def latest(self) -> Checkpoint | None:
        """The newest intact checkpoint; those that are not are named aloud and passed over."""
        for path in self.store.checkpoints(self.run):
            try:
                return self._read(path)
            except UnusableCheckpoint as error:
                say(f"checkpoint {path.name} is not used: {error}; trying the one before it")
        return None

    def set_aside(self) -> None:
        """Keep the checkpoints of a run that diverged to be looked at, under names that no attempt goes on from.

        A NaN says that the state went wrong at some moment before; finite weights may already be of after it. What the
        run's key names is the result of a run that starts over.
        """
        for path in self.store.checkpoints(self.run):
            path.replace(path.with_name(path.name.replace("checkpoint", "diverged")))

    def _read(self, path: Path) -> Checkpoint:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise UnusableCheckpoint(f"it cannot be read ({error})") from error
        if header.get("run") != self.run:
            raise UnusableCheckpoint("it is of another run")
        if header.get("training_version") != str(TRAINING_VERSION):
            raise UnusableCheckpoint(f"it is of training version {header.get('training_version')}")
        if header.get("sha256") != _digest(tensors):
            raise UnusableCheckpoint("its contents are not what was written")
        return Checkpoint(int(header["step"]), tensors, json.loads(header["notes"]))


def capture(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights as `model.NAME` and the optimizer's moments as `optimizer.INDEX.NAME`, where they lie; no copies."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    return tensors


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `capture` gave."""
    model.load_state_dict(_part(tensors, "model."))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer.").items():
        index, _, moment = name.partition(".")
        moments.setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names and bytes; safetensors itself does not notice a flipped bit."""
    state = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        state.update(name.encode())
        state.update(value.contiguous().reshape(-1).view(torch.uint8).numpy())
    return state.hexdigest()
