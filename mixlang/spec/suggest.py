"""Which word was meant: spelling, words the field uses elsewhere, and keys written in the wrong section."""

from __future__ import annotations

from collections.abc import Iterable

_ELSEWHERE = {
    "lr": "learning_rate",
    "wd": "weight_decay",
    "bs": "batch_size",
    "batch": "batch_size",
    "warmup": "warmup_steps",
    "grad_clip": "clip_norm",
    "gradient_clip": "clip_norm",
    "amp": "precision",
    "dtype": "precision",
    "embed_dim": "width",
    "hidden_size": "width",
    "num_layers": "depth",
    "num_heads": "heads",
    "patch_size": "patch",
    "masking_ratio": "mask_ratio",
    "roi_size": "crop",
    "crop_size": "crop",
    "patch_shape": "crop",
    "voxel_size": "spacing",
    "pixdim": "spacing",
    "val_fraction": "validation",
    "val": "validation",
    "path": "nifti",
    "glob": "nifti",
    "csv": "manifest",
    "datalist": "monai_datalist",
    "weight": "weights",
    "metric": "minimize",
    "goal": "minimize",
    "n_mixtures": "count",
    "gpus": "processes_per_run",
    "jobs": "max_parallel",
    "window": "clip",
    "mr": "mri",
    "mrt": "mri",
    "t1": "mri",
    "cat": "ct",
    "computed_tomography": "ct",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "half": "fp16",
    "small": "vit_small",
    "base": "vit_base",
    "tiny": "vit_tiny",
    "max": "worst_case",
    "minimax": "worst_case",
    "mean": "weighted_loss",
    "proportionate": "proportional",
    "equal": "uniform",
    "inf": "unlimited",
    ".inf": "unlimited",
    "none": "unlimited",
    "infinite": "unlimited",
}
"""What other tools and papers call it -> what the language calls it."""


def closest(word: str, candidates: Iterable[str]) -> str:
    """The candidate that was probably meant, or ''."""
    from difflib import get_close_matches

    names = list(candidates)
    plain = {name.lower().replace("_", "").replace("-", ""): name for name in names}
    folded = word.lower().replace("_", "").replace("-", "")
    if folded in plain:
        return plain[folded]
    known = _ELSEWHERE.get(word.lower())
    if known in names:
        return known
    match = get_close_matches(word, names, n=1, cutoff=0.6) or get_close_matches(folded, plain, n=1, cutoff=0.6)
    return plain.get(match[0], match[0]) if match else ""


def usual_name(word: str) -> str:
    """What the language calls what other tools call `word`; `word` itself where that is not known."""
    return _ELSEWHERE.get(word.lower(), word)


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """'did you mean 'x'?' for the closest candidate, or ''."""
    match = closest(word, candidates)
    return f"did you mean '{match}'?" if match else ""


def nearly(word: str, candidates: Iterable[str]) -> bool:
    """Whether a candidate differs from a word by little more than a letter."""
    from difflib import get_close_matches

    return bool(get_close_matches(word, list(candidates), n=1, cutoff=0.9))
