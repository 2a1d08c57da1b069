"""What a benchmark ran on, in plain values: figures without it compare with nothing. And where it prints."""

import platform

import torch
from rich.console import Console

from avih.device import cpu_model

WIDTH_OF_FILES = 160  # characters of a table that goes into a file
err = Console(stderr=True, highlight=False, soft_wrap=True)


def describe_machine(device: torch.device | str = "cpu") -> dict[str, str | int]:
    """Return the CPU's model, the cores in use, the version of torch and the device that computes."""
    chosen = torch.device(device)
    facts: dict[str, str | int] = {
        "cpu": cpu_model(),
        "cores_used": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": chosen.type,
    }
    if chosen.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(chosen)
        facts["gpu_memory_bytes"] = torch.cuda.get_device_properties(chosen).total_memory
        facts["cudnn"] = int(torch.backends.cudnn.version() or 0)
    return facts


def synchronise(device: torch.device | str) -> None:
    """Wait until the device has computed all it was given; a CPU always has."""
    chosen = torch.device(device)
    if chosen.type == "cuda":
        torch.cuda.synchronize(chosen)


def out() -> Console:
    """Return the console of results, wide enough for a table where it is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH_OF_FILES)
