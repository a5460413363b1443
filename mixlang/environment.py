"""The environment of what mixlang starts: what reaches a run, and what of it may change its numbers.

A run is named by what decides its result, and the shell it happens to be started from is no part of that name. So a
run gets the variables listed here and no others; docs/training.md holds the same list. Those that may still change
its numbers are recorded with its result.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import mixlang


@dataclass(frozen=True)
class Allowed:
    """Variables that are let through.

    Attributes:
        names: of them; `*` stands for any ending.
        why: they are.
        recorded: whether they may change a result, and are kept with it.
    """

    names: tuple[str, ...]
    why: str
    recorded: bool = False


ALLOWED = (
    Allowed(
        ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TEMP", "TMP", "LANG", "LC_*", "TZ"),
        "what every program needs",
    ),
    Allowed(("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_*"), "where libraries are found on this machine", True),
    Allowed(
        ("OPENBLAS_CORETYPE", "KMP_DUPLICATE_LIB_OK", "HSA_OVERRIDE_GFX_VERSION"),
        "workarounds without which some machines crash",
        True,
    ),
    Allowed(
        ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
        "which devices may be used; each run gets its own of them",
    ),
    Allowed(
        ("CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH", "CUDA_CACHE_*", "CUDA_MPS_*", "ROCM_PATH", "MIOPEN_*_PATH"),
        "how devices are numbered and shared, and where their tools and caches are",
    ),
    Allowed(
        ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF", "MALLOC_ARENA_MAX"),
        "how memory is allocated; it fits or it does not",
    ),
    Allowed(
        ("NCCL_*", "RCCL_*", "GLOO_SOCKET_IFNAME", "FI_*", "UCX_*"),
        "the network between processes; like their number, it may change the order of sums",
        True,
    ),
    Allowed(
        ("WANDB_*", "MLFLOW_*", "COMET_*", "CLEARML_*", "AIM_*", "SWANLAB_*", "TRACKIO_*"),
        "accounts and addresses of trackers, which only read",
    ),
    Allowed(
        ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_*"),
        "the way to trackers",
    ),
    Allowed(("SLURM_CPUS_PER_TASK", "SLURM_CONF"), "the cores a job was given, and where its Slurm is"),
    Allowed(
        ("PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
        "where this Python's own files are",
    ),
    Allowed(("MIXLANG_*",), "mixlang's own"),
)
"""All that is let through by default. MIXLANG_PASS=NAME,NAME adds to it, and what it adds is recorded."""

_NEVER = ("ACCELERATE_*", "PARALLELISM_CONFIG_*", "FSDP_*", "PYTHON*")
"""What MIXLANG_PASS cannot add: these would change a run's recipe, or which modules it imports."""

_OF_A_STEP = ("SLURM_*", "SRUN_*")
"""What srun reads, to start the processes of a run on the nodes of the job around it."""

_PYTHON = ("PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8")
"""Of Python's variables, what DVC and its stages may have too: how they print."""

CONFIG = Path(__file__).parent / "templates" / "accelerate.yaml"
"""The configuration of `accelerate launch`, so that no user-wide one is read."""


def for_runs(environ: Mapping[str, str], threads: int | None = None, step: bool = False) -> dict[str, str]:
    """The environment of a run, or of a worker that reads data or trains a downstream task.

    Args:
        environ: what surrounds us.
        threads: of each process of the run; None leaves the number to the libraries.
        step: whether srun is to start it, which has to know the job around us.
    """
    more = _OF_A_STEP if step else ()
    kept = {name: value for name, value in environ.items() if _why(name, environ) is not None or _matches(name, more)}
    fixed = {"PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
    if threads is not None:
        fixed |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return {**kept, **_python_path(environ), **fixed}


def for_tools(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of DVC and its stages: all there is, but no modules from the current folder or for a prompt.

    DVC needs what git, its remotes and their accounts need, which no list of ours could hold.
    """
    python = [name for allowed in ALLOWED for name in allowed.names if name.startswith("PYTHON")]
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith("PYTHON") or _matches(name, (*python, *_PYTHON))
    }
    return {**kept, **_python_path(environ), "PYTHONSAFEPATH": "1"}


def recorded(environ: Mapping[str, str]) -> dict[str, str]:
    """Of a run's environment, what was let through although it may change a result."""
    found = {name: _why(name, environ) for name in environ}
    return {name: environ[name] for name, allowed in sorted(found.items()) if allowed is not None and allowed.recorded}


@contextlib.contextmanager
def inherited(environ: Mapping[str, str]) -> Iterator[None]:
    """What is started in the block inherits this environment, where a starter takes none (multiprocessing)."""
    before = dict(os.environ)
    _replace(environ)
    try:
        yield
    finally:
        _replace(before)


def _replace(environ: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name not in environ]:
        del os.environ[name]
    os.environ.update(environ)


def _why(name: str, environ: Mapping[str, str]) -> Allowed | None:
    """What lets a variable through; None where nothing does."""
    for allowed in ALLOWED:
        if _matches(name, allowed.names):
            return allowed
    asked = {part.strip() for part in environ.get("MIXLANG_PASS", "").split(",")}
    if name in asked and not _matches(name, _NEVER):
        return Allowed((name,), "asked for by MIXLANG_PASS", True)
    return None


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _python_path(environ: Mapping[str, str]) -> dict[str, str]:
    """PYTHONPATH without the folders that hold nothing mixlang needs: a module of theirs could replace one of Python's.

    What stays is where mixlang itself, or one of its packages, is installed; an editable install needs none.
    """
    given = [part for part in environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    if not given:
        return {}
    import importlib.metadata  # costs light commands more than all of this module

    needed = {str(Path(mixlang.__file__).resolve().parent.parent)}
    for package in ("torch", "accelerate", "numpy", "pydantic"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            needed.add(str(Path(str(importlib.metadata.distribution(package).locate_file(""))).resolve()))
    kept = [part for part in given if str(Path(part).resolve()) in needed]
    return {"PYTHONPATH": os.pathsep.join(kept)} if kept else {}
