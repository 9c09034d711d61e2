"""The parts of the page, from the verdict to the small print."""

import json
from html import escape
from pathlib import Path
from typing import Any

from tiny_audio_diffusion.evaluation import charts, glossary
from tiny_audio_diffusion.evaluation.glossary import number
from tiny_audio_diffusion.evaluation.judge import Result
from tiny_audio_diffusion.evaluation.measures import Measure, Value
from tiny_audio_diffusion.evaluation.report import versions
from tiny_audio_diffusion.evaluation.table import typical
from tiny_audio_diffusion.evaluation.verdict import with_interval

BETTER = {"lower": "lower is better", "higher": "higher is better", "": "near the real sounds is best"}
SHARES = ("precision", "recall", "density", "coverage")
KEYS = '<p class="keys"><span class="key made">generated</span><span class="key real">real, measured alike</span></p>'

CLASSES = {
    "folders": "The folders say which class a sound is of. Small classes have wide ranges: read these, not the number.",
    "classifier": "A classifier says which class each sound is of, on both sides. Small classes have wide ranges: "
    "read these, not the number.",
}


def title(about: dict[str, Any]) -> str:
    """What is judged, in a few words."""
    return f"{names(about, 'generated')} against {names(about, 'reference')}"


def names(about: dict[str, Any], side: str) -> str:
    """What the folders are called."""
    return ", ".join(Path(folder).name for folder in about[side]["folders"])


def opening(result: Result, about: dict[str, Any]) -> str:
    """What was compared, the verdict, and what makes it doubtful."""
    compared, verdict = about["compared"], result.verdict
    kernel = result.measures[0]
    ends = charts.scale([kernel.generated, kernel.real])
    words = escape(verdict.detail)
    notes = [*_off(result), *result.doubts, *_left_out(about)]
    doubts = "".join(f"<li>{escape(note)}.</li>" for note in notes)
    rows = "".join(
        f"<dt>{name}</dt><dd>{charts.track(made, real, ends, words=words)}</dd>"
        for name, made, real in (("Generated", kernel.generated, None), ("Real", None, kernel.real))
    )
    model = about["settings"].get("ckpt")
    maker = f"of the model <b>{escape(str(model))}</b>" if model else f"in <b>{escape(names(about, 'generated'))}</b>"
    return (
        "<header><h1>How good are these sounds?</h1>"
        f"<p><b>{len(result.generated)}</b> generated sounds {maker} against "
        f"<b>{len(result.parts.held_out)}</b> real ones, held out of the {len(result.reference)} in "
        f"<b>{escape(names(about, 'reference'))}</b>. "
        f"Compared: the first {compared['seconds']:.3g} seconds, {compared['sampling_rate']} Hz, "
        f"{'stereo' if compared['channels'] == 2 else 'mono'}.</p></header>"
        f'<section class="verdict {verdict.tone}" aria-label="Verdict">'
        f'<p class="sentence">{escape(verdict.sentence)}</p>'
        f'<p>{words}</p><dl class="intervals">{rows}</dl>'
        + (f'<ul class="doubts">{doubts}</ul>' if doubts else "")
        + "</section>"
    )


def _off(result: Result) -> list[str]:
    """Which signals drift, with their usual values."""
    off = []
    for signal in (each for each in result.signals if each.is_off):
        entry = glossary.SIGNALS[signal.name]
        made, real = (number(typical(values, signal.name), entry) for values in (signal.generated, signal.real))
        off.append(f"{entry.title.lower()} ({made}, real {real})")
    return [f"Off: {', '.join(off)}"] if off else []


def _left_out(about: dict[str, Any]) -> list[str]:
    """Files that could not be compared, side by side."""
    lines = []
    for side in ("reference", "generated", "training"):
        skipped = (about[side] or {}).get("skipped", [])
        if skipped:
            lines.append(f"{len(skipped)} files of {side} were left out: they are named at the end")
    return lines


def numbers(result: Result) -> str:
    """Each measure with what it says, beside the real sounds."""
    rows = "".join(_number(measure) for measure in result.measures)
    copies, entry = result.copies, glossary.MEASURES["copies"]
    real = int((copies.baseline >= copies.limit).sum())
    rows += (
        f'<tr><th scope="row">{entry.title}<small>{escape(entry.says)}</small></th><td class="made">{copies.count} of '
        f"{len(copies.flags)}</td><td>{real} of {len(copies.baseline)}</td><td></td></tr>"
    )
    return (
        f'<section class="numbers"><h2>The numbers</h2>{KEYS}<div class="scroll"><table><thead><tr>'
        '<th scope="col">Measure</th><th scope="col">Generated</th><th scope="col">Real</th>'
        '<th scope="col">Side by side</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _number(measure: Measure) -> str:
    entry = glossary.MEASURES[measure.name]
    made, real = with_interval(measure.generated, entry), with_interval(measure.real, entry)
    ends = charts.scale([measure.generated, measure.real], whole=1.0 if measure.name in SHARES else None)
    picture = charts.track(measure.generated, measure.real, ends, words=f"generated {made}, real {real}")
    few = f" <em>{measure.sounds} sounds a side are few.</em>" if measure.sounds < entry.enough else ""
    return (
        f'<tr><th scope="row">{entry.title}<small>{escape(entry.says)} <i>{BETTER[entry.better].capitalize()}; '
        f"reliable from about {entry.enough} sounds on.</i>{few}</small></th>"
        f'<td class="made">{_with_range(made)}</td><td>{_with_range(real)}</td><td>{picture}</td></tr>'
    )


def _with_range(text: str) -> str:
    """The interval under the number."""
    value, _, interval = text.partition(" (")
    return f"{value}<small>{interval.rstrip(')')}</small>" if interval else value


def classes(result: Result) -> str:
    """A row for each class, or nothing."""
    if not result.classes:
        return ""
    entry = glossary.MEASURES["kernel_distance"]
    ends = charts.scale([value for row in result.classes for value in (row.generated, row.real)])
    rows = "".join(
        f'<tr><th scope="row">{escape(row.name)}</th>'
        f"<td>{row.generated_count} <small>{row.generated_share:.0%}</small></td>"
        f"<td>{row.real_count} <small>{row.real_share:.0%}</small></td>"
        f'<td class="made">{_with_range(with_interval(row.generated, entry))}</td>'
        f"<td>{_with_range(with_interval(row.real, entry))}</td>"
        f"<td>{charts.track(row.generated, row.real, ends, words=_words(row.generated, row.real))}</td></tr>"
        for row in result.classes
    )
    heads = ("Class", "Generated sounds", "Real sounds", "Kernel distance", "Real", "Side by side")
    return (
        f'<section><h2>Class by class</h2><p>{CLASSES[result.labels.source]}</p><div class="scroll"><table><thead><tr>'
        + "".join(f'<th scope="col">{head}</th>' for head in heads)
        + f"</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _words(generated: Value | None, real: Value | None) -> str:
    entry = glossary.MEASURES["kernel_distance"]
    return f"generated {with_interval(generated, entry)}, real {with_interval(real, entry)}"


def signals(result: Result) -> str:
    """How each figure of a signal is distributed, in both sets."""
    plots = []
    for signal in result.signals:
        entry = glossary.SIGNALS[signal.name]
        made, real, drift, usual = (
            number(value, entry)
            for value in (
                typical(signal.generated, signal.name),
                typical(signal.real, signal.name),
                signal.drift,
                signal.real_drift,
            )
        )
        head = f"<h3>{entry.title}{' <em>off</em>' if signal.is_off else ''}</h3><p>{escape(entry.says)}</p>"
        words = f"{entry.title}: generated {made}, real {real}, drift {drift}"
        if signal.real.min() == signal.real.max() == signal.generated.min() == signal.generated.max():
            plot = f'<p class="same">{number(float(signal.real[0]), entry)} for all sounds</p>'
        else:
            shape, low, high = charts.histogram(signal.real, signal.generated, words=words)
            plot = f'{shape}<p class="ends"><span>{number(low, entry)}</span><span>{number(high, entry)}</span></p>'
        kind = "mean" if signal.name in ("silent", "clipped") else "median"
        plots.append(
            f'<div class="signal">{head}{plot}<p class="figures">{kind} <b>{made}</b>, real {real}<br>'
            f"drift {drift}, among real sounds {usual}</p></div>"
        )
    return (
        f"<section><h2>Signals</h2>{KEYS}<p>Drift is how far one distribution has to be moved to become the other. "
        "What is marked as off drifts plainly more than one half of the real sounds does from the other.</p>"
        f'<div class="signals">{"".join(plots)}</div></section>'
    )


def background(result: Result, about: dict[str, Any]) -> str:
    """What was read, left out, and set."""
    lists = []
    for side in ("reference", "generated", "training"):
        facts = about[side]
        if not facts:
            continue
        skipped = "".join(f"<li>{escape(each['file'])}: {escape(each['reason'])}</li>" for each in facts["skipped"])
        folders = ", ".join(escape(folder) for folder in facts["folders"])
        lists.append(f"<dt>{side.capitalize()}</dt><dd>{facts['count']} sounds in {folders}<ul>{skipped}</ul></dd>")
    settings = escape(json.dumps(about["settings"], indent=2, ensure_ascii=False))
    made_with = ", ".join(f"{name} {version}" for name, version in versions().items())
    return (
        f'<section class="background"><h2>Background</h2><dl>{"".join(lists)}</dl>'
        f"<details><summary>Settings</summary><pre>{settings}</pre></details>"
        f"<p>All numbers, sound by sound, are in report.json. {escape(made_with)}.</p></section>"
    )
