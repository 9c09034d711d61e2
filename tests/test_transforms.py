"""How a sound is prepared: the order, the level, where it is cut."""

import json
import math
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyloudnorm
import pytest
import torch
from torch import Tensor

from tiny_audio_diffusion.audio import SILENCE, resample, to_channels
from tiny_audio_diffusion.data.transforms import PEAK_CEILING, Transforms, crop_or_pad, measure_loudness

RATE = 44_100
LENGTH = 4_096
LEVELS: list[dict[str, float]] = [{"loudness": -20}, {"loudness": 0}, {"peak": -1}, {"peak": -12.5}, {}]


def make(**options: Any) -> Transforms:
    usual = {"sampling_rate": RATE, "length": LENGTH, "channels": 2, "trim_silence": False, "random_crop": False}
    return Transforms(**usual | options)


def noise(length: int, *, channels: int = 2, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(channels, length, generator=torch.Generator().manual_seed(seed))


def click(random: np.random.Generator, time: np.ndarray) -> np.ndarray:
    return (time < random.uniform(0.00005, 0.002)).astype(float)


def kick(random: np.random.Generator, time: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * (60 * time + 3 * np.exp(-time * 80))) * np.exp(-time * random.uniform(5, 40))


def hiss(random: np.random.Generator, time: np.ndarray) -> np.ndarray:
    return random.normal(size=len(time)) * np.exp(-time * random.uniform(0, 100))


def drum(number: int) -> Tensor:
    """Some click, kick or noise of any length, with two sides, between −50 and +20 dBFS."""
    random = np.random.default_rng(number)
    time = np.arange(random.integers(16, 20_000)) / RATE
    voice: Callable[[np.random.Generator, np.ndarray], np.ndarray] = (click, kick, hiss)[number % 3]
    sides = voice(random, time) * random.uniform(-1, 1, size=(2, 1))
    return torch.from_numpy(sides / np.abs(sides).max() * 10 ** random.uniform(-2.5, 1)).float()


# The order


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("given", "channels"), [(1, 2), (2, 1), (6, 2), (6, 1)])
def test_order(level: dict[str, float], given: int, channels: int) -> None:
    transforms = make(channels=channels, **level)
    audio = noise(9_000, channels=given)
    expected = resample(to_channels(audio, channels), 48_000, RATE)
    expected = transforms.level(crop_or_pad(expected, LENGTH, fade_length=transforms.fade_length))
    assert torch.equal(transforms(audio, 48_000), expected)


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_cut_off_does_not_count_for_the_level(level: dict[str, float]) -> None:
    audio = noise(9_000)
    louder = audio.clone()
    louder[:, LENGTH + 10 :] *= 20
    assert torch.equal(make(**level)(audio, RATE), make(**level)(louder, RATE))


def test_the_level_is_that_of_the_faded_sound() -> None:
    audio = torch.full((1, 5_000), 0.1)
    audio[:, LENGTH - 20] = 0.8  # loudest where it is faded
    assert make(channels=1, peak=-3)(audio, RATE).abs().max() == pytest.approx(10 ** (-3 / 20))


@pytest.mark.parametrize("sampling_rate", [48_000, 96_000, 192_000])
def test_copies_at_other_rates_keep_their_pitch(sampling_rate: int) -> None:
    length = 32_768
    time = torch.arange(sampling_rate, dtype=torch.float64) / sampling_rate
    audio = (0.3 * torch.sin(2 * math.pi * 1_234 * time)).float()[None]
    prepared = make(length=length, loudness=-20)(audio, sampling_rate)
    window = torch.hann_window(length)
    loudest = torch.fft.rfft(prepared * window).abs().argmax(dim=-1)
    assert (loudest - 1_234 * length / RATE).abs().max() <= 1


def test_sides_stay_sides() -> None:
    audio = noise(3_000)
    audio[1] = 0.25 * audio[0].flip(0)
    for level in LEVELS:
        left, right = make(**level)(audio, RATE)[:, :3_000]
        torch.testing.assert_close(right, 0.25 * left.flip(0))
        assert left.abs().max() > 3 * right.abs().max()


@pytest.mark.parametrize("level", LEVELS)
def test_mono_of_opposite_sides_is_silence(level: dict[str, float]) -> None:
    left = noise(6_000, channels=1)
    prepared = make(channels=1, **level)(torch.cat([left, -left]), 48_000)
    assert torch.equal(prepared, torch.zeros(1, LENGTH))


# The level


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_exceeds_the_ceiling(level: dict[str, float]) -> None:
    transforms = make(length=8_192, **level)
    for number in range(500):
        audio = drum(number)
        prepared = transforms(audio, RATE)
        assert prepared.dtype == torch.float32
        assert prepared.shape == (2, 8_192)
        assert torch.isfinite(prepared).all()
        assert prepared.abs().max().item() <= PEAK_CEILING
        kept = crop_or_pad(audio, 8_192, fade_length=transforms.fade_length)
        (left, right), (left_before, right_before) = (sound.double().norm(dim=1).tolist() for sound in (prepared, kept))
        assert left / right == pytest.approx(left_before / right_before, rel=1e-5)


@pytest.mark.parametrize("peak", [10.0**exponent for exponent in (-2, -0.05, -0.04, 0, 1, 38)])
@pytest.mark.parametrize("level", LEVELS)
def test_ceiling_of_any_input(level: dict[str, float], peak: float) -> None:
    audio = torch.tensor([[peak, -0.3 * peak, 0.1 * peak]])
    assert make(channels=1, **level)(audio, RATE).abs().max().item() <= PEAK_CEILING


@pytest.mark.parametrize("length", [1_000, 17_640, 32_768, 60_000])
@pytest.mark.parametrize("level", [1e-2, 1.0])
def test_loudness(length: int, level: float) -> None:
    audio = make(length=length, loudness=-20)(noise(max(length // 2, 1_000)) * level, RATE)
    if audio.abs().max() < 0.89:
        assert measure_loudness(audio, RATE) == pytest.approx(-20, abs=0.1)
    else:
        assert length == 1_000  # so short that the ceiling comes first


def test_loudness_stops_at_the_ceiling() -> None:
    audio = torch.zeros(2, 2_000)
    audio[:, 50], audio[1, 51] = 0.5, 0.25
    audio = make(length=32_768, loudness=-20)(audio, RATE)
    assert audio.abs().max() == pytest.approx(PEAK_CEILING, abs=1e-6)
    assert audio[1, 51] / audio[0, 50] == pytest.approx(0.5)


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value encountered")
@pytest.mark.parametrize("sampling_rate", [11_025, 44_100, 48_000])
def test_loudness_is_that_of_the_reference_meter(sampling_rate: int) -> None:
    meter = pyloudnorm.Meter(sampling_rate)
    for number, seconds in enumerate(np.linspace(0.4, 1.3, 24)):
        length = math.ceil(seconds * sampling_rate)
        fall = torch.linspace(0, -number, length).exp()  # the later ones have blocks below the gates
        audio = noise(length, channels=1 + number % 2, seed=number) * fall
        expected = meter.integrated_loudness(audio.double().numpy().T)
        assert measure_loudness(audio, sampling_rate) == pytest.approx(expected, abs=1e-6)
    assert measure_loudness(torch.zeros(1, length), sampling_rate) == -math.inf


def test_peak_and_no_level() -> None:
    options = {"length": 1_000, "channels": 1}
    assert make(**options, peak=-6)(noise(900), RATE).abs().max() == pytest.approx(10 ** (-6 / 20))
    quiet = noise(1_000, channels=1)
    assert torch.equal(make(**options)(quiet, RATE), quiet)
    assert make(**options)(quiet * 1_000, RATE).abs().max() == pytest.approx(PEAK_CEILING)


@pytest.mark.parametrize("level", LEVELS)
def test_silence_is_never_lifted(level: dict[str, float]) -> None:
    for peak in (0.0, 1e-9, 0.99 * SILENCE):
        silence = torch.full((2, LENGTH), peak)
        assert torch.equal(make(**level)(silence, RATE), silence)


@pytest.mark.parametrize("level", LEVELS)
def test_the_sound_given_is_left_as_it_was(level: dict[str, float]) -> None:
    audio = noise(LENGTH)
    kept = audio.clone()
    make(**level)(audio, RATE).zero_()
    assert torch.equal(audio, kept)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 5_000])
def test_a_sound_has_to_be_finite(value: float, place: int) -> None:
    audio = noise(6_000)
    audio[1, place] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        make()(audio, RATE)


def test_overflow_and_nothing_at_all() -> None:
    with pytest.raises(ValueError, match="overflows"):
        make(channels=1)(torch.full((2, 100), 3e38), RATE)
    with pytest.raises(ValueError, match="empty"):
        make()(torch.zeros(2, 0), RATE)


# Length


def test_fade_only_where_cut() -> None:
    transforms = make(length=2_000, channels=1)
    fade_length = round(0.005 * RATE)
    constant = torch.full((1, 2_001), 0.5)
    cut = transforms(constant, RATE)[0]
    assert torch.equal(cut[:-fade_length], constant[0, : 2_000 - fade_length])
    assert cut[-1].abs() < 1e-6
    assert (cut[-fade_length:].diff() < 0).all()
    assert torch.equal(transforms(constant[:, :2_000], RATE), constant[:, :2_000])
    assert transforms(constant[:, :700], RATE)[0].tolist() == [0.5] * 700 + [0.0] * 1_300


@pytest.mark.parametrize("sampling_rate", [22_050, 44_100, 96_000])
def test_reading_no_further_than_needed_changes_nothing(sampling_rate: int) -> None:
    audio = noise(2 * sampling_rate)
    needed = audio[:, : make().frames_needed(sampling_rate)]
    torch.testing.assert_close(make()(needed, sampling_rate), make()(audio, sampling_rate), atol=1e-7, rtol=0)


# Where a sound is read from


def test_start() -> None:
    transforms = make()
    fade_length = transforms.fade_length
    for onset in (0, 1, 2_000, LENGTH - fade_length - 1):
        assert transforms.start(onset, 60_000, 60_000, RATE) == 0
    for onset in (LENGTH - fade_length, LENGTH, 50_000):  # late: all that the crop would have is silence or faded
        assert transforms.start(onset, 60_000, 60_000, RATE) == onset - 88
    assert transforms.start(50_000, 60_000, 60_000, RATE, place=0.9) == 50_000 - 88


def test_start_of_a_trimmed_sound() -> None:
    transforms = make(trim_silence=True)
    assert [transforms.start(onset, 9_000, 9_000, RATE) for onset in (0, 50, 88, 89, 8_000)] == [0, 0, 0, 1, 7_912]
    assert transforms.start(1_000, 9_000, 9_000, 96_000) == 1_000 - 192


@pytest.mark.parametrize("sampling_rate", [22_050, RATE, 48_000, 192_000])
def test_start_at_other_rates(sampling_rate: int) -> None:
    transforms = make()
    audible = (LENGTH - transforms.fade_length) / RATE  # seconds before the fade
    early, late = math.floor((audible - 0.0001) * sampling_rate), math.ceil((audible + 0.0001) * sampling_rate)
    assert transforms.start(early, 10**6, 10**6, sampling_rate) == 0
    assert transforms.start(late, 10**6, 10**6, sampling_rate) == late - round(0.002 * sampling_rate)


@pytest.mark.parametrize("trim_silence", [False, True])
def test_a_late_hit_is_heard(trim_silence: bool) -> None:
    audio = torch.zeros(2, 60_000)
    audio[:, 50_000:] = noise(10_000)
    transforms = make(trim_silence=trim_silence, loudness=-20)
    start = transforms.start(50_000, 60_000, 60_000, RATE)
    prepared = transforms(audio[:, start : start + transforms.frames_needed(RATE)], RATE)
    assert prepared[:, :88].abs().max() == 0
    assert prepared[:, 88:].abs().max() > 0.3


@pytest.mark.parametrize("sampling_rate", [RATE, 48_000])
def test_random_crops(sampling_rate: int) -> None:
    transforms = make(random_crop=True, trim_silence=True)
    onset, end, frames = 1_000, 30_000, 50_000
    crop = math.ceil(LENGTH * sampling_rate / RATE)
    first = onset - round(0.002 * sampling_rate)
    places = np.linspace(0, 1, 3_001)[:-1].tolist()
    starts = [transforms.start(onset, end, frames, sampling_rate, place=place) for place in places]
    assert starts == sorted(starts)
    assert starts[0] == first
    assert transforms.start(onset, end, frames, sampling_rate, place=1 - 2**-53) == end - crop
    assert len(set(starts)) == len(places)
    assert transforms.start(onset, 2_000, frames, sampling_rate, place=0.9) == first  # nothing to choose from
    assert transforms.start(onset, frames + 9_999, frames, sampling_rate, place=1 - 2**-53) == frames - crop


def test_varies() -> None:
    assert make(random_crop=True).varies(LENGTH + 1, RATE)
    assert not make(random_crop=True).varies(LENGTH, RATE)
    assert not make(random_crop=True).varies(LENGTH + 1, 48_000)
    assert not make().varies(10**6, RATE)
    assert make(random_crop=True).start(0, LENGTH, LENGTH, RATE, place=0.9) == 0
    assert make().start(0, 10**6, 10**6, RATE, place=0.9) == 0


# As a piece of the whole


def test_settings_name_what_changes_a_sound() -> None:
    usual = make(loudness=-20).settings()
    changes: list[dict[str, Any]] = [
        {"sampling_rate": 48_000},
        {"length": 5_000},
        {"channels": 1},
        {"trim_silence": True},
        {"loudness": None},
        {"loudness": None, "peak": -20},
        {"fade_seconds": 0.01},
    ]
    keys = [make(**{"loudness": -20} | change).settings() for change in changes]
    assert len({usual, *keys}) == len(changes) + 1
    assert make(loudness=-20.0, random_crop=True).settings() == usual
    assert json.loads(usual)["version"] == 1


def test_threads_give_the_same_as_one() -> None:
    transforms = make(loudness=-20)
    sounds = [drum(number) for number in range(60)]
    alone = [transforms(sound, 48_000) for sound in sounds]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(transforms, sounds, [48_000] * len(sounds)))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
    again = pickle.loads(pickle.dumps(transforms))
    assert torch.equal(again(sounds[0], 48_000), alone[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 3}, "channels must be 1 or 2"),
        ({"length": 0}, "length must be positive"),
        ({"sampling_rate": 44_100.5}, "whole number"),
        ({"loudness": -20, "peak": -1}, "not both"),
        ({"peak": 3}, "peak must lie"),
        ({"peak": -0.5}, "clip between its samples"),
        ({"peak": math.nan}, "peak must lie"),
        ({"loudness": math.nan}, "loudness must lie"),
    ],
)
def test_wrong_transforms(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**wrong)
