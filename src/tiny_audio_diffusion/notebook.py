"""What a notebook needs besides the pipeline: bring a sound along, hear sounds, see them."""

import html
import io
from collections.abc import Sequence
from types import ModuleType

from torch import Tensor

from tiny_audio_diffusion import audio, plot
from tiny_audio_diffusion.generation import read_sound
from tiny_audio_diffusion.pipeline import Pipeline

COLUMNS = 4  # of players, as of pictures on a contact sheet
CELL_PIXELS = 270  # width of one of them


def bring(path: str | None, model: Pipeline, *, otherwise: Tensor) -> Tensor:
    """The sound [C, L] in a file, with what had to be done to it for this model told; without a file, `otherwise`."""
    if path is None:
        return otherwise
    sound, notes = read_sound(path, model)
    for note in notes:
        print(note)
    return sound


def listen(sounds: Tensor, sampling_rate: int, titles: Sequence[str] | None = None) -> None:
    """A player for each of the sounds [N, C, L], at their own level: what is beyond full scale is limited, aloud."""
    display = _display()
    titles = _titles(sounds, titles)
    players = []
    for sound, title in zip(sounds, titles, strict=True):
        peak = sound.abs().max().item()
        if peak > 1:
            print(f"{title}: peak {peak:.3f} limited to {audio.CEILING:.3f}")
            sound = sound.clamp(-audio.CEILING, audio.CEILING)
        player = display.Audio(sound.numpy(), rate=sampling_rate, normalize=False)
        players.append(
            f'<figure style="margin: 0"><figcaption>{html.escape(title)}</figcaption>'
            f'<audio controls src="{player.src_attr()}" style="width: 100%"></audio></figure>'
        )
    columns = min(COLUMNS, len(players))
    style = f"display: grid; grid-template-columns: repeat({columns}, 1fr); gap: 8px; max-width: {_pixels(columns)}px"
    display.display(display.HTML(f'<div style="{style}">{"".join(players)}</div>'))


def look(sounds: Tensor, sampling_rate: int, titles: Sequence[str] | None = None) -> None:
    """Waveforms over mel spectrograms of the sounds [N, C, L], all on the same scales."""
    display = _display()
    sheet = io.BytesIO()
    plot.contact_sheet(sounds, sampling_rate, sheet, titles=_titles(sounds, titles), columns=COLUMNS)
    display.display(display.Image(data=sheet.getvalue(), width=_pixels(min(COLUMNS, len(sounds)))))


def _titles(sounds: Tensor, titles: Sequence[str] | None) -> list[str]:
    if titles is None:
        return [f"sound {number}" for number in range(len(sounds))]
    if len(titles) != len(sounds):
        raise ValueError(f"{len(titles)} titles were given for {len(sounds)} sounds")
    return list(titles)


def _pixels(columns: int) -> int:
    return CELL_PIXELS * columns


def _display() -> ModuleType:
    try:
        from IPython import display
    except ImportError as error:
        raise ValueError("players and pictures need a notebook's packages: pip install ipykernel") from error
    return display
