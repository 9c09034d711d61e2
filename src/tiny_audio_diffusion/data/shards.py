"""Sounds in tar shards as a set to train on: streamed in bounded memory, for object storage and several nodes."""

import csv
import io
import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from tiny_audio_diffusion.audio import SequentialFile, blocks, move, printable
from tiny_audio_diffusion.data.augment import Augment, random_of
from tiny_audio_diffusion.data.facts import measure
from tiny_audio_diffusion.data.folder import LABELS, UNLABELLED, Batch, Sound
from tiny_audio_diffusion.data.order import Plan, own_batches, place
from tiny_audio_diffusion.data.report import reason_to_skip
from tiny_audio_diffusion.data.scan import EXTENSIONS
from tiny_audio_diffusion.data.tar import Member, find_shards, look_through, members, short_name
from tiny_audio_diffusion.data.transforms import Transforms

logger = logging.getLogger(__name__)
Pieces = list[tuple[int, NDArray[np.int64]]]  # shards, and which of the sounds of each


class SoundShards:
    """The sounds of tar shards; the file beside a sound, else the first folder in its name, tells its class.

    A sound's name decides whether it is held out, as in a folder; copies under other names count as other sounds.
    """

    def __init__(
        self,
        path: str | Iterable[str],
        transforms: Transforms,
        *,
        augment: Augment,
        labels: str | None,
        index: str | None,
        buffer_gigabytes: float = 0.1,
    ) -> None:
        if labels not in LABELS:
            raise ValueError(f"labels must be folder or null, not {labels}")
        self.transforms, self.augment = transforms, augment
        self.shards = find_shards(path)
        names, classes = look_through(self.shards, index)
        if not any(names):
            raise ValueError(f"no sound in {len(names)} shards\nlooked for {' '.join(EXTENSIONS)} in any case")
        self.classes = sorted(classes) if labels else []
        self.places = np.array([place(name) for some in names for name in some])
        self.starts = np.cumsum([0, *map(len, names)])  # of each shard, and the end of the last one
        self.held_out = np.zeros(len(self.places), dtype=bool)
        self.failed = torch.zeros(len(self.places), dtype=torch.bool).share_memory_()  # by the loader's workers
        self.bytes_each = 4 * transforms.channels * transforms.length
        self.reach = max(int(buffer_gigabytes * 1e9 / self.bytes_each), 1)  # sounds of a worker that wait to be mixed

    @property
    def in_memory(self) -> bool:
        """Whether a batch costs nothing but copying."""
        return False

    def sides(self, plan: Plan) -> tuple[Pieces, Pieces]:
        """What is trained on and what is held out: some of the sounds on either side, and a single one on both."""
        if plan.balance:
            raise ValueError("a stream cannot be balanced: set datamodule.balance=false, or train on a folder")
        self.held_out = self.places < plan.validation_fraction
        training = ~self.held_out
        ordered = np.argsort(self.places, kind="stable")
        self.held_out[ordered[0]] = training[ordered[-1]] = True
        if len(ordered) > 1:
            training[ordered[0]] = self.held_out[ordered[-1]] = False
        return self._pieces(training), self._pieces(self.held_out)

    def counts(self, plan: Plan) -> tuple[int, int]:
        """How many sounds there are to train on, and to validate with."""
        training, held_out = self.sides(plan)
        return size(training), size(held_out)

    def training(self, plan: Plan) -> "ShardBatches":
        """The endless batches of one process."""
        return ShardBatches(self, plan)

    def validation(self, plan: Plan, count: int) -> list[Sound]:
        """The first sounds held out, at most `count`, from as few shards as hold them."""
        _, held_out = self.sides(plan)
        return usable((self.prepare(plan, index, member) for _, index, member in self.arriving(held_out)), count)

    def training_audio(self, plan: Plan, count: int) -> Tensor:
        """The first sounds that a single process meets, without augmentation [at most count, channels, length]."""
        if count < 1:
            raise ValueError(f"at least 1 sound is needed, not {count}")
        pieces = deal(self.sides(plan)[0], plan.seed, 0)
        return torch.stack([sound["audio"] for sound in usable(self.one_pass(plan, pieces, [plan.seed, 0, 0]), count)])

    def write_report(self, path: str | os.PathLike[str]) -> None:
        """Write as CSV what each shard holds, and how many of its sounds were found unusable so far."""
        with Path(path).open("w", newline="", encoding="utf-8") as target:
            writer = csv.writer(target, lineterminator="\n")
            writer.writerow(["path", "sounds", "held_out", "failed"])
            for shard, (start, end) in zip(self.shards, itertools.pairwise(self.starts), strict=True):
                columns = (column[start:end].sum() for column in (self.held_out, self.failed.numpy()))
                writer.writerow([printable(shard), end - start, *columns])

    def one_pass(
        self, plan: Plan, pieces: Pieces, seeds: list[int], *, skip: int = 0, visit: int | None = None
    ) -> Iterator[Sound | str]:
        """Each sound once, mixed, or what is wrong with it; those that are skipped are neither decoded nor kept."""
        order = mixed(size(pieces), self.reach, seeds)
        arriving = self.arriving(pieces, done=set(itertools.islice(order, skip)))
        waiting: dict[int, tuple[int, Member] | Sound | str] = {}
        for position in order:
            while position not in waiting:
                arrived, index, member = next(arriving)
                # Whichever is smaller waits, so that long files do not fill the memory.
                long = len(member.data) > self.bytes_each
                waiting[arrived] = self.prepare(plan, index, member, visit) if long else (index, member)
            found = waiting.pop(position)
            yield self.prepare(plan, *found, visit) if isinstance(found, tuple) else found
        left = list(arriving)  # which reads the last shard to its end
        assert not left

    def arriving(self, pieces: Pieces, done: Set[int] = frozenset()) -> Iterator[tuple[int, int, Member]]:
        """Sounds in the order of the shards: the position among the pieces, that among all sounds, the sound itself."""
        before = 0
        for shard, ordinals in pieces:
            wanted = {int(some): before + turn for turn, some in enumerate(ordinals) if before + turn not in done}
            before += len(ordinals)
            if not wanted:  # all of it is done: it is not even opened
                continue
            folder = short_name(self.shards[shard])
            for ordinal, member in enumerate(self._checked(shard)):
                if ordinal in wanted:
                    named = member._replace(name=printable(f"{folder}/{member.name}"))
                    yield wanted[ordinal], int(self.starts[shard]) + ordinal, named

    def prepare(self, plan: Plan, index: int, member: Member, visit: int | None = None) -> Sound | str:
        """A sound as it is met this time (as it is, without a visit), or what is wrong with it."""
        path = member.name
        try:
            audio = self._decoded(plan.seed, member.data, visit)
        except ValueError as error:
            self.failed[index] = True
            if plan.on_error == "raise":
                raise ValueError(f"{path}: {error} (datamodule.on_error=skip goes on without it)") from error
            return f"{path}: {error}"
        if self.classes and member.label and member.label not in self.classes:
            raise ValueError(f"{path}: the index knows no class {member.label}: write it anew")
        label = self.classes.index(member.label) if member.label in self.classes else UNLABELLED
        return {"audio": audio, "path": path, "label": label if self.classes else 0}

    def _decoded(self, seed: int, data: bytes, visit: int | None) -> Tensor:
        try:
            with SequentialFile(io.BytesIO(data)) as file:
                facts = measure(file)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"unreadable: {error.error_string.strip().rstrip('.')}") from error
        if reason := reason_to_skip(facts, self.transforms):
            raise ValueError(reason)
        rate = facts.sampling_rate
        crop = 0.0 if visit is None else random_of(seed, f"place {facts.digest}", visit).random()
        start = self.transforms.start(facts.onset, facts.end, facts.frames, rate, place=crop)
        with SequentialFile(io.BytesIO(data)) as file:
            move(file, start)
            samples = np.concatenate(list(blocks(file, self.transforms.frames_needed(rate))))  # [frames, channels]
        audio = self.transforms(torch.from_numpy(samples.T.copy()), rate)
        return audio if visit is None else self.augment(audio, random_of(seed, facts.digest, visit))

    def _checked(self, shard: int) -> Iterator[Member]:
        """The sounds of a shard, which have to be those that were found in it at first."""
        expected, count = self.places[self.starts[shard] : self.starts[shard + 1]], 0
        name = printable(self.shards[shard])
        for count, member in enumerate(members(self.shards[shard]), 1):
            if count > len(expected) or place(member.name) != expected[count - 1]:
                raise ValueError(
                    f"{name} holds other sounds than its index, or than at the start: write the index anew"
                )
            yield member
        if count < len(expected):
            raise ValueError(f"{name} ends after {count} of its {len(expected)} sounds: it is cut off")

    def _pieces(self, side: NDArray[np.bool_]) -> Pieces:
        found = (np.flatnonzero(side[start:end]) for start, end in itertools.pairwise(self.starts))
        return [(shard, ordinals) for shard, ordinals in enumerate(found) if len(ordinals)]


class ShardBatches(IterableDataset[Batch]):
    """Endless batches of one process; each of the loader's workers has a stream of its own and they take turns.

    A run goes on exactly where it stood if it has as many processes, workers and sounds in a batch as before. Sounds
    that were left out are not counted: each puts its stream one sound back.
    """

    def __init__(self, sounds: SoundShards, plan: Plan) -> None:
        self.sounds, self.plan = sounds, plan
        self.pieces = sounds.sides(plan)[0]

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        done = self.plan.start // (self.plan.batch_size * self.plan.world_size)  # batches of each process
        turn = (number + done) % workers  # the loader begins with its first worker, wherever the run stood
        skip = (done + workers - 1 - turn) // workers * self.plan.batch_size
        found = self.stream(self.plan.rank * workers + turn, self.plan.world_size * workers, skip)
        for batch in own_batches():
            yield self.batch(found, self.plan.positions(batch)[0])

    def batch(self, found: Iterator[Sound | str], position: int) -> Batch:
        """The next sounds of a stream."""
        sounds: list[Sound] = []
        failed: list[str] = []
        while len(sounds) < self.plan.batch_size:
            sound = next(found)
            if isinstance(sound, str):
                failed.append(sound)
            else:
                sounds.append(sound)
        return {
            "audio": torch.stack([sound["audio"] for sound in sounds]),
            "path": [sound["path"] for sound in sounds],
            "label": torch.tensor([sound["label"] for sound in sounds]),
            "position": position,
            "failed": failed,
        }

    def stream(self, number: int, streams: int, skip: int) -> Iterator[Sound | str]:
        """Pass after pass over what one of the streams is dealt, from the sound after those that are skipped."""
        if len(self.pieces) < streams and not number:
            few = "fewer shards (%d) than loader processes (%d): each of these reads them all; write smaller shards"
            logger.warning(few, len(self.pieces), streams)
        for visit in itertools.count():
            pieces = deal(self.pieces, self.plan.seed, visit, number, streams)
            if skip >= size(pieces):
                skip -= size(pieces)
                continue
            some_usable = False
            seeds = [self.plan.seed, visit, number]
            for sound in self.sounds.one_pass(self.plan, pieces, seeds, skip=skip, visit=visit):
                some_usable = some_usable or not isinstance(sound, str)
                yield sound
            skip = 0
            # Another process may find sounds where this one found none.
            if not some_usable and self.sounds.failed[~torch.from_numpy(self.sounds.held_out)].all():
                raise ValueError(f"none of the {size(self.pieces)} sounds can be used: {sound}")


def usable(found: Iterable[Sound | str], count: int) -> list[Sound]:
    """The first sounds among what was found; the others are told of."""
    sounds: list[Sound] = []
    for sound in found:
        if isinstance(sound, str):
            logger.warning("left out: %s", sound)
        else:
            sounds.append(sound)
        if len(sounds) == count:
            break
    if not sounds:
        raise ValueError(f"none of the sounds can be used: {sound}")
    return sounds


def size(pieces: Pieces) -> int:
    """How many sounds there are in pieces."""
    return sum(len(ordinals) for _, ordinals in pieces)


def deal(pieces: Pieces, seed: int, visit: int, number: int = 0, streams: int = 1) -> Pieces:
    """What one of the streams reads in a pass, in order: whole shards, or a share of each where they are too few."""
    order = [pieces[turn] for turn in np.random.default_rng([seed, visit]).permutation(len(pieces))]
    if len(order) >= streams:
        return order[number::streams]
    shares, before = [], 0
    for shard, ordinals in order:
        # Every so many-th sound counted over all shards; those that are one more move on from stream to stream.
        shares.append((shard, ordinals[(number + visit - before) % streams :: streams]))
        before += len(ordinals)
    return shares


def mixed(count: int, reach: int, seeds: list[int]) -> Iterator[int]:
    """The numbers below `count`, each drawn from `reach` of them that wait while the later ones arrive in turn."""
    waiting = list(range(min(reach, count)))
    for arriving, share in enumerate(np.random.default_rng(seeds).random(count), len(waiting)):
        chosen = int(share * len(waiting))
        yield waiting[chosen]
        if arriving < count:
            waiting[chosen] = arriving
        else:
            waiting[chosen] = waiting[-1]
            waiting.pop()
