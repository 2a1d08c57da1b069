"""Where to compute: the one choice of device, and what to call the machine that a time was measured on."""

import copy
import os
import platform
from pathlib import Path
from typing import Final

import torch
from torch import nn

from avih.errors import UsageError

DEVICE_VARIABLE: Final = "AVIH_DEVICE"
AUTO: Final = "auto"
KINDS: Final = ("cpu", "cuda")
CPU_FACTS: Final = Path("/proc/cpuinfo")


def chosen_device(wanted: str | None = None) -> torch.device:
    """Choose the device: the argument, else ``AVIH_DEVICE``, else ``auto``, and prove that it computes.

    Args:
        wanted: ``auto`` (CUDA where there is a GPU, else the CPU), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        UsageError: no such device, or this machine cannot compute on it. A GPU that is there and does not work
            is told, not replaced by a CPU that would take a hundred times as long.
    """
    given = os.environ.get(DEVICE_VARIABLE)  # an empty variable counts as none
    name = wanted or given or AUTO
    said_by = f" ({DEVICE_VARIABLE} says so)" if given and not wanted else ""
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in KINDS:
            raise RuntimeError(f"expected {' or '.join(KINDS)}, got a device of type {device.type}")
        torch.ones(1, device=device).sum().item()  # waits for the answer, so that a GPU's error shows here
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UsageError(
            f"The device {name!r} cannot be used here{said_by}: {reason}. Expected auto, cpu, or cuda "
            "where there is a GPU and its driver: use cpu."
        ) from None
    return device


def device_of(network: nn.Module) -> torch.device:
    """Return where a network is; the CPU for one without parameters."""
    weight = next(network.parameters(), None)
    return torch.device("cpu") if weight is None else weight.device


def placed(network: nn.Module, device: torch.device | str) -> nn.Module:
    """Return a network that computes there: itself, or a copy where it is elsewhere, which others may rely on."""
    wanted = torch.device(device)
    if device_of(network).type == wanted.type:
        return network
    return copy.deepcopy(network).to(wanted)


def machine_name(device: torch.device) -> str:
    """Name what computes, so that a time is compared with times of the same machine only."""
    host = f"{cpu_model()}, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name(device)} ({host})" if device.type == "cuda" else host


def cpu_model() -> str:
    """Return the CPU's name as the system gives it, or its architecture where it gives none."""
    if CPU_FACTS.is_file():
        for line in CPU_FACTS.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
