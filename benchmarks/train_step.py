"""The MAE's training step against MONAI's `MaskedAutoEncoderViT` of the same sizes, and against the machine.

    python benchmarks/train_step.py [--repeats 15]      # CPU: vit_tiny, fp32, one thread
    python benchmarks/train_step.py --gpu               # vit_base, bf16, patch 16, batches up to what the card holds

A step is forward, backward and fused AdamW on the same batch of 96^3 crops, three quarters hidden. On the CPU the two
take turns in one process and time is the thread's CPU time, so that a shared machine disturbs both alike; medians are
shown. Peak memory is what a fresh process of its own grows by from the end of its imports: weights, gradients,
optimizer state, batch and activations. The fraction is of the rate at which this machine multiplies matrices,
measured between the steps, counting the operations of `mixlang.plan.cost`. MONAI's network cannot run under bf16
autocast (its decoder writes one type into another), so on a GPU ours is alone.
"""

from __future__ import annotations

import argparse
import logging
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from mixlang.plan.cost import flops_per_sample
from mixlang.spec.presets import resolve_model
from mixlang.spec.schema import Model
from runners.data.sampling import mask_order
from runners.train.mae import MAESize, MaskedAutoencoder

CROP = (96, 96, 96)
CASES = {16: 8, 8: 2}
"""Crops a step for each patch size, on the CPU."""

Step = Callable[[], Tensor]


def training(arch: str, patch: int) -> dict:
    return {"model": resolve_model(Model(arch=arch, patch=patch)), "crop": list(CROP)}


def stepper(model: nn.Module, forward: Callable[[], Tensor]) -> Step:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> Tensor:
        loss = forward()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def ours(arch: str, patch: int, crops: Tensor, precision: torch.dtype = torch.float32) -> Step:
    size = MAESize.of(training(arch, patch)["model"], CROP)
    model = MaskedAutoencoder(size).to(crops.device)
    order = torch.from_numpy(mask_order(0, "mask", np.arange(len(crops)), size.tokens)).to(crops.device)

    def forward() -> Tensor:
        with torch.autocast(crops.device.type, precision, enabled=precision != torch.float32):
            return model(crops, order).mean()

    return stepper(model, forward)


def monai(arch: str, patch: int, crops: Tensor) -> Step:
    """MONAI's network at our sizes, with the loss of He 2022: it has none of its own."""
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel("ERROR")
    from monai.networks.nets import MaskedAutoEncoderViT

    size = MAESize.of(training(arch, patch)["model"], CROP)
    model = MaskedAutoEncoderViT(
        in_channels=1,
        img_size=CROP,
        patch_size=patch,
        hidden_size=size.width,
        mlp_dim=4 * size.width,
        num_layers=size.depth,
        num_heads=size.heads,
        masking_ratio=size.mask_ratio,
        decoder_hidden_size=size.decoder_width,
        decoder_mlp_dim=4 * size.decoder_width,
        decoder_num_layers=size.decoder_depth,
        decoder_num_heads=size.decoder_heads,
        qkv_bias=True,
    ).to(crops.device)
    depth, height, width = size.grid

    def forward() -> Tensor:
        predicted, hidden = model(crops[:, None])
        target = crops.view(-1, depth, patch, height, patch, width, patch).permute(0, 1, 3, 5, 2, 4, 6)
        error = (predicted - target.reshape(predicted.shape)).square().mean(dim=2)
        return (error * hidden).sum() / hidden.sum()

    return stepper(model, forward)


STEPS = {"ours": ours, "monai": monai}


def batch(count: int, device: str = "cpu") -> Tensor:
    return torch.randn(count, *CROP, generator=torch.Generator().manual_seed(0)).to(device)


def cpu_seconds(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def peak_growth(name: str, patch: int) -> float:
    """MiB by which a fresh process grows while it makes the model and takes three steps."""
    command = [sys.executable, __file__, "--peak-of", name, "--patch", str(patch)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def show_peak(name: str, patch: int) -> None:
    if name == "monai":
        import monai.networks.nets  # noqa: F401
    import torch._dynamo  # noqa: F401  # optimizers import it on their first step

    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of the imports
    before = resident()
    step = STEPS[name]("vit_tiny", patch, batch(CASES[patch]))
    for _ in range(3):
        step()
    print(resource_peak() - before)


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def resource_peak() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def compare_on_cpu(repeats: int) -> None:
    torch.set_num_threads(1)
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    print("patch  batch   ours s  monai s  speed  peak MiB ours  monai  ratio  GFLOP/s  products GFLOP/s  fraction")
    for patch, count in CASES.items():
        crops = batch(count)
        steps = {name: make("vit_tiny", patch, crops) for name, make in STEPS.items()}
        times: dict[str, list[float]] = {"ours": [], "monai": [], "product": []}
        for repeat in range(repeats + 2):
            for name, step in steps.items():
                seconds = cpu_seconds(step)
                if repeat >= 2:  # the first steps allocate
                    times[name].append(seconds)
            times["product"].append(cpu_seconds(lambda: left @ right))
        mine, theirs, product = (median(times[name]) for name in ("ours", "monai", "product"))
        peaks = {name: peak_growth(name, patch) for name in STEPS}
        rate = count * flops_per_sample(training("vit_tiny", patch)) / mine / 1e9
        best = 2 * 1024**3 / product / 1e9
        print(
            f"{patch:5}  {count:5}  {mine:7.3f}  {theirs:7.3f}  {theirs / mine:5.2f}  {peaks['ours']:13.0f}  "
            f"{peaks['monai']:5.0f}  {peaks['ours'] / peaks['monai']:5.2f}  {rate:7.1f}  {best:16.1f}  {rate / best:8.2f}"
        )


def measure_on_gpu(repeats: int) -> None:
    """Doubles the batch until the card is full; wall time between synchronisations."""
    if not torch.cuda.is_available():
        raise SystemExit("--gpu needs a CUDA device; this machine has none")
    sizes = training("vit_base", 16)
    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = 2 * 8192**3 / wall_seconds(lambda: left @ right, repeats)
    print(f"{torch.cuda.get_device_name()}: {best / 1e12:.0f} TFLOP/s in bf16 products of 8192^3")
    print("batch  samples/s  TFLOP/s  fraction  peak GiB")
    count = 16
    while True:
        try:
            torch.cuda.reset_peak_memory_stats()
            step = ours("vit_base", 16, batch(count, "cuda"), torch.bfloat16)
            seconds = wall_seconds(step, repeats)
        except torch.cuda.OutOfMemoryError:
            return
        rate = count * flops_per_sample(sizes) / seconds
        peak = torch.cuda.max_memory_allocated() / 2**30
        print(f"{count:5}  {count / seconds:9.1f}  {rate / 1e12:7.1f}  {rate / best:8.2f}  {peak:8.1f}")
        count *= 2


def wall_seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for repeat in range(repeats + 3):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if repeat >= 3:
            times.append(time.perf_counter() - begun)
    return median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--peak-of", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--patch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        show_peak(options.peak_of, options.patch)
    elif options.gpu:
        measure_on_gpu(options.repeats)
    else:
        compare_on_cpu(options.repeats)


if __name__ == "__main__":
    main()
