"""Does a training fit under a hard limit of a GPU's memory, and how fast is it there? python utils/check_gpu.py

Under a cap on what PyTorch's allocator may take (1 GiB for the published configuration, 512 MiB for one_shots), each
run trains on made-up sounds, validates, makes sounds, stops and goes on. Then sounds per second of training under the
cap of 1 GiB: the best batch of the original and of ours. Exit code 1 if a run does not fit or ours is not 2.5 times as
fast. With --rehearse the same runs on a CPU, tiny and without a cap: it shows that the command works, and no more.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from benchmark_cases import Case, make_cases
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from tiny_audio_diffusion import command, training
from tiny_audio_diffusion.data.synthesis import synthesise

MIB = 2**20
PUBLISHED_CAP, SMALL_CAP = 1024 * MIB, 512 * MIB
RUNS: list[tuple[str, list[str], int]] = [
    ("drum_diffusion", [], PUBLISHED_CAP),
    ("drum_diffusion", ["trainer.memory=low", "callbacks.average.device=cpu"], PUBLISHED_CAP),
    ("one_shots", [], SMALL_CAP),
]
SHORT = [
    "accumulate_grad_batches=2",
    "val_log_every_n_steps=4",
    "num_workers=0",
    "steps=4",
    "loggers.tensorboard=false",
    "loggers.wandb=false",
    "module.decay_to=1.0",
]
TINY = ["network.channels=[16,16]", "network.factors=[1,4]", "network.items=[1,1]", "network.attentions=[0,1]"]
GOAL = 2.5


def cap(bytes_: int) -> None:
    """From here on the allocator takes no more than this."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(bytes_ / torch.cuda.get_device_properties(0).total_memory)
    torch.cuda.reset_peak_memory_stats()


def train(sounds: Path, folder: Path, experiment: str, options: Sequence[str], *, on_gpu: bool) -> None:
    """Train, validate, make sounds, stop; then go on."""
    device = "trainer.gpus=1" if on_gpu else "trainer.gpus=0"
    places = [f"datamodule.dataset.path='{sounds}'", f"logs_dir='{folder}'", "experiment=check", device]
    extra = [*SHORT, *places, *options, *([] if on_gpu else [*TINY, "network.patch=4", "length=4096", "batch_size=2"])]
    begun = folder / "begun"
    for steps, run, more in ((2, begun, []), (4, folder / "continued", [f"ckpt='{begun}'"])):
        with initialize_config_dir(str(command.ROOT / "configs"), version_base="1.3"):
            own = [f"run_folder='{run}'", f"trainer.max_steps={steps}"]
            config = compose("config", [f"exp={experiment}", *extra, *own, *more])
        trainer = training.train(config, instantiate(config.datamodule.dataset))
        assert trainer.global_step == steps
        assert list((run / "samples").rglob("*.wav"))


def check_runs(folder: Path, *, on_gpu: bool) -> Iterator[str]:
    """What does not fit."""
    synthesise(folder / "sounds", count=8, seed=0)
    for number, (experiment, options, limit) in enumerate(RUNS):
        name = " ".join([experiment, *options])
        if on_gpu:
            cap(limit)
        try:
            train(folder / "sounds", folder / f"run_{number}", experiment, options, on_gpu=on_gpu)
        except torch.OutOfMemoryError:
            yield f"{name} does not fit into {limit / MIB:.0f} MiB"
            continue
        if on_gpu:
            taken, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
            print(f"{name}: {taken / MIB:.0f} MiB of tensors, {reserved / MIB:.0f} of {limit / MIB:.0f} MiB taken")
        else:
            print(f"{name}: trained, validated, made sounds, went on")


def sounds_per_second(case: Case, device: str) -> float:
    """The best over the batches that fit: whole steps, with optimizer and average."""
    best = 0.0
    for batch in (1, 2, 4, 8, 16):
        try:
            best = max(best, batch / _seconds(replace(case, batch=batch), device))
        except torch.OutOfMemoryError:
            break
        finally:
            case.release(device)
            if device == "cuda":
                torch.cuda.empty_cache()
    return best


def _seconds(case: Case, device: str, repeats: int = 5) -> float:
    case.model.to(device)
    x, finish = 0.1 * torch.randn(case.batch, case.channels, case.length, device=device), case.finish(device)
    times = []
    for _ in range(2 + repeats):
        start = time.perf_counter()
        case.backward(x)
        finish()
        case.model.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    case.release(device)
    return statistics.median(times[2:])


def check_speed() -> Iterator[str]:
    """Both in half precision, as both train on a GPU."""
    cap(PUBLISHED_CAP)
    cases = [case for case in make_cases("cuda", compiled=False, chosen="published") if case.half]
    found = {case.label: sounds_per_second(case, "cuda") for case in cases}
    for label, rate in found.items():
        print(f"{label}: {rate:.1f} sounds/s" if rate else f"{label}: does not fit")
    original, *ours = found.values()
    if max(ours) < GOAL * original:
        yield f"ours is {max(ours) / original:.2f} times as fast as the original, not {GOAL}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, tiny, without a cap")
    arguments = parser.parse_args()
    if not arguments.rehearse and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no CUDA device here; --rehearse runs the same on a CPU, tiny and without a cap")
    command.prepare()
    with tempfile.TemporaryDirectory() as folder:
        problems = list(check_runs(Path(folder), on_gpu=not arguments.rehearse))
    if not arguments.rehearse:
        problems += check_speed()
    sys.exit("\n".join(problems) if problems else 0)


if __name__ == "__main__":
    main()
