"""What evaluate.py does: two sets of sounds in, numbers, a table and a page out."""

from tiny_audio_diffusion.evaluation.judge import Result, judge
from tiny_audio_diffusion.evaluation.tasks import evaluate

__all__ = ["Result", "evaluate", "judge"]
