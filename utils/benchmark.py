"""Time our networks against audio-diffusion-pytorch 0.1.3: python utils/benchmark.py --repeats 7 --threads 2

One process, all networks in turn within each round, so that a busy moment of the machine hits them alike. One stereo
sound at a time: `evaluation` is one call of the network without gradients (a sampler's step), `training` the loss and
its backward pass (a micro-batch of one). Speed-ups compare medians with the first row.
"""

import argparse
import contextlib
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from tqdm import tqdm

from tiny_audio_diffusion.diffusion import Diffusion
from tiny_audio_diffusion.objective import V
from tiny_audio_diffusion.schedule import Angle

CHANNELS = 2
NETWORKS = Path(__file__).parents[1] / "configs" / "network"


@dataclass
class Case:
    """A model at one precision, how to evaluate and train it, and the milliseconds it took."""

    name: str
    precision: str
    model: nn.Module
    evaluate: Callable[[Tensor, Tensor], Tensor]
    loss: Callable[[Tensor], Tensor]
    milliseconds: dict[str, list[float]] = field(default_factory=lambda: {"evaluation": [], "training": []})
    peak_bytes: dict[str, int] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())


def network_config(name: str) -> DictConfig:
    config = OmegaConf.merge({"channels": CHANNELS, "network": OmegaConf.load(NETWORKS / f"{name}.yaml")})
    OmegaConf.resolve(config)
    return config.network


def upstream_case() -> Case:
    try:
        from audio_diffusion_pytorch import DiffusionModel, UNetV0, VDiffusion, VSampler
    except ImportError:
        raise SystemExit('nothing to compare with: pip install "audio-diffusion-pytorch==0.1.3"') from None
    config = OmegaConf.to_container(network_config("published"))
    ours_only = ("_target_", "patch")
    model = DiffusionModel(
        net_t=UNetV0,
        diffusion_t=VDiffusion,
        sampler_t=VSampler,
        **{key: value for key, value in config.items() if key not in ours_only},
    )
    return Case("audio-diffusion-pytorch", "float32", model, model.net, model)


def our_cases(length: int) -> list[Case]:
    cases = []
    for name in ("published", "slim"):
        network = instantiate(network_config(name))
        try:
            network.check_length(length)
        except ValueError as error:
            raise SystemExit(str(error)) from None
        model = Diffusion(network=network, objective=V(), schedule=Angle())
        for precision in ("float32", "bfloat16"):
            cases.append(Case(name, precision, model, model.network, model.loss))
    return cases


def measure(case: Case, kind: str, x: Tensor) -> None:
    """Add one timing; the first of two calls warms up caches and kernels and does not count."""
    device = x.device
    on_cuda = device.type == "cuda"
    case.model.to(device)  # one model on the device at a time, so that the peak memory is its own
    level = torch.full((len(x),), 0.5, device=device)
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(2):
        case.model.zero_grad(set_to_none=True)
        precision = torch.autocast(device.type, torch.bfloat16, enabled=case.precision == "bfloat16")
        mode = torch.no_grad() if kind == "evaluation" else contextlib.nullcontext()
        if on_cuda:
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        with mode, precision:
            result = case.evaluate(x, level) if kind == "evaluation" else case.loss(x)
        if kind == "training":
            result.backward()
        if on_cuda:
            torch.cuda.synchronize(device)
        milliseconds = 1000 * (time.perf_counter() - start)
    case.milliseconds[kind].append(milliseconds)
    case.model.zero_grad(set_to_none=True)
    if on_cuda:
        case.peak_bytes[kind] = torch.cuda.max_memory_allocated(device)
        case.model.cpu()


def benchmark(device: str, repeats: int, length: int) -> list[dict]:
    """Rows of the table for one device."""
    cases = [upstream_case(), *our_cases(length)]
    x = 0.1 * torch.randn(1, CHANNELS, length, device=device)
    # Sampling never trains in between: after a backward pass the allocator keeps memory that an evaluation alone has to
    # ask the system for each time, and the network that needs more of it would gain.
    for kind in cases[0].milliseconds:
        for _ in tqdm(range(repeats), desc=f"{device}, {kind}", leave=False):
            for case in cases:
                measure(case, kind, x)
    return [row(case, cases[0]) for case in cases]


def row(case: Case, first: Case) -> dict:
    values = {"network": case.name, "precision": case.precision, "parameters": case.parameters}
    for kind, milliseconds in case.milliseconds.items():
        median = statistics.median(milliseconds)
        values[kind] = {
            "median_milliseconds": median,
            "min_milliseconds": min(milliseconds),
            "max_milliseconds": max(milliseconds),
            "speed_up": statistics.median(first.milliseconds[kind]) / median,
            "peak_bytes": case.peak_bytes.get(kind),
        }
    return values


def show(rows: list[dict]) -> None:
    on_cuda = rows[0]["training"]["peak_bytes"] is not None
    width = 46 if on_cuda else 36
    print(f"{'milliseconds: median (min to max), speed-up':<45}  {'evaluation':<{width}}  training")
    for values in rows:
        line = f"{values['network']:<24} {values['precision']:<9} {values['parameters'] / 1e6:>8.2f} M"
        for kind in ("evaluation", "training"):
            cell = values[kind]
            median, low, high = (f"{cell[f'{name}_milliseconds']:.1f}" for name in ("median", "min", "max"))
            text = f"{median} ({low} to {high}) {cell['speed_up']:.2f}×"
            if on_cuda:
                text += f" {cell['peak_bytes'] / 2**20:.0f} MiB"
            line += f"  {text:<{width}}"
        print(line.rstrip())


def machine() -> str:
    """Name of the processor."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="timings per number, default %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="processor threads, default %(default)s")
    parser.add_argument("--length", type=int, default=32768, help="samples of a sound, default %(default)s")
    parser.add_argument("--json", type=Path, help="also write all numbers here")
    arguments = parser.parse_args()
    if min(arguments.repeats, arguments.threads) < 1:
        parser.error("repeats and threads must be at least 1")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    names = {"cpu": f"{machine()}, {arguments.threads} threads"}
    if torch.cuda.is_available():
        names["cuda"] = torch.cuda.get_device_name()
    report = {"torch": torch.__version__, "length": arguments.length, "repeats": arguments.repeats, "devices": {}}
    for device, name in names.items():
        rows = benchmark(device, arguments.repeats, arguments.length)
        print(f"\n{name} · torch {torch.__version__} · {arguments.length} samples, {CHANNELS} channels, batch 1")
        show(rows)
        report["devices"][device] = {"name": name, "rows": rows}
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
