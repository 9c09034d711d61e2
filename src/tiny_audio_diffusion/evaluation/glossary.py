"""What each number says and from how many sounds on: the words of the table, the page and the warnings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """The words for one number; `better` is lower, higher, or nothing where it depends."""

    title: str
    better: str
    enough: int  # sounds a side, from which on it can be relied on
    says: str
    form: str = ".2f"
    unit: str = ""


MEASURES = {
    "kernel_distance": Entry(
        "Kernel distance", "lower", 50,
        "How far the generated sounds as a whole lie from the real ones; 0 is none, and a little below 0 is chance. "
        "The range is where it lies in 95 of 100 such draws. It does not see copies.",
        form=".1f",
    ),
    "frechet_distance": Entry(
        "Fréchet distance", "lower", 100,
        "The distance of mean and spread alone. Fewer sounds make it larger, so only the two numbers of a row "
        "can be compared, which come from equally many sounds.",
        form=".1f",
    ),
    "frechet_infinity": Entry(
        "Fréchet distance, ∞", "lower", 200,
        "What the Fréchet distance would be with sounds without end, extrapolated from smaller parts of both sets.",
        form=".1f",
    ),
    "precision": Entry(
        "Precision", "higher", 50,
        "The share of generated sounds that have a real sound near them: how many are plausible.",
    ),
    "precision_margin": Entry(
        "Precision, by how much", "higher", 30,
        "How near generated sounds are to real ones, in octaves: 0 is as near as real ones to each other, −1 twice as "
        "far. It goes on where the share is stuck at 0 or 1.",
    ),
    "recall": Entry(
        "Recall", "higher", 50,
        "The share of real sounds that have a generated one near them: how much of the real variety is reached. "
        "A few sounds repeated, or a missing class, show here.",
    ),
    "recall_margin": Entry(
        "Recall, by how much", "higher", 30,
        "How near real sounds have generated ones, in octaves: 0 is as near as real ones to each other, −1 twice as "
        "far.",
    ),
    "density": Entry(
        "Density", "", 50,
        "How crowded it is with real sounds where the generated ones lie: 1 is as among real sounds, more means that "
        "they keep to the most usual.",
    ),
    "coverage": Entry(
        "Coverage", "higher", 50,
        "The share of real sounds in whose neighbourhood a generated one lies; steadier than recall.",
    ),
    "diversity": Entry(
        "Diversity", "", 30,
        "The mean distance of two sounds of the same set: below the real one the sounds are too much alike, above it "
        "they scatter.",
        form=".1f",
    ),
    "copies": Entry(
        "Copies", "lower", 1,
        "Generated sounds whose waveform is that of a training sound, moved or at another level. Beside it: how many "
        "real sounds would be taken for copies of others.",
    ),
}  # fmt: skip
SIGNALS = {
    "peak": Entry("Peak", "", 30, "The highest sample.", form=".1f", unit="dB"),
    "clipped": Entry("Clipped", "lower", 30, "The share of samples at full scale.", form=".2%"),
    "dc": Entry("Offset", "lower", 30, "The mean of the waveform, as a share of its peak.", form=".2%"),
    "above_16_khz": Entry(
        "Above 16 kHz", "", 30, "Against the whole sound: hiss above the real ones, a dull top below.",
        form=".1f", unit="dB",
    ),
    "tail": Entry(
        "Tail", "lower", 30, "The last 50 milliseconds, against the peak: noise that does not die away.",
        form=".1f", unit="dB",
    ),
    "silent": Entry("Silent", "lower", 30, "The share of sounds with a peak below −60 dB.", form=".0%"),
    "width": Entry("Width", "", 30, "The share of the energy that differs between left and right.", form=".1%"),
}  # fmt: skip


def number(value: float | None, entry: Entry) -> str:
    """A value as people read it."""
    if value is None:
        return "–"
    text = format(value, entry.form).replace("-", "−")
    text = text.removeprefix("−") if not any(digit in text for digit in "123456789") else text  # no −0.0
    return f"{text}\N{NO-BREAK SPACE}{entry.unit}" if entry.unit else text
