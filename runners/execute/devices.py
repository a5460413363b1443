"""Which accelerators runs may use, by the names that the user, Slurm or a container gave them.

CUDA_VISIBLE_DEVICES, and ROCm's variables, hold indices, UUIDs (`GPU-...`) or MIG instances (`MIG-...`). Runs get their
part of that list, never indices of our own: those would name the cards of somebody else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mixlang.errors import StageError

_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""One of these is there wherever torch could find an accelerator: NVIDIA's driver, AMD's, and that of WSL."""

_CUDA = ("CUDA_VISIBLE_DEVICES",)
_ROCM = ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
"""The variables that choose devices, those that decide last first. ROCm takes CUDA's where HIP's is not set, and what
ROCR_VISIBLE_DEVICES leaves is numbered anew for both."""

_INDEX = re.compile(r"\+?[0-9]+")
"""What an entry by index begins with; drivers read no further."""


@dataclass(frozen=True)
class Devices:
    """The accelerators that runs may use; none for the CPU.

    Attributes:
        variable: that hands a run its own.
        names: of the devices, as that variable takes them.
    """

    variable: str = "CUDA_VISIBLE_DEVICES"
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def of(self, slot: int, processes: int) -> dict[str, str]:
        """The variable that gives a slot its devices, one a process; empty where there are none.

        Slots beyond the devices begin again at the first: somebody asked for several runs on each.
        """
        if not self.names:
            return {}
        first = slot % max(1, len(self.names) // processes) * processes
        return {self.variable: ",".join(self.names[first : first + processes])}

    def require(self, processes: int) -> None:
        """Make sure that the processes of a run have a device each.

        Raises:
            StageError: there are fewer, or they are MIG instances, of which a process sees one alone.
        """
        if not self.names or processes == 1:
            return
        given = f"{self.variable} ({','.join(self.names)})" if self.variable in os.environ else "this machine"
        if self.names[0].startswith("MIG-"):
            raise StageError(
                f"a run of {processes} processes cannot be spread over the MIG instances of {given}",
                "Set launch.processes_per_run to 1, or use whole cards.",
            )
        if len(self.names) < processes:
            raise StageError(
                f"a run was to have {processes} processes, one a device, and {given} has {len(self.names)} devices",
                "Lower launch.processes_per_run, or make more devices visible.",
            )


def devices() -> Devices:
    """The accelerators that are visible here. Imports torch only where a driver is installed.

    Raises:
        StageError: what the environment names is not what torch finds.
    """
    if not any(Path(name).exists() for name in _DRIVERS):
        return Devices()  # torch would find none either, after seconds of being imported
    import torch

    return visible(os.environ, torch.cuda.device_count(), rocm=torch.version.hip is not None)


def visible(environ: Mapping[str, str], count: int, rocm: bool = False) -> Devices:
    """The accelerators that an environment makes visible.

    Args:
        count: devices that torch finds in that environment.
        rocm: whether they are AMD's.

    Raises:
        StageError: the environment names others, or one of them twice.
    """
    variables = _ROCM if rocm else _CUDA
    variable = next((name for name in variables if name in environ), None)
    if variable is None:
        return Devices(variables[0], tuple(str(index) for index in range(count)))
    names = named(environ[variable])
    if len(set(map(_canonical, names))) < len(names):
        raise StageError(
            f"{variable}={environ[variable]} names a device twice; the driver then shows none at all",
            "Name each device once.",
        )
    one_alone = bool(names) and names[0].startswith("MIG-")  # a process sees one MIG instance, however many are named
    if count != len(names) and not (one_alone and count):
        raise StageError(
            f"{variable}={environ[variable]} names {len(names)} usable devices, but torch finds {count}",
            f"Name devices of this machine only, or unset {variable}; 'nvidia-smi -L' or 'rocm-smi' lists them.",
        )
    return Devices(variable, names)


def named(text: str) -> tuple[str, ...]:
    """The devices that the value of such a variable names, in the form it names them.

    As CUDA reads it: the list ends at the first entry that is no device; '', `-1` and `NoDevFiles` name none; a list
    that begins with a UUID or a MIG instance holds such alone.
    """
    entries = [entry.strip() for entry in text.split(",")]
    prefix = next((prefix for prefix in ("GPU-", "MIG-") if entries[0].startswith(prefix)), "")
    found = []
    for entry in entries:
        if not (entry.startswith(prefix) if prefix else _INDEX.match(entry)):
            break
        found.append(entry)
    return tuple(found)


def _canonical(name: str) -> str:
    """A device's name without what changes nothing: `01` and `1x` are 1."""
    index = _INDEX.match(name)
    return str(int(index[0])) if index else name
