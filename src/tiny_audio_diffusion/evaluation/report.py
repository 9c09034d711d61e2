"""report.json: every number with what it was measured of, under keys that stay."""

import math
import platform
from typing import Any

import soundfile
import torch
import torchaudio
from torch import Tensor

import tiny_audio_diffusion
from tiny_audio_diffusion.evaluation.judge import Result
from tiny_audio_diffusion.evaluation.measures import Value

FORMAT = 1  # another number when the meaning of a key changes


def report(result: Result, about: dict[str, Any]) -> dict[str, Any]:
    """`about` is what the numbers do not say: settings, folders, files that were left out."""
    return {
        "format": FORMAT,
        "verdict": {
            "tone": result.verdict.tone,
            "sentence": result.verdict.sentence,
            "detail": result.verdict.detail,
        },
        "warnings": result.doubts,
        "measures": {
            each.name: {"generated": _value(each.generated), "real": _value(each.real), "sounds": each.sounds}
            for each in result.measures
        },
        "copies": _copies(result),
        "signals": {
            each.name: {
                "generated": _quantiles(each.generated),
                "real": _quantiles(each.real),
                "drift": _round(each.drift),
                "real_drift": _round(each.real_drift),
            }
            for each in result.signals
        },
        "classes": {
            row.name: {
                "generated": row.generated and _value(row.generated),
                "real": row.real and _value(row.real),
                "sounds": {"generated": row.generated_count, "real": row.real_count},
            }
            for row in result.classes
        },
        "classes_by": result.labels.source or None,
        "sounds": _sounds(result),
        "split": {
            name: [result.reference.names[place] for place in getattr(result.parts, name)]
            for name in ("space", "first", "second")
        },
        "versions": versions(),
        **about,
    }


def versions() -> dict[str, str]:
    """What the numbers may depend on in their last digits."""
    return {
        "tiny_audio_diffusion": tiny_audio_diffusion.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchaudio": torchaudio.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
    }


def _copies(result: Result) -> dict[str, Any]:
    copies = result.copies
    return {
        "count": copies.count,
        "limit": _round(copies.limit),
        "similarity": _quantiles(copies.nearest.similarity),
        "real_similarity": _quantiles(copies.baseline),
        "files": [result.generated.names[index] for index in copies.closest(copies.count)],
    }


def _sounds(result: Result) -> list[dict[str, Any]]:
    """A row for each generated sound."""
    near = result.copies.nearest
    return [
        {
            "file": name,
            "class": result.labels.generated[place],
            "nearest_real": _round(result.nearest[place].item()),
            "training_file": result.training.names[int(near.index[place])],
            "similarity": _round(near.similarity[place].item()),
            "shift_seconds": _round(near.shift_seconds[place].item()),
            "copy": bool(result.copies.flags[place]),
            **{signal.name: _round(signal.generated[place].item()) for signal in result.signals},
        }
        for place, name in enumerate(result.generated.names)
    ]


def _value(value: Value) -> dict[str, float | None]:
    return {"value": _round(value.value), "low": _round(value.low), "high": _round(value.high)}


def _quantiles(values: Tensor) -> dict[str, float | None]:
    """Mean and five numbers of a distribution."""
    at = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.double)
    found = torch.quantile(values.double(), at).tolist()
    names = ("least", "quarter", "median", "three_quarters", "most")
    return {"mean": _round(values.double().mean().item())} | dict(zip(names, map(_round, found), strict=True))


def _round(value: float | None) -> float | None:
    """Six digits; what is no number is null, because JSON has none."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
