"""Random changes of prepared sounds: what each does, what none may do, that they come again."""

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from tiny_audio_diffusion.audio import SILENCE
from tiny_audio_diffusion.data.augment import Augment, random_of
from tiny_audio_diffusion.data.transforms import PEAK_CEILING

RATE = 44_100
LENGTH = 16_384
FADE_LENGTH = round(0.005 * RATE)
PITCH, SHIFT, GAIN = 0, 1, 4  # the places of their random numbers
ALL = {
    "gain_decibels": 6,
    "polarity_probability": 0.5,
    "swap_probability": 0.5,
    "shift_seconds": 0.02,
    "pitch_semitones": 2,
}


def make(**options: float) -> Augment:
    return Augment(**dict.fromkeys(ALL, 0.0) | options, sampling_rate=RATE)


def noise(*, seed: int = 0, fall: float = 0.0) -> Tensor:
    audio = torch.randn(2, LENGTH, generator=torch.Generator().manual_seed(seed))
    return 0.1 * audio * torch.exp(-fall * torch.arange(LENGTH) / RATE)


def drawn(place: int) -> list[float]:
    """What 40 visits draw for one of the changes, from -1 to 1."""
    return [2 * random_of(0, "kick.wav", visit).random(5)[place] - 1 for visit in range(40)]


def changed(augment: Augment, audio: Tensor, *, visits: int = 40) -> list[Tensor]:
    return [augment(audio, random_of(0, "kick.wav", visit)) for visit in range(visits)]


def test_everything_off_changes_nothing() -> None:
    audio = noise()
    random = random_of(0, "kick.wav", 0)
    assert make().is_identity
    assert make()(audio, random) is audio
    assert random.random() == random_of(0, "kick.wav", 0).random()
    for name in ALL:
        assert not make(**{name: 0.5}).is_identity


def test_gain() -> None:
    audio = noise()
    amounts = drawn(GAIN)
    for other, amount in zip(changed(make(gain_decibels=6), audio), amounts, strict=True):
        torch.testing.assert_close(other, audio * 10 ** (6 * amount / 20))
    assert min(amounts) < -0.8
    assert max(amounts) > 0.8


@pytest.mark.parametrize(
    ("name", "expected"),
    [("polarity_probability", lambda audio: -audio), ("swap_probability", lambda audio: audio.flip(0))],
)
def test_polarity_and_sides(name: str, expected: Any) -> None:
    audio = noise()
    assert all(torch.equal(other, expected(audio)) for other in changed(make(**{name: 1}), audio))
    turned = [torch.equal(other, expected(audio)) for other in changed(make(**{name: 0.5}), audio, visits=100)]
    kept = [torch.equal(other, audio) for other in changed(make(**{name: 0.5}), audio, visits=100)]
    assert [not one for one in kept] == turned
    assert 30 < sum(turned) < 70
    assert torch.equal(make(swap_probability=1)(audio[:1], random_of(0, "", 0)), audio[:1])  # mono has no sides


def test_shift() -> None:
    audio = noise()
    steps = [round(round(0.02 * RATE) * amount) for amount in drawn(SHIFT)]
    assert min(steps) < -500
    assert max(steps) > 500
    for other, step in zip(changed(make(shift_seconds=0.02), audio), steps, strict=True):
        kept, before = (other[:, step:], audio[:, : LENGTH - step]) if step > 0 else (other[:, :step], audio[:, -step:])
        zeros = other[:, :step] if step > 0 else other[:, step:]
        assert torch.equal(zeros, torch.zeros(2, abs(step)))
        if step < 0:  # from here on the end that was cut is the last one
            kept, before = kept.flip(-1), before.flip(-1)
        assert torch.equal(kept[:, :-FADE_LENGTH], before[:, :-FADE_LENGTH])
        fade = kept[0, -FADE_LENGTH:] / before[0, -FADE_LENGTH:]
        assert fade[0] > 0.99
        assert (fade.diff() < 0).all()
        assert fade[-1] == 0


def test_a_shift_that_cuts_only_silence_does_not_fade() -> None:
    audio = noise()
    audio[:, :2_000] = audio[:, -2_000:] = 0
    sound = audio[:, 2_000:-2_000]
    for other in changed(make(shift_seconds=0.045), audio):
        first = int(other[0].nonzero()[0])
        assert torch.equal(other[:, first : first + sound.shape[-1]], sound)


def test_a_sound_never_leaves() -> None:
    short, late = torch.zeros(2, LENGTH), torch.zeros(2, LENGTH)
    short[:, :20] = late[:, -20:] = 0.5
    for audio in (short, late):
        for other in changed(make(shift_seconds=0.2, pitch_semitones=12), audio):
            assert other.abs().max() >= SILENCE


def test_pitch() -> None:
    time = torch.arange(LENGTH, dtype=torch.float64) / RATE
    audio = (0.3 * torch.sin(2 * math.pi * 2_000 * time)).float().expand(2, -1)
    spectra = [torch.fft.rfft(other[0, :8_000].double(), n=2**18) for other in changed(make(pitch_semitones=2), audio)]
    semitones = [12 * math.log2(int(spectrum.abs().argmax()) * RATE / 2**18 / 2_000) for spectrum in spectra]
    assert -2.1 <= min(semitones) < -1.3
    assert 1.3 < max(semitones) <= 2.1
    wanted = [2 * amount for amount in drawn(PITCH)]
    assert semitones == pytest.approx(wanted, abs=0.1)  # as near as ratios of small whole numbers come


def test_higher_is_shorter_and_lower_is_cut() -> None:
    audio = noise()
    for other, amount in zip(changed(make(pitch_semitones=12), audio), drawn(PITCH), strict=True):
        assert other.shape == audio.shape
        end = int(other[0].nonzero()[-1]) + 1
        if amount > 0.01:
            assert end == pytest.approx(LENGTH / 2**amount, rel=0.01)
        elif amount < -0.01:
            assert end >= LENGTH - 1
            assert other[:, -1].abs().max() < 1e-6  # faded


@pytest.mark.parametrize("peak", [2e-3, 0.5, PEAK_CEILING])
def test_nothing_exceeds_the_ceiling(peak: float) -> None:
    augment = make(**ALL | {"gain_decibels": 24})
    for visit in range(100):
        audio = noise(seed=visit, fall=visit)
        other = augment(audio / audio.abs().max() * peak * (1 - 1e-7), random_of(0, "a", visit))
        assert (other.dtype, other.shape) == (torch.float32, audio.shape)
        assert torch.isfinite(other).all()
        assert other.abs().max().item() <= PEAK_CEILING


def test_too_much_gain_scales_and_does_not_clip() -> None:
    audio = noise() / 0.1 * 0.2
    for visit, other in enumerate(changed(make(gain_decibels=24, polarity_probability=0.5), audio)):
        factor = (other / audio).mean()
        torch.testing.assert_close(other, audio * factor)
        if drawn(GAIN)[visit] > 0.6:
            assert other.abs().max() == pytest.approx(PEAK_CEILING, abs=1e-6)


def test_silence_stays_silence() -> None:
    for peak in (0.0, 0.9 * SILENCE):
        audio = torch.full((2, LENGTH), peak)
        assert all(torch.equal(other, audio) for other in changed(make(**ALL | {"gain_decibels": 24}), audio))


@pytest.mark.parametrize("name", ALL)
def test_one_change_does_not_move_what_another_draws(name: str) -> None:
    """With all others on, switching one on or off leaves the order and the number of what is drawn."""
    audio = noise(fall=30)
    for visit in range(10):
        one, other = random_of(0, "a", visit), random_of(0, "a", visit)
        make(**ALL)(audio, one)
        make(**ALL | {name: 0})(audio, other)
        assert one.random() == other.random()
    alone = changed(make(polarity_probability=1, **{name: ALL[name]} if name != "polarity_probability" else {}), audio)
    plain = changed(make(**{name: ALL[name]} if name != "polarity_probability" else {"swap_probability": 1e-12}), audio)
    assert all(torch.equal(-one, other) for one, other in zip(alone, plain, strict=True))


def test_the_sound_given_is_left_as_it_was() -> None:
    audio = noise()
    kept = audio.clone()
    changed(make(**ALL), audio)
    assert torch.equal(audio, kept)


def test_threads_give_the_same_as_one() -> None:
    augment, audio = make(**ALL), noise(fall=20)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda visit: augment(audio, random_of(0, "kick.wav", visit)), range(40)))
    alone = changed(augment, audio)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
    assert len({hashlib.sha256(one.numpy().tobytes()).digest() for one in alone}) == 40


def test_random_numbers_of_a_visit() -> None:
    arguments = [(seed, name, visit) for seed in (0, 1) for name in ("a", "b", "caf\udce9") for visit in (0, 1, 2**40)]
    first = [random_of(*given).random() for given in arguments]
    assert len(set(first)) == len(arguments)
    assert random_of(0, "e\u0301", 0).random() == random_of(0, "\u00e9", 0).random()  # two ways to write the same name
    # The same in every process and on every system, as a resumed run needs it.
    assert random_of(0, "kick.wav", 0).random() == pytest.approx(0.7845757740708992, abs=1e-15)
    assert random_of(7, "caf\udce9.wav", 12).random() == pytest.approx(0.2616618879435936, abs=1e-15)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gain_decibels": -1}, "gain_decibels must lie between 0"),
        ({"gain_decibels": 40}, "and 24, not 40"),
        ({"polarity_probability": 1.1}, "polarity_probability"),
        ({"swap_probability": math.nan}, "swap_probability"),
        ({"shift_seconds": 3}, "shift_seconds"),
        ({"pitch_semitones": 13}, "pitch_semitones"),
        ({"sampling_rate": 0}, "sampling_rate"),
    ],
)
def test_wrong_settings(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augment(**{**dict.fromkeys(ALL, 0), "sampling_rate": RATE, **wrong})
