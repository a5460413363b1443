"""Evaluation of a model on every domain: the same fixed crops and the same fixed masks for every run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixlang.documents import Score
from mixlang.errors import StageError
from mixlang.plan.build import Plan
from runners.data.sampling import CropReader, mask_order, uniform
from runners.train.mae import MaskedAutoencoder, mean_loss, scored

_BATCH = 64


class FixedCrops:
    """The held-out crops of a domain with their masks.

    They depend on the plan's evaluation seed and the volume alone, so differences between runs are paired.

    Args:
        plan: names the validation volumes.
        store: root of the store.
        domain: which domain.
        tokens: patches in a crop.
    """

    def __init__(self, plan: Plan, store: Path, domain: str, tokens: int) -> None:
        keys, settings = plan.domains[domain]["validation"], plan.evaluation
        counters = np.arange(settings["crops"])
        self.reader = CropReader(store, keys, plan.training["crop"])
        self.volumes = np.repeat(np.arange(len(keys)), settings["crops"])
        # One stream a volume, named by its key: adding a volume leaves the crops of the others as they were.
        self.places = np.concatenate([uniform(settings["seed"], f"evaluate {key}", counters, 3) for key in keys])
        self.orders = np.concatenate(
            [mask_order(settings["seed"], f"evaluate mask {key}", counters, tokens) for key in keys]
        )

    def __len__(self) -> int:
        return len(self.volumes)

    def read(self, part: slice) -> tuple[Tensor, Tensor, bool]:
        """Some of the crops, orders of their tokens, and whether any voxel is padding."""
        volumes = self.volumes[part]
        crops = torch.from_numpy(self.reader.read(volumes, self.places[part]))
        return crops, torch.from_numpy(self.orders[part]), self.reader.any_padded(volumes)


@torch.no_grad()
def evaluate(
    model: MaskedAutoencoder, plan: Plan, store: Path, device: torch.device, names: Iterable[str] | None = None
) -> dict[str, Score]:
    """The held-out loss of a model on each domain.

    Args:
        names: the domains; all if left out.

    Returns:
        By domain the mean masked reconstruction loss, and the loss of predicting each crop's visible mean. A crop none of
        whose hidden voxels exists has no loss and does not count as one of 0.

    Raises:
        StageError: no crop of a domain has a loss.
    """
    model.eval()
    found: dict[str, Score] = {}
    for name in plan.domains if names is None else names:
        fixed = FixedCrops(plan, store, name, model.size.tokens)
        scores = []
        for start in range(0, len(fixed), _BATCH):
            crops, order, padded = fixed.read(slice(start, start + _BATCH))
            crops, order = crops.to(device), order.to(device)
            score = torch.stack([model(crops, order, padded), mean_loss(model, crops, order)])
            scores.append((score[:, scored(model, crops, order)] if padded else score).double().cpu())
        losses = torch.cat(scores, dim=1)
        if not losses.shape[1]:
            raise StageError(
                f"no held-out crop of '{name}' has a hidden voxel that is not padding",
                "Use a smaller volume.crop, or finer volume.spacing.",
            )
        total = losses.mean(dim=1)
        found[name] = {"loss": float(total[0]), "mean_loss": float(total[1])}
    return found


@torch.no_grad()
def reconstructions(model: MaskedAutoencoder, plan: Plan, store: Path, device: torch.device) -> dict[str, NDArray[Any]]:
    """What a model makes of the first held-out crop of each domain, to be looked at.

    Returns:
        For each domain, its middle axial slice as `DOMAIN.input`, `DOMAIN.hidden` (which voxels were hidden) and
        `DOMAIN.output` (hidden voxels as predicted, the others as they are), each of shape (D, H).
    """
    model.eval()
    found: dict[str, NDArray[Any]] = {}
    for name in plan.domains:
        crops, order, _ = FixedCrops(plan, store, name, model.size.tokens).read(slice(0, 1))
        output, hidden = model.reconstruct(crops.to(device), order.to(device))
        middle = crops.shape[-1] // 2
        for kind, volume in (("input", crops), ("hidden", hidden), ("output", output)):
            slice_ = volume[0, :, :, middle].cpu().numpy()
            found[f"{name}.{kind}"] = slice_ if kind == "hidden" else slice_.astype(np.float16)
    return found
