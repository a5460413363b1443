"""Checkpoints of finished runs: weights as safetensors, with all that is needed to use them in the file's own header."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixlang.documents import CheckpointConfig
from mixlang.errors import InputError, StageError
from mixlang.files import atomic_open
from mixlang.plan.build import Plan, Run
from runners.train.mae import MAESize, MaskedAutoencoder


def describe(model: MaskedAutoencoder, plan: Plan, run: Run, study: str) -> CheckpointConfig:
    """What a checkpoint says about itself: sizes, what it was trained on and how, and how its inputs were made.

    Args:
        study: the study that asked for the run.
    """
    inputs = {name: plan.volumes[data["train"][0]]["preprocessing"] for name, data in plan.domains.items()}
    return {
        "size": asdict(model.size),
        "study": study,
        "run": run.as_dict(),
        "recipe": plan.training["recipe"],
        "preprocessing": inputs,
    }


def require_loadable(model: MaskedAutoencoder, config: CheckpointConfig) -> None:
    """Make sure, before a run is trained, that a model can be rebuilt from what its checkpoint will say.

    Raises:
        StageError: its weights would not fit.
    """
    with torch.device("meta"):
        again = _rebuild(json.loads(json.dumps(config))).state_dict()
    shapes, expected = ({name: value.shape for name, value in state.items()} for state in (again, model.state_dict()))
    if shapes != expected:
        raise StageError("the checkpoint of this run could not be loaded again", "This is a defect of mixlang.")


def save_model(model: MaskedAutoencoder, path: Path, config: CheckpointConfig) -> None:
    """Write weights and config, whole or not at all.

    Raises:
        StageError: the disk refused.
    """
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_open(path) as file:
        file.write(save(tensors, metadata={"config": json.dumps(config)}))


def read_checkpoint(path: Path | str) -> tuple[CheckpointConfig, dict[str, Tensor]]:
    """The config and the weights of a checkpoint.

    Raises:
        InputError: missing, damaged or not one of ours; the message names the file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {})["config"])
            return config, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a readable mixlang checkpoint: {error}") from error


def load_model(path: Path | str) -> MaskedAutoencoder:
    """A model as it was saved, in evaluation mode on the CPU.

    Raises:
        InputError: missing, damaged or not one of ours; the message names the file.
    """
    config, weights = read_checkpoint(path)
    model = _rebuild(config)
    model.load_state_dict(weights)
    return model.eval()


def monai_vit(path: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The encoder as MONAI's `ViT`: arguments to make one with, and its weights.

    Load them with `strict=False`: MONAI's blocks hold a norm for cross-attention (`norm_cross_attn`) that a plain
    ViT never calls. `UNETR` takes the same arguments, and the weights into its `vit`, where the patch is 16 and the
    depth 12, which it has fixed.

    Raises:
        InputError: missing, damaged or not one of ours; the message names the file.
    """
    config, weights = read_checkpoint(path)
    model = _rebuild(config)
    size, patch = model.size, model.size.patch
    names = {"out": "attn.out_proj", "qkv": "attn.qkv", "mlp.0": "mlp.linear1", "mlp.2": "mlp.linear2"}
    found = {
        "patch_embedding.position_embeddings": model.positions[None],
        "patch_embedding.patch_embeddings.weight": weights["embed.weight"].view(-1, 1, patch, patch, patch),
        "patch_embedding.patch_embeddings.bias": weights["embed.bias"],
        "norm.weight": weights["norm.weight"],
        "norm.bias": weights["norm.bias"],
    }
    for name, value in weights.items():
        if name.startswith("blocks."):
            _, index, rest = name.split(".", 2)
            part, kind = rest.rsplit(".", 1)
            found[f"blocks.{index}.{names.get(part, part)}.{kind}"] = value
    arguments = {
        "in_channels": 1,
        "img_size": size.crop,
        "hidden_size": size.width,
        "mlp_dim": 4 * size.width,
        "num_heads": size.heads,
        "proj_type": "conv",
        "qkv_bias": True,
    }
    return arguments, found


def _rebuild(config: CheckpointConfig) -> MaskedAutoencoder:
    size = config["size"]
    return MaskedAutoencoder(MAESize(**{**size, "crop": tuple(size["crop"])}))
