"""Time and memory of our networks against audio-diffusion-pytorch 0.1.3: python utils/benchmark.py

One process, all networks in turn within each round, so that a busy moment of the machine hits them alike. Sections
(--only evaluation,sounds,training,memory):

  evaluation  one call of the network without gradients, for one sound: a sampler's step
  sounds      64 sounds, from calls of the network: the original one at a time in 50 steps of float32, ours as
              generate.py makes them; seconds alone, nothing about how they sound
  training    loss and backward pass of one batch; the whole step, with optimizer and average; sounds per second
  memory      of a step that finds gradients and moments there: what each takes, saved for backward, and the peak

Speed-ups compare medians, per sound, with the original in float32. Evaluations are timed before the first training
step: after one, the allocator keeps memory that an evaluation alone has to ask the system for each time.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmark_cases import Case, half_of, make_cases
from torch import Tensor
from tqdm import tqdm

from tiny_audio_diffusion.memory import measure

SECTIONS = ("evaluation", "sounds", "training", "memory")
SOUNDS, STEPS, BATCH = 64, 20, 4  # of ours: dpm2m, whose 20 steps are within the interval of 50 (docs/recipe.md)
STEPS_OF_THE_ORIGINAL = 50
MIB = 2**20


def milliseconds(call: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def rounds(
    cases: list[Case], device: str, repeats: int, name: str, prepare: Callable[[Case], Callable[[], object]]
) -> dict[str, list[float]]:
    """Milliseconds of each case; the first of two calls in a row warms up caches and kernels and does not count."""
    timings: dict[str, list[float]] = {case.label: [] for case in cases}
    for _ in tqdm(range(repeats), desc=f"{device}, {name}", leave=False):
        for case in cases:
            call = case.on(device, prepare)
            call()
            timings[case.label].append(milliseconds(call, device))
            case.release(device)
    return timings


def sound(case: Case, device: str, batch: int) -> Tensor:
    return 0.1 * torch.randn(batch, case.channels, case.length, device=device)


def evaluation(cases: list[Case], device: str, repeats: int, *, batch: int = 1) -> list[dict[str, Any]]:
    def prepare(case: Case) -> Callable[[], object]:
        x, level = sound(case, device, batch), torch.full((batch,), 0.5, device=device)
        return lambda: case.evaluate(x, level)

    timings = rounds([case for case in cases if not case.trains_only], device, repeats, "evaluation", prepare)
    return [{"case": label, **spread("evaluation", times, timings)} for label, times in timings.items()]


def sounds(cases: list[Case], device: str, repeats: int) -> list[dict[str, Any]]:
    """Seconds for 64 sounds, of the calls that they take."""
    rows = []
    for case in cases:
        if case.trains_only or (case.is_original and case.half):
            continue
        batch, steps = (1, STEPS_OF_THE_ORIGINAL) if case.is_original else (BATCH, STEPS)
        (row,) = evaluation([case], device, max(2, repeats // 2), batch=batch)
        seconds = row["evaluation"]["median"] / 1000 * steps * SOUNDS / batch
        rows.append({"case": case.label, "steps": steps, "batch": batch, "seconds": seconds})
    for row in rows:
        row["speed_up"] = rows[0]["seconds"] / row["seconds"]
    return rows


def training(cases: list[Case], device: str, repeats: int) -> list[dict[str, Any]]:
    def backward(case: Case) -> Callable[[], object]:
        x = sound(case, device, case.batch)
        return lambda: case.backward(x)

    def step(case: Case) -> Callable[[], object]:
        x, finish = sound(case, device, case.batch), case.finish(device)
        return lambda: (case.backward(x), finish())

    backwards = per_sound(cases, rounds(cases, device, repeats, "training", backward))
    steps = per_sound(cases, rounds(cases, device, max(2, repeats // 2), "whole steps", step))
    return [
        {
            "case": case.label,
            "batch": case.batch,
            **spread("training", backwards[case.label], backwards),
            **spread("step", steps[case.label], steps),
            "sounds_per_second": 1000 / statistics.median(steps[case.label]),
        }
        for case in cases
    ]


def per_sound(cases: list[Case], timings: dict[str, list[float]]) -> dict[str, list[float]]:
    return {case.label: [time / case.batch for time in timings[case.label]] for case in cases}


def spread(name: str, times: list[float], all_: dict[str, list[float]]) -> dict[str, Any]:
    """Median, least and most; the speed-up is over the first case."""
    median = statistics.median(times)
    first = statistics.median(next(iter(all_.values())))
    return {name: {"median": median, "min": min(times), "max": max(times), "speed_up": first / median}}


def memory(cases: list[Case], device: str, repeats: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for case in tqdm([case for case in cases if not case.compiled], desc=f"{device}, memory", leave=False):

        def prepare(case: Case) -> Callable[[], object]:
            x, finish = sound(case, device, case.batch), case.finish(device)
            return lambda: (case.backward(x), finish())

        step = case.on(device, prepare)
        step()
        held = case.held(device)
        row: dict[str, Any] = {"case": case.label, "batch": case.batch} | held
        row["saved"] = case.saved(sound(case, device, case.batch))
        row["peak"] = sum(held.values()) + measure.peak(step, device).added
        row["share"] = row["peak"] / (rows[0]["peak"] if rows else row["peak"])
        rows.append(row)
        case.release(device)
    return rows


def show(section: str, rows: list[dict[str, Any]]) -> None:
    """A table, in Markdown."""

    def cell(name: str, value: Any) -> str:
        if isinstance(value, dict):
            return f"{value['median']:.1f} ({value['min']:.1f} to {value['max']:.1f}), {value['speed_up']:.2f}×"
        if name in ("parameters", "gradients", "optimizer", "average", "saved", "peak"):
            return f"{value / MIB:.0f} MiB"
        if name in ("share", "speed_up"):
            return f"{value:.2f}×"
        return f"{value:.1f}" if isinstance(value, float) else str(value)

    units = {
        "evaluation": "milliseconds",
        "training": "milliseconds per sound",
        "sounds": f"{SOUNDS} sounds",
        "memory": "",
    }
    print(f"\n{section}: {units[section]}".rstrip(": ") + "\n")
    print("| " + " | ".join(name.replace("_", " ") for name in rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(cell(name, value) for name, value in row.items()) + " |", flush=True)


def machine() -> str:
    """Name of the processor."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="timings per number, default %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="processor threads, default %(default)s")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, default all: %(default)s")
    parser.add_argument("--cases", default="", help="a part of the names of those to run beside the original")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile, which takes minutes")
    parser.add_argument("--json", type=Path, help="also write all numbers here")
    arguments = parser.parse_args()
    if min(arguments.repeats, arguments.threads) < 1:
        parser.error("repeats and threads must be at least 1")
    arguments.only = arguments.only.split(",")
    if strange := set(arguments.only) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(strange)}: choose {', '.join(SECTIONS)}")
    return arguments


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    devices = {"cpu": f"{machine()}, {arguments.threads} threads"}
    if torch.cuda.is_available():
        devices["cuda"] = torch.cuda.get_device_name()
    report: dict[str, Any] = {"torch": torch.__version__, "repeats": arguments.repeats, "devices": {}}
    for device, name in devices.items():
        print(f"\n{name} · torch {torch.__version__} · half precision is {half_of(device)}")
        cases = make_cases(device, compiled=arguments.compile, chosen=arguments.cases)
        if all(case.is_original for case in cases):
            raise SystemExit(f"no case of ours has {arguments.cases!r} in its name")
        report["devices"][device] = {"name": name}
        for section in SECTIONS:
            if section in arguments.only:
                rows = globals()[section](cases, device, arguments.repeats)
                show(section, rows)
                report["devices"][device][section] = rows
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
