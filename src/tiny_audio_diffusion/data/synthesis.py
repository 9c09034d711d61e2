"""Drums made of sines and noise, so that everything can be tried without any recordings.

python -m tiny_audio_diffusion.data.synthesis <folder> [--count 320] [--seed 0]
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from tiny_audio_diffusion.audio import write

SAMPLING_RATE = 44_100
FADE_SECONDS = 0.005
SETTINGS = "synthesis.json"  # says which drums a folder holds
DECAY_DECIBELS = 90  # how far a sound falls within the seconds given as its decay

Signal: TypeAlias = NDArray[np.float64]
Random: TypeAlias = np.random.Generator


def seconds_axis(seconds: float) -> Signal:
    """The time of every sample."""
    return np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE


def decay(time: Signal, seconds: float, *, start: float = 0.0, attack: float = 0.0005) -> Signal:
    """An envelope that rises in `attack` seconds and falls by 90 dB in `seconds`."""
    since = np.maximum(time - start, 0)
    return np.minimum(since / attack, 1) * 10 ** (-DECAY_DECIBELS / 20 * since / seconds)


def glide(time: Signal, begin: float, end: float, seconds: float) -> Signal:
    """The phase of a tone whose frequency falls exponentially: 2π ∫ end + (begin − end)·exp(−t/seconds) dt."""
    return 2 * np.pi * (end * time - (begin - end) * seconds * np.expm1(-time / seconds))


def band(signal: Signal, low: float, high: float, *, order: int = 2) -> Signal:
    """Keep what lies between two frequencies, with the slopes of Butterworth filters and no delay."""
    frequency = np.fft.rfftfreq(2 * len(signal), 1 / SAMPLING_RATE)  # twice the length: nothing wraps around
    with np.errstate(divide="ignore"):
        response = 1 / np.sqrt((1 + (low / frequency) ** (2 * order)) * (1 + (frequency / high) ** (2 * order)))
    return np.fft.irfft(np.fft.rfft(signal, 2 * len(signal)) * response)[: len(signal)]


def noise(random: Random, time: Signal, low: float, high: float) -> Signal:
    """Noise between two frequencies, of unit standard deviation."""
    signal = band(random.standard_normal(len(time)), low, high)
    return signal / signal.std()


def kick(random: Random) -> Signal:
    """A sine that falls from a knock to a low note, pushed into soft saturation, with a click on top."""
    seconds = random.uniform(0.3, 0.65)
    time = seconds_axis(seconds)
    low = random.uniform(42, 72)
    phase = glide(time, low * random.uniform(3.5, 7), low, random.uniform(0.012, 0.035))
    body = np.sin(phase) * decay(time, seconds, attack=0.001)
    drive = random.uniform(1, 3)
    body = np.tanh(drive * body) / np.tanh(drive)
    click = noise(random, time, 1_200, random.uniform(3_000, 9_000)) * decay(time, random.uniform(0.01, 0.04))
    return body + random.uniform(0.03, 0.18) * click


def snare(random: Random) -> Signal:
    """Two modes of a drum head under a burst of noise and the longer rattle of the wires."""
    seconds = random.uniform(0.3, 0.66)
    time = seconds_axis(seconds)
    low = random.uniform(160, 240)
    head = random.uniform(0.18, 0.32)
    tone = np.sin(glide(time, 1.5 * low, low, 0.008)) * decay(time, head, attack=0.001)
    high = low * random.uniform(1.6, 1.9)
    tone += random.uniform(0.3, 0.7) * np.sin(glide(time, 1.3 * high, high, 0.006)) * decay(time, 0.7 * head)
    burst = noise(random, time, 800, 14_000) * decay(time, random.uniform(0.07, 0.14))
    wires = noise(random, time, random.uniform(1_500, 3_000), random.uniform(7_000, 13_000)) * decay(time, seconds)
    return tone + random.uniform(0.15, 0.35) * burst + random.uniform(0.15, 0.4) * wires


def hihat(random: Random) -> Signal:
    """Six clashing square waves and noise, both high; closed in two thirds of the cases, open in the others."""
    is_open = random.random() < 1 / 3
    seconds = random.uniform(0.4, 0.65) if is_open else random.uniform(0.06, 0.17)
    time = seconds_axis(seconds)
    # No two of the ratios are in tune, which is what makes it metal.
    ratios = np.array([1, 1.483, 1.8, 2.546, 2.63, 3.897]) * random.uniform(0.98, 1.02, 6)
    phases = 2 * np.pi * (random.uniform(200, 420) * ratios[:, None] * time + random.random((6, 1)))
    metal = band(np.tanh(4 * np.sin(phases)).sum(axis=0), random.uniform(5_500, 8_500), 15_000, order=3)
    hiss = noise(random, time, random.uniform(6_500, 9_500), 18_000)
    mix = random.uniform(0.35, 0.75)
    strike = decay(time, 0.05) * random.uniform(0.3, 1.2)
    return (mix * metal / metal.std() + (1 - mix) * hiss) * (decay(time, seconds) + strike)


def tom(random: Random) -> Signal:
    """A note that sinks a little, a second mode of the head, and the soft slap of the stick."""
    seconds = random.uniform(0.4, 0.66)
    time = seconds_axis(seconds)
    note = random.uniform(75, 210)
    sink = random.uniform(0.03, 0.07)
    body = np.sin(glide(time, note * random.uniform(1.3, 1.9), note, sink)) * decay(time, seconds, attack=0.001)
    second = note * random.uniform(1.5, 1.7)
    body += random.uniform(0.1, 0.35) * np.sin(glide(time, 1.3 * second, second, sink)) * decay(time, 0.5 * seconds)
    slap = noise(random, time, 300, random.uniform(2_000, 6_000)) * decay(time, random.uniform(0.02, 0.06))
    return body + random.uniform(0.04, 0.15) * slap


def clap(random: Random) -> Signal:
    """Three or four hands that do not quite meet, and the room after them."""
    seconds = random.uniform(0.25, 0.55)
    time = seconds_axis(seconds)
    hands = random.integers(3, 5)
    starts = np.concatenate([[0], np.cumsum(random.uniform(0.007, 0.014, hands - 1))])
    bursts = sum(random.uniform(0.7, 1) * decay(time, 0.05, start=start) * (time >= start) for start in starts)
    tail = random.uniform(0.4, 0.9) * decay(time, seconds - starts[-1], start=starts[-1]) * (time >= starts[-1])
    centre = random.uniform(900, 1_700)
    palms = noise(random, time, 0.75 * centre, 1.5 * centre) + random.uniform(0.15, 0.4) * noise(
        random, time, 2_500, 12_000
    )
    return palms * (bursts + tail)


VOICES: dict[str, Callable[[Random], Signal]] = {"clap": clap, "hihat": hihat, "kick": kick, "snare": snare, "tom": tom}


def render(name: str, index: int, *, seed: int) -> Signal:
    """One drum [length], the same for the same name, index and seed; its peak lies between −6 and −1 dBFS."""
    random = np.random.default_rng([seed, sorted(VOICES).index(name), index])
    signal = VOICES[name](random)
    fade_length = round(FADE_SECONDS * SAMPLING_RATE)
    signal[-fade_length:] *= (1 + np.cos(np.pi * np.arange(1, fade_length + 1) / fade_length)) / 2
    return signal / np.abs(signal).max() * 10 ** (random.uniform(-6, -1) / 20)


def synthesise(folder: Path, *, count: int, seed: int) -> bool:
    """Write `count` drums into class folders, all of them or none; `False` if the folder holds just these already."""
    if count < len(VOICES):
        raise ValueError(f"count must be at least {len(VOICES)}, one for each of {', '.join(VOICES)}")
    settings = {"count": count, "seed": seed}
    names = [(name, index) for index in range(-(-count // len(VOICES))) for name in VOICES][:count]
    if folder.exists() and any(folder.iterdir()):
        stored = folder / SETTINGS
        complete = all((folder / file_name(*key)).is_file() for key in names)
        if stored.is_file() and json.loads(stored.read_text()) == settings and complete:
            return False
        raise ValueError(f"{folder.absolute()} holds something else already: choose an empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Made beside the folder and then renamed, so that an interrupted run leaves nothing half done.
    with tempfile.TemporaryDirectory(prefix=".synthesis_", dir=folder.parent) as place:
        made = Path(place, "drums")
        for name, index in names:
            target = made / file_name(name, index)
            target.parent.mkdir(parents=True, exist_ok=True)
            write(target, torch.from_numpy(render(name, index, seed=seed))[None], SAMPLING_RATE)
        (made / SETTINGS).write_text(json.dumps(settings) + "\n")
        if folder.exists():
            folder.rmdir()
        made.replace(folder)
    return True


def file_name(name: str, index: int) -> str:
    """Where a drum lies below the folder."""
    return f"{name}/{name}_{index:03d}.wav"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write synthesised drums into class folders.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=320, help="number of sounds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds make other drums (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        new = synthesise(arguments.folder, count=arguments.count, seed=arguments.seed)
    except (ValueError, OSError) as error:
        parser.exit(1, f"{error}\n")
    done = "wrote" if new else "nothing to do:"
    print(f"{done} {arguments.count} drums ({', '.join(VOICES)}) in {arguments.folder.absolute()}")


if __name__ == "__main__":
    main()
