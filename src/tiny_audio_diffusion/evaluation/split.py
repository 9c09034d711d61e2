"""Which real sounds do what: some span the space, the others are compared, and each sound has one part in it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tiny_audio_diffusion.data.order import place

FEWEST = 8  # real sounds: four to span a space, two and two to compare


@dataclass(frozen=True)
class Split:
    """Places of the real sounds, by a hash of their files' names: the same in every evaluation and on every machine.

    `space` is half of them. The other half, `held_out`, is what generated sounds are compared with; its two halves,
    compared with each other, show what perfect sounds would give. The sounds that a training of the same files
    holds out come first in the order of that hash, and so are among the held-out ones.
    """

    space: list[int]
    first: list[int]
    second: list[int]

    @property
    def held_out(self) -> list[int]:
        return [*self.first, *self.second]


def split(names: Sequence[str], digests: Sequence[str]) -> Split:
    """Copies of one sound stay together, or a distance would be measured from a sound to itself."""
    if len(set(digests)) < FEWEST:
        raise ValueError(f"reference=: {len(set(digests))} different sounds; at least {FEWEST} are needed")
    places: dict[str, float] = {}
    for name, digest in zip(names, digests, strict=True):
        places[digest] = min(place(name), places.get(digest, 1.0))
    order = sorted(range(len(names)), key=lambda index: (places[digests[index]], digests[index], index), reverse=True)
    copies = [digests[index] for index in order]
    half = _border(copies, len(order) // 2)
    quarter = _border(copies, half + (len(order) - half) // 2)
    parts = Split(order[:half], order[half:quarter], order[quarter:])
    if min(len(parts.space), len(parts.first), len(parts.second)) < 2:
        raise ValueError("reference=: most files are copies of each other, and nothing is left to compare")
    return parts


def _border(copies: Sequence[str], wanted: int) -> int:
    """Where to cut, at the latest where asked to, and not between copies."""
    while wanted and copies[wanted - 1] == copies[wanted]:
        wanted -= 1
    return wanted
