"""Estimated against real memory of training, for six configurations: python utils/check_memory.py [--device cuda]

Each trains for two optimizer steps on made-up sounds, with the real Trainer, callbacks, validation and samples, while
every allocation is counted: on a CPU by torch's profiler, on CUDA by its allocator. Exit code 1 if one is off by more
than 15 %.
"""

import argparse
import sys
import time

import torch
from benchmark import machine
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tiny_audio_diffusion import command
from tiny_audio_diffusion.memory import measure
from tiny_audio_diffusion.memory.estimate import estimate, precision_on
from tiny_audio_diffusion.memory.rehearsal import rehearse

CASES = {
    "published": ["exp=drum_diffusion"],
    "low memory": ["exp=drum_diffusion", "trainer.memory=low"],
    "quickstart": ["exp=quickstart"],
    "mono": ["exp=one_shots", "channels=1", "batch_size=4"],
    "longer": ["exp=one_shots", "length=131072", "batch_size=2"],
    "wider": ["exp=one_shots", "network.channels=[128,256,512,512]", "batch_size=2"],
}
PLACES = ["run_folder=.", "experiment=check", "logs_dir=."]
MOST = 0.15  # relative error
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", default="auto", help="trainer.precision, default what training would choose")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help="of the six")
    arguments = parser.parse_args()
    command.prepare()
    place = machine() if arguments.device == "cpu" else torch.cuda.get_device_name()
    print(f"{place}, torch {torch.__version__}; MiB at the highest")
    print(f"{'':<12}{'precision':<12}{'estimated':>10}{'measured':>10}{'error':>8}{'seconds':>9}  settings", flush=True)
    errors = [check(name, arguments.device, arguments.precision) for name in arguments.only]
    sys.exit(max(map(abs, errors)) > MOST)


def check(name: str, device: str, precision: str) -> float:
    """One line of the table; returns the relative error."""
    config = composed(*CASES[name], f"trainer.precision={precision}")
    start = time.perf_counter()
    found = estimate(config, device=device)
    seconds = time.perf_counter() - start
    real = measured(config, device)
    error = found.total / real - 1
    figures = f"{found.total / MIB:>10.1f}{real / MIB:>10.1f}{error:>+8.1%}{seconds:>9.1f}"
    print(f"{name:<12}{found.precision:<12}{figures}  {' '.join(CASES[name])}", flush=True)
    return error


def measured(config: DictConfig, device: str) -> int:
    """Bytes of tensors at the highest of a rehearsal with real ones."""
    accelerator = "gpu" if device == "cuda" else "cpu"
    usage = measure.peak(
        lambda: rehearse(config, accelerator=accelerator, precision=precision_on(config, device)), device
    )
    return usage.peak


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        return compose("config", [*overrides, *PLACES])


if __name__ == "__main__":
    main()
