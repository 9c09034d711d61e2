"""report.html: the result on one page that needs nothing else, neither files nor a network."""

from html import escape
from pathlib import Path
from typing import Any

from tiny_audio_diffusion.evaluation import chapters, listening
from tiny_audio_diffusion.evaluation.judge import Result
from tiny_audio_diffusion.evaluation.players import Players

HERE = Path(__file__).parent
# The page may fetch nothing, from nowhere.
POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


def page(result: Result, about: dict[str, Any], *, shown: int) -> str:
    """The whole page; `shown` sounds of each kind can be heard."""
    players = Players()
    body = "".join(
        [
            chapters.opening(result, about),
            chapters.numbers(result),
            chapters.classes(result),
            listening.sounds(result, players, shown=shown),
            listening.copies(result, players, shown=shown),
            chapters.signals(result),
            chapters.background(result, about),
        ]
    )
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(chapters.title(about))}</title><style>{style}</style></head>"
        f"<body><main>{body}</main>{players.audio()}<script>{script}</script></body></html>\n"
    )
