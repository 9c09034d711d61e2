"""What steps and samplers cost and bring with a trained model: a table of distance and seconds.

    python utils/compare_samplers.py data/quickstart --ckpt last --count 48

Half of the sounds in the folder span the space of the kernel distance, the other half is the reference.
"""

import argparse
import time
from pathlib import Path

import torch
from benchmark import machine

from tiny_audio_diffusion import command, load, metrics
from tiny_audio_diffusion.generation import read_sound
from tiny_audio_diffusion.pipeline import Pipeline
from tiny_audio_diffusion.sampler import DPM2M, DPM2MSDE, Euler, Heun, Sampler
from tiny_audio_diffusion.schedule import Angle, Karras, Schedule

ANGLE, KARRAS = Angle(), Karras(sigma_min=0.03, sigma_max=20.0)
CHOICES: list[tuple[str, Sampler, Schedule, int]] = [
    ("euler", Euler(), ANGLE, 50),
    ("euler", Euler(), ANGLE, 20),
    ("euler", Euler(), ANGLE, 10),
    ("euler", Euler(), KARRAS, 10),
    ("dpm2m", DPM2M(), ANGLE, 20),
    ("dpm2m", DPM2M(), ANGLE, 10),
    ("dpm2m", DPM2M(), ANGLE, 6),
    ("dpm2m", DPM2M(), KARRAS, 10),
    ("dpm2m", DPM2M(), KARRAS, 6),
    ("dpm2m_sde", DPM2MSDE(), ANGLE, 20),
    ("dpm2m_sde", DPM2MSDE(), ANGLE, 10),
    ("ancestral", Euler(eta=1.0), ANGLE, 20),
    ("ancestral", Euler(eta=1.0), ANGLE, 10),
    ("heun", Heun(), ANGLE, 11),
]


def read_folder(folder: Path, model: Pipeline) -> torch.Tensor:
    """All WAV files below a folder as the model takes them, cut or filled up to its length."""
    files = sorted(folder.rglob("*.wav"))
    if len(files) < 8:
        raise SystemExit(f"{folder} holds {len(files)} sounds: 8 or more are needed")
    seconds = model.length / model.sampling_rate
    return torch.stack([read_sound(file, model, seconds=seconds)[0] for file in files])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the sounds that the model was trained on")
    parser.add_argument("--ckpt", default="last")
    parser.add_argument("--count", type=int, default=48, help="sounds per row, default %(default)s")
    arguments = parser.parse_args()
    command.prepare()
    model = load(arguments.ckpt)
    rate = model.sampling_rate
    known = metrics.log_mel(read_folder(arguments.folder, model), rate)
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))
    space = metrics.Standardise(known[order[::2]], dimensions=40)
    reference = space(known[order[1::2]])
    print(f"{arguments.count} sounds a row; {machine()}, {torch.get_num_threads()} threads\n")
    print("| sampler | schedule | steps | nearest | kernel distance | tail | seconds |\n|---|---|---|---|---|---|---|")
    for name, sampler, ladder, steps in CHOICES:
        started = time.monotonic()
        sounds = model.using(sampler=sampler, ladder=ladder).generate(arguments.count, steps=steps, batch_size=8)
        seconds = time.monotonic() - started
        features = metrics.log_mel(sounds.clamp(-1, 1), rate)
        distance = metrics.kernel_distance(reference, space(features))
        low, high = metrics.bootstrap_interval(reference, space(features))
        nearest = metrics.nearest_distance(features, known).mean().item()
        tail = metrics.tail_noise(sounds, rate).median().item()
        print(
            f"| {name} | {type(ladder).__name__.lower()} | {steps} | {nearest:.2f} | "
            f"{distance:.1f} ({low:.1f} to {high:.1f}) | {tail:.1f} dB | {seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
