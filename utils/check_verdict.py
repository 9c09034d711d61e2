"""How often does the sentence of evaluate.py err? A table of verdicts on synthesised drums, whose source is known.

    python utils/check_verdict.py [--repeats 40]

Generated sounds are drawn from the source of the real ones, from it without one of its five classes, and from it with
hiss of −50 and −40 dB of each sound's peak; each draw is judged. Only the first may be called good.
"""

import argparse
from collections import Counter

import torch
from benchmark import machine
from torch import Tensor
from torch.nn.functional import pad

from tiny_audio_diffusion.data.synthesis import SAMPLING_RATE, VOICES, render
from tiny_audio_diffusion.evaluation.measures import Sets, kernel
from tiny_audio_diffusion.evaluation.space import Features
from tiny_audio_diffusion.evaluation.verdict import tone_of
from tiny_audio_diffusion.metrics import Standardise, log_mel

POOL = 1200
LENGTH = round(0.75 * SAMPLING_RATE)
SIZES = ((320, 200), (320, 50), (80, 50), (40, 20))  # real and generated sounds
CLASS_LEFT_OUT = sorted(VOICES)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40, help="draws of each row (default: %(default)s)")
    repeats = parser.parse_args().repeats
    names = [sorted(VOICES)[index % len(VOICES)] for index in range(POOL)]
    sounds = torch.stack([drum(name, index) for index, name in enumerate(names)])
    pools = {"as real": log_mel(sounds, SAMPLING_RATE)}
    pools[f"no {CLASS_LEFT_OUT}"] = pools["as real"]
    pools |= {f"hiss {level} dB": log_mel(hissing(sounds, level), SAMPLING_RATE) for level in (-50, -40)}
    print(f"{repeats} draws a row; {machine()}\n")
    print("| generated | real sounds | generated sounds | good | fair | poor |\n|---|---|---|---|---|---|")
    for name, pool in pools.items():
        usable = torch.tensor([name[:3] != "no " or one != CLASS_LEFT_OUT for one in names])
        for real, generated in SIZES:
            tones = Counter(draw(pools["as real"], pool, usable, real, generated, seed) for seed in range(repeats))
            shares = " | ".join(f"{tones[tone] / repeats:.0%}" for tone in ("good", "fair", "poor"))
            print(f"| {name} | {real} | {generated} | {shares} |", flush=True)


def drum(name: str, index: int) -> Tensor:
    """A drum of the quickstart's source [1, LENGTH]."""
    sound = torch.from_numpy(render(name, index, seed=1)).float()[:LENGTH]
    return pad(sound, (0, LENGTH - len(sound)))[None]


def hissing(sounds: Tensor, level: float) -> Tensor:
    """White noise over the whole of each sound, at a level in dB of its peak."""
    noise = torch.randn(sounds.shape, generator=torch.Generator().manual_seed(0))
    return sounds + 10 ** (level / 20) * sounds.abs().amax(dim=(1, 2), keepdim=True) * noise


def draw(source: Tensor, made: Tensor, usable: Tensor, real: int, generated: int, seed: int) -> str:
    """The verdict on one draw; no sound is on both sides."""
    order = torch.randperm(POOL, generator=torch.Generator().manual_seed(seed))
    space = Standardise(source[order[: real // 2]])
    quarters = order[real // 2 : real].tensor_split(2)
    rest = order[real:]
    sides = [source[quarters[0]], source[quarters[1]], made[rest[usable[rest]][:generated]]]
    features = [Features(space(side), space(side)[:, None]) for side in sides]
    return tone_of(kernel(Sets(*features, seed=seed)))


if __name__ == "__main__":
    main()
