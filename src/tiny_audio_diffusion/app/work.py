"""A task at work in a thread of its own, watched by the page, which can stop it."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from tiny_audio_diffusion.watch import Watch

GLANCE_SECONDS = 0.15  # between two looks at the work


class Stopped(Exception):
    """The visitor has pressed stop."""


@dataclass(frozen=True)
class Progress:
    """How far the work is, and the sounds that were done since the last look."""

    done: int
    total: int
    sounds: list[Tensor]


class Follow(Watch):
    """Counts evaluations of the network, collects sounds, and stops the work between two evaluations."""

    def __init__(self, stop: threading.Event):
        self.stop, self.done, self.total = stop, 0, 0
        self.sounds: queue.SimpleQueue[Tensor] = queue.SimpleQueue()

    def begin(self, evaluations: int) -> None:
        self.total = evaluations

    def evaluated(self, sounds: int) -> None:
        if self.stop.is_set():
            raise Stopped
        self.done += sounds

    def made(self, sounds: Tensor) -> None:
        self.sounds.put(sounds)

    def progress(self) -> Progress:
        fresh = []
        while not self.sounds.empty():
            fresh.append(self.sounds.get())
        return Progress(self.done, self.total, fresh)


def follow(task: Callable[[Watch], object], stop: threading.Event) -> Iterator[Progress]:
    """Look at a task while it runs, and once more when it has ended; its error, if there was one, is raised then."""
    watch = Follow(stop)
    errors: list[Exception] = []

    def work() -> None:
        try:
            task(watch)
        except Exception as error:  # noqa: BLE001 # handed to who looks on
            errors.append(error)

    thread = threading.Thread(target=work, name="task", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(GLANCE_SECONDS)
            if thread.is_alive():
                yield watch.progress()
    finally:  # also where the page is closed meanwhile
        if thread.is_alive():
            stop.set()
            thread.join()
    yield watch.progress()
    if errors:
        raise errors[0]
