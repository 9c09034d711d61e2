"""What a notebook needs besides the pipeline: bring a sound along, follow the work, hear sounds, see them."""

import html
import io
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from torch import Tensor

from tiny_audio_diffusion import audio, plot
from tiny_audio_diffusion.generation import read_sound
from tiny_audio_diffusion.pipeline import Pipeline
from tiny_audio_diffusion.watch import Watch

COLUMNS = 4  # of players, as of pictures on a contact sheet
PLAYER_PIXELS = 260  # width of one of them
PAUSE_SECONDS = 0.1  # between two looks of the progress bar


class Progress(Watch):
    """A progress bar on the page, which one line replaces when the sounds are done; terminals have watch.Bar."""

    def __init__(self, title: str):
        self.title = title
        self.handle: Any = None
        self.done = self.total = 0
        self.started = self.drawn = 0.0

    def begin(self, evaluations: int) -> None:
        self.done, self.total, self.started = 0, evaluations, time.monotonic()
        display = _display()
        self.handle = display.display(display.HTML(self._text()), display_id=True)
        self.evaluated(0)

    def evaluated(self, sounds: int) -> None:
        self.done += sounds
        now = time.monotonic()
        if self.done >= self.total or now - self.drawn > PAUSE_SECONDS:
            self.drawn = now
            self.handle.update(_display().HTML(self._text()))

    def _text(self) -> str:
        seconds, title = time.monotonic() - self.started, html.escape(self.title)
        if self.done >= self.total:
            return f"{title}: {self.total} steps in {seconds:.1f} seconds"
        return (
            f'{title}: <progress value="{self.done}" max="{self.total}"></progress> {self.done} of {self.total} steps'
        )


def bring(path: str | None, model: Pipeline, *, otherwise: Tensor) -> Tensor:
    """The sound [C, L] in a file, with what had to be done to it for this model told; without a file, `otherwise`."""
    if path is None:
        return otherwise
    sound, notes = read_sound(path, model)
    for note in notes:
        print(note)
    return sound


def listen(sounds: Tensor, sampling_rate: int, titles: Sequence[str] | None = None) -> None:
    """A player for each of the sounds [N, C, L], at their own level: what is beyond full scale is limited, and said."""
    display = _display()
    players = []
    for sound, title in zip(sounds, _titles(sounds, titles), strict=True):
        peak = sound.abs().max().item()
        if peak > 1:
            title += f" (peak {peak:.2f}, limited)"
            sound = sound.clamp(-audio.CEILING, audio.CEILING)
        player = display.Audio(sound.numpy(), rate=sampling_rate, normalize=False)
        players.append(
            f'<figure style="margin: 0"><figcaption>{html.escape(title)}</figcaption>'
            f'<audio controls src="{player.src_attr()}" style="width: 100%"></audio></figure>'
        )
    columns = f"repeat({COLUMNS}, minmax(0, {PLAYER_PIXELS}px))"
    style = f"display: grid; grid-template-columns: {columns}; gap: 8px; align-items: end"
    display.display(display.HTML(f'<div style="{style}">{"".join(players)}</div>'))


def look(sounds: Tensor, sampling_rate: int, titles: Sequence[str] | None = None) -> None:
    """Waveforms over mel spectrograms of the sounds [N, C, L], all on the same scales."""
    display = _display()
    sheet = io.BytesIO()
    plot.contact_sheet(sounds, sampling_rate, sheet, titles=_titles(sounds, titles), columns=COLUMNS)
    display.display(display.Image(data=sheet.getvalue()))


def _titles(sounds: Tensor, titles: Sequence[str] | None) -> list[str]:
    if titles is None:
        return [f"sound {number}" for number in range(len(sounds))]
    if len(titles) != len(sounds):
        raise ValueError(f"{len(titles)} titles were given for {len(sounds)} sounds")
    return list(titles)


def _display() -> ModuleType:
    try:
        from IPython import display
    except ImportError as error:
        raise ValueError("players and pictures need a notebook's packages: pip install ipykernel") from error
    return display
