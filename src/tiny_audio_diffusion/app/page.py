"""The page: what stands where, and what each click calls."""

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from tiny_audio_diffusion.app import ask, cards, theme
from tiny_audio_diffusion.app.host import Host
from tiny_audio_diffusion.generation import request

MODEL_CALLS: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}  # two people queue
SMALL_CALLS: dict[str, Any] = {"concurrency_limit": 4, "show_progress": "hidden"}
PRIVATE = "private"  # the page is the only way in: no endpoints with names
HEADER = """<header class="title"><h1>tiny audio diffusion</h1>
<p>sixteen pads, played with a click or with <kbd>1</kbd> to <kbd>4</kbd>, <kbd>Q</kbd> to <kbd>R</kbd>,
<kbd>A</kbd> to <kbd>F</kbd>, <kbd>Z</kbd> to <kbd>V</kbd></p></header>"""
TABS = {
    "generate": ("Generate", "New sounds out of nothing.", "Make sounds"),
    "vary": ("Vary", "Relatives of a sound you bring along.", "Make variations"),
    "inpaint": ("Inpaint", "Draw over the part that is to be made anew; the rest stays as it is.", "Fill the gap"),
    "extend": ("Extend", "The sound goes on, or begins earlier.", "Extend it"),
    "interpolate": ("Morph", "On the way from one sound to another.", "Morph"),
    "remix": ("Remix", "A long sound or a loop, changed from beginning to end.", "Remix it"),
}


@dataclass
class Parts:
    """What several events have to do with; `fields` are the inputs of a task, in the order of their names."""

    fields: dict[str, Any]
    line: gr.HTML
    board: gr.HTML
    gap: gr.HTML
    button: gr.Button
    stop: gr.Button
    inputs: gr.Column
    other: gr.Column
    tabs: dict[str, gr.Tab]


def build(host: Host) -> gr.Blocks:
    """The page for a host's models."""
    with gr.Blocks(
        title="tiny audio diffusion", analytics_enabled=False, fill_width=True, delete_cache=(600, 7200)
    ) as page:
        gr.HTML(HEADER, apply_default_css=False)
        with gr.Row(elem_classes="halves", equal_height=False):
            with gr.Column(scale=5, min_width=320, elem_classes="controls"):
                parts = _controls(host)
            with gr.Column(scale=7, min_width=320, elem_classes="results"):
                parts.line.render()
                parts.board.render()
        _connect(page, parts, host)
    return page


def _controls(host: Host) -> Parts:
    names = list(host.studio.models)
    fields: dict[str, Any] = {
        "model": gr.Dropdown(names, value=names[0], label="Model", elem_id="model", filterable=False),
        "task": gr.Textbox("generate", visible=False),
    }
    tabs: dict[str, gr.Tab] = {}
    with gr.Tabs(elem_id="tasks"):
        for task, (name, about, _) in TABS.items():
            with gr.Tab(name, id=task) as tabs[task]:
                gr.HTML(f'<p class="about">{about}</p>', apply_default_css=False)
                fields |= _task_fields(task)
    gap = fields.pop("gap")
    with gr.Column(visible=False, elem_classes="inputs") as inputs:
        fields["input"] = _sound("Input", "input")
        with gr.Column(visible=False) as other:
            fields["second"] = _sound("Second sound", "second")
    with gr.Group():
        with gr.Row():
            fields["count"] = _slider("count", "Sounds", request.TASKS["generate"].count)
            fields["steps"] = _slider("steps", "Steps", host.steps)
        with gr.Row():
            fields["seed"] = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="seed")
            dice = gr.Button("New seed", elem_id="dice", min_width=90)
        with gr.Accordion("More settings", open=False):
            fields["sampler"] = _choice("sampler", "Sampler", host.sampler)
            fields["ladder"] = _choice("schedule", "Ladder of noise levels", host.ladder)
            fields["repeats"] = _slider("repeats", "Repeats at seams (inpaint, extend)", 5)
    with gr.Row(elem_classes="go"):
        button = gr.Button(TABS["generate"][2], variant="primary", elem_id="make", scale=3)
        stop = gr.Button("Stop", elem_id="stop", scale=1, min_width=80)
    most = int(ask.LIMITS["seed"].most)
    dice.click(None, None, fields["seed"], js=f"() => Math.floor(Math.random() * {most})", api_visibility=PRIVATE)
    script = theme.SCRIPT.read_text(encoding="utf-8")
    line = gr.HTML(cards.line("Ready."), elem_id="line", apply_default_css=False, render=False)
    board = gr.HTML("", elem_id="board", apply_default_css=False, js_on_load=script, render=False)
    return Parts(fields, line, board, gap, button, stop, inputs, other, tabs)


def _task_fields(task: str) -> dict[str, Any]:
    """What only one task needs."""
    if task == "generate":
        return {"seconds": _slider("seconds", "Seconds (0: as long as in training)", 0, step=0.05)}
    if task in ("vary", "remix"):
        info = "0 leaves the sound as it is, 1 makes a new one"
        return {f"{task}_strength": _slider("strength", "Strength", 0.5, step=0.05, info=info, place=task)}
    if task == "extend":
        choice = gr.Radio(["forward", "backward", "both"], value="forward", label="Direction", elem_id="direction")
        return {"direction": choice, "spans": _slider("spans", "Windows to add on each side", 1)}
    if task == "inpaint":
        script = theme.GAP_SCRIPT.read_text(encoding="utf-8")
        gap = gr.HTML(cards.gap(None, 0), elem_id="gap", apply_default_css=False, js_on_load=script)
        with gr.Row():
            begin = gr.Slider(0, 1, value=0.25, step=0.001, label="From second", elem_id="begin")
            end = gr.Slider(0, 1, value=0.5, step=0.001, label="to second", elem_id="end")
        gap.range(None, None, [begin, end], js="() => window.tinyGap", api_visibility=PRIVATE)
        for edge in (begin, end):
            edge.input(None, [begin, end], None, js="(b, e) => window.tinyGapShow(b, e)", api_visibility=PRIVATE)
        return {"gap": gap, "begin": begin, "end": end}
    return {}


def _slider(
    name: str, label: str, value: float, *, step: float = 1, info: str | None = None, place: str = ""
) -> gr.Slider:
    limit = ask.LIMITS[name]
    identity = f"{place}_{name}" if place else name
    return gr.Slider(limit.least, limit.most, value=value, step=step, label=label, info=info, elem_id=identity)


def _choice(group: str, label: str, value: str) -> gr.Dropdown:
    return gr.Dropdown([ask.OWN, *ask.choices(group)], value=value, label=label, elem_id=group, filterable=False)


def _sound(label: str, name: str) -> gr.Audio:
    """A place for a sound that is uploaded or recorded; it stays the file that it is."""
    return gr.Audio(
        label=label,
        elem_id=name,
        type="filepath",
        sources=["upload", "microphone"],
        editable=False,
        buttons=[],
        waveform_options={"waveform_color": theme.FAINT, "waveform_progress_color": theme.ACCENT, "sample_rate": 44100},
    )


def _connect(page: gr.Blocks, parts: Parts, host: Host) -> None:
    """What each click calls."""
    fields, shown = parts.fields, [parts.line, parts.board]
    host.fields = fields
    everything = set(fields.values())
    long: dict[str, Any] = {**MODEL_CALLS, "show_progress": "hidden", "api_visibility": PRIVATE}
    waiting = json.dumps(cards.line("Waiting for its turn …", kind="busy"))  # until the queue has come so far
    for event in (parts.button.click, parts.board.more):
        event(None, None, parts.line, js=f"() => {waiting}", api_visibility=PRIVATE)
    parts.button.click(host.make, everything, shown, **long)
    parts.board.more(host.more, everything, shown, **long)
    parts.stop.click(host.stop, None, parts.line, queue=False, show_progress="hidden", api_visibility=PRIVATE)
    parts.board.use(host.use, fields["task"], [fields["input"], parts.line], **SMALL_CALLS, api_visibility=PRIVATE)
    parts.board.back(host.back, None, parts.board, **SMALL_CALLS, api_visibility=PRIVATE)
    looked = [parts.line, parts.gap, fields["begin"], fields["end"]]
    look = [fields[name] for name in ("model", "task", "input")]
    fields["input"].change(host.look, look, looked, **SMALL_CALLS, api_visibility=PRIVATE)
    second = [fields[name] for name in ("model", "task", "second")]
    fields["second"].change(host.look_second, second, parts.line, **SMALL_CALLS, api_visibility=PRIVATE)
    fields["model"].change(
        host.choose, fields["model"], [parts.line, fields["steps"]], **MODEL_CALLS, api_visibility=PRIVATE
    )
    for task, tab in parts.tabs.items():
        turned = [fields["task"], parts.inputs, parts.other, fields["count"], parts.button]
        tab.select(_turn_to(task), None, turned, queue=False, show_progress="hidden", api_visibility=PRIVATE)
    page.load(host.welcome, None, shown, **SMALL_CALLS, api_visibility=PRIVATE)
    page.unload(host.leave)


def _turn_to(task: str) -> Any:
    """What changes with the tab."""

    def turn() -> tuple[Any, ...]:
        needs = request.TASKS[task].needs
        count = gr.update(value=request.TASKS[task].count)
        button = gr.update(value=TABS[task][2])
        return task, gr.update(visible="input" in needs), gr.update(visible="second" in needs), count, button

    return turn
