"""Small pictures of numbers as SVG, in the colours of the page."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from tiny_audio_diffusion.evaluation.measures import Value

BINS, WIDE, HIGH = 36, 360, 100
ROOM = 0.06  # of the scale, at both ends


def scale(values: Sequence[Value | None], *, whole: float | None = None) -> tuple[float, float]:
    """From where to where a track goes: 0 is on it, and `whole` where a number is a share of something."""
    ends = [end for value in values if value for end in (value.value, value.low, value.high) if end is not None]
    low, high = min(0.0, *ends), max(1e-9 if whole is None else whole, *ends)
    return low, high


def track(generated: Value | None, real: Value | None, ends: tuple[float, float], *, words: str) -> str:
    """A line from low to high: the real sounds as a grey mark, the generated ones as a dot, their intervals as bars."""
    low, high = ends
    spread = (high - low) or 1.0

    def across(value: float) -> float:
        return 100 * (ROOM + (1 - 2 * ROOM) * (value - low) / spread)

    parts = [f'<i class="zero" style="left:{across(0):.2f}%"></i>'] if low <= 0 <= high else []
    for kind, value in (("real", real), ("made", generated)):
        if value is None:
            continue
        if value.low is not None and value.high is not None:
            left, right = across(value.low), across(value.high)
            parts.append(f'<i class="range {kind}" style="left:{left:.2f}%;width:{right - left:.2f}%"></i>')
        parts.append(f'<i class="mark {kind}" style="left:{across(value.value):.2f}%"></i>')
    return f'<div class="track" role="img" aria-label="{words}">{"".join(parts)}</div>'


def histogram(real: Tensor, generated: Tensor, *, words: str) -> tuple[str, float, float]:
    """Two distributions over each other, each as a share of its sounds, and the ends of the scale."""
    low = float(min(real.min(), generated.min()))
    high = float(max(real.max(), generated.max()))
    margin = 0.04 * (high - low) or 0.5
    edges = np.linspace(low - margin, high + margin, BINS + 1)
    heights = [np.histogram(values.numpy(), bins=edges)[0] / len(values) for values in (real, generated)]
    top = max(float(each.max()) for each in heights)
    shapes = "".join(
        f'<path class="{kind}" d="{_steps(each / top)}"/>' for kind, each in zip(("real", "made"), heights, strict=True)
    )
    room = f'viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none"'
    picture = f'<svg class="histogram" {room} role="img" aria-label="{words}">{shapes}</svg>'
    return picture, low, high


def _steps(heights: np.ndarray) -> str:
    """The outline of bars, as a path that is closed at the bottom."""
    wide = WIDE / len(heights)
    path = [f"M0 {HIGH}"]
    for place, height in enumerate(heights):
        up = HIGH - 0.94 * HIGH * float(height)
        path.append(f"L{place * wide:.1f} {up:.1f}L{(place + 1) * wide:.1f} {up:.1f}")
    return "".join([*path, f"L{WIDE} {HIGH}Z"])
