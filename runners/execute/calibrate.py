"""How long one sample takes on this machine, measured once for each model and kept in the store.

`python -m runners.execute.calibrate` reads a plan's `training` section on standard input and prints what it measured; it runs
apart because torch takes seconds to import and a plan should not wait for it twice.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mixlang.documents import Training
from mixlang.environment import for_runs
from mixlang.errors import StageError
from mixlang.files import digest, write_json
from mixlang.hardware import processor

_LONG_ENOUGH = 1.0
"""Seconds of training steps that are measured, after one that warms up."""

_PATIENCE = 300


@dataclass(frozen=True)
class Speed:
    """Seconds of one device a sample takes: trained on, evaluated on; which device that is, and when it was measured.

    What else the machine did at that time is in it; deleting the store's calibration/ has it measured again.
    """

    train: float
    evaluate: float
    device: str
    measured: str


def calibrate(training: Training, store: Path) -> Speed:
    """The speed of a model and recipe on this machine, from the store or measured now (some seconds).

    Raises:
        StageError: it could not be measured.
    """
    key = digest(
        {
            "model": training["model"],
            "crop": training["crop"],
            "recipe": {name: training["recipe"][name] for name in ("batch_size", "precision", "threads")},
            "machine": [socket.gethostname(), processor(), os.environ.get("CUDA_VISIBLE_DEVICES", ""), _devices()],
            "torch": version("torch"),
        }
    )
    path = store / "calibration" / f"{key}.json"
    try:
        return Speed(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        speed = _measure_apart(training)
    write_json(path, asdict(speed))
    return speed


def _devices() -> list[str]:
    return sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))


def _measure_apart(training: Training) -> Speed:
    command = [sys.executable, "-m", "runners.execute.calibrate"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(training),
            env=for_runs(os.environ, training["recipe"]["threads"]),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StageError(f"the speed of this machine could not be measured: {error}") from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise StageError(f"the speed of this machine could not be measured: {said}")
    return Speed(**json.loads(done.stdout.splitlines()[-1]))


def measure(training: Training) -> Speed:
    """Time training steps and evaluations of this model on random crops, on the device a run would use.

    Batches grow until a step is long enough to be timed well or as large as a run's, so that a model too large for a
    quick look at a whole batch is measured on less.
    """
    import torch
    from accelerate import Accelerator

    from runners.train.mae import MAESize, MaskedAutoencoder

    recipe = training["recipe"]
    torch.set_num_threads(recipe["threads"])
    precision = {"fp32": "no"}.get(recipe["precision"], recipe["precision"])
    accelerator = Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available())
    torch.manual_seed(0)
    model = MaskedAutoencoder(MAESize.of(training["model"], training["crop"]))
    wrapped, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True))
    device = accelerator.device

    def batch(size: int) -> tuple[Any, Any]:
        crops = torch.randn(size, *training["crop"], device=device)
        order = torch.stack([torch.randperm(model.size.tokens) for _ in range(size)]).to(device)
        return crops, order

    def train(crops: Any, order: Any) -> None:
        with accelerator.autocast():
            loss = wrapped(crops, order, False).mean()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(wrapped.parameters(), recipe["clip_norm"])
        optimizer.step()
        optimizer.zero_grad()

    def evaluate(crops: Any, order: Any) -> None:
        with torch.no_grad():
            model(crops, order, False)

    def seconds(work: Any, size: int) -> float:
        given = batch(size)
        if device.type == "cuda":
            torch.cuda.synchronize()
        begun = time.perf_counter()
        work(*given)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    size = 1
    seconds(train, size)  # the first step also allocates
    while size < recipe["batch_size"] and seconds(train, size) < _LONG_ENOUGH / 8:
        size = min(recipe["batch_size"], 2 * size)
    per_sample = []
    for work in (train, evaluate):
        times: list[float] = []
        while sum(times) < _LONG_ENOUGH or len(times) < 3:
            times.append(seconds(work, size))
        per_sample.append(sorted(times)[len(times) // 2] / size)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return Speed(per_sample[0], per_sample[1], name, datetime.now().astimezone().isoformat(timespec="minutes"))


if __name__ == "__main__":
    print(json.dumps(asdict(measure(json.load(sys.stdin)))))
