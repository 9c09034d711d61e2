"""What the page calls: from the values of its fields to what it shows, for the visitor who asks."""

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from tiny_audio_diffusion.app import cards
from tiny_audio_diffusion.app.session import Session, Sessions, Take
from tiny_audio_diffusion.app.studio import Studio, tell
from tiny_audio_diffusion.app.work import Progress, Stopped, follow

Shown = tuple[Any, Any]  # the line, the board
Values = dict[gr.components.Component, Any]


class Host:
    """Answers the page's events; it knows no more of a visitor than the session that their request belongs to."""

    def __init__(self, studio: Studio, sessions: Sessions, *, steps: int, sampler: str, ladder: str):
        self.studio, self.sessions = studio, sessions
        self.steps, self.sampler, self.ladder = steps, sampler, ladder
        self.fields: dict[str, gr.components.Component] = {}  # of the page, by name

    def make(self, values: Values, request: gr.Request) -> Iterator[Shown]:
        """The button: the task of the tab."""
        given = {name: values[field] for name, field in self.fields.items()}
        task = given["task"]
        given["strength"] = given.get(f"{task}_strength")
        if task == "remix":
            del given["repeats"]  # one walk is what suits it; the slider speaks of the others
        yield from self._perform(task, given, request)

    def more(self, values: Values, request: gr.Request, event: gr.EventData) -> Iterator[Shown]:
        """More like one of the sounds."""
        given = {name: values[field] for name, field in self.fields.items()}
        try:
            source = self._sound(self.sessions.get(request.session_hash), event)
        except ValueError as error:
            yield cards.line(tell(error), kind="wrong"), gr.skip()
            return
        given |= {"input": str(source), "strength": _said(event, "strength"), "count": 16}
        yield from self._perform("vary", given, request, title=f"More like {int(_said(event, 'place')) + 1:02d}")

    def stop(self, request: gr.Request) -> Any:
        """Between two evaluations of the network the work of this visitor ends."""
        session = self.sessions.get(request.session_hash)
        if not session.working:
            return cards.line("Nothing is being made.")
        session.stop.set()
        return cards.line("Stopping …")

    def use(self, task: str, request: gr.Request, event: gr.EventData) -> tuple[Any, Any]:
        """One of the sounds as what the next task begins with."""
        try:
            source = self._sound(self.sessions.get(request.session_hash), event)
        except ValueError as error:
            return gr.skip(), cards.line(tell(error), kind="wrong")
        where = "" if task != "generate" else ": choose what to do with it by the tabs"
        return str(source), cards.line(f"It is the input now{where}.")

    def back(self, request: gr.Request, event: gr.EventData) -> Any:
        """An earlier take."""
        session = self.sessions.get(request.session_hash)
        take = session.takes.get(_said(event, "take"))
        return gr.skip() if take is None else cards.Board(session, take).html()

    def look(self, model: str, task: str, file: str | None, request: gr.Request) -> tuple[Any, ...]:
        """A sound has been brought: what it is, and its picture to draw the gap on."""
        edges = gr.update(), gr.update()
        if not file:
            return cards.line("Ready."), cards.gap(None, 0), *edges
        try:
            sound, rate, notes = self.studio.look(model, file, task if task != "generate" else "vary")
        except Exception as error:  # noqa: BLE001 # the page stays, whatever it was
            return cards.line(tell(error), kind="wrong"), cards.gap(None, 0), *edges
        seconds = sound.shape[-1] / rate
        handles = tuple(gr.update(maximum=round(seconds, 3), value=round(seconds * part, 3)) for part in (0.35, 0.65))
        said = f"The input lasts {seconds:.2f} seconds." + "".join(
            f" Converted: {note.rpartition(': ')[2]}." for note in notes
        )
        return cards.line(said), cards.gap(sound, seconds), *handles

    def look_second(self, model: str, task: str, file: str | None, request: gr.Request) -> Any:
        """The other end of a morph."""
        return self.look(model, task, file, request)[0]

    def choose(self, model: str) -> tuple[Any, Any]:
        """Another model: it is read now, so that a fault is told before anything is asked of it."""
        try:
            pipeline = self.studio.model(model)[2]
        except Exception as error:  # noqa: BLE001 # the page stays, whatever it was
            return cards.line(tell(error), kind="wrong"), gr.skip()
        kind = "mono" if pipeline.channels == 1 else "stereo"
        seconds = pipeline.length / pipeline.sampling_rate
        text = f"{model}: {kind}, {pipeline.sampling_rate} Hz, {seconds:.2f} seconds."
        return cards.line(text), pipeline.steps

    def welcome(self, request: gr.Request) -> Shown:
        """The page as it begins."""
        session = self.sessions.get(request.session_hash)
        return cards.line("Ready."), cards.Board(session, session.latest).html()

    def leave(self, request: gr.Request) -> None:
        """The page was closed."""
        self.sessions.drop(request.session_hash)

    def _perform(
        self, task: str, given: dict[str, Any], request: gr.Request, *, title: str | None = None
    ) -> Iterator[Shown]:
        """A task from the first look at its fields to its last sound."""
        started = time.monotonic()
        session = self.sessions.get(request.session_hash)
        with session.busy():
            yield cards.line("Reading …", kind="busy", share=0), gr.skip()
            take, board, told = None, None, ""
            try:
                take, work = self.studio.prepare(session, given["model"], task, given)
                take.title = title or take.title
                board = cards.Board(session, take, expected=len(take.seeds))
                for progress in follow(work, session.stop):
                    if session.closed:
                        return
                    fresh = _take_in(take, progress)
                    line = cards.line(_words(progress, take, started), kind="busy", share=_share(progress))
                    if fresh and take.number not in session.takes:
                        session.keep(take)
                    yield line, board.html() if fresh or progress.done == 0 else gr.skip()
            except Stopped:
                told = "Stopped."
            except Exception as error:  # noqa: BLE001 # the page stays, whatever it was
                told = tell(error)
            if take is None or not take.sounds:
                previous = session.latest
                shown = gr.skip() if take is None else cards.Board(session, previous).html()
                yield cards.line(told, kind="wrong" if told != "Stopped." else "idle"), shown
                return
            take.seconds_taken = time.monotonic() - started
            board = cards.Board(session, take) if told else board
            said = f"{_counted(len(take.sounds))} in {take.seconds_taken:.1f} seconds.{_loud(take)}"
            assert board is not None
            yield (
                cards.line(f"{told} {said}".strip(), kind="wrong" if told not in ("", "Stopped.") else "done"),
                board.html(),
            )

    def _sound(self, session: Session, event: gr.EventData) -> Any:
        """The file of a sound that the visitor points at."""
        take, place = session.takes.get(_said(event, "take")), _said(event, "place")
        if take is None or type(place) is not int or not 0 <= place < len(take.files):
            raise ValueError("this sound is no longer here: choose another")
        return take.files[place]


def _said(event: gr.EventData, name: str) -> Any:
    """What an event brings along; the page sends numbers, others may send anything."""
    data = event._data
    value = data.get(name) if isinstance(data, dict) else None
    return value if type(value) in (int, float) else None


def _take_in(take: Take, progress: Progress) -> bool:
    for sounds in progress.sounds:
        take.add(sounds)
    return bool(progress.sounds)


def _share(progress: Progress) -> float:
    return progress.done / progress.total if progress.total else 0.0


def _words(progress: Progress, take: Take, started: float) -> str:
    if not progress.done:
        return "Starting …"
    passed = time.monotonic() - started
    left = passed * (progress.total - progress.done) / progress.done
    return (
        f"Step {progress.done} of {progress.total} · {len(take.sounds)} of {_counted(len(take.seeds))} · "
        f"about {left:.0f} s left"
    )


def _loud(take: Take) -> str:
    """Which sounds do not fit into a file as they are: those are limited, and that is no secret."""
    count = sum(sound.abs().max().item() > 1 for sound in take.sounds)
    return f" {_counted(count)} went beyond full scale and {'is' if count == 1 else 'are'} limited." if count else ""


def _counted(count: int) -> str:
    return f"{count} sound{'s' * (count != 1)}"
