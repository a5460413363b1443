"""Evaluation of a model on every domain: the same fixed crops and the same fixed masks for every run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mixlang.plan.build import Plan
from runners.data.sampling import CropReader, mask_order, uniform
from runners.model.mae import MaskedAutoencoder, mean_loss

_BATCH = 64


@torch.no_grad()
def evaluate(
    model: MaskedAutoencoder, plan: Plan, store: Path, device: torch.device
) -> tuple[dict[str, float], dict[str, float]]:
    """The held-out loss of a model on each domain.

    Crops and masks depend on the plan's evaluation seed and the volume alone, so differences between runs are paired.

    Returns:
        The mean masked reconstruction loss by domain, and the loss of predicting each crop's visible mean.
    """
    settings = plan.training["evaluation"]
    model.eval()
    losses, means = {}, {}
    for name, data in plan.domains.items():
        reader = CropReader(store, data["validation"], plan.training["crop"])
        volumes = np.repeat(np.arange(len(data["validation"])), settings["crops"])
        # One stream a volume, named by its key: adding a volume leaves the crops of the others as they were.
        lanes = [
            uniform(settings["seed"], f"evaluate {key}", np.arange(settings["crops"]), 3) for key in data["validation"]
        ]
        places = np.concatenate(lanes)
        orders = np.concatenate(
            [
                mask_order(settings["seed"], f"evaluate mask {key}", np.arange(settings["crops"]), model.size.tokens)
                for key in data["validation"]
            ]
        )
        scores = []
        for start in range(0, len(volumes), _BATCH):
            part = slice(start, start + _BATCH)
            crops = torch.from_numpy(reader.read(volumes[part], places[part])).to(device)
            order = torch.from_numpy(orders[part]).to(device)
            loss = model(crops, order, padded=reader.any_padded(volumes[part]))
            scores.append(torch.stack([loss, mean_loss(model, crops, order)]).double().cpu())
        total = torch.cat(scores, dim=1).mean(dim=1)
        losses[name], means[name] = float(total[0]), float(total[1])
    return losses, means
