"""python train.py exp=… estimate=true: what a training would take, whether it fits, and which knob to turn."""

import shlex
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from omegaconf import DictConfig

from tiny_audio_diffusion import finetune
from tiny_audio_diffusion.memory.estimate import SAMPLING, VALIDATION, Estimate, estimate
from tiny_audio_diffusion.memory.knobs import CONTEXT, Measure, Settings, fits, pick, savings
from tiny_audio_diffusion.memory.sizes import gib, mib, parse

OURS = {"estimate", "limit", "pick"}  # keys that are about this and not about the training
WIDTH = 16
NOTES = {
    "activations": "kept from the forward for the backward pass",
    "temporaries": "there for a moment",
    "average": "of the weights",
}


def show(config: DictConfig) -> None:
    """Print the table of a configuration and, where there is a limit, what helps."""
    limit = None if config.limit is None else parse(config.limit)
    if config.pick and limit is None:
        raise ValueError("pick=true needs a limit, such as limit=2GiB")
    device = place(config)
    measure = partial(estimate, device=device)
    found = measure(config)
    print("\n".join(table(config, found)), flush=True)
    if limit is None:
        return
    print(verdict(found, limit), flush=True)
    if config.pick:
        print("\n".join(picked(config, found, limit, measure)))
        return
    print("what saves memory, the cheapest first, each alone:")
    saving = 0
    for knob, other in savings(config, device, measure):
        settings = " ".join(f"{key}={value}" for key, value in knob.settings.items())
        saving += 1
        print(f"  {mib(found.total - other.total):>12} less with {settings}: {knob.cost}", flush=True)
    print("pick=true prints the command line that fits" if saving else "  nothing is left to turn")


def place(config: DictConfig) -> str:
    """The device that is asked about: cpu, cuda, or where the training would run."""
    asked = str(config.estimate).lower()
    if asked in ("cpu", "cuda"):
        return asked
    if asked != "true":
        raise ValueError(f"estimate={config.estimate}: choose true, cpu or cuda")
    gpus, accelerator = config.trainer.gpus, config.trainer.accelerator
    if gpus is not None:
        return "cpu" if gpus == 0 else "cuda"
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda" if accelerator in ("gpu", "cuda") else "cpu"


def table(config: DictConfig, found: Estimate) -> Iterator[str]:
    """The account in lines."""
    yield (
        f"training on {found.device}, {found.precision}: batches of {config.batch_size}, "
        f"{config.accumulate_grad_batches} of them per step, {config.channels} × {config.length} samples a sound"
    )
    for kind, size in found.kinds.items():
        yield f"  {kind:<{WIDTH}}{mib(size):>12}   {NOTES.get(kind, '')}".rstrip()
    yield f"  {'total':<{WIDTH}}{mib(found.total):>12}   at its highest, in the {found.during}"
    for phase in (VALIDATION, SAMPLING):
        if phase in found.phases:
            yield f"  {phase:<{WIDTH}}{mib(found.phases[phase]):>12}   all of it, while that is done"
    if found.device == "cuda":
        low, high = CONTEXT["cuda"]
        yield f"not counted: CUDA's context, {gib(low)} to {gib(high)}; workspaces of cuDNN; fragmentation"
    else:
        yield "not counted: the process itself, with Python, torch and prepared sounds"


def verdict(found: Estimate, limit: int) -> str:
    """Whether it fits, in a line."""
    low, high = CONTEXT[found.device]
    beside = f" and {gib(low)} to {gib(high)} of CUDA's context" if high else ""
    if fits(found, limit):
        says = "fits into"
    elif found.total + low > limit:
        says = "does not fit into"
    else:
        says = "may or may not fit into"
    return f"{gib(found.total)} of tensors{beside}: {says} {gib(limit)}"


def picked(config: DictConfig, found: Estimate, limit: int, measure: Measure) -> Iterator[str]:
    """The command line that fits."""
    if fits(found, limit):
        yield "nothing to change:"
        yield command_line(finetune.command_line(), {})
        return
    choice, enough = pick(config, found.device, limit, measure)
    yield verdict(choice.estimate, limit) + (", with" if enough else "; it is the least there is, with")
    yield command_line(finetune.command_line(), choice.settings)


def command_line(given: Sequence[str], settings: Settings) -> str:
    """The training's command, with settings in place of what was given for the same keys."""
    replaced = OURS | set(settings)
    kept = [argument for argument in given if argument.partition("=")[0].lstrip("+") not in replaced]
    return shlex.join(["python", "train.py", *kept, *(f"{key}={value}" for key, value in settings.items())])
