"""Checkpoints: weights as safetensors with the sizes in the file's own metadata, loadable without the plan."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from mixlang.errors import InputError
from mixlang.files import atomic_open
from runners.model.mae import MAESize, MaskedAutoencoder


def save_model(model: MaskedAutoencoder, path: Path, about: dict[str, str]) -> None:
    """Write weights and sizes, whole or not at all; `about` is kept beside them (run key, spec)."""
    from safetensors.torch import save

    metadata = {"size": json.dumps(asdict(model.size)), **about}
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_open(path) as file:
        file.write(save(tensors, metadata=metadata))


def load_model(path: Path) -> MaskedAutoencoder:
    """A model as it was saved, in evaluation mode on the CPU.

    Raises:
        InputError: missing, damaged or not one of ours; the message names the file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            sizes = json.loads((file.metadata() or {})["size"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a readable mixlang checkpoint: {error}") from error
    model = MaskedAutoencoder(MAESize(**{**sizes, "crop": tuple(sizes["crop"])}))
    model.load_state_dict(tensors)
    return model.eval()
