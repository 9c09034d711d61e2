"""Every task with every objective and sampler on a model with known answers: exact where promised, right elsewhere."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from gaussian import CORRELATION, LENGTH, OBJECTIVES, SAMPLERS, covariance, draw, make_pipeline
from torch import Tensor

from tiny_audio_diffusion.pipeline import Pipeline
from tiny_audio_diffusion.sampler import Euler
from tiny_audio_diffusion.schedule import Karras
from tiny_audio_diffusion.walk import Walk
from tiny_audio_diffusion.watch import Watch

SOUND = draw(1, seed=5)[0]
OTHER = draw(1, seed=6)[0]
KEEP = torch.zeros(LENGTH, dtype=torch.bool)
KEEP[:10] = True
KEEP[24:] = True
EVERY = list(itertools.product(OBJECTIVES, SAMPLERS))
WITHOUT_FRESH_NOISE = ("euler", "heun", "dpm2m")

# Each task with its count and the seed left open.
TASKS: dict[str, Callable[..., Tensor]] = {
    "generate": lambda p, count, **o: p.generate(count, **o),
    "vary": lambda p, count, **o: p.vary(SOUND, count, strength=0.6, **o),
    "inpaint": lambda p, count, **o: p.inpaint(SOUND, count, keep=KEEP, **o),
    "extend": lambda p, count, **o: p.extend(SOUND, count, spans=2, direction="both", overlap=9, **o),
    "remix": lambda p, count, **o: p.remix(torch.cat([SOUND, OTHER], -1), count, strength=0.6, **o),
    "interpolate": lambda p, count, **o: p.interpolate(SOUND, OTHER, count, **o),
}


@pytest.mark.parametrize(("objective", "sampler"), EVERY)
def test_a_variation_runs_from_the_sound_itself_to_a_new_one(objective: str, sampler: str) -> None:
    pipeline = make_pipeline(objective, sampler)
    assert torch.equal(pipeline.vary(SOUND, 2, strength=0, seed=3), SOUND.expand(2, -1, -1))
    assert torch.equal(pipeline.vary(SOUND, 2, strength=1, seed=3), pipeline.generate(2, seed=3))
    made = pipeline.vary(SOUND, 512, strength=0.3, batch_size=512)
    near, far = (
        (pipeline.vary(SOUND, 256, strength=strength, batch_size=256) - SOUND).square().mean()
        for strength in (0.1, 0.8)
    )
    assert 0 < near < (made - SOUND).square().mean() < far
    # what is known of a sound at sigma = tan(0.3 * 90 degrees): the posterior's mean, give or take the noise
    values, vectors = torch.linalg.eigh(covariance())
    kept = vectors * (values / (values + math.tan(0.3 * math.pi / 2) ** 2)) @ vectors.T
    expected = SOUND[0].double() @ kept
    assert (made.mean(0)[0] - expected).abs().max() < 0.3


@pytest.mark.parametrize(("objective", "sampler"), EVERY)
def test_inpainting_keeps_what_it_shall_and_fills_in_what_fits(objective: str, sampler: str) -> None:
    made = make_pipeline(objective, sampler).inpaint(SOUND, 160, keep=KEEP, repeats=5, batch_size=160)
    assert torch.equal(made[..., KEEP], SOUND[..., KEEP].expand(160, -1, -1))
    # normal sounds: given the kept part, the rest has a mean and a spread that can be written down
    whole = covariance()
    from_kept = whole[~KEEP][:, KEEP] @ torch.linalg.inv(whole[KEEP][:, KEEP])
    mean = from_kept @ SOUND[0, KEEP].double()
    spread = (whole[~KEEP][:, ~KEEP] - from_kept @ whole[KEEP][:, ~KEEP]).diag().sqrt()
    new = made[:, 0, ~KEEP].double()
    assert (new.mean(0) - mean).abs().max() < 0.25
    assert ((new.std(0) / spread) - 1).abs().max() < 0.3


def test_repeats_make_old_and_new_fit() -> None:
    """Walked once, the new part does not know enough of the old one: its spread around it is a third too large."""
    spread = {}
    for repeats in (1, 5):
        made = make_pipeline().inpaint(SOUND, 768, keep=KEEP, repeats=repeats, batch_size=768)
        spread[repeats] = made[:, 0, 10].std().item() / math.sqrt(1 - CORRELATION**2)
    assert spread[1] > 1.25
    assert abs(spread[5] - 1) < 0.1


@pytest.mark.parametrize(("objective", "sampler"), EVERY)
def test_an_extension_goes_on_from_the_sound(objective: str, sampler: str) -> None:
    pipeline = make_pipeline(objective, sampler, steps=16)
    new = LENGTH - 8
    made = pipeline.extend(SOUND, 128, spans=2, overlap=8, repeats=5, match=False, batch_size=128)
    assert made.shape == (128, 1, LENGTH + 2 * new)
    assert torch.equal(made[..., :LENGTH], SOUND.expand(128, -1, -1))
    places = torch.tensor([0, 4, new - 1, new, 2 * new - 1])  # the last two lie behind the second seam
    mean, spread = CORRELATION ** (places + 1) * SOUND[0, -1], (1 - CORRELATION ** (2 * (places + 1))).sqrt()
    assert (made[:, 0, LENGTH + places].mean(0) - mean).abs().max() < 0.25
    assert (made[:, 0, LENGTH + places].std(0) / spread - 1).abs().max() < 0.3
    # backwards is forwards in a mirror
    mirrored = pipeline.extend(SOUND, 2, spans=2, overlap=8, direction="backward")
    assert mirrored.shape == (2, 1, LENGTH + 2 * new)
    assert torch.equal(mirrored[..., 2 * new :], SOUND.expand(2, -1, -1))


def test_an_extension_in_both_directions_has_the_sound_in_its_middle() -> None:
    made = make_pipeline().extend(SOUND, 2, spans=3, overlap=20, direction="both")
    assert made.shape[-1] == LENGTH + 6 * 12
    assert torch.equal(made[..., 36 : 36 + LENGTH], SOUND.expand(2, -1, -1))


@pytest.mark.parametrize(("objective", "sampler"), EVERY)
def test_the_ends_of_an_interpolation_are_what_it_goes_between(objective: str, sampler: str) -> None:
    pipeline = make_pipeline(objective, sampler)
    seeds = pipeline.interpolate(3, 8, 5)
    assert torch.equal(seeds[[0, -1]], torch.cat([pipeline.generate(1, seed=seed) for seed in (3, 8)]))
    sounds = pipeline.interpolate(SOUND, OTHER, 5, seed=2)
    again = [pipeline.generate(1, seed=2, noise=pipeline.invert(sound)) for sound in (SOUND, OTHER)]
    torch.testing.assert_close(sounds[[0, -1]], torch.cat(again), rtol=0, atol=1e-3)
    if sampler in WITHOUT_FRESH_NOISE:  # the others lose their way back
        fine = make_pipeline(objective, sampler, steps=100)
        back = fine.generate(1, noise=fine.invert(SOUND))[0]
        assert (back - SOUND).square().mean() < 0.02 * SOUND.square().mean()
    # on the way from one seed to another sounds are as loud as anywhere
    middle = torch.cat([pipeline.interpolate(2 * n, 2 * n + 1, 3, batch_size=3)[1:2] for n in range(24)])
    assert 0.5 < middle.square().mean() < 1.6


@pytest.mark.parametrize(("objective", "sampler"), EVERY)
def test_a_remix_is_a_variation_of_any_length(objective: str, sampler: str) -> None:
    pipeline = make_pipeline(objective, sampler)
    song = draw(1, length=80, seed=9)[0]
    assert torch.equal(pipeline.remix(song, 2, strength=0), song.expand(2, -1, -1))
    near, far = (
        pipeline.remix(song, 48, strength=strength, repeats=3, match=False, batch_size=48) for strength in (0.1, 0.7)
    )
    assert near.shape == far.shape == (48, 1, 80)
    assert (near - song).square().mean() < 0.3 * (far - song).square().mean()
    assert 0.5 < far.square().mean() < 1.5
    # at the joints neighbours are almost as much alike as anywhere
    step = (far[..., 1:] - far[..., :-1]).square().mean((0, 1)).sqrt()
    assert step[31::24].max() < 1.6 * math.sqrt(2 * (1 - CORRELATION))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("task", TASKS)
def test_a_sound_is_the_same_in_every_batch(task: str, sampler: str) -> None:
    pipeline = make_pipeline("V", sampler, steps=6)
    make = TASKS[task]
    whole = make(pipeline, 9, seed=4, batch_size=8)
    torch.testing.assert_close(make(pipeline, 9, seed=4, batch_size=1), whole, rtol=0, atol=1e-4)
    if task != "interpolate":
        torch.testing.assert_close(make(pipeline, 1, seed=7), whole[3:4], rtol=0, atol=1e-4)
    assert len({sound.numpy().tobytes() for sound in whole}) == 9
    assert torch.equal(make(pipeline, 9, seed=4, batch_size=8), whole)


@pytest.mark.parametrize("length", [1, 31, 33, 100])
@pytest.mark.parametrize("task", ["generate", "vary", "inpaint", "interpolate"])
def test_any_length_is_cut_and_filled_up(task: str, length: int) -> None:
    pipeline, sound = make_pipeline(steps=4), draw(1, length=100)[0][:, :length]
    keep = torch.arange(length) < length // 2
    if task == "generate":
        made = pipeline.generate(2, length=length)
    elif task == "vary":
        made = pipeline.vary(sound, 2, strength=0.5)
    elif task == "interpolate":
        made = pipeline.interpolate(sound, SOUND[:, :length], 2)
    elif length == 1:
        return
    else:
        made = pipeline.inpaint(sound, 2, keep=keep)
    assert made.shape == (2, 1, length)


def test_the_longer_sound_gives_an_interpolation_its_length() -> None:
    assert make_pipeline(steps=4).interpolate(SOUND, OTHER[:, :20], 3).shape == (3, 1, LENGTH)
    assert make_pipeline(steps=4).interpolate(SOUND[:, :20], 7, 3).shape == (3, 1, 20)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_at_strength_one_nothing_of_the_sound_is_left_on_any_ladder(sampler: str) -> None:
    pipeline = make_pipeline("V", sampler, ladder=Karras(sigma_min=0.01, sigma_max=20.0))
    assert torch.equal(pipeline.vary(SOUND, strength=1.0), pipeline.generate(1))


def test_the_rule_of_tiny_audio_diffusion() -> None:
    """The mixture goes in at the top of the ladder; without noise it is one certain sound, not the one that went in."""
    pipeline = make_pipeline()
    still = pipeline.vary(SOUND, 2, strength=0, rule="tiny")
    assert torch.equal(still[0], still[1])
    assert not torch.allclose(still[0], SOUND, atol=0.1)
    torch.testing.assert_close(still[:1], pipeline.generate(1, noise=SOUND[None]), rtol=0, atol=1e-5)


class Counting(Watch):
    def __init__(self) -> None:
        self.ahead, self.done, self.sounds = 0, 0, 0

    def begin(self, evaluations: int) -> None:
        self.ahead += evaluations

    def evaluated(self, sounds: int) -> None:
        self.done += sounds

    def made(self, sounds: Tensor) -> None:
        self.sounds += len(sounds)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("task", TASKS)
def test_progress_is_told_truly(task: str, sampler: str) -> None:
    watch = Counting()
    TASKS[task](make_pipeline("V", sampler, steps=7), 5, batch_size=2, watch=watch)
    assert watch.sounds == 5
    if sampler == "euler" or task not in ("interpolate",):  # the way up has as many steps as the ladder has levels
        assert watch.done == watch.ahead


def test_less_memory_means_fewer_at_a_time(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pipeline, down = make_pipeline(steps=3), Walk.down
    expected = pipeline.generate(5, batch_size=8)

    def short(walk: Walk, noise: object, *arguments: object, **options: object) -> Tensor:
        if len(noise) > 2:  # type: ignore[arg-type]
            raise torch.OutOfMemoryError("no room")
        return down(walk, noise, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Walk, "down", short)
    torch.testing.assert_close(pipeline.generate(5, batch_size=8), expected, rtol=0, atol=1e-5)
    assert "not enough memory for 5 sounds at a time: going on with 2" in caplog.text


def test_another_way_to_sample_shares_the_weights() -> None:
    pipeline = make_pipeline()
    other = pipeline.using(sampler=SAMPLERS["heun"], steps=9)
    assert other.diffusion is pipeline.diffusion
    assert (type(pipeline.sampler), pipeline.steps, other.steps) == (Euler, 20, 9)
    assert torch.equal(other.generate(1), make_pipeline("V", "heun", steps=9).generate(1))
    assert torch.equal(pipeline.generate(1, steps=9), make_pipeline(steps=9).generate(1))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (lambda p: p.generate(0), "count must be at least 1, not 0"),
        (lambda p: p.generate(1, batch_size=0), "batch_size must be at least 1"),
        (lambda p: p.generate(1, steps=0), "steps must be at least 1, not 0"),
        (lambda p: p.generate(1, noise=torch.zeros(1, 1, 30)), "length 30 is not a multiple of 4"),
        (lambda p: p.generate(2, noise=torch.zeros(1, 1, 32)), r"noise for 2 sounds is \[2, 1, length\], not"),
        (lambda p: p.vary(SOUND, strength=1.5), r"strength must lie in \[0, 1\], not 1.5"),
        (lambda p: p.vary(SOUND, strength=math.nan), "strength must lie"),
        (lambda p: p.vary(SOUND, strength=0.5, rule="big"), "no rule=big: choose level or tiny"),
        (lambda p: p.vary(SOUND[0], strength=0.5), r"a sound for this model is \[1, length\], not \[32\]"),
        (lambda p: p.vary(SOUND.expand(2, -1), strength=0.5), r"is \[1, length\], not \[2, 32\]"),
        (lambda p: p.inpaint(SOUND, keep=KEEP[:9]), "true or false for each of the 32 samples"),
        (lambda p: p.inpaint(SOUND, keep=torch.ones_like(KEEP)), "nothing is to be made"),
        (lambda p: p.inpaint(SOUND, keep=torch.zeros_like(KEEP)), "nothing is to be kept"),
        (lambda p: p.inpaint(SOUND, keep=KEEP, repeats=0), "repeats must be at least 1"),
        (lambda p: p.extend(SOUND, spans=0), "spans must be at least 1"),
        (lambda p: p.extend(SOUND, overlap=32), "an overlap of 0.032 seconds does not fit: above 0, at most 0.031"),
        (lambda p: p.extend(SOUND, overlap=0), "an overlap of 0.000 seconds"),
        (lambda p: p.extend(SOUND[:, :5], overlap=6), "at most 0.005 here"),
        (lambda p: p.extend(SOUND, direction="up"), "no direction=up: choose forward, backward, both"),
        (lambda p: p.interpolate(SOUND, OTHER, 1), "count must be at least 2"),
        (lambda p: p.interpolate(SOUND, OTHER[0], 3), "a sound for this model"),
        (lambda p: p.remix(SOUND, strength=-0.1), "strength must lie"),
        (lambda p: p.remix(SOUND, strength=0.5, overlap=40), "does not fit"),
    ],
)
def test_what_makes_no_sense_is_refused(task: Callable[[Pipeline], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(make_pipeline(steps=3))
