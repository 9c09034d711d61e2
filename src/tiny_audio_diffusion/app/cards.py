"""What the page shows of sounds, as HTML: pads, the chosen sound, a line that says how things stand."""

from html import escape

from torch import Tensor

from tiny_audio_diffusion import metrics, picture
from tiny_audio_diffusion.app.ask import PADS
from tiny_audio_diffusion.app.session import Session, Take

KEYS = "1234QWERASDFZXCV"
HINTS = ("Make sounds with the big button, then play the pads.", "The first ones are on their way …")


def line(text: str, *, kind: str = "idle", share: float | None = None) -> str:
    """How things stand, in a sentence; `share` of the work that is done, where there is work."""
    bar = "" if share is None else f'<i style="width:{100 * min(1.0, share):.1f}%"></i>'
    return f'<p class="line {kind}" role="status" aria-live="polite"><span>{escape(text)}</span>{bar}</p>'


def drawing(sound: Tensor) -> str:
    """The outline of a sound as it stands in a picture of any size."""
    path = picture.outline(sound)
    room = f'viewBox="0 0 {picture.COLUMNS} 100" preserveAspectRatio="none"'
    return f'<svg {room} aria-hidden="true"><path d="{path}"/></svg>'


def gap(sound: Tensor | None, seconds: float) -> str:
    """A sound to draw a gap on; the page's script lays the gap over it."""
    if sound is None:
        return '<div class="gap none">Upload or record a sound below, then draw here what is to be made anew.</div>'
    return (
        f'<div class="gap" data-seconds="{seconds:.4f}">{drawing(sound)}'
        '<div class="kept before">kept</div><div class="kept after">kept</div>'
        '<div class="made"><span>made anew</span><i class="edge left"></i><i class="edge right"></i></div></div>'
    )


class Board:
    """Pads, stage and takes of one visitor; the picture of a sound is drawn once."""

    def __init__(self, session: Session, take: Take | None, *, expected: int = 0):
        self.session, self.take, self.expected = session, take, expected
        self.pads: list[str] = []

    def html(self) -> str:
        """The board as it is now."""
        take = self.take
        if take is not None:
            for place in range(len(self.pads), len(take.sounds)):
                self.pads.append(self._pad(take, place))
        waiting = max(0, min(PADS, self.expected) - len(self.pads))
        blanks = PADS - len(self.pads) - waiting
        pads = "".join(self.pads) + _blank("pad empty waiting") * waiting + _blank("pad empty") * blanks
        number = take.number if take is not None and take.sounds else 0
        return (
            f'<div class="board" data-take="{number}">{_stage(HINTS[waiting > 0])}'
            f'<div class="pads" role="group" aria-label="Pads">{pads}</div>{self._takes()}</div>'
        )

    def _pad(self, take: Take, place: int) -> str:
        sound, seed = take.sounds[place], take.seeds[place]
        seconds = sound.shape[-1] / take.sampling_rate
        peak = metrics.peak_decibels(sound[None]).item()
        source = f"sounds/{self.session.token}/{take.number}/{place}.wav"
        facts = [f"{seconds:.2f} s", f"peak {peak:.1f} dB".replace("-", "−") + " (limited)" * (peak > 0)]
        facts += [] if seed is None else [f"seed {seed}"]
        return (
            f'<button type="button" class="pad" data-place="{place}" data-source="{source}"'
            f' data-facts="{" · ".join(facts)}" aria-label="Sound {place + 1}, key {KEYS[place]}">'
            f'<img alt="" src="{picture.spectrogram(sound, take.sampling_rate)}">{drawing(sound)}'
            f"<kbd>{KEYS[place]}</kbd><b>{place + 1:02d}</b></button>"
        )

    def _takes(self) -> str:
        """The way back to earlier takes, and the kit of this one."""
        shown = [each for _, each in sorted(self.session.takes.items()) if each.sounds]
        if not shown:
            return ""
        current = self.take.number if self.take is not None else 0
        buttons = "".join(
            f'<button type="button" data-back="{each.number}" aria-pressed="{str(each.number == current).lower()}">'
            f"<b>{each.number}</b> {escape(each.title)}</button>"
            for each in shown
        )
        kit = ""
        if current in self.session.takes:
            kit = (
                f'<a class="kit" href="sounds/{self.session.token}/{current}/kit.zip" download="kit_{current}.zip">'
                "Download all as a kit <small>zip: sounds, picture, manifest</small></a>"
            )
        return f'<div class="takes"><div class="history" aria-label="Takes">{buttons}</div>{kit}</div>'


def _blank(kind: str) -> str:
    return f'<span class="{kind}" aria-hidden="true"></span>'


def _stage(hint: str) -> str:
    """The chosen sound, large; the page's script fills it from the pad."""
    return f"""<section class="stage" aria-label="The chosen sound">
<div class="screen"><span class="hint">{escape(hint)}</span><i class="head"></i></div>
<div class="chosen"><div class="name"><b class="number"></b><span class="facts"></span></div>
<audio controls preload="none" aria-label="Player"></audio>
<div class="deeds">
<button type="button" data-deed="more" class="bright">More like this</button>
<label>how far <input type="range" class="closeness" min="0.05" max="1" step="0.05" value="0.5"
 aria-label="How far from this sound"><output>0.50</output></label>
<button type="button" data-deed="use">Use as input</button>
<a class="save" download>Download</a>
</div></div></section>"""
