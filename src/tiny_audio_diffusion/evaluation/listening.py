"""The parts of the page that can be heard: the best and the worst sounds, and those most like a training sound."""

from tiny_audio_diffusion.evaluation import glossary
from tiny_audio_diffusion.evaluation.glossary import number
from tiny_audio_diffusion.evaluation.judge import Result
from tiny_audio_diffusion.evaluation.players import Players


def sounds(result: Result, players: Players, *, shown: int) -> str:
    """Those nearest to real sounds and those furthest from them, to listen to."""
    if not shown:
        return ""
    order = result.nearest.argsort(stable=True).tolist()
    count = min(shown, len(order) // 2)
    usual = result.real_nearest.quantile(0.5).item(), result.real_nearest.quantile(0.95).item()
    grids = "".join(
        f'<h3>{name}</h3><div class="grid">{"".join(_card(result, players, place) for place in places)}</div>'
        for name, places in (
            ("Furthest from real sounds", order[::-1][:count]),
            ("Nearest to real sounds", order[:count]),
        )
    )
    return (
        "<section><h2>Listen</h2><p>By their distance to the nearest held-out real sound. Half of the real sounds have "
        f"another within {usual[0]:.2f}, and 95 of 100 within {usual[1]:.2f}.</p>{grids}</section>"
    )


def _card(result: Result, players: Players, place: int) -> str:
    figures = {each.name: number(each.generated[place].item(), glossary.SIGNALS[each.name]) for each in result.signals}
    limited = " (limited)" if result.generated.audio[place].abs().max() > 1 else ""
    facts = [
        f"distance {result.nearest[place].item():.2f}",
        f"peak {figures['peak']}{limited}",
        f"tail {figures['tail']}",
    ]
    badge = "copy" if result.copies.flags[place] else ""
    return players.card("generated", result.generated, place, facts=facts, badge=badge)


def copies(result: Result, players: Players, *, shown: int) -> str:
    """The generated sounds that are most like a training sound, each beside it."""
    found, near = result.copies, result.copies.nearest
    if not shown:
        return ""
    pairs = []
    for place in found.closest(shown):
        original, shift = int(near.index[place]), 1000 * abs(near.shift_seconds[place].item())
        alike = f"similarity {near.similarity[place].item():.3f}"
        badge = "copy" if found.flags[place] else ""
        pairs.append(
            '<div class="pair">'
            + players.card("generated", result.generated, place, facts=["generated", alike], badge=badge)
            + players.card("training", result.training, original, facts=["training", f"moved by {shift:.1f} ms"])
            + "</div>"
        )
    return (
        "<section><h2>Learned or copied?</h2><p>The generated sounds that are most like a training sound, each beside "
        f"it. Similarity compares waveforms, wherever they begin and however loud they are: 1 is the same sound. From "
        f"{found.limit:.3f} on a sound counts as a copy; real sounds beside other real ones reach "
        f"{found.baseline.median().item():.3f} in the middle and {found.baseline.max().item():.3f} at most.</p>"
        f'<div class="pairs">{"".join(pairs)}</div></section>'
    )
