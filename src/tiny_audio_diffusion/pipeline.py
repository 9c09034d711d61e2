"""What people do with a trained model: new sounds, and edits of sounds that there are. No files, and no trainer.

Each task walks the sampler down the ladder of noise levels, once or several times. They differ in where the walk begins
(`vary` begins low, with a sound that is only partly drowned in noise) and in what is held fast on the way (`inpaint`).
"""

import copy
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from tiny_audio_diffusion.diffusion import Diffusion
from tiny_audio_diffusion.noise import MixedNoise, SeededNoise
from tiny_audio_diffusion.representation import Raw
from tiny_audio_diffusion.sampler import Sampler
from tiny_audio_diffusion.schedule import Schedule
from tiny_audio_diffusion.walk import Walk, check_least, check_share
from tiny_audio_diffusion.watch import Watch

RULES = ("level", "tiny")
DIRECTIONS = ("forward", "backward", "both")


class Pipeline(nn.Module):
    """Makes sounds [count, C, L] on the CPU; in every task sound n comes from seed + n alone, whatever the batch.

    `steps` are network evaluations for one walk, `batch_size` is how many sounds are made at a time, `watch` is told of
    progress and of each sound as it is done. A sound to edit is a tensor [C, L] with the model's rate and channels.
    """

    def __init__(
        self,
        *,
        diffusion: Diffusion,
        representation: Raw,
        sampler: Sampler,
        ladder: Schedule,
        steps: int,
        sampling_rate: int,
        channels: int,
        length: int,
        threshold: float | None = None,
    ):
        super().__init__()
        self.diffusion, self.representation, self.sampler, self.ladder = diffusion, representation, sampler, ladder
        self.steps, self.sampling_rate, self.channels, self.length = steps, sampling_rate, channels, length
        self.threshold = threshold
        self.half_precision: torch.dtype | None = None  # what the network computes in, if not in its weights' type

    def using(
        self, *, sampler: Sampler | None = None, ladder: Schedule | None = None, steps: int | None = None
    ) -> "Pipeline":
        """The same model, weights shared, that samples in another way."""
        other = copy.copy(self)
        other.sampler = self.sampler if sampler is None else sampler
        other.ladder = self.ladder if ladder is None else ladder
        other.steps = self.steps if steps is None else steps
        return other

    @property
    def evaluations(self) -> int:
        """How often the network runs for one sound: at most `steps`, less where a method takes two at a time."""
        return self.sampler.evaluations(self.sampler.intervals(self.steps))

    def generate(
        self,
        count: int,
        *,
        seed: int = 0,
        length: int | None = None,
        noise: Tensor | None = None,
        steps: int | None = None,
        batch_size: int = 4,
        watch: Watch | None = None,
    ) -> Tensor:
        """New sounds of any length; `noise` [count, C, L], from `invert`, stands in for what the seeds begin with."""
        if noise is not None and noise.shape[:2] != (count, self.channels):
            raise ValueError(f"noise for {count} sounds is [{count}, {self.channels}, length], not {list(noise.shape)}")
        if noise is not None:
            self.diffusion.network.check_length(noise.shape[-1])
        length = (self.length if noise is None else noise.shape[-1]) if length is None else length
        walk = self._walk(steps, watch)

        def make(places: range) -> Tensor:
            first = None if noise is None else noise[places.start : places.stop]
            return walk.down(SeededNoise([seed + place for place in places], first=first), length)

        return walk.chunks(make, count, batch_size)

    def vary(
        self,
        sound: Tensor,
        count: int = 1,
        *,
        strength: float,
        rule: str = "level",
        seed: int = 0,
        steps: int | None = None,
        batch_size: int = 4,
        watch: Watch | None = None,
    ) -> Tensor:
        """Relatives of a sound: strength 0 is the sound itself, 1 is a new one.

        It is drowned in noise of the ladder's level at `strength`, and the walk begins there. With the rule `tiny`,
        the "style transfer" of tiny-audio-diffusion, the sound plus `strength` times noise is taken for the pure noise
        at the top of the ladder; there 0 is one certain other sound.
        """
        check_share(strength, "strength")
        if rule not in RULES:
            raise ValueError(f"there is no rule={rule}: choose {' or '.join(RULES)}")
        walk = self._walk(steps, watch)
        walk.check(sound)

        def make(places: range) -> Tensor:
            noise = SeededNoise([seed + place for place in places])
            return walk.down(noise, sound.shape[-1], under=sound, strength=strength, disguised=rule == "tiny")

        return walk.chunks(make, count, batch_size, walks=0 if strength == 0 and rule != "tiny" else 1)

    def inpaint(
        self,
        sound: Tensor,
        count: int = 1,
        *,
        keep: Tensor,
        repeats: int = 1,
        seed: int = 0,
        steps: int | None = None,
        batch_size: int = 4,
        watch: Watch | None = None,
    ) -> Tensor:
        """The sound with all that is not kept made anew; where `keep` [L] is true it stays as it is, bit for bit.

        Each interval of the ladder is walked `repeats` times: more fit old and new together, if the model is good.
        """
        walk = self._walk(steps, watch)
        walk.check(sound)
        check_least(repeats, "repeats", 1)
        if keep.shape != sound.shape[-1:] or keep.dtype != torch.bool:
            raise ValueError(f"keep is true or false for each of the {sound.shape[-1]} samples, not {list(keep.shape)}")
        if keep.all() or not keep.any():
            raise ValueError(f"nothing is to be {'made' if keep.all() else 'kept'}: keep a part of the sound")

        def make(places: range) -> Tensor:
            noise = SeededNoise([seed + place for place in places])
            return walk.down(noise, sound.shape[-1], known=sound, keep=keep, repeats=repeats)

        return walk.chunks(make, count, batch_size, walks=repeats)

    def extend(
        self,
        sound: Tensor,
        count: int = 1,
        *,
        spans: int = 1,
        overlap: int | None = None,
        direction: str = "forward",
        match: bool = True,
        repeats: int = 1,
        seed: int = 0,
        steps: int | None = None,
        batch_size: int = 4,
        watch: Watch | None = None,
    ) -> Tensor:
        """The sound, unchanged, with `spans` new parts behind it, in front of it, or both.

        A span is made in a window of the model's own length, of which the last `overlap` samples of what is there
        already (half a window, where there is so much) are kept. `match` brings a new part to the level at its seam.
        """
        walk = self._walk(steps, watch)
        walk.check(sound)
        check_least(spans, "spans", 1)
        check_least(repeats, "repeats", 1)
        if direction not in DIRECTIONS:
            raise ValueError(f"there is no direction={direction}: choose {', '.join(DIRECTIONS)}")
        overlap = min(self.length // 2, sound.shape[-1]) if overlap is None else overlap
        walk.check_overlap(overlap, sound.shape[-1])
        on = partial(walk.on, overlap=overlap, repeats=repeats, match=match)
        turns = {"forward": [False], "backward": [True], "both": [False, True]}[direction]

        def make(places: range) -> Tensor:
            noise = SeededNoise([seed + place for place in places])
            sounds = sound.expand(len(places), -1, -1)
            for backward in turns:
                for _ in range(spans):
                    sounds = on(sounds, noise, backward=backward)
            return sounds

        return walk.chunks(make, count, batch_size, walks=repeats * spans * len(turns))

    def remix(
        self,
        sound: Tensor,
        count: int = 1,
        *,
        strength: float,
        overlap: int | None = None,
        match: bool = True,
        repeats: int = 1,
        seed: int = 0,
        steps: int | None = None,
        batch_size: int = 4,
        watch: Watch | None = None,
    ) -> Tensor:
        """A sound of any length varied in windows, each of which begins with the end of the one before it.

        All windows get the same noise, so that they change in the same way.
        """
        walk = self._walk(steps, watch)
        walk.check(sound)
        check_share(strength, "strength")
        check_least(repeats, "repeats", 1)
        overlap = self.length // 4 if overlap is None else overlap
        walk.check_overlap(overlap, self.length)
        on = partial(walk.on, overlap=overlap, repeats=repeats, match=match)
        length, window, stride = sound.shape[-1], self.length, self.length - overlap
        windows = 1 + max(0, -(-(length - window) // stride))
        padded = pad(sound, (0, window + (windows - 1) * stride - length))

        def make(places: range) -> Tensor:
            seeds = [seed + place for place in places]
            sounds = walk.down(SeededNoise(seeds), window, under=padded[:, :window], strength=strength)
            for start in range(stride, windows * stride, stride):
                under = padded[:, start : start + window]
                sounds = on(sounds, SeededNoise(seeds), under=under, strength=strength)
            return sounds[..., :length]

        if strength == 0:  # as it is, without the corrections at seams
            return walk.chunks(lambda places: sound.expand(len(places), -1, -1).clone(), count, batch_size, walks=0)
        return walk.chunks(make, count, batch_size, walks=1 + repeats * (windows - 1))

    def invert(self, sound: Tensor, *, steps: int | None = None, watch: Watch | None = None) -> Tensor:
        """The noise [1, C, L] from which a sampler without fresh noise (euler, heun, dpm2m) makes the sound again."""
        walk = self._walk(steps, watch)
        walk.check(sound)
        walk.begin(1)
        return walk.up(sound)

    def interpolate(
        self,
        first: Tensor | int,
        second: Tensor | int,
        count: int,
        *,
        seed: int = 0,
        steps: int | None = None,
        batch_size: int = 4,
        watch: Watch | None = None,
    ) -> Tensor:
        """`count` sounds on the way from one to another, each a sound [C, L] or the seed of a generated one.

        The noise that they come from is turned step by step into that of the other; the first and the last are what
        the model makes of the two ends: reconstructions, or the generated sounds.
        """
        check_least(count, "count", 2)
        ends = [first, second]
        lengths = [end.shape[-1] for end in ends if isinstance(end, Tensor)]
        length = max(lengths, default=self.length)
        walk = self._walk(steps, watch)
        for end in ends:
            if isinstance(end, Tensor):
                walk.check(end)

        @cache
        def origin(end: Tensor | int) -> tuple[int, Tensor | None]:
            """The seed of an end, and what stands in for the noise of that seed."""
            if isinstance(end, Tensor):
                return seed, walk.up(pad(end, (0, length - end.shape[-1])))
            return end, None

        def make(places: range) -> Tensor:
            one, other = (SeededNoise([number], first=noise) for number, noise in map(origin, ends))
            return walk.down(MixedNoise(one, other, [place / (count - 1) for place in places]), length)

        return walk.chunks(make, count, batch_size, before=len(lengths))

    def _walk(self, steps: int | None, watch: Watch | None) -> Walk:
        return Walk(
            diffusion=self.diffusion,
            representation=self.representation,
            sampler=self.sampler,
            ladder=self.ladder,
            steps=self.steps if steps is None else steps,
            channels=self.channels,
            window=self.length,
            sampling_rate=self.sampling_rate,
            threshold=self.threshold,
            half_precision=self.half_precision,
            watch=watch or Watch(),
        )
