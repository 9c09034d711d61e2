"""How long training waits for its sounds: python utils/benchmark_data.py <folder of sounds> [--files 100000]

Examines the folder twice, prepares it, draws batches from memory and from disk with no worker, and trains some steps
with a stopwatch at the loader. `--files` also examines so many tiny files that it makes itself, and tells the memory.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from benchmark import machine
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from tiny_audio_diffusion import command
from tiny_audio_diffusion.data.folder import SoundFolder
from tiny_audio_diffusion.data.order import Plan

REPEATS = 5
PLAN = Plan(batch_size=16, seed=0, balance=False, on_error="raise", validation_fraction=0.1)


def seconds(action: Callable[[], Any]) -> tuple[float, Any]:
    """How long something takes, and its result."""
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def open_set(folder: Path, cache: Path, **changes: float) -> SoundFolder:
    """The folder as exp=one_shots opens it."""
    settings = {"path": f"'{folder.absolute()}'", "cache_folder": f"'{cache}'", **changes}
    overrides = [f"datamodule.dataset.{name}={value}" for name, value in settings.items()]
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        config = compose("config", ["exp=one_shots", *overrides])
    return instantiate(config.datamodule.dataset)


def examine(folder: Path, cache: Path) -> dict[str, float]:
    """Seconds of a first and of a second start, and sounds prepared per second."""
    nowhere = {"memory_gigabytes": 0, "disk_gigabytes": 0}
    first, dataset = seconds(lambda: open_set(folder, cache, **nowhere))
    second = statistics.median(seconds(lambda: open_set(folder, cache, **nowhere))[0] for _ in range(REPEATS))
    count = min(len(dataset), 400)
    prepare, _ = seconds(lambda: [dataset.prepared.make(index) for index in range(count)])
    return {
        "sounds": len(dataset),
        "first scan (s)": first,
        "second scan (s)": second,
        "prepared per second, one thread": count / prepare,
    }


def draw(dataset: SoundFolder) -> float:
    """Sounds per second from a loader without workers, the median of some runs."""
    loader = torch.utils.data.DataLoader(dataset.training(PLAN), batch_size=None, num_workers=0)
    batches = iter(loader)
    for _ in islice(batches, len(dataset) // PLAN.batch_size + 1):
        pass  # once through: what is kept on disk is there from now on
    runs = [seconds(lambda: sum(len(batch["path"]) for batch in islice(batches, 125))) for _ in range(REPEATS)]
    return statistics.median(count / took for took, count in runs)


def share_of_waiting(dataset: SoundFolder, steps: int) -> float:
    """The share of training with exp=one_shots that is spent waiting for a batch."""
    with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
        config = compose("config", ["exp=one_shots"])
    diffusion = instantiate(config.module.diffusion)
    optimizer = torch.optim.AdamW(diffusion.parameters())
    batches = iter(torch.utils.data.DataLoader(dataset.training(PLAN), batch_size=None, num_workers=0))
    waited = total = 0.0
    for step in range(steps + 1):
        started = time.perf_counter()
        batch = next(batches)
        delivered = time.perf_counter()
        diffusion.loss(batch["audio"]).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step:  # the first one warms up
            waited += delivered - started
            total += time.perf_counter() - started
    return waited / total


def examine_many(count: int) -> dict[str, float]:
    """Seconds and memory for examining `count` tiny files, different ones, in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "sounds")
        for number in range(count):
            target = folder / f"{number // 1000:04d}" / f"{number}.wav"
            target.parent.mkdir(parents=True, exist_ok=True)
            audio = np.random.default_rng(number).uniform(-0.5, 0.5, 64)
            soundfile.write(target, audio, 44100)
        answer = subprocess.run(
            [sys.executable, __file__, str(folder), "--only-examine", str(Path(place, "cache"))],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return json.loads(answer.stdout.splitlines()[-1])


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=0, help="also examine so many tiny files")
    parser.add_argument("--steps", type=int, default=5, help="training steps (default: %(default)s)")
    parser.add_argument("--only-examine", type=Path, metavar="CACHE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    command.prepare()
    if arguments.only_examine:
        before = peak_gigabytes()
        took, _ = seconds(
            lambda: open_set(arguments.folder, arguments.only_examine, memory_gigabytes=0, disk_gigabytes=0)
        )
        print(json.dumps({"seconds": took, "GiB before": before, "GiB after": peak_gigabytes()}))
        return
    # First, because a process counts the memory of the one that started it as its own.
    many = examine_many(arguments.files) if arguments.files else {}
    with tempfile.TemporaryDirectory() as cache:
        figures = examine(arguments.folder, Path(cache))
        for name, changes in {"memory": {}, "disk": {"memory_gigabytes": 0}}.items():
            figures[f"drawn per second, from {name}"] = draw(open_set(arguments.folder, Path(cache), **changes))
        share = share_of_waiting(open_set(arguments.folder, Path(cache)), arguments.steps)
        figures["share of training spent waiting (%)"] = 100 * share
    if many:
        figures |= {f"{arguments.files} tiny files, {name}": value for name, value in many.items()}
    print(machine(), f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads", sep="; ")
    for name, value in figures.items():
        print(f"{name:<45} {value:>12,.3f}")


if __name__ == "__main__":
    main()
