"""The sounds in use, in arrays: a million of them need some 100 MB and are not copied into the loader's processes."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import fsdecode, fsencode

import numpy as np
from numpy.typing import NDArray

from tiny_audio_diffusion.data.facts import Facts
from tiny_audio_diffusion.data.index import Stamp

DIGEST = "S32"


class Names(Sequence[str]):
    """Many strings in one block of bytes."""

    def __init__(self, block: bytes, ends: NDArray[np.int64]) -> None:
        self.block, self.ends = block, ends

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index):  # type: ignore[no-untyped-def] # a string for a number, a list for a slice
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        start = int(self.ends[index - 1]) if index else 0
        return fsdecode(self.block[start : int(self.ends[index])])

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class Catalogue:
    """Where each sound lies and what was found in it."""

    paths: Names
    labels: NDArray[np.int32]
    digests: NDArray[np.bytes_]  # of the samples
    sizes: NDArray[np.int64]  # of the file, when it was examined
    modified: NDArray[np.int64]
    changed: NDArray[np.int64]
    sampling_rates: NDArray[np.int64]
    frames: NDArray[np.int64]
    onsets: NDArray[np.int64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.paths)


class Collector:
    """Takes sounds one by one and makes a catalogue of them."""

    def __init__(self) -> None:
        self.names, self.name_ends = bytearray(), array("q")
        self.classes: dict[str, int] = {}  # in the order of their coming
        self.labels, self.digests, self.numbers = array("l"), bytearray(), array("q")

    def add(self, path: str, label: str, seen: Stamp, facts: Facts) -> None:
        """Take one sound."""
        self.names += fsencode(path)
        self.name_ends.append(len(self.names))
        self.labels.append(self.classes.setdefault(label, len(self.classes)))
        self.digests += facts.digest.encode()
        self.numbers.extend([*seen, facts.sampling_rate, facts.frames, facts.onset, facts.end])

    def catalogue(self, classes: list[str], *, unlabelled: int) -> Catalogue:
        """All of them, labelled by their class's place in `classes`."""
        numbers = np.frombuffer(self.numbers, dtype=np.int64).reshape(-1, 7)
        label_of = [classes.index(name) if name in classes else unlabelled for name in self.classes]
        labels = np.array(label_of, dtype=np.int32)[np.frombuffer(self.labels, dtype=f"i{self.labels.itemsize}")]
        paths = Names(bytes(self.names), np.array(self.name_ends, dtype=np.int64))
        digests = np.frombuffer(bytes(self.digests), dtype=DIGEST)
        return Catalogue(paths, labels, digests, *(column.copy() for column in numbers.T))
