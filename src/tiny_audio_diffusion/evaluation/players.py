"""Sounds on the page: each with its picture, which plays it; what is heard lies in the page once."""

import base64
import io
from collections.abc import Sequence
from html import escape

import soundfile
import torch
from torch import Tensor

from tiny_audio_diffusion import picture
from tiny_audio_diffusion.evaluation.sounds import Sounds

LONGEST_SECONDS = 4.0  # that are played
SHORTEST_SECONDS = 0.05
INAUDIBLE = 2**-15  # what 16 bits cannot hold


class Players:
    """Makes cards, and keeps the sounds that they play."""

    def __init__(self) -> None:
        self.sounds: dict[str, str] = {}

    def card(self, kind: str, sounds: Sounds, place: int, *, facts: Sequence[str], badge: str = "") -> str:
        """A picture that plays, the name of the file, and what there is to say of it."""
        key, name, sound = f"{kind}-{place}", sounds.names[place], sounds.audio[place]
        if key not in self.sounds:
            self.sounds[key] = address(sound, sounds.sampling_rate)
        path, seconds = picture.outline(sound), sound.shape[-1] / sounds.sampling_rate
        room = f'viewBox="0 0 {picture.COLUMNS} 100" preserveAspectRatio="none"'
        lines = "".join(f"<span>{escape(fact)}</span>" for fact in facts)
        mark = f'<span class="badge">{escape(badge)}</span>' if badge else ""
        return (
            f'<figure class="card"><button type="button" data-sound="{key}" data-seconds="{seconds:.4f}"'
            f' aria-pressed="false" aria-label="Play the {kind} sound {escape(name)}">'
            f'<img alt="" src="{picture.spectrogram(sound, sounds.sampling_rate)}">'
            f'<svg {room} aria-hidden="true"><path d="{path}"/></svg>'
            f'<i class="head"></i><span class="play" aria-hidden="true"></span>{mark}</button>'
            f'<figcaption><b title="{escape(name)}">{_folded(name)}</b>{lines}</figcaption></figure>'
        )

    def audio(self) -> str:
        """The sounds themselves, for the end of the page."""
        return "".join(
            f'<audio id="{key}" preload="none" src="{source}"></audio>' for key, source in self.sounds.items()
        )


def address(sound: Tensor, sampling_rate: int) -> str:
    """A sound [C, L] as an address that holds it: FLAC of 16 bits, without the silence at its end."""
    loud = torch.nonzero((sound.abs() > INAUDIBLE).any(dim=0))
    end = int(loud[-1]) + 1 if len(loud) else 0
    end = min(max(end, round(SHORTEST_SECONDS * sampling_rate)), round(LONGEST_SECONDS * sampling_rate))
    content = io.BytesIO()
    samples = sound[:, :end].clamp(-1, 1).T.numpy()
    soundfile.write(content, samples, sampling_rate, format="FLAC", subtype="PCM_16")
    return "data:audio/flac;base64," + base64.b64encode(content.getvalue()).decode()


def _folded(name: str) -> str:
    """A long name can be broken after a folder."""
    return escape(name).replace("/", "/<wbr>")
