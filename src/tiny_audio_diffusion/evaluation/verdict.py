"""The numbers in a sentence, which follows from the intervals alone, and what makes them doubtful."""

from dataclasses import dataclass

from tiny_audio_diffusion.evaluation import glossary
from tiny_audio_diffusion.evaluation.copies import Copies
from tiny_audio_diffusion.evaluation.measures import Measure, Value

MANY_COPIES = 0.05  # share
SENTENCES = {
    "good": "The generated sounds cannot be told from the held-out real ones by this measure.",
    "fair": "The generated sounds can be told from the held-out real ones, though not by much: "
    "two parts of these may lie as far apart by chance.",
    "poor": "The generated sounds are further from the held-out real ones than those are from each other.",
}


@dataclass(frozen=True)
class Verdict:
    """`tone` is good, fair or poor."""

    tone: str
    sentence: str
    detail: str


def judge(kernel: Measure, copies: Copies) -> Verdict:
    """From the two intervals of the kernel distance, and the copies, which it does not see."""
    tone = tone_of(kernel)
    if copies.share > MANY_COPIES:
        return Verdict("poor", f"{_copies(copies)} Distances do not see that. {SENTENCES[tone]}", _detail(kernel))
    return Verdict(tone, SENTENCES[tone], f"{_detail(kernel)} {_copies(copies)}")


def tone_of(kernel: Measure) -> str:
    """Whether the distance may be 0; if not, whether parts of the real sounds may lie as far apart."""
    assert kernel.generated.low is not None
    assert kernel.real.high is not None
    if kernel.generated.low <= 0:
        return "good"
    return "fair" if kernel.generated.low <= kernel.real.high else "poor"


def _detail(kernel: Measure) -> str:
    entry = glossary.MEASURES[kernel.name]
    return (
        f"Kernel distance {with_interval(kernel.generated, entry)}; "
        f"real sounds from real ones {with_interval(kernel.real, entry)}."
    )


def with_interval(value: Value | None, entry: glossary.Entry) -> str:
    """A value with its interval, where it has one."""
    if value is None:
        return glossary.number(None, entry)
    if value.low is None:
        return glossary.number(value.value, entry)
    low, high = glossary.number(value.low, entry), glossary.number(value.high, entry)
    return f"{glossary.number(value.value, entry)} ({low} to {high})"


def _count(copies: Copies) -> str:
    return f"{copies.count} of {len(copies.flags)} {'is a' if copies.count == 1 else 'are'}"


def _copies(copies: Copies) -> str:
    if not copies.count:
        return "No sound is a copy of a training sound."
    return f"{_count(copies)} {'copy of a training sound' if copies.count == 1 else 'copies of training sounds'}."


def doubts(measures: list[Measure]) -> list[str]:
    """Which measures have seen too few sounds, and from how many on they can be relied on."""
    few: dict[tuple[int, int], list[str]] = {}
    for measure in measures:
        entry = glossary.MEASURES[measure.name]
        if measure.sounds < entry.enough:
            few.setdefault((measure.sounds, entry.enough), []).append(entry.title)
    return [
        f"{', '.join(titles)}: {count} sounds a side are few, rely on it from about {enough} on"
        for (count, enough), titles in few.items()
    ]
