"""What a checkpoint of a run in progress costs: size, seconds to write and to read, and the share of training time.

    python benchmarks/checkpoint.py [FOLDER]      # FOLDER: on the disk of the run store; a temporary one if left out

Each is written to the disk before its rename and checked by its digest when it is read.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch

from mixlang.spec.presets import resolve_model
from mixlang.spec.schema import Model
from runners.execute.store import RunStore
from runners.train.mae import MAESize, MaskedAutoencoder
from runners.train.pretrain import CHECKPOINT_COST, CHECKPOINT_EVERY
from runners.train.resume import Checkpoint, Checkpoints


def main() -> None:
    parent = sys.argv[1] if len(sys.argv) > 1 else None
    torch.set_num_threads(1)
    print("model      parameters    MiB  write s   read s  share of time")
    for arch, patch in (("vit_micro", 8), ("vit_tiny", 16), ("vit_small", 16), ("vit_base", 16)):
        weights = MaskedAutoencoder(MAESize.of(resolve_model(Model(arch=arch, patch=patch)), (96, 96, 96))).state_dict()
        tensors = {
            f"{part}.{name}": value.clone() for part in ("model", "first", "second") for name, value in weights.items()
        }
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            checkpoints = Checkpoints(RunStore(Path(folder)), "ab" * 32)
            begun = time.monotonic()
            checkpoints.save(Checkpoint(1, tensors, {}))
            written = time.monotonic()
            checkpoints.latest()
            read = time.monotonic()
            size = checkpoints.store.checkpoints("ab" * 32)[0].stat().st_size
        seconds = written - begun
        share = seconds / max(CHECKPOINT_EVERY, seconds / CHECKPOINT_COST)
        count = sum(value.numel() for value in weights.values())
        print(f"{arch:10} {count:10,} {size / 2**20:6.0f} {seconds:8.2f} {read - written:8.2f} {share:14.2%}")


if __name__ == "__main__":
    main()
