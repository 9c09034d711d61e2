"""In which order training meets its sounds, and which of them it never meets: pure functions of a seed and a position."""

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch.utils.data
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one process trains: which of all sounds drawn are its own, and where it starts."""

    batch_size: int
    seed: int
    balance: bool  # as many sounds of each class
    on_error: str  # raise, or skip a sound that can no longer be read
    validation_fraction: float  # share of the sounds that training never meets
    rank: int = 0
    world_size: int = 1
    start: int = 0  # sounds that all processes together have drawn before

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be raise or skip, not {self.on_error}")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must lie between 0 and 1, not {self.validation_fraction}")
        assert 0 <= self.rank < self.world_size
        assert self.start >= 0

    def positions(self, batch: int) -> range:
        """The draws of one of this process's batches, counted over all processes, which take turns."""
        first = self.start + self.rank + batch * self.batch_size * self.world_size
        return range(first, first + self.batch_size * self.world_size, self.world_size)


class Order(Protocol):
    """An endless sequence of sounds."""

    def at(self, position: int) -> tuple[int, int]:
        """The sound that is drawn at a position, and how often it was drawn before."""


class Passes:
    """Pass after pass over `count` sounds, each in a new order."""

    def __init__(self, count: int, *seeds: int) -> None:
        assert count > 0
        self.count, self.seeds = count, seeds
        self._orders: dict[int, NDArray[np.int64]] = {}

    def at(self, position: int) -> tuple[int, int]:
        number, place = divmod(position, self.count)
        return int(self._order(number)[place]), number

    def _order(self, number: int) -> NDArray[np.int64]:
        if number not in self._orders:
            if len(self._orders) > 1:  # a batch may lie across the border of two passes
                del self._orders[min(self._orders)]
            self._orders[number] = np.random.default_rng([*self.seeds, number]).permutation(self.count)
        return self._orders[number]


class Balanced:
    """Every class once per turn, each class going through its own sounds in passes."""

    def __init__(self, labels: Sequence[int], *, seed: int) -> None:
        grouped: dict[int, list[int]] = {}
        for index, label in enumerate(labels):
            grouped.setdefault(label, []).append(index)
        self.members = [grouped[label] for label in sorted(grouped)]
        self.turns = Passes(len(self.members), seed)
        self.passes = [Passes(len(some), seed, 1 + index) for index, some in enumerate(self.members)]

    def at(self, position: int) -> tuple[int, int]:
        name, turn = self.turns.at(position)
        member, visit = self.passes[name].at(turn)
        return self.members[name][member], visit


def split(names: Sequence[str], groups: Sequence[int], fraction: float) -> tuple[list[int], list[int]]:
    """Training and validation indices: a file's name alone decides its side, and sounds of one group share theirs.

    The validation side comes in the order of the hash, which mixes the classes. Where there are two groups or more, neither
    side is empty; a single one serves for both.
    """
    places: dict[int, float] = {}
    for name, group in zip(names, groups, strict=True):
        places[group] = min(place(name), places.get(group, 1.0))
    if len(places) == 1:
        return list(range(len(names))), list(range(len(names)))
    ordered = sorted(places, key=lambda group: (places[group], group))
    below = sum(value < fraction for value in places.values())
    held_out = {group: rank for rank, group in enumerate(ordered[: min(max(below, 1), len(places) - 1)])}
    validation = [index for index, group in enumerate(groups) if group in held_out]
    training = [index for index, group in enumerate(groups) if group not in held_out]
    return training, sorted(validation, key=lambda index: (held_out[groups[index]], index))


def place(path: str) -> float:
    """A place in [0, 1) that depends on the file's name alone, the same on every system."""
    name = unicodedata.normalize("NFC", Path(path).name)  # macOS may hand out the same name decomposed
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def own_batches() -> Iterator[int]:
    """The numbers of the batches that this loader process prepares: the workers of a loader take turns."""
    worker = torch.utils.data.get_worker_info()
    number, step = (worker.id, worker.num_workers) if worker else (0, 1)
    while True:
        yield number
        number += step
