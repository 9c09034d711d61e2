"""The result as lines for the screen."""

import textwrap
from collections.abc import Sequence

from torch import Tensor

from tiny_audio_diffusion.evaluation import glossary
from tiny_audio_diffusion.evaluation.glossary import number
from tiny_audio_diffusion.evaluation.judge import Result
from tiny_audio_diffusion.evaluation.measures import Measure
from tiny_audio_diffusion.evaluation.verdict import with_interval

ARROWS = {"lower": "↓", "higher": "↑", "": " "}
WIDTH = 100
LISTED = 10  # copies


def table(result: Result) -> str:
    """Verdict, numbers beside those of real sounds, what makes them doubtful."""
    sections = [
        "\n".join(textwrap.wrap(result.verdict.sentence, WIDTH)),
        _lines("", "generated", "real", [_measure(measure) for measure in result.measures]),
        _copies(result),
        _lines("signal", "generated", "real", _signals(result), "drift") + _legend(result),
    ]
    if result.classes:
        sections.append(_lines("class", "kernel distance", "real", _classes(result), "sounds"))
    return "\n\n".join([*sections, *[f"WARNING: {doubt}" for doubt in result.doubts]])


def _lines(title: str, generated: str, real: str, rows: Sequence[tuple[str, ...]], *more: str) -> str:
    rows = [(title, generated, real, *more), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def _measure(measure: Measure) -> tuple[str, ...]:
    entry = glossary.MEASURES[measure.name]
    return (
        f"{entry.title} {ARROWS[entry.better]}",
        with_interval(measure.generated, entry),
        with_interval(measure.real, entry),
    )


def _copies(result: Result) -> str:
    copies, names = result.copies, result.generated.names
    lines = [f"copies of training sounds: {copies.count} of {len(names)} (similarity from {copies.limit:.2f} on)"]
    for index in copies.closest(copies.count)[:LISTED]:
        original = result.training.names[int(copies.nearest.index[index])]
        lines.append(f"  {names[index]} is {original} ({copies.nearest.similarity[index]:.3f})")
    if copies.count > LISTED:
        lines.append(f"  and {copies.count - LISTED} more: report.json names them")
    return "\n".join(lines)


def _signals(result: Result) -> Sequence[tuple[str, ...]]:
    rows = []
    for signal in result.signals:
        entry = glossary.SIGNALS[signal.name]
        generated, real = (number(typical(values, signal.name), entry) for values in (signal.generated, signal.real))
        rows.append((entry.title, generated, real, number(signal.drift, entry) + (" !" if signal.is_off else "  ")))
    return rows


def _legend(result: Result) -> str:
    marked = any(signal.is_off for signal in result.signals)
    return "\n! plainly more than one half of the real sounds drifts from the other" if marked else ""


def typical(values: Tensor, name: str) -> float:
    """The median; the mean of what is a share of sounds or zero in most of them."""
    return float(values.mean() if name in ("silent", "clipped") else values.median())


def _classes(result: Result) -> Sequence[tuple[str, ...]]:
    entry = glossary.MEASURES["kernel_distance"]
    return [
        (
            row.name,
            with_interval(row.generated, entry),
            with_interval(row.real, entry),
            f"{row.generated_count} against {row.real_count}",
        )
        for row in result.classes
    ]
