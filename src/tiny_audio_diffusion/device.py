"""Where a model runs and in what precision, by the words that users have for it."""

import re

import torch
from torch import nn

COMPILATIONS = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
PRECISIONS = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}


def pick(name: str) -> torch.device:
    """The device called `name`; auto takes a GPU where there is one."""
    choices = "choose auto, cpu, cuda or mps"
    if name == "auto":
        found = ("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()), ("cpu", True)
        return torch.device(next(device for device, usable in found if usable))
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise ValueError(f"there is no device={name}: {choices}")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={name} cannot be used here ({reason}): {choices}") from error


def half_precision(name: str, device: torch.device) -> torch.dtype | None:
    """What autocast computes in under the precision called `name`: null for float32; auto halves on a GPU alone."""
    if name == "auto":
        on_gpu = device.type == "cuda"
        name = ("bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "16") if on_gpu else "32"
    if name not in PRECISIONS:
        raise ValueError(f"there is no precision={name}: choose auto, {', '.join(PRECISIONS)}")
    if name == "16" and device.type == "cpu":
        raise ValueError("precision=16 is for GPUs: on a CPU choose 32 or bf16")
    return PRECISIONS[name]


def compile_network(network: nn.Module, mode: bool | str, *, key: str) -> None:
    """Have torch.compile translate the network at its next call, in place; weights keep their names."""
    mode = "default" if mode is True else mode
    if mode not in COMPILATIONS:
        raise ValueError(f"there is no {key}={mode}: choose false, true, {', '.join(COMPILATIONS)}")
    try:
        torch.compile(torch.sin)(torch.zeros(3))  # says whether there is a compiler before anything has begun
    except (RuntimeError, ImportError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{key}={mode} needs a compiler that works (on a CPU g++): {reason}; {key}=false") from error
    network.compile(mode=mode)
