"""The verdict on every file: used, used with a note, skipped with the reason, or ignored; and the table of them all."""

import csv
import io
import os
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tiny_audio_diffusion.audio import SILENCE, printable
from tiny_audio_diffusion.data.facts import Facts
from tiny_audio_diffusion.data.scan import EXTENSIONS
from tiny_audio_diffusion.data.transforms import Transforms

SHORTEST_LENGTH = 16
LOUDEST = 1e6  # a peak beyond +120 dBFS is no sound
QUIET = 10 ** (-40 / 20)
MOST_LISTED = 12
LOUD_SHARE = 0.05  # warn when more than this share of the files is skipped
AT_ONCE = 1 << 20  # bytes of the report that are unpacked at a time
HEADER = [
    *("path", "status", "note", "class", "sampling_rate", "channels", "frames", "seconds", "peak_decibels", "encoding")
]
CHANNEL_NAMES = {1: "mono", 2: "stereo"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one file: `status` is used, skipped or ignored; notes are pairs of a kind and its detail."""

    path: str
    status: str
    notes: tuple[tuple[str, str], ...] = ()
    facts: Facts = Facts()
    label: str = ""

    @property
    def note(self) -> str:
        return "; ".join(f"{kind} {detail}".strip() for kind, detail in self.notes)


def reason_to_skip(facts: Facts, transforms: Transforms) -> str:
    """Why nothing can be learned from a file; empty where something can."""
    if facts.error:
        return facts.error
    if not facts.frames:
        return "empty"
    if facts.frames < SHORTEST_LENGTH:
        return f"shorter than {SHORTEST_LENGTH} samples"
    if not facts.finite:
        return "holds NaN or infinite values"
    if facts.peak > LOUDEST:
        return f"peak of {facts.peak:.0e}, far beyond any sound"
    if facts.peak < SILENCE:
        return "silent (below -60 dBFS)"
    if transforms.channels == 1 and facts.mono_peak < SILENCE:
        return "silent in mono: its channels cancel out"
    return ""


def notes_on(facts: Facts, transforms: Transforms) -> list[tuple[str, str]]:
    """What is done to a sound that is used, and what its owner may want to know of it."""
    rate = facts.sampling_rate
    start = transforms.start(facts.onset, facts.end, facts.frames, rate)
    from_to = [CHANNEL_NAMES.get(count, f"{count} channels") for count in (facts.channels, transforms.channels)]
    possible = [
        (rate != transforms.sampling_rate, "resampled", f"from {rate} Hz"),
        (facts.channels != transforms.channels, f"{from_to[0]} to {from_to[1]}", ""),
        (start > 0, "begins late", f"at {start / rate:.3g} s, silence before it left out"),
        (
            (facts.frames - start) / rate > transforms.seconds,
            "cut",
            f"at {transforms.seconds:.3g} of {facts.seconds:.3g} s",
        ),
        (facts.cut_short, "cut short:", "its header promises more"),
        (facts.peak < QUIET, "quiet", f"({facts.peak_decibels:.0f} dBFS)"),
        (facts.clipped > 0, "clipped", f"({facts.clipped} samples)"),
        (facts.peak > 1.01, "beyond full scale", f"({facts.peak_decibels:+.0f} dBFS)"),
    ]
    return [(kind, detail) for applies, kind, detail in possible if applies]


class Report:
    """Counts verdicts and keeps a row of each, in bounded memory."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()  # of notes on used files
        self.reasons: Counter[str] = Counter()  # of skipped files
        self.labels: Counter[str] = Counter()  # of used files
        self.noted = 0
        self.examples: list[str] = []  # the first three that were skipped
        self._packer, self._packed = zlib.compressobj(1), bytearray()  # rows are alike: a million need some 20 MB
        self._write(HEADER)

    def add(self, verdict: Verdict) -> None:
        """Count one file."""
        self.statuses[verdict.status] += 1
        if verdict.status == "used":
            self.kinds.update(kind for kind, _ in verdict.notes)
            self.labels[verdict.label] += 1
            self.noted += bool(verdict.notes)
        elif verdict.status == "skipped":
            self.reasons[verdict.note.partition(":")[0]] += 1
            if len(self.examples) < 3:
                self.examples.append(f"{printable(Path(verdict.path).name)}: {verdict.note}")
        facts = verdict.facts
        known = [
            facts.sampling_rate,
            facts.channels,
            facts.frames,
            f"{facts.seconds:.4f}",
            f"{facts.peak_decibels:.1f}",
        ]
        place = printable(verdict.path)
        row = known if facts.frames else [""] * len(known)
        self._write([place, verdict.status, verdict.note, verdict.label, *row, facts.encoding])

    @property
    def skipped(self) -> str:
        """The first reasons, one line."""
        more = self.statuses["skipped"] - len(self.examples)
        return "; ".join(self.examples) + (f"; and {more} more" if more else "")

    def nothing_usable(self, roots: list[Path]) -> str:
        """What to tell a user whose folders hold nothing to train on."""
        where = ", ".join(printable(root) for root in roots)
        skipped = self.statuses["skipped"]
        found = f"{skipped} files found, all skipped: {self.skipped}" if skipped else "no such file found"
        return f"no usable sound in {where}\nlooked for {' '.join(EXTENSIONS)} in any case; {found}"

    def too_many_skipped(self) -> bool:
        """Whether so many files are left out that their owner should look."""
        used, skipped = self.statuses["used"], self.statuses["skipped"]
        return skipped > LOUD_SHARE * (used + skipped)

    def table(self) -> str:
        """A few lines for the screen."""
        rows = [
            ("used as they are", self.statuses["used"] - self.noted, ""),
            ("used with a note", self.noted, _listed(self.kinds.most_common())),
            ("skipped", self.statuses["skipped"], _listed(self.reasons.most_common())),
            ("ignored", self.statuses["ignored"], "hidden, litter, or no sound by its name"),
        ]
        if len(self.labels) > 1:
            names = [(name or "without a class", count) for name, count in sorted(self.labels.items())]
            rows.append(("classes", len(set(self.labels) - {""}), _listed(names)))
        lines = [f"  {name:<17}{count:>8,}  {text}".rstrip() for name, count, text in rows if count]
        return "\n".join(["sound files", *lines])

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the verdict on every file as CSV."""
        unpacker, rest = zlib.decompressobj(), bytes(self._packed) + self._packer.copy().flush()
        with Path(path).open("wb") as target:
            while rest:
                target.write(unpacker.decompress(rest, AT_ONCE))
                rest = unpacker.unconsumed_tail

    def _write(self, row: Sequence[object]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row)
        self._packed += self._packer.compress(line.getvalue().encode())


def _listed(counts: list[tuple[str, int]]) -> str:
    """Names with their counts, not more than fit on two lines of a screen."""
    shown = ", ".join(f"{count:,} {name.rstrip(':')}" for name, count in counts[:MOST_LISTED])
    return shown + (", …" if len(counts) > MOST_LISTED else "")
