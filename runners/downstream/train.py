"""One fit: an encoder with a head, trained on some labelled volumes and scored on the test volumes of its fold.

A fit is named by everything that decides its result; what it found is kept in the store under that name.
"""

from __future__ import annotations

import functools
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from mixlang.documents import CaseScores, FitJob, TaskRecipe
from mixlang.errors import StageError
from mixlang.files import write_json
from runners.downstream.crops import LabelledVolumes, balanced, read_volume, tiles
from runners.downstream.fits import fit_path
from runners.downstream.heads import ClassificationHead, Encoder, SegmentationHead, TokenHead
from runners.downstream.metrics import overlap
from runners.execute.store import RunStore
from runners.train.mae import MAESize, MaskedAutoencoder
from runners.train.weights import load_model

_WARMUP = 20
"""Steps of warmup, at most a tenth of all."""

_TILES = 8
"""Tiles of a volume that a step of fine-tuning sees, at most; scoring sees all."""


def fit(key: str, job: FitJob, store: Path) -> None:
    """Train and score one fit, and keep what it found.

    Args:
        job: `kind`, `mode`, `classes` (labels by name; of a classification their number), `recipe`, `crop`, `spacing`,
            `encoder` (`run`: the key of a pretraining run; or `model` and `seed`: from scratch), `seed`, and the cases
            `training` and `test`.

    Raises:
        StageError: the loss is not finite any more, or the disk is full.
    """
    _end_with_parent()
    torch.set_num_threads(1)
    device = _device(key)
    encoder = Encoder(_pretrained(job, store)).to(device)
    encoder.requires_grad_(job["mode"] == "finetune")
    torch.manual_seed(job["seed"])  # of the head, the same for every encoder
    work = _segment if job["kind"] == "segmentation" else _classify
    begun = time.monotonic()
    cases = work(encoder, job, store, device)
    found = {"key": key, "cases": cases, "seconds": round(time.monotonic() - begun, 3)}
    run = job["encoder"].get("run")
    write_json(fit_path(store, key), {**found, "run": run} if run else found)


def _device(key: str) -> torch.device:
    """Where a fit is computed: one of the accelerators there are, the same for the same fit, or the CPU."""
    count = torch.cuda.device_count()
    return torch.device("cuda", int(key[:8], 16) % count) if count else torch.device("cpu")


@functools.cache
def _end_with_parent() -> None:
    from runners.execute.liveness import end_with, parent

    end_with([parent()])


def _pretrained(job: FitJob, store: Path) -> MaskedAutoencoder:
    given = job["encoder"]
    if "run" in given:
        return load_model(RunStore(store).folder(given["run"]) / "model.safetensors")
    torch.manual_seed(given["seed"])
    return MaskedAutoencoder(MAESize.of(given["model"], job["crop"]))


def _optimize(step: int, loss: Tensor, optimizer: torch.optim.Optimizer, recipe: TaskRecipe) -> None:
    """One step at the rate of its place: a warmup, then half a cosine."""
    if not bool(loss.isfinite()):
        raise StageError(f"a downstream fit diverged at step {step + 1}", "Lower the task's learning_rate.")
    steps = recipe["steps"]
    warm = min(1.0, (step + 1) / max(1, min(_WARMUP, steps // 10)))
    for group in optimizer.param_groups:
        group["lr"] = recipe["learning_rate"] * warm * (1 + math.cos(math.pi * step / steps)) / 2
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([value for group in optimizer.param_groups for value in group["params"]], 1.0)
    optimizer.step()


def _optimizer(encoder: Encoder, head: nn.Module, recipe: TaskRecipe) -> torch.optim.Optimizer:
    trained = [value for module in (encoder, head) for value in module.parameters() if value.requires_grad]
    return torch.optim.AdamW(trained, lr=recipe["learning_rate"], weight_decay=0.05)


# Segmentation


def _segment(encoder: Encoder, job: FitJob, store: Path, device: torch.device) -> list[CaseScores]:
    """Dice and HD95 of each class of each test case."""
    from monai.losses import DiceCELoss

    recipe, crop = job["recipe"], job["crop"]
    training = LabelledVolumes(store, job["training"], job["classes"], crop)
    kind = SegmentationHead if job["mode"] == "finetune" else TokenHead
    head = kind(encoder.size, training.classes + 1).to(device)
    optimizer = _optimizer(encoder, head, recipe)
    # Dice over the batch, not crop by crop: most crops lack some class.
    measure = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)
    for step in range(recipe["steps"]):
        crops, truth = (part.to(device) for part in training.batch(job["seed"], step, recipe["batch_size"]))
        _optimize(step, measure(head(crops, encoder(crops)), truth[:, None]), optimizer, recipe)
    test = LabelledVolumes(store, job["test"], job["classes"], crop)
    head.eval()
    return [_scored(encoder, head, test, index, job["spacing"], device) for index in range(len(job["test"]))]


@torch.no_grad()
def _scored(
    encoder: Encoder, head: nn.Module, test: LabelledVolumes, index: int, spacing: list[float], device: torch.device
) -> CaseScores:
    from monai.inferers import sliding_window_inference

    def predict(crops: Tensor) -> Tensor:
        return head(crops[:, 0], encoder(crops[:, 0]))

    image = test.image(index)[None, None].to(device)
    found = sliding_window_inference(image, test.crop, 8, predict, overlap=0.25, mode="gaussian")
    truth, exists = test.truth(index)
    dice, distance = overlap(found[0].argmax(dim=0).cpu() * exists, truth, test.classes, spacing)
    return {"dice": dice, "hd95": distance}


# Classification


def _classify(encoder: Encoder, job: FitJob, store: Path, device: torch.device) -> list[CaseScores]:
    """The probability of each class for each test case."""
    recipe, cases = job["recipe"], job["training"]
    classes = [case["class"] for case in cases]
    truth = torch.tensor(classes, device=device)
    head = ClassificationHead(encoder.size.width, job["classes"]).to(device)
    optimizer = _optimizer(encoder, head, recipe)
    frozen = job["mode"] == "probe"

    @functools.lru_cache(256)
    def kept(index: int) -> Tensor:
        return _tokens(encoder, read_volume(store, cases[index]["volume"]).to(device))

    def seen(index: int, step: int) -> Tensor:
        if frozen:
            return kept(index)
        parts = tiles(read_volume(store, cases[index]["volume"]).to(device), job["crop"])
        if len(parts) > _TILES:
            order = torch.randperm(len(parts), generator=torch.Generator().manual_seed(job["seed"] + step))
            parts = parts[order[:_TILES]]
        return encoder(parts)[-1].flatten(0, 1)

    for step in range(recipe["steps"]):
        picked = balanced(job["seed"], step, recipe["batch_size"], classes)
        logits = head([seen(index, step) for index in picked])
        _optimize(step, nn.functional.cross_entropy(logits, truth[picked]), optimizer, recipe)
    head.eval()
    with torch.no_grad():
        volumes = (read_volume(store, case["volume"]).to(device) for case in job["test"])
        found = [head([_tokens(encoder, volume)]).softmax(dim=1)[0] for volume in volumes]
    return [{"probability": [round(value, 6) for value in row.tolist()]} for row in found]


@torch.no_grad()
def _tokens(encoder: Encoder, image: Tensor) -> Tensor:
    """All tokens of all tiles of a volume, shape (n, width)."""
    parts = tiles(image, encoder.size.crop)
    return torch.cat([encoder(part)[-1].flatten(0, 1) for part in parts.split(_TILES)])
